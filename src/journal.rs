//! The append-only file of events: `runs/<time>-<name>/journal.jsonl`, one JSON object a line. It interprets events
//! only to find which action a stage last used.

use crate::action::differences;
use crate::canonical::Canonical;
use crate::cause::{Cause, EvalPart};
use crate::event::Event;
use anyhow::{Context, Result, bail, ensure};
use cache::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A journal being written. Its writer keeps the file locked while it lives, so that others see that a run without an
/// end is still going on.
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

/// The file of a run's directory.
const FILE: &str = "journal.jsonl";

impl Journal {
    /// `root` is `.pipeline`; `at` is used only for the directory's name, so that names sort by time.
    pub fn create(root: &Path, pipeline: &str, at: jiff::Timestamp) -> Result<Journal> {
        let runs = root.join("runs");
        let made = files::make_directory(&runs, cache::is_shared(root)?);
        made.with_context(|| format!("create {}", runs.display()))?;
        let is_ours = fs::symlink_metadata(&runs).with_context(|| format!("read {}", runs.display()))?.is_dir();
        ensure!(is_ours, "{} is a link, which may lead anywhere; take it away", runs.display());
        let stem = format!("{}-{}", at.strftime("%Y%m%dT%H%M%S%.3fZ"), file_name(pipeline));
        let directory = (1..)
            .map(|n| runs.join(if n == 1 { stem.clone() } else { format!("{stem}-{n}") }))
            .find_map(|path| match fs::create_dir(&path) {
                Ok(()) => Some(Ok(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                Err(error) => Some(Err(error).with_context(|| format!("create {}", path.display()))),
            })
            .expect("some number is free")?;
        let path = directory.join(FILE);
        let file = File::options()
            .create_new(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        // Nobody else can hold it yet; on a file system without locks, others just cannot see that the run is alive.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Journal { path, file: BufWriter::new(file) })
    }

    /// `<time>-<name>`.
    pub fn run(&self) -> String {
        let directory = self.path.parent().and_then(Path::file_name);
        directory.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Appends an event, but not progress, which is only for watching. It is in the file after the next
    /// [`Journal::flush`]: there may be thousands of lines about results that are found without any work.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        if matches!(event, Event::Progressed { .. }) {
            return Ok(());
        }
        serde_json::to_writer(&mut self.file, event).with_context(|| format!("write {}", self.path.display()))?;
        self.file.write_all(b"\n").with_context(|| format!("write {}", self.path.display()))
    }

    /// Writes to the file. A kill tears at most the last line.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("write {}", self.path.display()))
    }
}

/// The most bytes of a pipeline's name in the name of a directory. Common file systems end names at 255 bytes, and the
/// time and a number come with it.
const LONGEST_NAME: usize = 200;

/// The name of a pipeline as part of a file's name. A long one is cut between two letters, and a hash tells it from
/// others that begin likewise.
fn file_name(pipeline: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let name: String = pipeline.chars().map(plain).collect();
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = Digest::of(pipeline.as_bytes()).to_string();
    format!("{}-{}", &name[..name.floor_char_boundary(LONGEST_NAME)], &hash[..8])
}

/// Whether the directory's name is `<time>-<name>` or `<time>-<name>-<n>` for this pipeline.
fn is_of(journal: &Path, pipeline: &str) -> bool {
    let directory = journal.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let rest = directory
        .as_deref()
        .and_then(|name| name.split_once('-'))
        .and_then(|(_, name)| name.strip_prefix(&file_name(pipeline)));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_number))
}

/// Takes in the journal of a run of another store. Returns the name of the run.
///
/// # Errors
/// It is no journal, its run has a name that none has here, or another journal stands under this name.
pub fn import(root: &Path, journal: &[u8]) -> Result<String> {
    let first = journal.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(Event::RunStarted { run, .. }) = serde_json::from_slice(first) else {
        bail!("its journal does not begin with the start of a run");
    };
    // The name becomes a path.
    let is_plain = run.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
    ensure!(is_plain && run.starts_with(|first: char| first.is_ascii_digit()), "its run is called {run:?}");
    let runs = root.join("runs");
    let (directory, make) = (runs.join(&run), || format!("create the run {run}"));
    match files::found(fs::read(directory.join(FILE))).with_context(make)? {
        Some(known) if known == journal => return Ok(run),
        Some(_) => bail!("another run has the name {run} here"),
        None => {}
    }
    fs::create_dir_all(&runs).with_context(make)?;
    let draft = tempfile::TempDir::new_in(root).with_context(make)?;
    fs::write(draft.path().join(FILE), journal).with_context(make)?;
    fs::rename(draft.keep(), &directory).with_context(make)?;
    Ok(run)
}

