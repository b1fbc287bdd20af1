//! Files taken from stages whose parameters say what they write: a name that is not among them is found before anything
//! runs.

use super::draft::Draft;
use super::graph::StageId;
use super::source::Source;
use crate::diagnostic::Diagnostic;
use crate::spec::Reference;
use serde_json::Value;
use stages::stage::did_you_mean;
use std::collections::HashMap;
use std::path::Path;

/// Reports files that their maker does not declare in its parameter `outputs`.
pub fn check(drafts: &[Draft], ids: &HashMap<&str, StageId>, mistakes: &mut Vec<Diagnostic>) {
    let sources = drafts.iter().flat_map(|draft| draft.spec.from.iter().map(move |from| (draft, from)));
    for (draft, source) in sources.flat_map(|(draft, from)| from.sources.iter().map(move |source| (draft, source))) {
        let Reference::Stage { name, file: Some(file), .. } = &source.reference else { continue };
        let is_taken = |taken: &Source| matches!(taken, Source::File { path, .. } if path == file);
        if !draft.inputs.iter().flat_map(|input| &input.sources).any(is_taken) {
            // It has been refused for another reason.
            continue;
        }
        let maker = ids.get(name.as_str()).map(|id| &drafts[*id]);
        let Some(parameters) = maker.and_then(|maker| Some(maker.parameters.as_ref()?.value())) else { continue };
        if let Some(files) = maker.and_then(|maker| maker.kind?.files) {
            let files = files(&parameters);
            if !files.contains(&file.as_str()) {
                let message = format!("`{name}` makes no `{file}`");
                mistakes.push(Diagnostic::error(source.span, message).help(did_you_mean(file, &files)));
            }
            continue;
        }
        let Some(Value::Array(declared)) = parameters.get("outputs").cloned() else { continue };
        let declared: Vec<&str> = declared.iter().filter_map(Value::as_str).collect();
        // An output may be a directory.
        if !declared.iter().any(|output| Path::new(file).starts_with(Path::new(output))) {
            let message = format!("`{name}` does not declare `{file}` among its `outputs`");
            let help = match declared.is_empty() {
                true => format!("it declares none: `outputs: [{file}]`"),
                false => did_you_mean(file, &declared),
            };
            mistakes.push(Diagnostic::error(source.span, message).help(help));
        }
    }
}
