//! Shapes of adapters: training continues with the incoming adapter, so a stage must agree on its shape with what it starts
//! from: with a stage, which makes an adapter by its `lora` block, or with the adapter of a directory.

use super::draft::Draft;
use super::source::Source;
use crate::diagnostic::Diagnostic;
use formats::{json, peft};
use serde::Deserialize;
use serde_json::Value;
use stages::model::LoraParameters;
use stages::stage::Accepts;
use std::path::Path;

/// Reports a mismatch before anything has trained for hours.
pub fn check(drafts: &[Draft], mistakes: &mut Vec<Diagnostic>) {
    for draft in drafts {
        let Some((ours, span)) = &draft.lora else { continue };
        for input in &draft.inputs {
            let accepts = draft.kind.and_then(|kind| kind.port(&input.port)).map(|port| port.accepts);
            // The model on the first port is trained; a reference is not.
            let is_trained =
                draft.kind.is_some_and(|kind| kind.ports.first().is_some_and(|port| port.name == input.port));
            let (Some(Accepts::Model), true, Some(source)) = (accepts, is_trained, input.sources.first()) else {
                continue;
            };
            let (of, theirs) = match source {
                Source::Stage { stage, .. } => {
                    let from = &drafts[*stage];
                    let other = from.lora.as_ref().map(|(theirs, _)| theirs).filter(|theirs| *theirs != ours);
                    (from.spec.name.value.clone(), other.map(shape))
                }
                Source::Path(path) => (path.display().to_string(), other_adapter(path, ours)),
                Source::File { .. } => continue,
            };
            if let Some(theirs) = theirs {
                let span = span.unwrap_or(draft.spec.name.span);
                let name = &draft.spec.name.value;
                let message = format!("`{name}` goes on with the adapter of `{of}`, which has another shape");
                let help = format!("`{of}` has lora: {theirs}, `{name}` has {}; they must be the same", shape(ours));
                mistakes.push(Diagnostic::error(span, message).help(help));
            }
        }
    }
}

fn shape(lora: &Value) -> String {
    format!("{{rank: {}, alpha: {}}}", lora["rank"], lora["alpha"])
}

/// The shape of the adapter in a directory, if it is there and is not that of a `lora` block.
fn other_adapter(directory: &Path, ours: &Value) -> Option<String> {
    #[derive(Deserialize)]
    struct AdapterShape {
        r: usize,
        lora_alpha: f64,
        #[serde(default)]
        use_rslora: bool,
    }
    let ours = LoraParameters::deserialize(ours).ok()?;
    let settings = directory.join("adapter").join("adapter_config.json");
    // One that cannot be read was reported where the directory was.
    let AdapterShape { r, lora_alpha, use_rslora } = json::read_if_there(&settings).ok()??;
    let alpha = peft::plain_alpha(r, lora_alpha, use_rslora);
    // As text, a fraction may lose its last bit.
    let is_same = r == ours.rank && (alpha / ours.plain_alpha() - 1.0).abs() <= 1e-9;
    let plain = if ours.rslora { ", rslora: false" } else { "" };
    (!is_same).then(|| format!("{{rank: {r}, alpha: {alpha}{plain}}}"))
}