/// The events of one journal. A last line that a kill cut short is left out.
pub fn read(journal: &Path) -> Result<Vec<Event>> {
    let ReadableJournal { events, unread, .. } = what_can_be_read(journal)?;
    match unread.into_iter().next() {
        None => Ok(events),
        Some(Unread { number, error, .. }) => {
            Err(error).with_context(|| format!("read {}: line {number}", journal.display()))
        }
    }
}

/// A line that is not an event.
pub struct Unread {
    /// Counted from 1.
    number: usize,
    pub line: Vec<u8>,
    error: serde_json::Error,
}

impl Unread {
    /// Whether it is whole, and an event that this program does not know: a newer one wrote it.
    pub fn is_of_newer_version(&self) -> bool {
        serde_json::from_slice::<serde_json::Value>(&self.line).is_ok_and(|line| line.get("event").is_some())
    }
}

/// The events of a journal, and the lines that are not events because a newer program wrote them or a disk damaged them.
pub struct ReadableJournal {
    pub events: Vec<Event>,
    pub unread: Vec<Unread>,
    /// Whether a kill cut the last line short, which is neither.
    pub is_torn: bool,
}

pub fn what_can_be_read(journal: &Path) -> Result<ReadableJournal> {
    let text = files::read(journal, MOST).with_context(|| format!("read {}", journal.display()))?;
    let (mut events, mut unread, mut is_torn) = (Vec::new(), Vec::new(), false);
    for (n, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let whole = line.strip_suffix(b"\n");
        match (serde_json::from_slice(whole.unwrap_or(line)), whole) {
            (Ok(event), _) => events.push(event),
            (Err(error), Some(line)) => unread.push(Unread { number: n + 1, line: line.to_owned(), error }),
            (Err(_), None) => is_torn = true,
        }
    }
    Ok(ReadableJournal { events, unread, is_torn })
}

/// The most bytes of a journal: that of a million stages has half of them.
const MOST: u64 = 4 << 30;

/// The keys of the actions that a run used, in the order of use. Only the key of each line is read. It ends where the file
/// cannot be read: nothing depends on having them all.
pub fn keys(journal: &Path) -> Result<impl Iterator<Item = Digest>> {
    #[derive(Deserialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    enum Line {
        Hit {
            key: Digest,
        },
        Started {
            key: Digest,
        },
        #[serde(other)]
        Other,
    }
    let (file, _) = files::inside(journal).with_context(|| format!("read {}", journal.display()))?;
    let lines = BufReader::new(file.take(MOST)).split(b'\n').map_while(Result::ok);
    Ok(lines.filter_map(|line| match serde_json::from_slice(&line).ok()? {
        Line::Hit { key } | Line::Started { key } => Some(key),
        Line::Other => None,
    }))
}

/// Whether the process that writes this journal is alive. One that cannot be opened is nobody's.
pub fn is_alive(journal: &Path) -> bool {
    files::inside(journal).is_ok_and(|(file, _)| {
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// The process on this machine that writes a journal, as far as the system tells who holds a lock.
pub fn writer(journal: &Path) -> Option<Pid> {
    let metadata = files::inside(journal).ok()?.1;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    // `1: FLOCK  ADVISORY  WRITE 708 08:01:3932181 0 EOF`
    fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", process, at, ..] if at == place => Pid::from_raw(process.parse().ok()?),
            _ => None,
        }
    })
}

/// The journals under `root` (`.pipeline`), oldest first.
pub fn all(root: &Path) -> Result<Vec<PathBuf>> {
    let runs = root.join("runs");
    let entries = match fs::read_dir(&runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", runs.display())),
    };
    let mut journals = Vec::new();
    for entry in entries {
        let journal = entry.with_context(|| format!("read {}", runs.display()))?.path().join(FILE);
        // What a run needs is known from its journal alone: one that cannot be asked for is an error. A link is no journal
        // of ours.
        let found =
            files::found(fs::symlink_metadata(&journal)).with_context(|| format!("read {}", journal.display()))?;
        if found.is_some_and(|metadata| metadata.is_file()) {
            journals.push(journal);
        }
    }
    journals.sort();
    Ok(journals)
}

