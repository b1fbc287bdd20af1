//! Sources of a port: a stage, a file of it, or a path; and how the rows of data are read.

use super::graph::{Graph, StageId};
use crate::diagnostic::{self, Diagnostic};
use crate::hub;
use crate::spec::{Pin, Reference, SourceSpec, Spec};
use formats::data::{self, DataSource, PromptDigests, ReadOptions};
use stages::stage::{Accepts, Gives, Kind, Measure, Port, Work, did_you_mean, nearest};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub port: String,
    pub sources: Vec<Source>,
    pub is_list: bool,
    /// The options with which the rows of its sources are read; empty where all of them are read without any.
    pub readings: Vec<Reading>,
}

/// Files that are read alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The number of sources of the port, after those of the reading before.
    pub sources: usize,
    pub options: ReadOptions,
}

impl Input {
    /// The files of data that are known before anything runs, and how they are read.
    pub fn files(&self) -> Vec<DataSource> {
        let paths = |sources: &[Source]| -> Vec<PathBuf> {
            let path = |source: &Source| match source {
                // Data of a hub that is not here yet is known by its reference.
                Source::Path(path) => Some(path.clone()).filter(|path| path.exists()),
                Source::Stage { .. } | Source::File { .. } => None,
            };
            sources.iter().filter_map(path).collect()
        };
        if self.readings.is_empty() {
            return paths(&self.sources).into_iter().map(DataSource::from).collect();
        }
        let mut rest = &self.sources[..];
        let read = self.readings.iter().map(|reading| {
            let (these, others) = rest.split_at(reading.sources);
            rest = others;
            DataSource { files: paths(these), options: reading.options.clone() }
        });
        read.filter(|source| !source.files.is_empty()).collect()
    }
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

/// Checks of files against what ports accept, by the text of their paths, so that each is read once.
pub type FileChecks = BTreeMap<(Accepts, String), FileCheck>;

/// The outcome of reading files as a port does.
#[derive(Default)]
pub struct FileCheck {
    /// With the place of the source that it is about.
    pub mistake: Option<(usize, String)>,
    /// Those of rows of data.
    pub prompts: PromptDigests,
}

/// The text by which data is known in [`FileChecks`].
pub fn data_text(files: &[DataSource]) -> String {
    format!("{files:?}")
}

/// The port that is resolved, and all that resolving it changes.
pub struct Target<'a, 'g> {
    pub stage: StageId,
    pub port: Option<&'static Port>,
    pub graph: &'a mut Graph<'g>,
    pub files: &'a mut FileChecks,
    pub mistakes: &'a mut Vec<Diagnostic>,
}

/// The stage that a source names.
pub fn stage_of(
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
pub fn stage_source(
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
            // What an evaluation measured are rows, which a command may read.
            (None, Gives::Nothing) => takes_any && measures(given),
            (Some(Accepts::Evaluation), gives) => gives == Gives::Nothing && compares(given, stage, lookup),
            (Some(Accepts::ModelAnswers), _) => answers(given),
            (Some(_), Gives::Nothing) => false,
            (Some(Accepts::Data(_)), Gives::Any) => false,
            (Some(Accepts::Any), _) | (_, Gives::Any) => true,
            (Some(Accepts::Model), Gives::Model) | (Some(Accepts::RewardModel | Accepts::Reward), Gives::Reward) => {
                true
            }
            (Some(Accepts::Judge), Gives::Model | Gives::Reward) => true,
            (Some(Accepts::Reward | Accepts::Judge), Gives::Scorer) => true,
            // The training of a reward model may start from a reward model.
            (Some(Accepts::Tokenizer), Gives::Model | Gives::Reward) => true,
            (Some(Accepts::Model), Gives::Reward) => goes_on,
            (Some(_), _) => false,
            // An unknown port has been reported.
            (None, _) => takes_any || lookup.kinds[id].is_none() || port.is_none(),
        };
        if !is_good {
            let name = &lookup.spec.stages[stage].name.value;
            let message = format!("`{name}` (kind `{}`) gives {}", given.name, gift(given.gives));
            let help = by_answers(id, given, name, lookup)
                .unwrap_or_else(|| wanted(port, (given.gives == Gives::Any).then_some(name)));
            mistakes.push(Diagnostic::error(source.span, message).help(help));
            return None;
        }
    }
    Some(Source::Stage { stage, pin })
}

