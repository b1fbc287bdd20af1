//! Judgements that a stage takes: files of them are read, and their form and length compared with what the kind can take, before
//! anybody is asked or paid.

use super::draft::Draft;
use super::source::Source;
use crate::diagnostic::{Diagnostic, Span};
use formats::unreadable;
use serde::Deserialize;
use serde_json::Value;
use stages::kinds;
use stages::people::form::Form;
use stages::people::rows::PER_ITEM;
use stages::stage::{ExpectedJudgements, Work};
use std::path::Path;

/// Reports judgements that the stage would refuse.
pub fn check(drafts: &[Draft], mistakes: &mut Vec<Diagnostic>) {
    for draft in drafts {
        let (Some(kind), Some(parameters)) = (draft.kind, draft.parameters.as_ref()) else { continue };
        let span = |port: &str| -> Span {
            let from = draft.spec.from.iter().find(|from| from.port.value == port);
            from.and_then(|from| from.sources.first()).map_or(draft.spec.name.span, |source| source.span)
        };
        let mut expected = Vec::new();
        for (port, source) in judged(draft) {
            let form = match source {
                Source::Path(path) => match stated_form(path) {
                    Ok(form) => form,
                    Err(message) => {
                        mistakes.push(Diagnostic::error(span(port), message));
                        continue;
                    }
                },
                made => made_form(drafts, made, drafts.len()),
            };
            let answers = answers(drafts, source, drafts.len());
            expected.extend(form.map(|form| ExpectedJudgements { port, form, answers }));
        }
        let is_connected = |port: &str| draft.spec.from.iter().any(|from| from.port.value == port);
        for mistake in (kind.misjudged)(&parameters.value(), &expected, &is_connected) {
            mistakes.push(Diagnostic::error(span(mistake.port), mistake.message).help(mistake.help));
        }
    }
}

/// The ports of judgements, each with its one source.
fn judged<'a>(draft: &'a Draft) -> impl Iterator<Item = (&'static str, &'a Source)> {
    draft.inputs.iter().filter_map(|input| {
        let port = draft.kind?.port(&input.port).filter(|port| port.takes_judgements)?;
        Some((port.name, input.sources.first()?))
    })
}

/// The form of a file of judgements; where it can be pairs or lists, `None`.
fn stated_form(path: &Path) -> Result<Option<Form>, String> {
    kinds::check_judgements(path).map_err(|error| unreadable::message(&error, path))
}

/// The form of what a stage gives: by its parameter, or by what it takes. `depth` bounds circles, which are reported elsewhere.
fn made_form(drafts: &[Draft], source: &Source, depth: usize) -> Option<Form> {
    let (stage, file) = match source {
        Source::Stage { stage, .. } => (*stage, None),
        Source::File { stage, path, .. } => (*stage, Some(path.as_str())),
        Source::Path(_) => return None,
    };
    let draft = &drafts[stage];
    // The files of rows can be read as pairs or lists.
    if depth == 0 || file.is_some_and(|file| file != PER_ITEM) || !says_of_items(draft) {
        return None;
    }
    let own = draft.parameters.as_ref().map(|parameters| parameters.value()["form"].clone());
    match own.map(Form::deserialize) {
        Some(Ok(form)) => Some(form),
        _ => judged(draft).find_map(|(_, source)| match source {
            Source::Path(path) => stated_form(path).ok().flatten(),
            made => made_form(drafts, made, depth - 1),
        }),
    }
}

/// Whether its stage writes what somebody said, item by item.
fn says_of_items(draft: &Draft) -> bool {
    let parameters = draft.parameters.as_ref().map_or(Value::Null, |parameters| parameters.value());
    let asks = draft.kind.is_some_and(|kind| matches!(kind.work, Work::Ask(_)));
    asks || judged(draft).next().is_some()
        || draft.kind.and_then(|kind| kind.files).is_some_and(|files| files(&parameters).contains(&PER_ITEM))
}

/// The most answers of an item of what a stage gives, where a stage draws them.
fn answers(drafts: &[Draft], source: &Source, depth: usize) -> Option<u64> {
    let draft = &drafts[source.stage().filter(|_| depth > 0)?];
    if let Some(Work::Draw(actions)) = draft.kind.map(|kind| kind.work) {
        let models = draft.inputs.iter().find(|input| input.port == actions.port)?.sources.len() as u64;
        return Some(models * draft.parameters.as_ref()?.value()[actions.count].as_u64()?);
    }
    if !says_of_items(draft) {
        return None;
    }
    draft.inputs.iter().flat_map(|input| &input.sources).filter_map(|source| answers(drafts, source, depth - 1)).max()
}
