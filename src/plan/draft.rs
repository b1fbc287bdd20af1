//! A stage before its gate is resolved.

use super::source::{Input, Source};
use crate::canonical::Canonical;
use crate::diagnostic::Span;
use crate::gate::MetricName;
use crate::spec::StageSpec;
use formats::describe;
use serde::Deserialize;
use stages::model::Templating;
use stages::stage::{Gives, Kind};
use std::collections::BTreeMap;

/// A stage before its gate is resolved. `kind` is `None` after a reported mistake.
pub struct Draft<'a> {
    pub spec: &'a StageSpec,
    pub kind: Option<&'static Kind>,
    pub inputs: Vec<Input>,
    /// `None` after a reported mistake.
    pub parameters: Option<Canonical>,
    /// Parameters that are in no key, by their paths.
    pub beside_key: BTreeMap<String, serde_json::Value>,
    /// The shape of its adapter, and its place if the file sets it.
    pub lora: Option<(serde_json::Value, Option<Span>)>,
    pub dialogues: DialogueParameters,
    pub metrics: Vec<MetricName>,
    pub incumbent: Option<String>,
}

/// The parameters of dialogues, as far as the kind has them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DialogueParameters {
    #[serde(flatten)]
    pub templating: Templating,
    /// The answers of a dialogue that are learned.
    pub learn: String,
}

/// Whether a source is known to be a reward model.
pub fn is_reward_model(drafts: &[Draft], source: &Source) -> bool {
    match source {
        Source::Path(path) => path.is_dir() && describe::check_reward(path).is_ok(),
        Source::Stage { stage, .. } => drafts[*stage].kind.is_some_and(|kind| kind.gives == Gives::Reward),
        Source::File { .. } => false,
    }
}