/// Whether a stage of the kind leaves the rows that it measured.
fn measures(kind: &Kind) -> bool {
    matches!(kind.work, Work::Measure(_))
}

/// Help where a stage has another port that reads the answers which a given stage has measured.
fn by_answers(id: StageId, given: &Kind, name: &str, lookup: &SourceLookup) -> Option<String> {
    let port = lookup.kinds[id]?.ports.iter().find(|port| port.accepts == Accepts::ModelAnswers)?;
    answers(given).then(|| format!("`{}: {name}` takes the answers of its model", port.name))
}

/// Whether a stage of the kind has its model answer.
fn answers(kind: &Kind) -> bool {
    matches!(kind.work, Work::Measure(Measure { answers: Some(_), .. }))
}

/// Whether a stage measures its model and another one that it is compared with.
fn compares(kind: &Kind, stage: StageId, lookup: &SourceLookup) -> bool {
    let Work::Measure(Measure { comparison: Some(comparison), .. }) = kind.work else { return false };
    lookup.spec.stages[stage].from.iter().any(|from| from.port.value == comparison.port)
}

/// One file of what a stage gives. Whether it is there, and what its rows are, is known once the stage has run.
pub fn file_source(
    id: StageId,
    stage: StageId,
    source: &SourceSpec,
    port: Option<&Port>,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Source> {
    let Reference::Stage { pin, file: Some(path), .. } = &source.reference else { return None };
    let name = &lookup.spec.stages[stage].name.value;
    let is_read = port.is_none() && lookup.kinds[id].is_some_and(|kind| kind.takes_any_port);
    let gives_nothing = |kind: &&'static Kind| kind.gives == Gives::Nothing && !(is_read && measures(kind));
    if let Some(given) = lookup.kinds[stage].filter(gives_nothing) {
        let message = format!("`{name}` (kind `{}`) gives {}", given.name, gift(given.gives));
        let help = by_answers(id, given, name, lookup);
        let help = help.unwrap_or_else(|| "a file is taken from a stage that makes files".to_owned());
        mistakes.push(Diagnostic::error(source.span, message).help(help));
        return None;
    }
    if data::is_pattern(Path::new(path)) {
        let message = format!("`{path}` is a pattern, and what `{name}` makes is not known yet");
        mistakes.push(
            Diagnostic::error(source.span, message).help("name its files one by one: `[make:a.jsonl, make:b.jsonl]`"),
        );
        return None;
    }
    if port.is_some_and(|port| !takes_file(port.accepts, Path::new(path))) {
        let message = format!("`{path}` is one file of `{name}`");
        mistakes.push(Diagnostic::error(source.span, message).help(wanted(port, None)));
        return None;
    }
    Some(Source::File { stage, pin: *pin, path: path.clone() })
}

/// Says what a port takes, and, for data made by a stage, how its file is named.
pub fn wanted(port: Option<&Port>, maker: Option<&String>) -> String {
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
pub fn takes_file(accepts: Accepts, path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    match accepts {
        Accepts::Model | Accepts::RewardModel | Accepts::Tokenizer | Accepts::Evaluation | Accepts::ModelAnswers => {
            false
        }
        Accepts::Reward | Accepts::Judge => ["txt", "tsv", "jsonl"].contains(&extension.as_str()),
        Accepts::Criteria => ["yaml", "yml"].contains(&extension.as_str()),
        Accepts::Data(_) | Accepts::Any => true,
    }
}

/// The nearest stage name; `None` once there are more mistakes than are shown, because it compares all names.
pub fn nearest_stage(id: StageId, typed: &str, lookup: &SourceLookup, mistakes_before: usize) -> Option<String> {
    if mistakes_before > diagnostic::MAX_SHOWN {
        return None;
    }
    let mut names: Vec<&str> = lookup.ids.iter().filter(|(_, other)| **other != id).map(|(name, _)| *name).collect();
    names.sort_unstable();
    Some(did_you_mean(typed, &names))
}

pub fn gift(gives: Gives) -> &'static str {
    match gives {
        Gives::Model => "a language model",
        Gives::Reward => "a reward model",
        Gives::Scorer => "a reward that is no model",
        Gives::Nothing => "measurements only, no artifact",
        Gives::Any => "files",
    }
}

pub fn accepted(accepts: Accepts) -> &'static str {
    match accepts {
        Accepts::Model => "a language model: a stage that makes one, or a directory in Hugging Face layout",
        Accepts::RewardModel => "a reward model: a stage that makes one, or a directory",
        Accepts::Reward => {
            "a reward: a stage that makes one, the directory of a reward model, or a file that scores (.txt, .tsv, .jsonl)"
        }
        Accepts::Judge => {
            "a judge: a stage that makes a language model or a reward, a directory, or a file that scores (.txt, .tsv, .jsonl)"
        }
        Accepts::Tokenizer => {
            "a tokenizer: a directory with tokenizer.json, tokenizer.model or spiece.model, or a stage that makes a model"
        }
        Accepts::Data(_) => {
            "data: a file (JSON, JSONL, CSV, TSV, Parquet, Arrow, text; .gz and .zst, too), a directory of them, a pattern, or \
             `hf://datasets/owner/name`"
        }
        Accepts::Criteria => {
            "a criteria sheet: a file (.yaml) that is there before anything runs; `pipeline criteria` writes one"
        }
        Accepts::Evaluation => "an evaluation that compares with a model: a stage of kind `eval` with a `baseline`",
        Accepts::ModelAnswers => "a stage that has a model answer, of kind `eval`",
        Accepts::Any => "anything",
    }
}

