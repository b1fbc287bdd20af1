//! `lineage`: which results and published models stand on a file, a row or a stage, and what they stand on.

use super::find::StoredRun;
use super::gates::stage_of;
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::action::{Action, Record};
use crate::cli::configuration;
use crate::event::{Event, Outcome};
use crate::journal;
use crate::plan::ArtifactName;
use crate::progress;
use crate::report::lineage::{self, ExportOrigin, ExportedFolder, KnownAction, Lineage};
use crate::report::sheet::{Grid, Sheet};
use anyhow::{Context, Result};
use cache::{Content, Digest, Store};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The list of exports in a store's directory, a JSON object a line.
const EXPORTS: &str = "exports.jsonl";

/// The file in an exported folder that says what it holds.
pub const ORIGIN: &str = "pipeline.json";

/// The thing whose lineage is asked for.
enum LineageOf {
    /// A stage of the run.
    Stage(String),
    /// A file or directory, with its content.
    Path(Vec<Content>),
    /// An exported folder, with the content that it says it holds.
    Exported(Content),
}

pub fn lineage(what: &str, row: Option<&str>, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = which.find(file)?;
    let store = configuration::store(&found.root)?;
    let actions = known_actions(&found.root, &store)?;
    let graph = Lineage::of(&actions);
    let mut sheets = Vec::new();
    let (contents, is_made_here) = match start(what, &found, &store)? {
        LineageOf::Stage(name) => (made_by(&found, &name)?, true),
        LineageOf::Exported(content) => (vec![content], true),
        LineageOf::Path(contents) => (contents, false),
    };
    if let Some(row) = row {
        sheets.push(Sheet::note(place_of(Path::new(what), row)?));
    }
    if is_made_here {
        let (before, outside) = graph.ancestors(&contents);
        sheets.push(titled(format!("{what} stands on these results"), graph.table(&before)));
        sheets.push(lineage::outside(&outside).into());
    }
    let reached = graph.descendants(&contents);
    let title = match reached.len() {
        0 => format!("nothing in {} stands on {what}", found.root.display()),
        count => format!("{count} results stand on {what}"),
    };
    sheets.push(titled(title, graph.table(&reached)));
    let made: Vec<String> = graph
        .made(&reached)
        .into_iter()
        .chain(contents.iter().filter(|_| is_made_here))
        .map(ToString::to_string)
        .collect();
    sheets.push(lineage::exports(&exports(&found.root)?, &made).into());
    sheets.push(lineage::without(&graph.stages_of(&reached, &found.run.name), &found.run.name));
    terminal::show(&sheets)?;
    Ok(0)
}

fn titled(heading: String, grid: Grid) -> Sheet {
    Sheet { heading, grid, ..Sheet::default() }
}

/// A plain identifier is a stage, as in a pipeline file; anything else is a path.
fn start(what: &str, found: &StoredRun, store: &Store) -> Result<LineageOf> {
    let name = ArtifactName::from(what.to_owned());
    if found.run.stage(&name.name).is_some() {
        return Ok(LineageOf::Stage(what.to_owned()));
    }
    let path = Path::new(what);
    if !path.exists() {
        stage_of(found, what)?;
    }
    if let Some(content) = exported(path) {
        return Ok(LineageOf::Exported(content));
    }
    let content = store.identify(path).with_context(|| format!("read {what}"))?;
    let mut contents = vec![content.clone()];
    if let Content::Tree(_) = content {
        contents.extend(files_below(path, store)?);
    }
    Ok(LineageOf::Path(contents))
}

/// The content that an exported folder says it holds.
fn exported(path: &Path) -> Option<Content> {
    let text = fs::read(path.join(ORIGIN)).ok()?;
    let origin: ExportOrigin = serde_json::from_slice(&text).ok()?;
    origin.content.parse().ok()
}

/// The files of a directory: a stage may have read one of them alone.
fn files_below(directory: &Path, store: &Store) -> Result<Vec<Content>> {
    let mut contents = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let mut entries: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
            entries.push(entry.with_context(|| format!("read {}", directory.display()))?.path());
        }
        entries.sort();
        for path in entries {
            if path.is_dir() {
                open.push(path);
            } else {
                contents.push(store.identify(&path)?);
            }
        }
    }
    Ok(contents)
}

/// The content that carries a stage's name, else every candidate of its own action.
fn made_by(found: &StoredRun, name: &str) -> Result<Vec<Content>> {
    let stage = stage_of(found, &ArtifactName::from(name.to_owned()).name)?;
    if let Some(Outcome::Done { content, .. }) = &stage.outcome {
        return Ok(vec![content.parse()?]);
    }
    let store = configuration::store(&found.root)?;
    let own = stage.own_action();
    let record = own.map(|action| store.result::<Record>(&action.key.parse::<Digest>()?)).transpose()?.flatten();
    let record = record.ok_or_else(|| refused(format!("`{name}` made nothing in {}", found.run.name)))?;
    Ok(record.candidates.into_iter().map(|candidate| candidate.content).collect())
}

