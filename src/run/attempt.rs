//! One attempt at an action: prepares `work/<key>/<attempt>/` for a worker, and reads it back afterwards.

use super::inputs::{self, InputStamp};
use crate::action::{Action, Candidate, Record};
use crate::executor::slurm::book::JobBook;
use crate::executor::{self, slurm};
use crate::schedule::{KeyedAction, Request};
use anyhow::{Context, Result, bail, ensure};
use cache::{Content, Store};
use files::Beneath;
use serde_json::Value;
use stages::io::{Handover, Host, StageResult};
use stages::work;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time to wait for a worker whose parent was killed: it ends itself within moments, and may still write its
/// checkpoint.
const LAST_BREATH: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Attempt {
    pub number: u32,
    pub directory: PathBuf,
    /// The directory that the worker has: that of the attempt, or that of a start on a node.
    pub worked_in: PathBuf,
    /// The directory below which its inputs lie.
    pub of_inputs: PathBuf,
    /// Whether it continues from a checkpoint of an earlier attempt.
    pub is_resumed: bool,
    /// The proof that an outcome is that of the worker, which alone is told it.
    pub nonce: String,
    /// The state of every input file when it was placed.
    pub stamps: Vec<InputStamp>,
}

impl Attempt {
    pub fn at(directory: PathBuf, number: u32) -> Attempt {
        let (of_inputs, worked_in) = (directory.clone(), directory.clone());
        Attempt { number, directory, worked_in, of_inputs, is_resumed: false, nonce: String::new(), stamps: Vec::new() }
    }

    /// The log that people are shown, and that is kept: that of a start on a node may still be written to.
    pub fn log(&self) -> PathBuf {
        self.directory.join(work::LOG)
    }

    pub fn curve(&self) -> PathBuf {
        self.worked_in.join(work::CURVE)
    }

    /// Takes the work of a start on a node for that of the attempt. Its inputs are other names of the same files, so they
    /// are read once more in the end.
    pub fn take_start(&mut self, start: PathBuf, request: &Request) -> Result<()> {
        let action = Action::read(&request.action.action)?;
        let kind = stages::kinds::kind_or_part(&action.kind);
        self.of_inputs = work::of_inputs(&start, kind.is_some_and(|kind| kind.takes_any_port));
        self.stamps.clear();
        self.worked_in = start;
        Ok(())
    }
}

/// The directory of all attempts at all actions, in `.pipeline`.
pub fn directory(root: &Path) -> PathBuf {
    root.join("work")
}

/// The directory of all attempts at one action.
pub fn directory_of(root: &Path, key: &str) -> PathBuf {
    directory(root).join(key)
}

/// Where the worker of an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Here,
    /// On a node of a cluster, which makes a directory of its own from what it is given.
    OnNode,
}

/// Makes a directory in which a worker can start. `outside` has the paths of inputs that may not be in the store yet.
pub fn prepare(
    root: &Path,
    store: &Store,
    keyed: &KeyedAction,
    host: Host,
    outside: &BTreeMap<PathBuf, Content>,
    place: Place,
) -> Result<Attempt> {
    let action = Action::read(&keyed.action)?;
    let of_key = directory_of(root, &keyed.key.to_string());
    let is_shared = cache::is_shared(root)?;
    [&directory(root), &of_key].into_iter().try_for_each(|made| own_directory(made, is_shared))?;
    let earlier = attempts(&of_key)?;
    let mut attempt = create(&of_key, earlier.last().map_or(1, |last| last.number + 1))?;
    if place == Place::OnNode {
        attempt.worked_in = attempt.directory.join(work::GIVEN);
        own_directory(&attempt.worked_in, is_shared)?;
    }
    write(&attempt.worked_in.join(work::ACTION), keyed.action.text().as_bytes())?;
    write(&attempt.worked_in.join(work::HOST), &serde_json::to_vec(&host).context("write host.json")?)?;
    let kind = stages::kinds::kind_or_part(&action.kind);
    let of_inputs = work::of_inputs(&attempt.worked_in, kind.is_some_and(|kind| kind.takes_any_port));
    if of_inputs != attempt.worked_in {
        own_directory(&of_inputs, true)?;
        write(&of_inputs.join(work::ACTION), keyed.action.text().as_bytes())?;
    }
    for (_, path, content) in action.placements() {
        inputs::place(store, content, &of_inputs.join(path), outside)?;
    }
    attempt.stamps = inputs::stamps(&of_inputs)?;
    attempt.of_inputs = of_inputs;
    attempt.nonce = nonce()?;
    attempt.is_resumed = adopt_resume(&earlier, &attempt)?;
    Ok(attempt)
}

