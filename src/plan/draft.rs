//! A stage before its gate is resolved.

use super::inputs::Input;
use crate::canonical::Canonical;
use crate::diagnostic::Span;
use crate::gate::MetricName;
use crate::spec::StageSpec;
use stages::stage::Kind;

/// A stage before its gate is resolved. `kind` is `None` after a reported mistake.
pub struct Draft<'a> {
    pub spec: &'a StageSpec,
    pub kind: Option<&'static Kind>,
    pub inputs: Vec<Input>,
    /// `None` after a reported mistake.
    pub parameters: Option<Canonical>,
    /// The shape of its adapter, and its place if the file sets it.
    pub lora: Option<(serde_json::Value, Option<Span>)>,
    pub metrics: Vec<MetricName>,
    pub incumbent: Option<String>,
}
