//! `gc`: removes content that no kept run uses. `retention` decides which runs are kept, the store which files are
//! removed.

use super::options::StoreArgument;
use super::refusal::refused;
use super::{find, store, terminal};
use crate::progress;
use crate::report::format;
use crate::report::sheet::{Sheet, plain};
use crate::retention::{self, Reason, Retention, RunChoice};
use crate::run::{places, space};
use crate::spec::limits;
use anyhow::{Context, Result};
use cache::{Policy, Store, Tally};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time to wait for running runs: each holds the store only for moments.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: u64 = 24 * 60 * 60;

pub struct GcRequest<'a> {
    pub keep_runs: usize,
    pub keep_days: Option<u32>,
    pub max_size: Option<&'a str>,
    /// Whether the journals of runs that are not kept go as well.
    pub runs: bool,
    pub dry_run: bool,
}

pub fn gc(asked: &GcRequest, file: Option<&Path>, store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let root = find::root(Path::new("."), file, store.chosen())?;
    let unreadable = |text: &str| refused(format!("--max-size {text}: expected 20G, 512M, or a number of bytes"));
    let max_size = asked.max_size.map(|text| limits::size(text).ok_or_else(|| unreadable(text))).transpose()?;
    let keep_newer_than = asked.keep_days.map(|days| Duration::from_secs(u64::from(days) * DAY));
    let store = Store::open(&root)?;
    // First the lock, then the journals: when a run releases the store, its journal names all it uses.
    let alone = store.hold_alone(PATIENCE)?;
    let since = keep_newer_than.map(|age| jiff::Timestamp::now().checked_sub(age).unwrap_or(jiff::Timestamp::MIN));
    let RunChoice { roots: kept_for, reasons, others } =
        retention::choose(&root, &Retention { runs: asked.keep_runs, since })?;
    let policy = Policy { keep_newer_than, max_size };
    let collected = store.collect(&alone, &kept_for, &policy, asked.dry_run)?;
    let mut work = Tally::default();
    for root in places::all(&root)? {
        let swept = space::sweep(&root, &store, &kept_for.keys, keep_newer_than, asked.dry_run)?;
        (work.count, work.bytes) = (work.count + swept.count, work.bytes + swept.bytes);
    }
    let runs = if asked.runs { forget(&others, asked.dry_run)? } else { Tally::default() };
    store.save_stats();
    drop(alone);
    let rows = [
        ("records", collected.records),
        ("lists of files", collected.trees),
        ("files", collected.blobs),
        ("verdicts", collected.verdicts),
        ("claims of dead runs", collected.claims),
        ("drafts", collected.drafts),
        ("work directories", work),
        ("journals", runs),
    ];
    let bytes = collected.bytes() + work.bytes + runs.bytes;
    let word = if asked.dry_run { "would be removed" } else { "removed" };
    terminal::show(&[Sheet::note(kept(&reasons)), removed(word, &rows, bytes)])?;
    Ok(0)
}

/// Removes the directories of runs.
fn forget(runs: &[PathBuf], dry_run: bool) -> Result<Tally> {
    let mut freed = Tally::default();
    for run in runs {
        let read = || format!("remove {}", run.display());
        freed.count += 1;
        for entry in fs::read_dir(run).with_context(read)? {
            freed.bytes += entry.and_then(|entry| entry.metadata()).with_context(read)?.len();
        }
        if !dry_run {
            fs::remove_dir_all(run).with_context(read)?;
        }
    }
    Ok(freed)
}

/// `kept: what 8 runs use (1 running, 2 pinned, 5 last)`.
fn kept(counted: &[Reason]) -> String {
    let count = |reason: Reason| counted.iter().filter(|counted| **counted == reason).count();
    let words =
        [(Reason::Running, "running"), (Reason::Pinned, "pinned"), (Reason::Recent, "recent"), (Reason::Last, "last")];
    let said = words.into_iter().map(|(reason, word)| (count(reason), word)).filter(|(count, _)| *count > 0);
    let said: Vec<String> = said.map(|(count, word)| format!("{count} {word}")).collect();
    let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) };
    let (number, verb) = (counted.len(), if counted.len() == 1 { "run uses" } else { "runs use" });
    format!("kept: what {number} {verb}{said}")
}

fn removed(word: &str, rows: &[(&str, Tally)], bytes: u64) -> Sheet {
    if rows.iter().all(|(_, tally)| tally.count == 0) {
        return Sheet::note(format!("nothing {word}"));
    }
    let there = rows.iter().filter(|(_, tally)| tally.count > 0);
    let mut grid = store::tallies([word, "number", "free"], there);
    grid.add([plain("together"), plain(""), plain(format::bytes(bytes))]);
    grid.into()
}
