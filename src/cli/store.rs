//! The verbs of the store: `cache verify`, `du`, `disowned`, `export`, `import`, `pin`, `unpin`. They name stages where the store
//! knows only keys.

use super::draft::TargetDraft;
use super::find::{self, RunQuery, StoredRun};
use super::gates::stage_of;
use super::options::{RunArgument, StoreArgument};
use super::refusal::refused;
use super::{configuration, terminal};
use crate::canonical::Canonical;
use crate::journal;
use crate::progress;
use crate::report::format;
use crate::report::sheet::{Grid, Header, plain};
use crate::retention;
use anyhow::{Context, Result};
use cache::{Commit, Digest, Store, Tally};
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind};
use std::path::Path;

/// The number of faults that are listed; the rest is counted.
const LISTED: usize = 50;

pub fn verify(repair: bool, file: Option<&Path>, store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let root = find::root(Path::new("."), file, store.chosen())?;
    let verified = Store::open(&root)?.verify(repair)?;
    let mut text = String::new();
    for fault in verified.faults.iter().take(LISTED) {
        text += &format!("{fault}\n");
    }
    let more = verified.faults.len().saturating_sub(LISTED);
    if more > 0 {
        text += &format!("and {more} more\n");
    }
    let names = journal::names_of_keys(&root, &verified.lost)?;
    for key in &verified.lost {
        let name = names.get(key).map_or_else(|| format!("action {key}"), Clone::clone);
        text += &format!("{name}: its result is lost; the next run that needs it computes it again\n");
    }
    if !verified.moved.is_empty() {
        text += &format!("{} moved to {}\n", files(verified.moved.len()), root.join("store/v1/quarantine").display());
    }
    let (number, bytes) = (files(verified.checked.count as usize), format::bytes(verified.checked.bytes));
    text += &match (verified.faults.is_empty(), repair) {
        (true, _) => format!("{number}, {bytes}: all match their names\n"),
        (false, true) => format!("{number}, {bytes} checked\n"),
        (false, false) => format!(
            "{number}, {bytes} checked; `pipeline cache verify --repair` moves what is damaged out of the way\n"
        ),
    };
    terminal::say(&text)?;
    Ok(u8::from(!verified.faults.is_empty() && !repair))
}

fn files(number: usize) -> String {
    format!("{number} file{}", if number == 1 { "" } else { "s" })
}

pub fn usage(file: Option<&Path>, store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let root = find::root(Path::new("."), file, store.chosen())?;
    let usage = Store::open(&root)?.usage()?;
    let rows = [
        ("records", usage.records),
        ("lists of files", usage.trees),
        ("files", usage.blobs),
        ("verdicts", usage.verdicts),
        ("claims", usage.claims),
        ("quarantine", usage.quarantine),
        ("drafts", usage.drafts),
    ];
    terminal::show(&[tallies([&root.display().to_string(), "number", "size"], &rows).into()])?;
    Ok(0)
}

/// Lists the results that were found wrong, the last one first.
pub fn disowned(file: Option<&Path>, store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let root = find::root(Path::new("."), file, store.chosen())?;
    let mut disavowals = Store::open(&root)?.disavowals()?;
    if disavowals.is_empty() {
        terminal::say("no result was disowned\n")?;
        return Ok(0);
    }
    disavowals.sort_by(|one, other| other.at.cmp(&one.at));
    let keys: Vec<Digest> = disavowals.iter().map(|one| one.key).collect();
    let names = journal::names_of_keys(&root, &keys)?;
    let mut grid =
        Grid::new([Header::text("disowned"), Header::text("at"), Header::text("key"), Header::text("reason")]);
    for one in &disavowals {
        let name = names.get(&one.key).map_or("", String::as_str);
        grid.add([plain(name), plain(&one.at), plain(one.key.short()), plain(&one.reason)]);
    }
    terminal::show(&[grid.into()])?;
    Ok(0)
}

/// One row for each kind of file: their number and total size.
pub fn tallies<'a>(titles: [&str; 3], rows: impl IntoIterator<Item = &'a (&'a str, Tally)>) -> Grid {
    let [name, count, size] = titles;
    let mut grid = Grid::new([Header::text(name), Header::number(count), Header::number(size)]);
    for (name, Tally { count, bytes }) in rows {
        grid.add([plain(name), plain(count), plain(format::bytes(*bytes))]);
    }
    grid
}

