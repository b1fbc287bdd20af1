//! Chat templates: a stage that reads dialogues tries the template of its model on the first of them, before the first
//! stage runs. The template is that of the model's directory, changed by every stage on the way.

use super::draft::{Draft, is_reward_model};
use super::source::Source;
use super::tokenizers::{StepBack, step_back};
use crate::diagnostic::Diagnostic;
use formats::chat::Template;
use formats::data::DataSource;
use formats::directory::model_directory;
use formats::{tokenizer, unreadable};
use stages::kinds;
use stages::model::Templating;
use stages::stage::{Accepts, TokenizerSource};
use std::path::{Path, PathBuf};

/// Reports dialogues that the stage would refuse.
pub fn check(drafts: &[Draft], may_skip: u64, mistakes: &mut Vec<Diagnostic>) {
    for (id, draft) in drafts.iter().enumerate() {
        let Some(kind) = draft.kind else { continue };
        let reads = |port: &str| matches!(kind.port(port).map(|port| port.accepts), Some(Accepts::Data(_)));
        let inputs = draft.inputs.iter().enumerate().filter(|(_, input)| reads(&input.port));
        let data = inputs.map(|(at, input)| (input.files(), at)).filter(|(files, _)| !files.is_empty());
        let data: Vec<(Vec<DataSource>, usize)> = data.collect();
        if data.is_empty() {
            continue;
        }
        // A stage in which somebody judges or scores has no model of its own.
        if kind.tokenizer == TokenizerSource::Unknown {
            check_rewards(drafts, draft, &data, may_skip, mistakes);
            continue;
        }
        let name = draft.spec.name.span;
        let template = match template_of(drafts, id) {
            Some(Ok(template)) => template,
            Some(Err(error)) => {
                mistakes.push(Diagnostic::error(name, format!("{error:#}")));
                continue;
            }
            None => continue,
        };
        let mut has_mistake = false;
        for (files, at) in &data {
            let learns_all = draft.dialogues.learn == "all";
            if let Err(error) = kinds::check_dialogues(template.as_ref(), files, learns_all, may_skip) {
                has_mistake = true;
                let span = draft.spec.from.get(*at).map_or(name, |from| from.port.span);
                let names = formats::data::names(files);
                let path = unreadable::path(&error).unwrap_or(Path::new(&names));
                mistakes.push(Diagnostic::error(span, unreadable::message(&error, path)));
            }
        }
        if !has_mistake {
            check_rewards(drafts, draft, &data, may_skip, mistakes);
        }
    }
}

/// Reports reward models whose own templates refuse the dialogues that they are to score.
fn check_rewards(
    drafts: &[Draft],
    draft: &Draft,
    data: &[(Vec<DataSource>, usize)],
    may_skip: u64,
    mistakes: &mut Vec<Diagnostic>,
) {
    let accepts = |port: &str| draft.kind.and_then(|kind| kind.port(port)).map(|port| port.accepts);
    let scores = |port: &str| matches!(accepts(port), Some(Accepts::Reward | Accepts::Judge));
    for (at, input) in draft.inputs.iter().enumerate().filter(|(_, input)| scores(&input.port)) {
        for (place, source) in input.sources.iter().enumerate() {
            // A language model that judges is asked questions of its own.
            let is_asked = accepts(&input.port) == Some(Accepts::Judge) && !is_reward_model(drafts, source);
            let template = match source {
                _ if is_asked => None,
                Source::Path(path) if path.is_dir() => Some(changed(Some(model_directory(path)), &[])),
                Source::Stage { stage, .. } => template_of(drafts, *stage),
                Source::Path(_) | Source::File { .. } => None,
            };
            let Some(template) = template else { continue };
            let tried = template.and_then(|template| {
                data.iter().try_for_each(|(files, _)| kinds::check_dialogues(template.as_ref(), files, false, may_skip))
            });
            if let Err(error) = tried {
                let from = draft.spec.from.get(at);
                let span = from.and_then(|from| Some(from.sources.get(place)?.span)).unwrap_or(draft.spec.name.span);
                let message = format!("this reward model cannot read the dialogues that it is to score: {error:#}");
                let help = match source {
                    Source::Path(_) => {
                        "it reads them through its own chat template, which stands in its `tokenizer_config.json` or \
                         `chat_template.jinja`"
                    }
                    Source::Stage { .. } | Source::File { .. } => {
                        "it reads them through its own chat template; the stage that makes it (`rm`) takes one by \
                         `with: {chat_template: …}`"
                    }
                };
                mistakes.push(Diagnostic::error(span, message).help(help));
            }
        }
    }
}

/// The chat template of the model that a stage works on: that of a directory, with the changes of each stage on the way. The
/// outer `None`: it is not known before something has run, or the stage works on no model.
fn template_of(drafts: &[Draft], id: usize) -> Option<anyhow::Result<Option<Template>>> {
    let mut changes: Vec<&Templating> = Vec::new();
    let mut at = id;
    // A circle is reported elsewhere.
    for _ in 0..drafts.len() {
        let draft = &drafts[at];
        changes.push(&draft.dialogues.templating);
        match step_back(draft) {
            StepBack::To(Source::Stage { stage, .. }) => at = *stage,
            StepBack::To(Source::Path(path)) => {
                return path.is_dir().then(|| changed(Some(model_directory(path)), &changes));
            }
            // A model from nothing has no template.
            StepBack::New => return (at != id).then(|| changed(None, &changes)),
            // A model is no single file.
            StepBack::To(Source::File { .. }) | StepBack::Unknown => return None,
        }
    }
    None
}

/// The template of a directory after these changes, the last of which comes first.
fn changed(directory: Option<PathBuf>, changes: &[&Templating]) -> anyhow::Result<Option<Template>> {
    let given = |source: &str| match &directory {
        Some(directory) => Ok(Template::load(directory, Some(source))?.expect("a source is given")),
        None => Template::new(source, tokenizer::new_special()),
    };
    let mut template = directory.as_ref().map(|directory| Template::load(directory, None)).transpose()?.flatten();
    for change in changes.iter().rev() {
        if let Some(source) = change.over(template.as_ref(), given)? {
            template = Some(given(&source)?);
        }
    }
    Ok(template)
}
