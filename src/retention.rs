//! The runs that are kept and the parts of the store they use, which `gc` must not remove.

use crate::event::Event;
use crate::journal;
use anyhow::{Context, Result};
use cache::{Content, Digest, Roots};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file next to a journal that pins its run. A person may write the reason into it.
const PIN: &str = "pin";

/// The file of imported keys, one `key time` per line. An import is kept until a run uses it, but for 30 days at most.
const IMPORTS: &str = "imports";
const LIFE_OF_AN_IMPORT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The runs to keep beside running and pinned ones.
pub struct Retention {
    /// The number of last runs of each pipeline.
    pub runs: usize,
    /// Runs that began after this time.
    pub since: Option<jiff::Timestamp>,
}

/// Why a run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Running,
    Pinned,
    Recent,
    Last,
}

/// The runs of a store, as they are kept or not.
pub struct RunChoice {
    /// The records and input contents of all kept runs.
    pub roots: Roots,
    /// Why each of them is kept.
    pub reasons: Vec<Reason>,
    /// The directories of the others.
    pub others: Vec<PathBuf>,
}

/// Chooses the runs to keep. The caller holds the store (`Store::hold_alone`), so that no run starts to use something new
/// meanwhile.
pub fn choose(root: &Path, kept: &Retention) -> Result<RunChoice> {
    let mut of_pipeline: BTreeMap<String, usize> = BTreeMap::new();
    let (mut roots, mut reasons, mut others) = (Roots::default(), Vec::new(), Vec::new());
    roots.keys.extend(imported(root, jiff::Timestamp::now())?);
    for path in journal::all(root)?.into_iter().rev() {
        let journal::ReadableJournal { events, unread, .. } = journal::what_can_be_read(&path)?;
        if !unread.is_empty() {
            // The line is damaged or from a newer version: every digest in it is kept.
            tracing::warn!(
                "read {}: {} lines are not understood; what they name is kept",
                path.display(),
                unread.len()
            );
            unread.iter().for_each(|unread| named(&unread.line, &mut roots));
        }
        let (pipeline, at) = match events.first() {
            Some(Event::RunStarted { pipeline, at, .. }) => (pipeline.as_str(), at.as_str()),
            // The pipeline of a run without its first event is unknown: the run is kept.
            _ if unread.is_empty() => continue,
            _ => ("", ""),
        };
        let count = of_pipeline.entry(pipeline.to_owned()).or_default();
        let is_last = *count < kept.runs || pipeline.is_empty();
        *count += usize::from(unread.is_empty() && is_whole(&events));
        let is_recent = || kept.since.is_some_and(|since| at.parse::<jiff::Timestamp>().is_ok_and(|at| at >= since));
        let reason = match () {
            () if journal::is_alive(&path) => Reason::Running,
            () if is_pinned(&path)? => Reason::Pinned,
            () if is_recent() => Reason::Recent,
            () if is_last => Reason::Last,
            () => {
                others.extend(path.parent().map(Path::to_owned));
                continue;
            }
        };
        reasons.push(reason);
        for event in &events {
            if let Event::Hit { key, action, .. } | Event::Started { key, action, .. } = event {
                roots.keys.extend(key.parse::<Digest>());
                inputs(action.value().get("inputs").unwrap_or(&Value::Null), &mut roots);
            }
        }
    }
    Ok(RunChoice { roots, reasons, others })
}

/// Whether a run ended well with all stages. Failed and partial runs do not count against the number of runs to keep:
/// otherwise five runs of a file with a mistake would push out every result.
fn is_whole(events: &[Event]) -> bool {
    let is_partial = matches!(events.first(), Some(Event::RunStarted { selection, .. }) if !selection.is_empty());
    !is_partial && matches!(events.last(), Some(Event::RunFinished { exit: 0 | 3, .. }))
}

/// Adds every digest in an unreadable line.
fn named(line: &[u8], roots: &mut Roots) {
    const LENGTH: usize = 64;
    let words = line.split(|byte| !byte.is_ascii_hexdigit()).filter(|word| word.len() == LENGTH);
    for digest in words.filter_map(|word| std::str::from_utf8(word).ok()?.parse::<Digest>().ok()) {
        roots.keys.insert(digest);
        roots.contents.insert(Content::Tree(digest));
        roots.contents.insert(Content::File { format: String::new(), blob: digest });
    }
}

fn inputs(value: &Value, roots: &mut Roots) {
    match value {
        Value::String(text) => roots.contents.extend(text.parse::<Content>()),
        Value::Array(values) => values.iter().for_each(|value| inputs(value, roots)),
        Value::Object(ports) => ports.values().for_each(|value| inputs(value, roots)),
        _ => {}
    }
}

/// The most bytes of the list of imports.
const MOST: u64 = 256 << 20;

fn imported(root: &Path, now: jiff::Timestamp) -> Result<Vec<Digest>> {
    let path = root.join(IMPORTS);
    let text = files::found(files::text(&path, MOST)).with_context(|| format!("read {}", path.display()))?;
    let text = text.unwrap_or_default();
    let key = move |line: &str| {
        let (key, at) = line.split_once(' ')?;
        let is_young =
            at.parse::<jiff::Timestamp>().is_ok_and(|at| at.checked_add(LIFE_OF_AN_IMPORT).is_ok_and(|end| end >= now));
        key.parse().ok().filter(|_| is_young)
    };
    Ok(text.lines().filter_map(key).collect())
}

/// Records imported keys, which no run has used yet.
pub fn import(root: &Path, keys: impl Iterator<Item = Digest>) -> Result<()> {
    let (path, now) = (root.join(IMPORTS), jiff::Timestamp::now());
    let lines: String = keys.map(|key| format!("{key} {now}\n")).collect();
    let open = fs::File::options().create(true).append(true).open(&path);
    open.and_then(|mut file| file.write_all(lines.as_bytes())).with_context(|| format!("write {}", path.display()))
}

fn pin_of(journal: &Path) -> PathBuf {
    journal.with_file_name(PIN)
}

fn is_pinned(journal: &Path) -> Result<bool> {
    let path = pin_of(journal);
    files::is_there(&path).with_context(|| format!("read {}", path.display()))
}

/// Pins a run. False: it was pinned already.
pub fn pin(journal: &Path) -> Result<bool> {
    let path = pin_of(journal);
    let is_new = !is_pinned(journal)?;
    fs::write(&path, "").with_context(|| format!("write {}", path.display()))?;
    Ok(is_new)
}

/// Unpins a run. False: it was not pinned.
pub fn unpin(journal: &Path) -> Result<bool> {
    let path = pin_of(journal);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