/// The journals of one pipeline, oldest first.
pub fn of_pipeline(root: &Path, pipeline: &str) -> Result<Vec<PathBuf>> {
    let mut journals = all(root)?;
    journals.retain(|journal| is_of(journal, pipeline));
    Ok(journals)
}

/// The same without the asking run's own journal.
pub fn earlier(root: &Path, pipeline: &str, own: Option<&Journal>) -> Result<Vec<PathBuf>> {
    let mut journals = of_pipeline(root, pipeline)?;
    journals.retain(|path| own.is_none_or(|own| own.path != *path));
    Ok(journals)
}

/// Names such as `ppo_1` or `eval: scores of ppo_1` by action key, from the last run that used each key. Journals are
/// opened newest first and only as needed; an unreadable one is skipped with a warning.
pub fn names_of_keys(root: &Path, keys: &[Digest]) -> Result<HashMap<Digest, String>> {
    let mut names = HashMap::new();
    for path in all(root)?.into_iter().rev() {
        if names.len() == keys.len() {
            break;
        }
        for event in read(&path).inspect_err(|error| tracing::warn!("{error:#}")).unwrap_or_default() {
            if let Event::Hit { stage, part, key, .. } | Event::Started { stage, part, key, .. } = event
                && let Some(key) = key.parse().ok().filter(|key| keys.contains(key))
            {
                let name = part.map_or_else(|| stage.clone(), |part| format!("{stage}: {part}"));
                names.entry(key).or_insert(name);
            }
        }
    }
    Ok(names)
}

/// The last action seen for a stage, whether it ran or was found.
#[derive(Clone, Debug, PartialEq)]
pub struct LastUse {
    pub key: String,
    pub action: Canonical,
    pub state: LastState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastState {
    /// It ran to its end, or its record was found.
    Known,
    Failed,
    /// The run was interrupted or killed before the action ended.
    Unfinished,
}

impl LastUse {
    /// The reasons why an action that is not in the store is new.
    pub fn news(&self, key: &str, action: &Canonical) -> Vec<Cause> {
        match self.state {
            _ if self.key != key => differences(&self.action, action).into_iter().map(Cause::Changed).collect(),
            LastState::Known => vec![Cause::ResultGone],
            LastState::Failed => vec![Cause::FailedLastTime],
            LastState::Unfinished => vec![Cause::UnfinishedLastTime],
        }
    }
}

/// A stage, and a part of its measurement.
type ActionName = (String, Option<EvalPart>);

/// Actions of earlier runs, by stage name and part. Journals are opened newest first and only as needed.
pub struct History {
    unread: Vec<PathBuf>,
    seen: HashMap<ActionName, LastUse>,
}

impl History {
    /// Opens the runs of one pipeline; `own` is the asking run's journal.
    pub fn open(root: &Path, pipeline: &str, own: Option<&Journal>) -> Result<History> {
        Ok(History { unread: earlier(root, pipeline, own)?, seen: HashMap::new() })
    }