/// Makes a directory of ours unless it is there. A link in its place, as a store that came with somebody else's files may
/// have, would carry what is written and removed out of the store.
pub fn own_directory(directory: &Path, is_shared: bool) -> Result<()> {
    let make = || format!("create {}", directory.display());
    files::make_directory(directory, is_shared).with_context(make)?;
    let is_ours = fs::symlink_metadata(directory).with_context(make)?.is_dir();
    ensure!(is_ours, "{}: a link is in its place; take it away", make());
    Ok(())
}

/// A word that nobody guesses.
fn nonce() -> Result<String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.context("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn create(of_key: &Path, first: u32) -> Result<Attempt> {
    for number in first.. {
        let directory = of_key.join(number.to_string());
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(Attempt::at(directory, number)),
            // Another process took this number.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("create {}", directory.display())),
        }
    }
    bail!("create an attempt in {}: every number is taken", of_key.display())
}

/// Lists the attempts in the directory of an action, the oldest first.
pub fn attempts(of_key: &Path) -> Result<Vec<Attempt>> {
    let entries = match fs::read_dir(of_key) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", of_key.display())),
    };
    let mut attempts = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", of_key.display()))?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            attempts.push(Attempt::at(entry.path(), number));
        }
    }
    attempts.sort_by_key(|attempt| attempt.number);
    Ok(attempts)
}

