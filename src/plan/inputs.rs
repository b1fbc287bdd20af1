//! Checks `from:` of a stage against the ports of its kind: every source is a stage with the right output, or a path
//! that exists and can be read.

use super::graph::{Graph, StageId};
use crate::diagnostic::{self, Diagnostic};
use crate::hub;
use crate::spec::{Pin, PortSpec, Reference, SourceSpec, Spec};
use anyhow::bail;
use formats::unreadable;
use stages::stage::{Accepts, Gives, Kind, Port, did_you_mean, nearest};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub port: String,
    pub sources: Vec<Source>,
    pub is_list: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Stage {
        stage: StageId,
        pin: Pin,
    },
    /// One file of a stage's output. A stage that takes it depends on this file alone.
    File {
        stage: StageId,
        pin: Pin,
        /// From the top of the output, parts joined by `/`.
        path: String,
    },
    /// Relative to the current directory; it existed when the plan was made.
    Path(PathBuf),
}

impl Source {
    /// The stage it comes from.
    pub fn stage(&self) -> Option<StageId> {
        match self {
            Source::Stage { stage, .. } | Source::File { stage, .. } => Some(*stage),
            Source::Path(_) => None,
        }
    }

    /// The same with the stage's number replaced by that which `place` has for it.
    pub fn placed(mut self, place: &[StageId]) -> Source {
        if let Source::Stage { stage, .. } | Source::File { stage, .. } = &mut self {
            *stage = place[*stage];
        }
        self
    }
}

/// The context in which a stage's sources are looked up.
pub struct SourceLookup<'a> {
    pub spec: &'a Spec,
    pub kinds: &'a [Option<&'static Kind>],
    pub ids: &'a HashMap<&'a str, StageId>,
    pub directory: &'a Path,
}

/// Mistakes in the paths that were checked against what ports accept, so that each is read once.
pub type FileChecks = BTreeMap<(Accepts, PathBuf), Option<String>>;

/// The inputs of a stage. Also adds the edges of the graph.
pub fn resolve(
    id: StageId,
    lookup: &SourceLookup,
    graph: &mut Graph,
    files: &mut FileChecks,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Input> {
    let stage = &lookup.spec.stages[id];
    let kind = lookup.kinds[id];
    let mut inputs = Vec::with_capacity(stage.from.len());
    for from in &stage.from {
        let port = kind.and_then(|kind| kind.port(&from.port.value));
        if let Some(kind) = kind {
            check_port(kind, port, from, mistakes);
        }
        let mut sources = Vec::with_capacity(from.sources.len());
        for source in &from.sources {
            let found = match &source.reference {
                Reference::Stage { name, pin, file } => {
                    let found = stage_of(id, name, source, lookup, mistakes);
                    found.and_then(|stage| match file {
                        None => stage_source(id, stage, *pin, source, port, lookup, mistakes),
                        Some(path) => file_source(stage, *pin, path, source, port, lookup, mistakes),
                    })
                }
                Reference::Path(path) => {
                    // Without a `./` in the middle, for messages.
                    let path: PathBuf = lookup.directory.join(path).components().collect();
                    path_source(port, &path, source, lookup.spec.skip_bad_rows, files, mistakes)
                }
                Reference::Hub(text) if port.is_some_and(|port| matches!(port.accepts, Accepts::Data(_))) => {
                    let message = format!("`{text}` names a model of the hub, and `{}` takes data", from.port.value);
                    let help = "fetch the data set (`hf download --repo-type dataset OWNER/NAME --local-dir DIRECTORY`) and name its file";
                    mistakes.push(Diagnostic::error(source.span, message).help(help));
                    None
                }
                Reference::Hub(text) => match hub_model(text, source, lookup, mistakes) {
                    Some(directory) if directory.exists() => {
                        path_source(port, &directory, source, lookup.spec.skip_bad_rows, files, mistakes)
                    }
                    directory => directory.map(Source::Path),
                },
            };
            if let Some(stage) = found.as_ref().and_then(Source::stage) {
                graph.add(stage, id, source.span);
            }
            sources.extend(found);
        }
        inputs.push(Input { port: from.port.value.clone(), sources, is_list: from.is_list });
    }
    for port in kind.map_or(&[][..], |kind| kind.ports) {
        if !port.is_optional && !stage.from.iter().any(|from| from.port.value == port.name) {
            let message = format!("stage `{}` has no input `{}`", stage.name.value, port.name);
            mistakes.push(Diagnostic::error(stage.name.span, message).help(format!("`{}`: {}", port.name, port.doc)));
        }
    }
    inputs
}

fn check_port(kind: &Kind, port: Option<&Port>, from: &PortSpec, mistakes: &mut Vec<Diagnostic>) {
    match port {
        Some(port) if from.is_list && !port.takes_many => {
            let message = format!("`{}` takes one source, not a list", port.name);
            mistakes.push(Diagnostic::error(from.port.span, message));
        }
        None if !kind.takes_any_port => {
            let names: Vec<&str> = kind.ports.iter().map(|port| port.name).collect();
            let message = format!("`{}` has no input `{}`", kind.name, from.port.value);
            mistakes.push(Diagnostic::error(from.port.span, message).help(did_you_mean(&from.port.value, &names)));
        }
        _ => check_port_name(from, mistakes),
    }
}

/// Checks a port name: it becomes a file name in the stage's directory.
fn check_port_name(from: &PortSpec, mistakes: &mut Vec<Diagnostic>) {
    let name = &from.port.value;
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        let message = format!("`{name}` cannot name an input");
        mistakes.push(Diagnostic::error(from.port.span, message).help("names match [A-Za-z0-9_]+"));
    }
}

