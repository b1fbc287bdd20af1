//! The run that a verb refers to, and what the store knows about it.

use super::refusal::refused;
use crate::action::Record;
use crate::cli::configuration;
use crate::event::{Event, Outcome};
use crate::journal::{self, ReadableJournal};
use crate::report::explain::{self, Checkpoint, Execution};
use crate::report::fold::{self, RunState};
use anyhow::Result;
use cache::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub struct StoredRun {
    /// The pipeline file, if one was named.
    pub file: Option<PathBuf>,
    /// The directory of the store: `.pipeline`.
    pub root: PathBuf,
    pub journal: PathBuf,
    pub run: RunState,
    pub is_alive: bool,
    pub unread: UnreadLines,
}

/// The lines of a journal that are no events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UnreadLines {
    pub damaged: usize,
    /// Those that a newer program wrote.
    pub newer: usize,
    /// Whether the last line was cut short by a kill.
    pub is_torn: bool,
}

/// The choice of a run among those there are.
#[derive(Clone, Debug, Default)]
pub struct RunQuery<'a> {
    pub file: Option<&'a Path>,
    pub store: Option<PathBuf>,
    /// Its name under `runs/`, the beginning of the name, or `last`, `last~1`, … counted back from the newest.
    pub run: Option<&'a str>,
    /// If no run is named: the last run that this stage is part of.
    pub stage: Option<&'a str>,
    /// Whether the verb itself says which lines of the journal cannot be read.
    pub tells_damage: bool,
}

/// The number of runs that a message names.
const NAMED: usize = 10;

/// The run of `query`. Without a name it is the last run of the file; without a file the last run of any, in the store
/// of `here` or of a directory below: after `pipeline run pipelines/rlhf.yaml`, a bare `pipeline status` means that
/// run. Every verb prints which run it was.
pub fn run(here: &Path, wanted: RunQuery) -> Result<StoredRun> {
    let journals = journals(here, &wanted)?;
    let mut found = journals.iter().filter_map(|journal| journal.open(&wanted));
    let Some(name) = wanted.run else {
        let last = found.next().ok_or_else(|| nothing_was_run(wanted.file))?;
        // Earlier runs are read only for a stage that `--only` or `--from` left out of the last one.
        return Ok(match wanted.stage {
            Some(stage) if !last.run.selection.is_empty() && last.run.stage(stage).is_none() => {
                found.find(|found| found.run.stage(stage).is_some()).unwrap_or(last)
            }
            _ => last,
        });
    };
    let unknown = || {
        let last = journals.iter().filter_map(|journal| journal.open(&wanted)).take(NAMED);
        let last: Vec<String> = last.map(|found| found.run.name).collect();
        match last.is_empty() {
            true => nothing_was_run(wanted.file),
            false => refused(format!("there is no run `{name}`; the last ones are {}", last.join(", "))),
        }
    };
    if let Some(back) = back(name) {
        return found.nth(back).ok_or_else(unknown);
    }
    if let Some(exact) = journals.iter().find(|journal| journal.name == name) {
        return exact.open(&wanted).ok_or_else(unknown);
    }
    let beginning = journals.iter().filter(|journal| journal.name.starts_with(name));
    let mut beginning: Vec<StoredRun> = beginning.filter_map(|journal| journal.open(&wanted)).take(NAMED + 1).collect();
    if beginning.len() > 1 {
        let more = if beginning.len() > NAMED { ", …" } else { "" };
        let names: Vec<&str> = beginning.iter().take(NAMED).map(|found| found.run.name.as_str()).collect();
        return Err(refused(format!("`{name}` may mean {}{more}: write more of the name", names.join(", "))));
    }
    beginning.pop().ok_or_else(unknown)
}

/// Two runs, each by its name.
pub fn two(here: &Path, names: [&str; 2], wanted: &RunQuery) -> Result<[StoredRun; 2]> {
    let find = |name| run(here, RunQuery { run: Some(name), ..wanted.clone() });
    Ok([find(names[0])?, find(names[1])?])
}

/// All runs that the query covers, the newest first. Each is read when it is asked for; one that cannot be read is skipped
/// with a warning.
pub fn all(here: &Path, wanted: &RunQuery) -> Result<impl Iterator<Item = StoredRun>> {
    Ok(journals(here, wanted)?.into_iter().filter_map(|journal| journal.open(wanted)))
}

