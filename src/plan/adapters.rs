//! Shapes of adapters: training continues with the incoming adapter, so consecutive stages must agree on its shape. A
//! stage with a `lora` block makes an adapter of that shape.

use super::draft::Draft;
use super::source::Source;
use crate::diagnostic::Diagnostic;
use stages::stage::Accepts;

/// Reports a mismatch before the first of the two stages has trained for hours.
pub fn check(drafts: &[Draft], mistakes: &mut Vec<Diagnostic>) {
    for draft in drafts {
        let Some((ours, span)) = &draft.lora else { continue };
        for input in &draft.inputs {
            let accepts = draft.kind.and_then(|kind| kind.port(&input.port)).map(|port| port.accepts);
            // The model on the first port is trained; a reference is not.
            let is_trained =
                draft.kind.is_some_and(|kind| kind.ports.first().is_some_and(|port| port.name == input.port));
            let (Some(Accepts::Model), true, Some(Source::Stage { stage, .. })) =
                (accepts, is_trained, input.sources.first())
            else {
                continue;
            };
            let from = &drafts[*stage];
            if let Some((theirs, _)) = &from.lora
                && theirs != ours
            {
                let span = span.unwrap_or(draft.spec.name.span);
                let (name, of) = (&draft.spec.name.value, &from.spec.name.value);
                let message = format!("`{name}` goes on with the adapter of `{of}`, which has another shape");
                let shape = |lora: &serde_json::Value| format!("{{rank: {}, alpha: {}}}", lora["rank"], lora["alpha"]);
                let help =
                    format!("`{of}` has lora: {}, `{name}` has {}; they must be the same", shape(theirs), shape(ours));
                mistakes.push(Diagnostic::error(span, message).help(help));
            }
        }
    }
}
