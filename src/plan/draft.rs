//! A stage of the plan before its gate is read.

use super::inputs::Input;
use crate::canonical::Canonical;
use crate::diagnostic::Span;
use crate::gate::MetricName;
use crate::spec::StageSpec;
use stages::stage::Kind;

/// What is known of a stage before its gate is read. `kind` is `None` after a mistake that has been reported.
pub struct Draft<'a> {
    pub spec: &'a StageSpec,
    pub kind: Option<&'static Kind>,
    pub inputs: Vec<Input>,
    /// `None` after a mistake in them.
    pub parameters: Option<Canonical>,
    /// The shape of its adapter, and where the file says it, if it does.
    pub lora: Option<(serde_json::Value, Option<Span>)>,
    pub metrics: Vec<MetricName>,
    pub incumbent: Option<String>,
}