/// Runs in the same store that are newer than this one, and of which nothing can be read.
pub fn newer_unreadable(found: &StoredRun) -> Vec<String> {
    let journals = journal::all(&found.root).unwrap_or_default().into_iter().rev();
    let newer = journals.take_while(|journal| *journal > found.journal).filter(|journal| read(journal).is_none());
    let name = |journal: PathBuf| Some(journal.parent()?.file_name()?.to_string_lossy().into_owned());
    newer.filter_map(name).collect()
}

/// The same run, read again.
pub fn again(found: &StoredRun) -> Result<StoredRun> {
    let (file, root) = (found.file.clone(), found.root.clone());
    let is_alive = journal::is_alive(&found.journal);
    let events = journal::read(&found.journal)?;
    let run = fold::fold(&events).ok_or_else(|| refused(format!("{} is empty", found.journal.display())))?;
    let unread = UnreadLines::default();
    Ok(StoredRun { file, root, journal: found.journal.clone(), run, is_alive, unread })
}

/// The newest of these runs whose process still exists.
pub fn living(here: &Path, wanted: &RunQuery) -> Result<Option<StoredRun>> {
    let journals = journals(here, wanted)?;
    let mut living = journals.iter().filter(|journal| journal::is_alive(&journal.path));
    Ok(living.find_map(|journal| journal.open(wanted).filter(|found| found.is_alive)))
}

pub fn nothing_was_run(file: Option<&Path>) -> anyhow::Error {
    refused(match file {
        Some(file) => format!("{} was not run yet: `pipeline run {}`", file.display(), file.display()),
        None => "no run was found in this directory or one below it: name the pipeline file".to_owned(),
    })
}

/// The number of runs to go back for `last`, `last~1`, …
fn back(name: &str) -> Option<usize> {
    match name.strip_prefix("last")? {
        "" => Some(0),
        back => back.strip_prefix('~')?.parse().ok(),
    }
}

struct JournalAt {
    /// The name of its directory.
    name: String,
    path: PathBuf,
    root: PathBuf,
}

/// The journals of all stores that the query covers, the newest first.
fn journals(here: &Path, wanted: &RunQuery) -> Result<Vec<JournalAt>> {
    if let Some(file) = wanted.file
        && !file.is_file()
    {
        return Err(refused(format!("read {}: there is no such file", file.display())));
    }
    let roots = match (&wanted.store, wanted.file) {
        (Some(store), _) => vec![store.clone()],
        (None, Some(file)) => vec![file.with_file_name(".pipeline")],
        (None, None) => nearby_roots(here),
    };
    let mut journals = Vec::new();
    for root in &roots {
        for path in journal::all(root)? {
            let name = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
            journals.push(JournalAt { name, path, root: root.clone() });
        }
    }
    // The directories of journals are named by time.
    journals.sort_by(|one, other| other.name.cmp(&one.name));
    Ok(journals)
}

impl JournalAt {
    /// The run; `None` if it cannot be read or belongs to another file.
    fn open(&self, wanted: &RunQuery) -> Option<StoredRun> {
        let file = wanted.file;
        // Asked before the events are read, so that a run that ends in between is seen with its end.
        let is_alive = journal::is_alive(&self.path);
        let (run, unread) = read(&self.path)?;
        // A line that is being written is not lost.
        let unread = UnreadLines { is_torn: unread.is_torn && !is_alive, ..unread };
        let is_beside = |file: &Path| {
            self.root == file.with_file_name(".pipeline") && file.file_name() == Path::new(&run.file).file_name()
        };
        let is_it = file.is_none_or(|file| is_beside(file) || is_same(file, Path::new(&run.file)));
        let (root, journal) = (self.root.clone(), self.path.clone());
        if is_it && !wanted.tells_damage && unread.damaged + unread.newer > 0 {
            let (count, journal) = (unread.damaged + unread.newer, self.path.display());
            let lines = if count == 1 { "line" } else { "lines" };
            tracing::warn!(
                "{count} {lines} of {journal} cannot be read, and what they say is left out: `pipeline report` says more"
            );
        }
        is_it.then(|| StoredRun { file: file.map(Path::to_owned), root, journal, run, is_alive, unread })
    }
}