/// Where a row stands in a data file.
fn place_of(file: &Path, row: &str) -> Result<String> {
    let rows = formats::data::ids(file).with_context(|| format!("read {}", file.display()))?;
    let shown = file.display();
    let count = rows.iter().filter(|id| *id == row).count();
    match rows.iter().position(|id| id == row) {
        Some(at) => {
            let more = if count > 1 { format!(", the first of {count} with this id") } else { String::new() };
            Ok(format!(
                "`{row}` is row {} of {} in {shown}{more}. A stage learns from the whole file, so all that stands on the file \
                 stands on the row, unless the stage says that it left rows out (`pipeline explain STAGE`).",
                at + 1,
                rows.len()
            ))
        }
        None => {
            let names: Vec<&str> = rows.iter().map(String::as_str).collect();
            let help = ::stages::stage::did_you_mean(row, &names[..names.len().min(1000)]);
            Err(refused(format!("{shown} has no row `{row}`: {help}")))
        }
    }
}

/// Every action of all runs of a store, each as its last run used it.
fn known_actions(root: &Path, store: &Store) -> Result<Vec<KnownAction>> {
    let mut known: Vec<KnownAction> = Vec::new();
    let mut seen: HashMap<String, ()> = HashMap::new();
    for path in journal::all(root)?.into_iter().rev() {
        let events = journal::read(&path).inspect_err(|error| tracing::warn!("{error:#}")).unwrap_or_default();
        let mut sources: BTreeMap<&str, &crate::event::StageHead> = BTreeMap::new();
        let (mut run, mut at) = ("", "");
        for event in &events {
            match event {
                Event::RunStarted { run: name, at: moment, stages, .. } => {
                    (run, at) = (name, moment);
                    sources = stages.iter().map(|head| (head.name.as_str(), head.as_ref())).collect();
                }
                Event::Hit { stage, part, key, action, .. } | Event::Started { stage, part, key, action, .. } => {
                    if seen.insert(key.clone(), ()).is_some() {
                        continue;
                    }
                    let Ok(action) = Action::read(action) else { continue };
                    let head = sources.get(stage.as_str()).filter(|_| part.is_none());
                    let record = key.parse::<Digest>().ok().and_then(|key| store.result::<Record>(&key).ok().flatten());
                    let outputs = record.iter().flat_map(|record| &record.candidates);
                    let outputs: Vec<Content> = outputs
                        .flat_map(|candidate| std::iter::once(&candidate.content).chain(candidate.tables.values()))
                        .cloned()
                        .collect();
                    known.push(KnownAction {
                        key: key.clone(),
                        stage: stage.clone(),
                        part: part.clone(),
                        kind: action.kind.clone(),
                        run: run.to_owned(),
                        at: at.to_owned(),
                        inputs: inputs(&action, head.copied()),
                        files: outputs.iter().flat_map(|content| files_of(store, content)).collect(),
                        outputs,
                        is_stored: record.is_some(),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(known)
}

/// The inputs of an action with their names in the file, where each port has as many names as contents.
fn inputs(action: &Action, head: Option<&crate::event::StageHead>) -> Vec<(String, String, Content)> {
    let named = |port: &str, at: usize, count: usize| {
        let sources = head.and_then(|head| head.from.iter().find(|(name, _)| name == port)).map(|(_, sources)| sources);
        match sources {
            Some(sources) if sources.len() == count => sources[at].to_string(),
            // A pattern or a list of files: all of its names.
            Some(sources) => sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            None => String::new(),
        }
    };
    let mut inputs = Vec::new();
    for (port, input) in &action.inputs {
        let contents = input.contents();
        for (at, content) in contents.iter().enumerate() {
            inputs.push((port.clone(), named(port, at, contents.len()), (*content).clone()));
        }
    }
    inputs
}

fn files_of(store: &Store, content: &Content) -> Vec<Content> {
    store.files(content).inspect_err(|error| tracing::warn!("{error:#}")).unwrap_or_default()
}

/// The list of exports of a store; a line that cannot be read is skipped with a warning.
fn exports(root: &Path) -> Result<Vec<ExportedFolder>> {
    let path = root.join(EXPORTS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let read =
        |line: &str| serde_json::from_str(line).inspect_err(|error| tracing::warn!("{}: {error}", path.display()));
    Ok(text.lines().filter_map(|line| read(line).ok()).collect())
}

/// Writes down that a model was exported, so that `lineage` can name where it went.
pub fn note_export(root: &Path, folder: &ExportedFolder) -> Result<()> {
    let path = root.join(EXPORTS);
    let write = || format!("write {}", path.display());
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).with_context(write)?;
    let line = serde_json::to_string(folder).context("write an export")?;
    file.write_all(format!("{line}\n").as_bytes()).with_context(write)
}