/// The stage that a source names.
fn stage_of(
    id: StageId,
    name: &str,
    source: &SourceSpec,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<StageId> {
    let Some(stage) = lookup.ids.get(name).copied() else {
        let help = match lookup.directory.join(name).exists() {
            true => Some(format!("a path holds a `/` or `.`: `./{name}`")),
            false => nearest_stage(id, name, lookup, mistakes.len()),
        };
        mistakes.push(Diagnostic { help, ..Diagnostic::error(source.span, format!("unknown stage `{name}`")) });
        return None;
    };
    if stage == id {
        mistakes.push(Diagnostic::error(source.span, format!("stage `{name}` takes itself as an input")));
        return None;
    }
    Some(stage)
}

/// All that a stage gives.
fn stage_source(
    id: StageId,
    stage: StageId,
    pin: Pin,
    source: &SourceSpec,
    port: Option<&Port>,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Source> {
    if let Some(given) = lookup.kinds[stage] {
        let takes_any = lookup.kinds[id].is_some_and(|kind| kind.takes_any_port);
        let goes_on = lookup.kinds[id].is_some_and(|kind| kind.gives == Gives::Reward);
        let is_good = match (port.map(|port| port.accepts), given.gives) {
            (_, Gives::Nothing) => false,
            (Some(Accepts::Data(_)), Gives::Any) => false,
            (Some(Accepts::Any), _) | (_, Gives::Any) => true,
            (Some(Accepts::Model), Gives::Model) | (Some(Accepts::RewardModel | Accepts::Reward), Gives::Reward) => {
                true
            }
            // The training of a reward model may start from a reward model.
            (Some(Accepts::Model), Gives::Reward) => goes_on,
            (Some(_), _) => false,
            // An unknown port has been reported.
            (None, _) => takes_any || lookup.kinds[id].is_none() || port.is_none(),
        };
        if !is_good {
            let name = &lookup.spec.stages[stage].name.value;
            let message = format!("`{name}` (kind `{}`) gives {}", given.name, gift(given.gives));
            let help = wanted(port, (given.gives == Gives::Any).then_some(name));
            mistakes.push(Diagnostic::error(source.span, message).help(help));
            return None;
        }
    }
    Some(Source::Stage { stage, pin })
}

/// One file of what a stage gives. Whether it is there, and what its rows are, is known once the stage has run.
fn file_source(
    stage: StageId,
    pin: Pin,
    path: &str,
    source: &SourceSpec,
    port: Option<&Port>,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Source> {
    let name = &lookup.spec.stages[stage].name.value;
    if let Some(given) = lookup.kinds[stage].filter(|kind| kind.gives == Gives::Nothing) {
        let message = format!("`{name}` (kind `{}`) gives {}", given.name, gift(given.gives));
        mistakes.push(Diagnostic::error(source.span, message).help("a file is taken from a stage that makes files"));
        return None;
    }
    if port.is_some_and(|port| !takes_file(port.accepts, Path::new(path))) {
        let message = format!("`{path}` is one file of `{name}`");
        mistakes.push(Diagnostic::error(source.span, message).help(wanted(port, None)));
        return None;
    }
    Some(Source::File { stage, pin, path: path.to_owned() })
}

/// Says what a port takes, and, for data made by a stage, how its file is named.
fn wanted(port: Option<&Port>, maker: Option<&String>) -> String {
    let takes = port.map_or("anything with an artifact", |port| accepted(port.accepts));
    let takes = format!("`{}` takes {takes}", port.map_or("this input", |port| port.name));
    match (port.map(|port| port.accepts), maker) {
        (Some(Accepts::Data(_)), Some(stage)) => {
            format!("{takes}; name the file that `{stage}` makes: `{stage}:rows.jsonl`")
        }
        _ => takes,
    }
}

/// Whether a port can take a file of this name.
fn takes_file(accepts: Accepts, path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    match accepts {
        Accepts::Model | Accepts::RewardModel => false,
        Accepts::Reward => ["txt", "tsv"].contains(&extension.as_str()),
        Accepts::Data(_) | Accepts::Any => true,
    }
}

/// The nearest stage name; `None` once there are more mistakes than are shown, because it compares all names.
fn nearest_stage(id: StageId, typed: &str, lookup: &SourceLookup, mistakes_before: usize) -> Option<String> {
    if mistakes_before > diagnostic::MAX_SHOWN {
        return None;
    }
    let mut names: Vec<&str> = lookup.ids.iter().filter(|(_, other)| **other != id).map(|(name, _)| *name).collect();
    names.sort_unstable();
    Some(did_you_mean(typed, &names))
}

fn gift(gives: Gives) -> &'static str {
    match gives {
        Gives::Model => "a language model",
        Gives::Reward => "a reward model",
        Gives::Nothing => "measurements only, no artifact",
        Gives::Any => "files",
    }
}

fn accepted(accepts: Accepts) -> &'static str {
    match accepts {
        Accepts::Model => "a language model: a stage that makes one, or a directory in Hugging Face layout",
        Accepts::RewardModel => "a reward model: a stage that makes one, or a directory",
        Accepts::Reward => "a reward model: a stage that makes one, a directory, or a rule file (.txt, .tsv)",
        Accepts::Data(_) => "a data file: JSON, JSONL (.gz and .zst, too) or Parquet",
        Accepts::Any => "anything",
    }
}

/// The directory of a hub model on this machine, or its name if it is not here yet.
fn hub_model(
    text: &str,
    source: &SourceSpec,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<PathBuf> {
    let found = hub::Model::parse(text).and_then(|model| match &lookup.spec.hub_cache {
        Some(root) => Ok((hub::cached(&model, root)?, model)),
        None => bail!("`{text}`: HF_HUB_CACHE, HF_HOME and HOME are not set, so there is no place for it"),
    });
    match found {
        Ok((Some(snapshot), _)) => Some(snapshot.directory),
        Ok((None, model)) => {
            let message = format!("`{model}` is not on this machine yet");
            let help = "`pipeline run` fetches it, and so does `pipeline model inspect`";
            mistakes.push(Diagnostic::warning(source.span, message).help(help));
            Some(PathBuf::from(model.to_string()))
        }
        Err(error) => {
            mistakes.push(Diagnostic::error(source.span, format!("{error:#}")));
            None
        }
    }
}

fn path_source(
    port: Option<&'static Port>,
    path: &Path,
    source: &SourceSpec,
    may_skip: u64,
    files: &mut FileChecks,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Source> {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        let diagnostic = Diagnostic::error(source.span, format!("there is nothing at `{shown}`"));
        let help = set_variable(source).or_else(|| misread(port, source)).or_else(|| nearest_sibling(path));
        mistakes.push(Diagnostic { help, ..diagnostic });
        return None;
    };
    let is_good = match port.map(|port| port.accepts) {
        Some(Accepts::Any) | None => true,
        Some(accepts) if metadata.is_file() => takes_file(accepts, path),
        Some(accepts) => !matches!(accepts, Accepts::Data(_)),
    };
    if let (Some(port), false) = (port, is_good) {
        let what = if metadata.is_dir() { "a directory" } else { "a file" };
        let message = format!("`{shown}` is {what}");
        let help = format!("`{}` takes {}", port.name, accepted(port.accepts));
        mistakes.push(Diagnostic::error(source.span, message).help(help));
        return None;
    }
    if let Some(port) = port {
        let checked = files.entry((port.accepts, path.to_owned()));
        let checked = checked.or_insert_with(|| {
            let found = stages::kinds::check_input(port, path, may_skip);
            found.err().map(|error| unreadable::message(&error, path))
        });
        mistakes.extend(checked.iter().map(|message| Diagnostic::error(source.span, message.clone())));
    }
    Some(Source::Path(path.to_owned()))
}

/// Help for a path that came from a variable: how to set it.
fn set_variable(source: &SourceSpec) -> Option<String> {
    let variable = source.variables.iter().find(|variable| variable.starts_with("vars."));
    if let Some(variable) = variable {
        return Some(format!("set it with --set {variable}=FOLDER"));
    }
    let variable = source.variables.iter().find_map(|variable| variable.strip_prefix("env."))?;
    Some(format!("it comes from the environment variable `{variable}`"))
}

/// Help for a text that means something to a shell or to Python, and here is a path.
fn misread(port: Option<&Port>, source: &SourceSpec) -> Option<String> {
    let Reference::Path(path) = &source.reference else { return None };
    let text = path.to_str()?;
    let takes_models = port.is_some_and(|port| matches!(port.accepts, Accepts::Model | Accepts::RewardModel));
    if let Some(rest) = text.strip_prefix("~/") {
        return Some(format!("`~` is not expanded: write `${{env.HOME}}/{rest}`, with `env: [HOME]` in the file"));
    }
    if text.contains("${") {
        return Some("`$${` stands for a plain `${`: with a single `$` it is a variable".to_owned());
    }
    let as_hub = format!("hf://{text}");
    (takes_models && !text.starts_with('.') && hub::Model::parse(&as_hub).is_ok())
        .then(|| format!("a model of the hub is written `{as_hub}`"))
}

fn nearest_sibling(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest(&name, &names).map(|name| format!("did you mean `{name}`?"))
}
