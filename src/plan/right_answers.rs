//! Files with right answers, beside the prompts that they are to know: a prompt without a row is found before anything runs.

use super::draft::Draft;
use super::source::{Input, Source, data_text};
use crate::diagnostic::Diagnostic;
use formats::data::DataRows;
use stages::reward;
use stages::stage::Accepts;
use std::collections::BTreeMap;

/// Reports the first prompt of each data port that a file on the port of a reward or a judge says nothing of.
pub fn check(drafts: &[Draft], may_skip: u64, mistakes: &mut Vec<Diagnostic>) {
    let mut known = BTreeMap::new();
    for draft in drafts {
        let Some(kind) = draft.kind else { continue };
        let accepts = |port: &str| kind.port(port).map(|port| port.accepts);
        for (at, input) in draft.inputs.iter().enumerate() {
            if !matches!(accepts(&input.port), Some(Accepts::Reward | Accepts::Judge)) {
                continue;
            }
            for (place, source) in input.sources.iter().enumerate() {
                let Source::Path(file) = source else { continue };
                if !file.is_file() {
                    continue;
                }
                for (rows, data) in scored(draft, drafts) {
                    let files = data.files();
                    if files.is_empty() {
                        continue;
                    }
                    // What cannot be read has been told; what a stage makes is not known yet.
                    let unknown = known
                        .entry((file.clone(), rows, data_text(&files)))
                        .or_insert_with(|| reward::first_unknown(file, rows, &files, may_skip).ok().flatten());
                    let Some(row) = unknown else { continue };
                    let from = draft.spec.from.get(at);
                    let span =
                        from.and_then(|from| Some(from.sources.get(place)?.span)).unwrap_or(draft.spec.name.span);
                    let (file, names) = (file.display(), formats::data::names(&files));
                    let message = format!("`{file}` has no row for the prompt of {row} of `{names}`");
                    let help =
                        "give it a row with this `id` or `prompt`; one with neither counts for all that have none";
                    mistakes.push(Diagnostic::error(span, message).help(help));
                }
            }
        }
    }
}

/// The data whose answers a stage has scored: its own, and those of an evaluation that it reads.
fn scored<'a>(draft: &'a Draft, drafts: &'a [Draft]) -> Vec<(DataRows, &'a Input)> {
    let Some(kind) = draft.kind else { return Vec::new() };
    let mut found = Vec::new();
    for input in &draft.inputs {
        match kind.port(&input.port).map(|port| port.accepts) {
            Some(Accepts::Data(rows)) => found.push((rows, input)),
            Some(Accepts::ModelAnswers) => {
                let measuring = input.sources.iter().filter_map(Source::stage);
                found.extend(measuring.flat_map(|stage| scored(&drafts[stage], drafts)));
            }
            _ => {}
        }
    }
    found
}