/// The readable part of a journal, and the lines that cannot be read. One that cannot be read at all is skipped with a
/// warning.
fn read(journal: &Path) -> Option<(RunState, UnreadLines)> {
    let read = journal::what_can_be_read(journal).inspect_err(|error| tracing::warn!("{error:#}"));
    let ReadableJournal { events, unread, is_torn } = read.ok()?;
    let newer = unread.iter().filter(|line| line.is_of_newer_version()).count();
    Some((fold::fold(&events)?, UnreadLines { damaged: unread.len() - newer, newer, is_torn }))
}

/// The store that a verb refers to: the directory that holds `store/`, `work/` and `runs/`.
pub fn root(here: &Path, file: Option<&Path>, store: Option<PathBuf>) -> Result<PathBuf> {
    let named = store.or_else(|| file.map(|file| file.with_file_name(".pipeline")));
    let roots = named.map_or_else(|| nearby_roots(here), |root| vec![root]);
    let there: Vec<&PathBuf> = roots.iter().filter(|root| root.is_dir()).collect();
    match there[..] {
        [root] => Ok(root.clone()),
        [] => Err(refused(format!("there is no store at {}", roots[0].display()))),
        _ => {
            let names: Vec<String> = there.iter().map(|root| root.display().to_string()).collect();
            Err(refused(format!("there are several stores: name one by `--store`: {}", names.join(", "))))
        }
    }
}

fn nearby_roots(here: &Path) -> Vec<PathBuf> {
    let below = std::fs::read_dir(here).into_iter().flatten().flatten().map(|entry| entry.path().join(".pipeline"));
    let mut roots: Vec<PathBuf> = below.filter(|root| root.is_dir()).collect();
    roots.sort();
    roots.insert(0, here.join(".pipeline"));
    roots
}

/// Whether two paths refer to one pipeline file. A journal holds the path as typed, possibly in another directory; the
/// runs share a store, so equal names are enough then.
fn is_same(one: &Path, other: &Path) -> bool {
    let is_same_name = one.file_name() == other.file_name();
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => is_same_name,
    }
}

/// The runs of a pipeline, the newest first, read lazily. An unreadable journal is skipped with a warning.
pub fn runs(root: &Path, pipeline: &str) -> Result<impl Iterator<Item = RunState>> {
    Ok(journal::of_pipeline(root, pipeline)?.into_iter().rev().filter_map(|journal| Some(read(&journal)?.0)))
}

/// The number of runs that are searched for the time a stage took.
const LOOKED_BACK: usize = 100;

/// Seconds that each of these stages took when it was last executed.
pub fn lasted<'a>(root: &Path, pipeline: &str, stages: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, f64>> {
    let mut wanted: BTreeSet<&str> = stages.collect();
    let mut lasted = BTreeMap::new();
    for run in runs(root, pipeline)?.take(LOOKED_BACK) {
        if wanted.is_empty() {
            break;
        }
        for stage in &run.stages {
            let Some(seconds) = stage.outcome.as_ref().and_then(Outcome::executed_in) else { continue };
            if wanted.remove(stage.head.name.as_str()) {
                lasted.insert(stage.head.name.clone(), seconds);
            }
        }
    }
    Ok(lasted)
}

/// The last execution of the action with this key, in this run or an earlier one.
pub fn execution(found: &StoredRun, key: &str) -> Option<Execution> {
    if let Some(execution) = explain::execution(&found.run, key) {
        return Some(execution);
    }
    let earlier = journal::all(&found.root).ok()?.into_iter().rev().filter(|journal| *journal < found.journal);
    earlier.filter_map(|journal| read_if_started(&journal, key)).find_map(|run| explain::execution(&run, key))
}

/// The name of the run that started this attempt, this run or an earlier one.
pub fn began(found: &StoredRun, key: &str, number: u32) -> Option<String> {
    let made =
        |event: &Event| matches!(event, Event::Started { key: of, attempt, .. } if of == key && *attempt == number);
    let journals = journal::all(&found.root).ok()?.into_iter().rev().filter(|journal| *journal <= found.journal);
    let mut events = journals.filter_map(|journal| journal::read(&journal).ok());
    let events = events.find(|events| events.iter().any(made))?;
    events.into_iter().find_map(|event| match event {
        Event::RunStarted { run, .. } => Some(run),
        _ => None,
    })
}