/// Writes the result of one stage, or all results of a run with its journal, with all their files, to one archive.
pub fn export(stage: Option<&str>, out: &Path, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = stage.map_or_else(|| which.find(file), |stage| which.find_with(stage, file))?;
    let store = configuration::store(&found.root)?;
    let (actions, journal) = match stage {
        Some(stage) => (actions_of(&found, stage)?, None),
        None => (stored_actions(&found, &store)?, Some(std::fs::read(&found.journal).context("read the journal")?)),
    };
    let what = stage.map_or_else(|| "the whole run".to_owned(), |stage| format!("`{stage}`"));
    let create = || format!("create {}", out.display());
    // The archive gets its name only when it is complete.
    let draft = TargetDraft::beside(out).with_context(create)?;
    let archive = draft.join("archive");
    let mut writer = BufWriter::new(File::create_new(&archive).with_context(create)?);
    store.export(&actions, journal, &mut writer).with_context(|| format!("export {what}"))?;
    let written = writer.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(create)?;
    let bytes = written.metadata().with_context(create)?.len();
    renamed_to_new(&archive, out).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => refused(format!("{} exists already; name another file", out.display())),
        _ => refused(format!("create {}: {error}", out.display())),
    })?;
    let parts = match (stage, actions.len()) {
        (Some(_), 1) => String::new(),
        (Some(_), parts) => format!(", {parts} measurements"),
        (None, results) => format!(", {results} results"),
    };
    terminal::say(&format!("{}: {what} of {}{parts}, {}\n", out.display(), found.run.name, format::bytes(bytes)))?;
    Ok(0)
}

/// Gives a file its name, which nothing may have.
fn renamed_to_new(file: &Path, name: &Path) -> std::io::Result<()> {
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, file, here, name, rustix::fs::RenameFlags::NOREPLACE) {
        // Not every file system can.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::hard_link(file, name),
        renamed => Ok(renamed?),
    }
}

/// The keys of a stage, each with the bytes it is a hash of.
fn actions_of(found: &StoredRun, stage: &str) -> Result<Vec<(Digest, Vec<u8>)>> {
    let actions = &stage_of(found, stage)?.actions;
    if actions.is_empty() {
        return Err(refused(format!("`{stage}` has no result in {}", found.run.name)));
    }
    Ok(actions.iter().map(|action| written(&action.action)).collect())
}

/// The keys of a run that have a result.
fn stored_actions(found: &StoredRun, store: &Store) -> Result<Vec<(Digest, Vec<u8>)>> {
    let mut actions: Vec<(Digest, Vec<u8>)> = Vec::new();
    for action in found.run.stages.iter().flat_map(|stage| &stage.actions) {
        let key = action.action.digest();
        if !actions.iter().any(|(known, _)| *known == key) && store.lookup(&key)?.is_some() {
            actions.push(written(&action.action));
        }
    }
    match actions.is_empty() {
        true => Err(refused(format!("{} has no result in this store", found.run.name))),
        false => Ok(actions),
    }
}

fn written(action: &Canonical) -> (Digest, Vec<u8>) {
    (action.digest(), action.text().as_bytes().to_owned())
}

pub fn import(archive: &Path, file: Option<&Path>, store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    // The store is created if it does not exist.
    let root = store.chosen().unwrap_or_else(|| file.unwrap_or(Path::new("pipeline")).with_file_name(".pipeline"));
    let reader = File::open(archive).map_err(|error| refused(format!("read {}: {error}", archive.display())))?;
    let store = Store::open(&root)?;
    // Held until the imported keys are recorded, so that no `gc` removes them.
    let held = store.hold()?;
    let imported =
        store.import(&mut BufReader::new(reader)).with_context(|| format!("import {}", archive.display()))?;
    retention::import(&root, imported.records.iter().map(|record| record.key))?;
    let run = imported.journal.map(|journal| journal::import(&root, &journal)).transpose();
    let run = run.with_context(|| format!("import {}", archive.display()))?;
    drop(held);
    store.save_stats();
    let count = |commit: Commit| imported.records.iter().filter(|record| record.commit == commit).count();
    let (new, known, other) = (count(Commit::Written), count(Commit::Same), count(Commit::Different));
    let mut said = vec![format!("{new} new"), format!("{known} known")];
    if other > 0 {
        said.push(format!("{other} with another result than here, which stays (theirs is noted beside it)"));
    }
    let (said, bytes) = (said.join(", "), format::bytes(imported.blobs.bytes));
    let run = run.map_or(String::new(), |run| format!("; the run is {run}"));
    terminal::say(&format!(
        "{} into {}: results: {said}; {bytes} of new files{run}\n",
        archive.display(),
        root.display()
    ))?;
    Ok(0)
}

pub fn pin(run: &str, is_pin: bool, file: Option<&Path>, store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let wanted = RunQuery { file, store: store.chosen(), run: Some(run), ..RunQuery::default() };
    let found = find::run(Path::new("."), wanted)?;
    let name = &found.run.name;
    let text = match is_pin {
        true if retention::pin(&found.journal)? => format!("{name} is pinned: `pipeline gc` keeps what it uses\n"),
        true => format!("{name} was pinned already\n"),
        false if retention::unpin(&found.journal)? => format!("{name} is no longer pinned\n"),
        false => format!("{name} was not pinned\n"),
    };
    terminal::say(&text)?;
    Ok(0)
}