/// The mistake that there is nothing at a path.
pub fn nothing_at(path: &Path, port: Option<&Port>, source: &SourceSpec) -> Diagnostic {
    // What cannot be looked at is not absent.
    if let Err(error) = files::found(fs::metadata(path)) {
        return Diagnostic::error(source.span, format!("`{}` cannot be looked at: {error}", path.display()));
    }
    let help = set_variable(source).or_else(|| misread(path, port, source)).or_else(|| nearest_sibling(path));
    Diagnostic { help, ..Diagnostic::error(source.span, format!("there is nothing at `{}`", path.display())) }
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
fn misread(at: &Path, port: Option<&Port>, source: &SourceSpec) -> Option<String> {
    let Reference::Path(path) = &source.reference else { return None };
    let text = path.to_str()?;
    let takes_models = port.is_some_and(|port| {
        use Accepts::{Judge, Model, Reward, RewardModel, Tokenizer};
        matches!(port.accepts, Model | RewardModel | Reward | Judge | Tokenizer)
    });
    if let Some(rest) = text.strip_prefix("~/") {
        return Some(format!("`~` is not expanded: write `${{env.HOME}}/{rest}`, with `env: [HOME]` in the file"));
    }
    if text.contains("${") {
        return Some("`$${` stands for a plain `${`: with a single `$` it is a variable".to_owned());
    }
    let is_far =
        path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !at.parent().is_some_and(Path::exists));
    if is_far && port.is_some_and(|port| matches!(port.accepts, Accepts::Data(_))) {
        let as_data = format!("hf://datasets/{text}");
        return hub::Dataset::parse(&as_data).is_ok().then(|| format!("a data set of the hub is written `{as_data}`"));
    }
    let as_hub = format!("hf://{text}");
    (takes_models && !text.starts_with('.') && hub::Repository::model(&as_hub).is_ok())
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