/// The run of a journal that started this key. Most journals of a long history only hold hits and need no folding.
fn read_if_started(journal: &Path, key: &str) -> Option<RunState> {
    let events = journal::read(journal).ok()?;
    let is_started = events.iter().any(|event| matches!(event, Event::Started { key: started, .. } if started == key));
    if is_started { fold::fold(&events) } else { None }
}

/// The candidates in the record of an action of this kind.
pub fn checkpoints(found: &StoredRun, kind: &str, key: &str) -> Option<Vec<Checkpoint>> {
    checkpoints_in(&configuration::store(&found.root).ok()?, kind, key)
}

/// The record of an action, if it is there and whole.
pub fn record_in(store: &Store, key: &str) -> Option<Record> {
    Record::from_store(&store.lookup(&key.parse().ok()?).ok()??).ok()
}

/// The same of a store that is open.
pub fn checkpoints_in(store: &Store, kind: &str, key: &str) -> Option<Vec<Checkpoint>> {
    let reliability = stages::kinds::kind(kind).and_then(|kind| kind.reliability);
    let record = record_in(store, key)?;
    let bins = |table: &cache::Content| {
        let text = String::from_utf8(store.read(table, "").ok()?).ok()?;
        text.lines().map(|line| serde_json::from_str(line).ok()).collect::<Option<Vec<_>>>()
    };
    let checkpoint = |candidate: crate::action::Candidate| Checkpoint {
        step: candidate.step,
        content: candidate.content.to_string(),
        metrics: candidate.metrics,
        reliability: reliability.and_then(|name| candidate.tables.get(name)).and_then(bins).unwrap_or_default(),
    };
    Some(record.candidates.into_iter().map(checkpoint).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use expect_test::expect;
    use std::fs;

    fn was_run(file: &Path, at: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
        let root = file.with_file_name(".pipeline");
        let mut journal = Journal::create(&root, "toy", at.parse().unwrap()).unwrap();
        let event = Event::RunStarted {
            run: journal.run(),
            pipeline: "toy".to_owned(),
            file: file.display().to_string(),
            at: at.to_owned(),
            stages: Vec::new(),
            overrides: Vec::new(),
            selection: String::new(),
            machine: None,
        };
        journal.append(&event).unwrap();
    }

    #[test]
    fn the_last_run_is_that_of_the_file_or_the_newest_nearby() {
        let temporary = tempfile::tempdir().unwrap();
        let here = temporary.path();
        let (one, other) = (here.join("pipelines/one.yaml"), here.join("pipelines/other.yaml"));
        let far = here.join("a/b/far.yaml");
        was_run(&one, "2026-11-21T08:00:00Z");
        was_run(&other, "2026-11-21T09:00:00Z");
        was_run(&far, "2026-11-21T10:00:00Z");
        let never = here.join("pipelines/never.yaml");
        fs::write(&never, "").unwrap();
        let found = |file: Option<&Path>| match run(here, RunQuery { file, ..RunQuery::default() }) {
            Ok(found) => found.run.at,
            Err(error) => error.to_string().replace(&here.display().to_string(), "HERE"),
        };
        let all = [None, Some(&one), Some(&never), Some(&here.join("gone.yaml"))]
            .map(|file| found(file.map(PathBuf::as_path)));
        expect![[r#"
            2026-11-21T09:00:00Z
            2026-11-21T08:00:00Z
            error: HERE/pipelines/never.yaml was not run yet: `pipeline run HERE/pipelines/never.yaml`

            error: read HERE/gone.yaml: there is no such file
        "#]]
        .assert_eq(&all.join("\n"));
    }

    #[test]
    fn a_run_without_an_end_is_dead_once_nobody_holds_its_journal() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("one.yaml");
        was_run(&file, "2026-11-21T08:00:00Z");
        let found = run(temporary.path(), RunQuery { file: Some(&file), ..RunQuery::default() }).unwrap();
        assert!(!found.is_alive && found.run.finish.is_none());
    }
}