/// Moves the last checkpoint of an earlier attempt to this one. A checkpoint that is still being written belongs to
/// another run of the same action and is left alone.
fn adopt_resume(earlier: &[Attempt], attempt: &Attempt) -> Result<bool> {
    // One deadline for all attempts: a process left by a command may never end.
    let until = Instant::now() + LAST_BREATH;
    for old in earlier.iter().rev() {
        // The checkpoint is looked for only after this, because a live worker may replace it.
        while checkpoint(old)?.is_some() && executor::lives(&old.directory) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        if executor::lives(&old.directory) {
            continue;
        }
        let Some(FoundCheckpoint { resume, directory: found, place, with }) = checkpoint(old)? else { continue };
        let (from, to) = (found.join(place), attempt.worked_in.join(place));
        // Another run may have taken it first.
        if move_to(&resume, &to.join(work::CHECKPOINT))? {
            for made in with {
                move_to(&from.join(made), &to.join(made))?;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// A checkpoint in a directory of an attempt, where in it that belongs, and what goes with it: the candidates that it counts
/// as delivered, and the curve so far. A kill in between leaves it without them; the stage then starts over (see
/// `Io::resume_from`).
struct FoundCheckpoint {
    resume: PathBuf,
    directory: PathBuf,
    place: &'static str,
    with: &'static [&'static str],
}

/// The checkpoint of an attempt: that of its last start on a node which has one, else its own.
fn checkpoint(attempt: &Attempt) -> Result<Option<FoundCheckpoint>> {
    let starts = slurm::book::starts(&attempt.directory).into_iter().map(|(start, _)| start);
    for directory in starts.chain([attempt.directory.join(work::GIVEN), attempt.directory.clone()]) {
        let look = || format!("look for a checkpoint in {}", directory.display());
        if let Some(resume) = work::checkpoint(&directory).with_context(look)? {
            let with = &[work::CANDIDATES, work::TABLES, work::CURVE];
            return Ok(Some(FoundCheckpoint { resume, directory, place: "", with }));
        }
        if let Some(resume) = work::command_checkpoint(&directory).with_context(look)? {
            return Ok(Some(FoundCheckpoint { resume, directory, place: work::COMMAND, with: &[work::CURVE] }));
        }
    }
    Ok(None)
}

/// Whether a next attempt would go on from what this one kept.
pub fn has_checkpoint(attempt: &Attempt) -> bool {
    checkpoint(attempt).is_ok_and(|found| found.is_some())
}

/// An attempt at an action that a cluster may still work at.
pub struct LeftAttempt {
    pub attempt: Attempt,
    pub book: JobBook,
    /// The word that its worker alone was told.
    pub word: String,
}

/// Finds the attempt at an action that a cluster may still work at, in any of these roots.
pub fn left(roots: &[PathBuf], key: &str) -> Result<Option<LeftAttempt>> {
    for root in roots {
        for mut attempt in attempts(&directory_of(root, key))?.into_iter().rev() {
            let book = slurm::book::read(&attempt.directory).filter(|_| slurm::book::lives(&attempt.directory));
            let Some(book) = book else { continue };
            let path = attempt.directory.join(slurm::book::HANDOVER);
            let Some(word) = files::found(files::text(&path, MOST)).context("read the handover of a job")? else {
                continue;
            };
            let handover = Handover::read(&word).with_context(|| format!("read {}", path.display()))?;
            attempt.nonce = handover.nonce;
            return Ok(Some(LeftAttempt { attempt, book, word }));
        }
    }
    Ok(None)
}

/// Moves what is there; false if nothing is.
fn move_to(from: &Path, to: &Path) -> Result<bool> {
    let moved = files::found(fs::rename(from, to));
    Ok(moved.with_context(|| format!("move {} to {}", from.display(), to.display()))?.is_some())
}

/// Keeps a file of the attempt in the store beside the result, to be shown as long as that is there: its log, its curve.
/// `None` where it is empty or was not written.
pub fn keep(store: &Store, path: &Path) -> Result<Option<Content>> {
    match files::found(fs::symlink_metadata(path)).with_context(|| format!("read {}", path.display()))? {
        Some(metadata) if metadata.is_file() && metadata.len() > 0 => store.adopt(path).map(Some),
        _ => Ok(None),
    }
}

/// The most bytes of an outcome.
const MOST: u64 = 256 << 20;

/// The outcome that the worker wrote, its last output. One without its nonce was written by something else: there is none
/// then.
pub fn outcome(attempt: &Attempt) -> Result<Option<StageResult>> {
    let path = attempt.worked_in.join(work::OUTCOME);
    let read = || format!("read {}", path.display());
    let text = match files::read(&path, MOST) {
        Err(error) if files::is_not_a_file(&error) => None,
        text => files::found(text).with_context(read)?,
    };
    let outcome: Option<StageResult> = match text.map(|text| serde_json::from_slice::<StageResult>(&text)) {
        Some(Ok(outcome)) if outcome.nonce == attempt.nonce => Some(outcome),
        Some(_) => {
            tracing::warn!("{} was not written by the worker, and does not count", path.display());
            None
        }
        None => None,
    };
    Ok(outcome)
}

/// Moves every candidate and table of an outcome to the store, and returns them with the worker's telemetry.
pub fn collect(store: &Store, attempt: &Attempt, outcome: StageResult) -> Result<(Record, BTreeMap<String, Value>)> {
    let mut candidates = Vec::new();
    for candidate in outcome.candidates {
        let made = work::candidate(&attempt.worked_in, candidate.step);
        let content = match is_inside(&attempt.worked_in, &made)? {
            true => store.adopt(&made)?,
            false => bail!("find {}: it is not there", made.display()),
        };
        let tables = tables(store, &attempt.worked_in, &work::tables(&attempt.worked_in, candidate.step))?;
        candidates.push(Candidate { step: candidate.step, content, metrics: candidate.metrics, tables });
    }
    if candidates.is_empty() {
        bail!("read {}: it names no candidate", attempt.worked_in.join(work::OUTCOME).display());
    }
    Ok((Record { candidates }, outcome.telemetry))
}

/// Whether a directory is there, and reached from that of the attempt without a link.
fn is_inside(attempt: &Path, directory: &Path) -> Result<bool> {
    let relative = directory.strip_prefix(attempt).expect("both come from one attempt");
    let found = Beneath::open(attempt).and_then(|attempt| files::found(attempt.below(relative)));
    Ok(found.with_context(|| format!("open {}", directory.display()))?.is_some())
}

fn tables(store: &Store, attempt: &Path, directory: &Path) -> Result<BTreeMap<String, Content>> {
    let mut tables = BTreeMap::new();
    if !is_inside(attempt, directory)? {
        return Ok(tables);
    }
    let read = || format!("read {}", directory.display());
    for entry in files::found(fs::read_dir(directory)).with_context(read)?.into_iter().flatten() {
        let path = entry.with_context(read)?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            tables.insert(name.to_owned(), store.adopt(&path)?);
        }
    }
    Ok(tables)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::space;
    use cache::Digest;
    use serde_json::json;

    struct Place {
        root: tempfile::TempDir,
        store: Store,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        Place { root, store }
    }

    fn action(inputs: BTreeMap<String, crate::action::ActionInput>) -> KeyedAction {
        let (kind, parameters) = ("exec".to_owned(), json!({}).into());
        KeyedAction::of(&Action { kind, version: 1, parameters, seed: None, inputs, salt: None }).unwrap()
    }

    fn attempt_at(place: &Place, action: &KeyedAction, outside: &BTreeMap<PathBuf, Content>) -> Result<Attempt> {
        prepare(place.root.path(), &place.store, action, Host::default(), outside, super::Place::Here)
    }

    #[test]
    fn an_attempt_holds_exactly_the_hashed_bytes_and_its_inputs() {
        let place = place();
        let data = place.root.path().join("words.TXT");
        fs::write(&data, "warm\n").unwrap();
        let content = place.store.identify(&data).unwrap();
        let action = action(BTreeMap::from([("data".to_owned(), crate::action::ActionInput::One(content.clone()))]));
        let outside = BTreeMap::from([(data.clone(), content)]);
        let attempt = attempt_at(&place, &action, &outside).unwrap();
        let bytes = fs::read(attempt.directory.join("action.json")).unwrap();
        assert_eq!(Digest::of(&bytes), action.key);
        assert_eq!(fs::read_to_string(attempt.directory.join("command/in/data.txt")).unwrap(), "warm\n");
        fs::write(&data, "cold\n").unwrap();
        let fresh =
            Place { root: tempfile::tempdir().unwrap(), store: Store::open(&place.root.path().join("b")).unwrap() };
        let error = format!("{:#}", attempt_at(&fresh, &action, &outside).unwrap_err());
        assert!(error.contains("it was changed while the run was going on"), "{error}");
    }

    #[test]
    fn what_a_command_keeps_for_its_next_attempt_moves_on_and_a_link_in_its_place_does_not() {
        let place = place();
        let action = action(BTreeMap::new());
        let first = attempt_at(&place, &action, &BTreeMap::new()).unwrap();
        fs::create_dir_all(first.directory.join("command/resume")).unwrap();
        fs::write(first.directory.join("command/metrics.jsonl"), "{}\n").unwrap();
        let second = attempt_at(&place, &action, &BTreeMap::new()).unwrap();
        assert!(second.is_resumed && second.directory.join("command/resume").is_dir());
        assert!(second.directory.join("command/metrics.jsonl").is_file());
        fs::remove_dir(second.directory.join("command/resume")).unwrap();
        std::os::unix::fs::symlink("/tmp", second.directory.join("command/resume")).unwrap();
        assert!(!attempt_at(&place, &action, &BTreeMap::new()).unwrap().is_resumed);
    }

    #[test]
    fn nothing_is_written_through_a_link_in_place_of_a_directory() {
        let place = place();
        let elsewhere = tempfile::tempdir().unwrap();
        let action = action(BTreeMap::new());
        let work = place.root.path().join("work");
        for link in [work.clone(), work.join(action.key.to_string())] {
            std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
            let error = format!("{:#}", attempt_at(&place, &action, &BTreeMap::new()).unwrap_err());
            assert!(error.ends_with("a link is in its place; take it away"), "{error}");
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
            fs::remove_file(&link).unwrap();
            fs::create_dir_all(&work).unwrap();
        }
    }

    #[test]
    fn a_checkpoint_and_its_candidates_move_on_into_the_next_attempt_and_only_logs_stay_behind() {
        let place = place();
        let action = action(BTreeMap::new());
        let first = attempt_at(&place, &action, &BTreeMap::new()).unwrap();
        for path in ["resume", "out/20"] {
            fs::create_dir_all(first.directory.join(path)).unwrap();
        }
        fs::write(first.directory.join("resume/step"), "20").unwrap();
        fs::write(first.log(), "killed\n").unwrap();
        let second = attempt_at(&place, &action, &BTreeMap::new()).unwrap();
        space::shed_earlier(&place.store, &second);
        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!(fs::read_to_string(second.directory.join("resume/step")).unwrap(), "20");
        assert!(second.directory.join("out/20").exists(), "the candidates made so far come along");
        assert!(!first.directory.join("out").exists() && first.log().exists());
    }

    #[test]
    fn a_checkpoint_that_another_run_is_writing_is_left_to_it() {
        let place = place();
        let action = action(BTreeMap::new());
        let first = attempt_at(&place, &action, &BTreeMap::new()).unwrap();
        fs::create_dir_all(first.directory.join("resume")).unwrap();
        let log = fs::File::create(first.log()).unwrap();
        log.lock().unwrap();
        let second = attempt_at(&place, &action, &BTreeMap::new()).unwrap();
        assert!(first.directory.join("resume").exists() && !second.directory.join("resume").exists());
    }

    #[test]
    fn an_outcome_is_collected_with_its_candidates_and_tables() {
        let place = place();
        let attempt = attempt_at(&place, &action(BTreeMap::new()), &BTreeMap::new()).unwrap();
        for path in ["out/10", "out/20", "tables/20"] {
            fs::create_dir_all(attempt.directory.join(path)).unwrap();
        }
        fs::write(attempt.directory.join("out/20/adapter"), "weights").unwrap();
        fs::write(attempt.directory.join("tables/20/items.jsonl"), "{}\n").unwrap();
        let outcome = json!({"candidates": [{"step": 10, "metrics": {"kl": null}}, {"step": 20, "metrics": {"kl": 0.5}}],
            "telemetry": {"device": "cpu"}});
        fs::write(attempt.directory.join("outcome.json"), outcome.to_string()).unwrap();
        assert_eq!(super::outcome(&attempt).unwrap(), None, "it is not the worker's");
        let mut outcome = outcome;
        outcome["nonce"] = json!(attempt.nonce);
        fs::write(attempt.directory.join("outcome.json"), outcome.to_string()).unwrap();
        let outcome = super::outcome(&attempt).unwrap().unwrap();
        let (record, telemetry) = collect(&place.store, &attempt, outcome.clone()).unwrap();
        let steps: Vec<u64> = record.candidates.iter().map(|candidate| candidate.step).collect();
        assert_eq!((steps, record.last().metrics["kl"]), (vec![10, 20], Some(0.5)));
        assert_eq!(place.store.read(&record.last().content, "adapter").unwrap(), b"weights");
        assert_eq!(place.store.read(&record.last().tables["items"], "").unwrap(), b"{}\n");
        assert_eq!(telemetry["device"], "cpu");
        fs::remove_dir(attempt.directory.join("out/10")).unwrap();
        assert!(collect(&place.store, &attempt, outcome).is_err());
    }
}