    /// The last action seen under this name, across all these runs. An unreadable journal is skipped: it can only cost
    /// an explanation.
    pub fn last(&mut self, stage: &str, part: Option<&EvalPart>) -> Option<&LastUse> {
        let name = (stage.to_owned(), part.cloned());
        while !self.seen.contains_key(&name) {
            let path = self.unread.pop()?;
            match read(&path) {
                Ok(events) => self.learn(events),
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        self.seen.get(&name)
    }

    fn learn(&mut self, events: Vec<Event>) {
        let mut of_this_run: HashMap<ActionName, LastUse> = HashMap::new();
        for event in events {
            match event {
                Event::Hit { stage, part, key, action } => {
                    of_this_run.insert((stage, part), LastUse { key, action, state: LastState::Known });
                }
                Event::Started { stage, part, key, action, .. } => {
                    of_this_run.insert((stage, part), LastUse { key, action, state: LastState::Unfinished });
                }
                Event::Finished { stage, part, .. } => settle(&mut of_this_run, (stage, part), LastState::Known),
                Event::Failed { stage, part, .. } => settle(&mut of_this_run, (stage, part), LastState::Failed),
                _ => {}
            }
        }
        for (name, seen) in of_this_run {
            self.seen.entry(name).or_insert(seen);
        }
    }
}

fn settle(seen: &mut HashMap<ActionName, LastUse>, name: ActionName, state: LastState) {
    if let Some(seen) = seen.get_mut(&name) {
        seen.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hit(stage: &str, lr: f64) -> Event {
        let action = json!({"parameters": {"lr": lr}});
        Event::Hit { stage: stage.to_owned(), part: None, key: format!("{lr}"), action: action.into() }
    }

    fn progress() -> Event {
        let progress =
            json!({"event": "progressed", "stage": "sft", "done": 1, "total": 2, "unit": "step", "message": ""});
        serde_json::from_value(progress).unwrap()
    }

    #[test]
    fn a_journal_reads_back_as_it_was_written_save_the_progress() {
        let root = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(root.path(), "rlhf", "2026-03-01T12:00:00.5Z".parse().unwrap()).unwrap();
        assert_eq!(journal.run(), "20260301T120000.500Z-rlhf");
        for event in [hit("sft", 0.1), progress(), hit("rm", 0.2)] {
            journal.append(&event).unwrap();
        }
        journal.flush().unwrap();
        assert_eq!(read(&journal.path).unwrap(), [hit("sft", 0.1), hit("rm", 0.2)]);
    }

    #[test]
    fn a_name_too_long_for_a_file_is_cut_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let at = "2026-03-01T12:00:00.5Z".parse().unwrap();
        let (long, other) =
            ("日本語の指示データで学習した報酬モデル".repeat(8), "日本語の指示データで学習した報酬モデル".repeat(9));
        for name in [&long, &other, &long] {
            Journal::create(root.path(), name, at).unwrap();
        }
        assert_eq!(earlier(root.path(), &long, None).unwrap().len(), 2);
        assert_eq!(earlier(root.path(), &other, None).unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_a_kill_cut_short_is_left_out_and_any_other_bad_line_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("journal.jsonl");
        let line = serde_json::to_string(&hit("sft", 0.1)).unwrap();
        fs::write(&path, format!("{line}\n{}", &line[..20])).unwrap();
        assert_eq!(read(&path).unwrap(), [hit("sft", 0.1)]);
        fs::write(&path, format!("{}\n{line}\n", &line[..20])).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("line 1"));
    }

    #[test]
    fn two_runs_of_one_moment_get_two_directories() {
        let root = tempfile::tempdir().unwrap();
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let names = [(); 2].map(|()| Journal::create(root.path(), "a/b", at).unwrap().run());
        assert_eq!(names, ["20260301T120000.000Z-a_b", "20260301T120000.000Z-a_b-2"]);
        assert_eq!(all(root.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_run_is_alive_as_long_as_its_writer() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::create(root.path(), "rlhf", jiff::Timestamp::UNIX_EPOCH).unwrap();
        let path = journal.path.clone();
        assert!(is_alive(&path));
        drop(journal);
        assert!(!is_alive(&path));
    }

    #[test]
    fn the_last_action_under_a_name_may_lie_several_runs_back() {
        let root = tempfile::tempdir().unwrap();
        let runs: [&[Event]; 3] = [&[hit("sft", 0.1), hit("rm", 0.2)], &[hit("sft", 0.3)], &[]];
        for (n, events) in runs.into_iter().enumerate() {
            let at = jiff::Timestamp::from_second(n as i64).unwrap();
            let mut journal = Journal::create(root.path(), "rlhf", at).unwrap();
            events.iter().for_each(|event| journal.append(event).unwrap());
        }
        let mut history = History::open(root.path(), "rlhf", None).unwrap();
        assert_eq!(history.last("sft", None).unwrap().key, "0.3");
        assert_eq!(history.last("rm", None).unwrap().key, "0.2");
        assert_eq!(history.last("ppo", None), None);
        assert_eq!(history.last("rm", Some(&"answers of sft".to_owned().into())), None);
        assert_eq!(History::open(root.path(), "rlh", None).unwrap().last("sft", None), None, "another pipeline's");
    }
}
