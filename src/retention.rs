//! Which runs still count, and what of the store they use: what `gc` must not remove. Knows journals; what is done
//! with the rest is the store's affair.

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

/// The file beside a journal that keeps its run: who pinned it may write there why.
const PIN: &str = "pin";

/// What was imported, a key and the day a line: it counts until a run uses it, but not for ever.
const IMPORTS: &str = "imports";
const LIFE_OF_AN_IMPORT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Runs that are kept beside those that go on and those that are pinned.
pub struct Retention {
    /// The last so many of each pipeline.
    pub runs: usize,
    /// Whatever began after this.
    pub since: Option<jiff::Timestamp>,
}

/// Why a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Running,
    Pinned,
    Recent,
    Last,
}

/// What the runs that count used: their records, and the contents that went in; and why each of them counts. To be
/// asked when no run can be about to use something new, which the caller sees to (`Store::hold_alone`).
pub fn roots(root: &Path, kept: &Retention) -> Result<(Roots, Vec<Reason>)> {
    let mut of_pipeline: BTreeMap<String, usize> = BTreeMap::new();
    let (mut roots, mut counted) = (Roots::default(), Vec::new());
    roots.keys.extend(imported(root, jiff::Timestamp::now()));
    for path in journal::all(root)?.into_iter().rev() {
        let (events, unread) = journal::what_can_be_read(&path)?;
        if !unread.is_empty() {
            // Of a newer program, or damaged. What it names is kept, whatever it says of it.
            tracing::warn!(
                "read {}: {} lines are not understood; what they name is kept",
                path.display(),
                unread.len()
            );
            unread.iter().for_each(|unread| named(&unread.line, &mut roots));
        }
        let (pipeline, at) = match events.first() {
            Some(Event::RunStarted { pipeline, at, .. }) => (pipeline.as_str(), at.as_str()),
            // Without its head a run is of no pipeline that is known: it counts as the last of one.
            _ if unread.is_empty() => continue,
            _ => ("", ""),
        };
        let count = of_pipeline.entry(pipeline.to_owned()).or_default();
        let is_last = *count < kept.runs || pipeline.is_empty();
        *count += usize::from(unread.is_empty() && is_whole(&events));
        let is_recent = || kept.since.is_some_and(|since| at.parse::<jiff::Timestamp>().is_ok_and(|at| at >= since));
        let reason = match () {
            () if journal::is_alive(&path) => Reason::Running,
            () if pin_of(&path).exists() => Reason::Pinned,
            () if is_recent() => Reason::Recent,
            () if is_last => Reason::Last,
            () => continue,
        };
        counted.push(reason);
        for event in &events {
            if let Event::Hit { key, action, .. } | Event::Started { key, action, .. } = event {
                roots.keys.extend(key.parse::<Digest>());
                inputs(action.value().get("inputs").unwrap_or(&Value::Null), &mut roots);
            }
        }
    }
    Ok((roots, counted))
}

/// Whether it came to its end with all stages. Runs that failed, or were of a part, count beside the last whole ones and
/// never in their place: else five runs of a file with a slip in it would cost every result there is.
fn is_whole(events: &[Event]) -> bool {
    let is_partial = matches!(events.first(), Some(Event::RunStarted { selection, .. }) if !selection.is_empty());
    !is_partial && matches!(events.last(), Some(Event::RunFinished { exit: 0 | 3, .. }))
}

/// Every digest in a line that says nothing else.
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

fn imported(root: &Path, now: jiff::Timestamp) -> Vec<Digest> {
    let text = fs::read_to_string(root.join(IMPORTS)).unwrap_or_default();
    let key = move |line: &str| {
        let (key, at) = line.split_once(' ')?;
        let is_young = at.parse::<jiff::Timestamp>().is_ok_and(|at| at + LIFE_OF_AN_IMPORT >= now);
        key.parse().ok().filter(|_| is_young)
    };
    text.lines().filter_map(key).collect()
}

/// No run has used these yet.
pub fn import(root: &Path, keys: impl Iterator<Item = Digest>) -> Result<()> {
    let (path, now) = (root.join(IMPORTS), jiff::Timestamp::now());
    let lines: String = keys.map(|key| format!("{key} {now}\n")).collect();
    let open = fs::File::options().create(true).append(true).open(&path);
    open.and_then(|mut file| file.write_all(lines.as_bytes())).with_context(|| format!("write {}", path.display()))
}

fn pin_of(journal: &Path) -> PathBuf {
    journal.with_file_name(PIN)
}

/// Keeps a run until it is unpinned. False: it was pinned already.
pub fn pin(journal: &Path) -> Result<bool> {
    let path = pin_of(journal);
    let is_new = !path.exists();
    fs::write(&path, "").with_context(|| format!("write {}", path.display()))?;
    Ok(is_new)
}

/// False: it was not pinned.
pub fn unpin(journal: &Path) -> Result<bool> {
    let path = pin_of(journal);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
