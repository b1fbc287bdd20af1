//! One attempt at an action: `work/<key>/<attempt>/`, made ready for a worker and read back after it. Knows nothing
//! of processes, stage names or what happens next.

use crate::action::{Action, Candidate, Record};
use crate::canonical::Canonical;
use crate::schedule::Keyed;
use anyhow::{Context, Result, bail};
use cache::{Content, Digest, Store, Tally};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use stages::io::{Host, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A worker whose parent was killed ends itself within moments; so long its checkpoint is waited for.
const LAST_BREATH: Duration = Duration::from_secs(3);
/// Earlier attempts at an action of which log, curves and action are kept.
const KEPT: usize = 9;

#[derive(Clone, Debug)]
pub struct Attempt {
    pub number: u32,
    pub directory: PathBuf,
    /// It goes on from a checkpoint of an earlier one.
    pub is_resumed: bool,
    /// Every file of its inputs as it was when it was put there.
    placed: Vec<Placed>,
}

#[derive(Clone, Debug, PartialEq)]
struct Placed {
    path: PathBuf,
    size: u64,
    inode: u64,
    modified: (i64, i64),
    /// Of the inode: who sets back the time of its bytes cannot set back this one.
    changed: (i64, i64),
}

impl Attempt {
    pub fn at(directory: PathBuf, number: u32) -> Attempt {
        Attempt { number, directory, is_resumed: false, placed: Vec::new() }
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("log.txt")
    }
}

/// A directory in which a worker can start. `outside` says where inputs that are not in the store yet lie.
pub fn prepare(
    root: &Path,
    store: &Store,
    keyed: &Keyed,
    host: Host,
    outside: &BTreeMap<PathBuf, Content>,
) -> Result<Attempt> {
    let action = Action::read(&keyed.action)?;
    let of_key = root.join("work").join(keyed.key.to_string());
    fs::create_dir_all(&of_key).with_context(|| format!("create {}", of_key.display()))?;
    let earlier = attempts(&of_key)?;
    let mut attempt = create(&of_key, earlier.last().map_or(1, |last| last.number + 1))?;
    write(&attempt.directory.join("action.json"), keyed.action.text().as_bytes())?;
    write(&attempt.directory.join("host.json"), &serde_json::to_vec(&host).context("write host.json")?)?;
    for (_, path, content) in action.placements() {
        place(store, content, &attempt.directory.join(path), outside)?;
    }
    attempt.placed = placed(&attempt.directory)?;
    attempt.is_resumed = adopt_resume(&earlier, &attempt)?;
    // One failed attempt is kept whole, to look at; some before it only as logs; the rest goes.
    let dead: Vec<&Attempt> = earlier.iter().filter(|attempt| !is_alive(attempt)).collect();
    dead.iter().for_each(|attempt| shed(store, attempt));
    dead.iter().rev().skip(KEPT).for_each(|attempt| remove(store, &attempt.directory));
    Ok(attempt)
}

/// A path of the user's own is taken into the store only now that somebody needs it, and again when the store's copy
/// turns out damaged.
fn place(store: &Store, content: &Content, target: &Path, outside: &BTreeMap<PathBuf, Content>) -> Result<()> {
    let path = outside.iter().find(|(_, known)| *known == content).map(|(path, _)| path);
    let Some(path) = path else { return store.place(content, target) };
    let capture = || {
        let now = store.capture(path)?;
        if now != *content {
            bail!("read {}: it was changed while the run was going on; run again", path.display());
        }
        Ok(())
    };
    if !store.has(content) {
        capture()?;
    }
    store.place(content, target).or_else(|error| match error.is::<cache::Damaged>() {
        true => capture().and_then(|()| store.place(content, target)),
        false => Err(error),
    })
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

/// Oldest first.
fn attempts(of_key: &Path) -> Result<Vec<Attempt>> {
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

/// The last checkpoint of an earlier attempt goes on in this one. One that is still being written to belongs to
/// another run of the same action and is left alone.
fn adopt_resume(earlier: &[Attempt], attempt: &Attempt) -> Result<bool> {
    // One for all: whatever a command left running may outlive any patience.
    let until = Instant::now() + LAST_BREATH;
    for old in earlier.iter().rev() {
        let has_any = || ["resume", "resume.old"].iter().any(|name| old.directory.join(name).is_dir());
        // Only then looked for: until it is dead it may put another checkpoint in the place of this one.
        while has_any() && is_alive(old) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        if is_alive(old) {
            continue;
        }
        // A worker killed between two renames leaves the checkpoint before (see `Io::save_checkpoint`).
        let found =
            ["resume", "resume.old"].map(|name| old.directory.join(name)).into_iter().find(|path| path.is_dir());
        let Some(resume) = found else { continue };
        let to = attempt.directory.join("resume");
        match fs::rename(&resume, &to) {
            Ok(()) => {
                // The candidates that the checkpoint counts as handed over, and the curve so far. A kill in between
                // leaves the checkpoint without them; the stage then starts anew (see `Io::resume_from`).
                for made in ["out", "tables", "metrics.jsonl"] {
                    let (from, to) = (old.directory.join(made), attempt.directory.join(made));
                    if from.exists() {
                        fs::rename(&from, &to)
                            .with_context(|| format!("move {} to {}", from.display(), to.display()))?;
                    }
                }
                return Ok(true);
            }
            // Another run was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("move {} to {}", resume.display(), to.display())),
        }
    }
    Ok(false)
}

/// Whether anybody of the attempt still runs: its log is locked as long (see `executor/local.rs`).
fn is_alive(attempt: &Attempt) -> bool {
    File::open(attempt.log())
        .is_ok_and(|log| flock(&log, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
}

/// Gives back the space. Logs, curves and the action stay.
fn shed(store: &Store, attempt: &Attempt) {
    for big in ["in", "out", "tables", "resume", "resume.old", "resume.partial", ".home", ".tmp"] {
        remove(store, &attempt.directory.join(big));
    }
}

/// What cannot be removed only costs space.
fn remove(store: &Store, directory: &Path) {
    match store.withdraw(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!("remove {}: {error}", directory.display()),
        _ => {}
    }
}

/// After the record is committed nothing in any directory of this key is needed any more, save by another run.
pub fn tidy(store: &Store, attempt: &Attempt) {
    let all = attempt.directory.parent().and_then(|of_key| attempts(of_key).ok()).unwrap_or_default();
    all.iter().filter(|other| other.number == attempt.number || !is_alive(other)).for_each(|other| shed(store, other));
}

/// Every file under `in/`.
fn placed(directory: &Path) -> Result<Vec<Placed>> {
    let mut open = vec![directory.join("in")];
    let mut placed = Vec::new();
    while let Some(path) = open.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // A stage without inputs has no such directory.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
                open.push(entry.with_context(|| format!("read {}", path.display()))?.path());
            }
        } else {
            let (size, inode) = (metadata.len(), metadata.ino());
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            placed.push(Placed { size, inode, modified, changed: (metadata.ctime(), metadata.ctime_nsec()), path });
        }
    }
    placed.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(placed)
}

/// An error when an input is no longer what the action says it is: what the stage made of it may be of either.
pub fn check_inputs(
    store: &Store,
    attempt: &Attempt,
    action: &Canonical,
    outside: &BTreeMap<PathBuf, Content>,
) -> Result<()> {
    let action = Action::read(action)?;
    let placements = action.placements();
    for (path, content) in outside.iter().filter(|(_, known)| placements.iter().any(|(.., content)| content == known)) {
        if !store.unchanged(path, content)? {
            bail!("{} was changed while the stage ran: its result is not recorded; run again", path.display());
        }
    }
    // Another name of the same blob, come or gone meanwhile, changes the inode as well: then it is read once more.
    if placed(&attempt.directory)? != attempt.placed {
        for (port, path, content) in placements {
            let now = store.identify(&attempt.directory.join(&path));
            if !now.is_ok_and(|now| now == *content) {
                // Where a file is a link into the store, others see the change, too: the store must not keep it.
                let is_the_users = outside.values().any(|known| known == content);
                let is_sound = store.is_sound(content).unwrap_or(false) || is_the_users;
                let loss = if is_sound { "" } else { "; what made it is to be run again" };
                bail!(
                    "the input `{port}` ({}) was changed while the stage ran, by it or by one beside it: its result is not \
                     recorded{loss}",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

/// The log as content, so that it can be shown for as long as the result is there; none when nothing was said.
pub fn keep_log(store: &Store, attempt: &Attempt) -> Result<Option<Content>> {
    let log = attempt.log();
    match fs::metadata(&log) {
        Ok(metadata) if metadata.len() > 0 => store.adopt(&log).map(Some),
        _ => Ok(None),
    }
}

/// Takes away the work directories of actions that are not to be kept, that nobody is at, and that were not touched
/// for so long. What it frees is counted, also where nothing is taken away.
pub fn sweep(
    root: &Path,
    store: &Store,
    keep: &BTreeSet<Digest>,
    keep_newer_than: Option<Duration>,
    dry_run: bool,
) -> Result<Tally> {
    let work = root.join("work");
    let mut swept = Tally::default();
    let entries = match fs::read_dir(&work) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(swept),
        Err(error) => return Err(error).with_context(|| format!("read {}", work.display())),
    };
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", work.display()))?.path();
        let key = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Digest>().ok());
        let age = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        let is_young = keep_newer_than.is_some_and(|young| age.is_none_or(|age| age < young));
        if key.is_none_or(|key| keep.contains(&key)) || is_young || attempts(&path)?.iter().any(is_alive) {
            continue;
        }
        swept.count += 1;
        swept.bytes += free_bytes(&path);
        if !dry_run {
            remove(store, &path);
        }
    }
    Ok(swept)
}

/// Gives back the space of attempts that failed or were broken off, the oldest first, until those of all actions take at
/// most `budget` bytes. Of the action that failed last one attempt stays whole, to look at.
pub fn prune(root: &Path, store: &Store, budget: u64, last: &Attempt) {
    let entries = fs::read_dir(root.join("work")).into_iter().flatten().flatten();
    // Another run may be about to take in what an attempt of its own made.
    let is_at_it = |of_key: &fs::DirEntry| {
        let key = of_key.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
        key.is_none_or(|key| !matches!(store.owner(&key), Ok(None)))
    };
    let free = entries.filter(|of_key| last.directory.starts_with(of_key.path()) || !is_at_it(of_key));
    let all = free.flat_map(|of_key| attempts(&of_key.path()).unwrap_or_default());
    let sized = all.map(|attempt| {
        let touched = fs::metadata(&attempt.directory).and_then(|metadata| metadata.modified()).ok();
        (touched, free_bytes(&attempt.directory), attempt)
    });
    let mut sized: Vec<_> = sized.filter(|(_, bytes, _)| *bytes > 0).collect();
    sized.sort_by_key(|(touched, ..)| *touched);
    let mut used: u64 = sized.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, attempt) in sized {
        if used <= budget {
            break;
        }
        if attempt.directory != last.directory && !is_alive(&attempt) {
            remove(store, &attempt.directory);
            used -= bytes;
        }
    }
}

/// Of files with no other name: what the store holds as well is not freed. What cannot be read counts for nothing.
fn free_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => free_bytes(&entry.path()),
        Ok(metadata) if metadata.nlink() == 1 => metadata.len(),
        _ => 0,
    };
    entries.map(of).sum()
}

/// Whether the worker wrote its outcome, which it does last.
pub fn has_outcome(attempt: &Attempt) -> bool {
    attempt.directory.join("outcome.json").is_file()
}

/// The outcome with every candidate and table in the store, and the worker's telemetry.
pub fn collect(store: &Store, attempt: &Attempt) -> Result<(Record, BTreeMap<String, Value>)> {
    let path = attempt.directory.join("outcome.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let outcome: Outcome = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    let mut candidates = Vec::new();
    for candidate in outcome.candidates {
        let content = store.adopt(&attempt.directory.join("out").join(candidate.step.to_string()))?;
        let tables = tables(store, &attempt.directory.join("tables").join(candidate.step.to_string()))?;
        candidates.push(Candidate { step: candidate.step, content, metrics: candidate.metrics, tables });
    }
    if candidates.is_empty() {
        bail!("read {}: it names no candidate", path.display());
    }
    Ok((Record { candidates }, outcome.telemetry))
}

fn tables(store: &Store, directory: &Path) -> Result<BTreeMap<String, Content>> {
    let mut tables = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return Ok(tables) };
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", directory.display()))?.path();
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

    fn action(inputs: BTreeMap<String, crate::action::ActionInput>) -> Keyed {
        let (kind, parameters) = ("exec".to_owned(), json!({}).into());
        Keyed::of(&Action { kind, version: 1, parameters, seed: None, inputs, salt: None }).unwrap()
    }

    fn attempt_at(place: &Place, action: &Keyed, outside: &BTreeMap<PathBuf, Content>) -> Result<Attempt> {
        prepare(place.root.path(), &place.store, action, Host::default(), outside)
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
        assert_eq!(fs::read_to_string(attempt.directory.join("in/data.txt")).unwrap(), "warm\n");
        fs::write(&data, "cold\n").unwrap();
        let fresh =
            Place { root: tempfile::tempdir().unwrap(), store: Store::open(&place.root.path().join("b")).unwrap() };
        let error = format!("{:#}", attempt_at(&fresh, &action, &outside).unwrap_err());
        assert!(error.contains("it was changed while the run was going on"), "{error}");
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
        let log = File::create(first.log()).unwrap();
        flock(&log, FlockOperation::NonBlockingLockExclusive).unwrap();
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
        let (record, telemetry) = collect(&place.store, &attempt).unwrap();
        let steps: Vec<u64> = record.candidates.iter().map(|candidate| candidate.step).collect();
        assert_eq!((steps, record.last().metrics["kl"]), (vec![10, 20], Some(0.5)));
        assert_eq!(place.store.read(&record.last().content, "adapter").unwrap(), b"weights");
        assert_eq!(place.store.read(&record.last().tables["items"], "").unwrap(), b"{}\n");
        assert_eq!(telemetry["device"], "cpu");
        fs::remove_dir(attempt.directory.join("out/10")).unwrap();
        assert!(collect(&place.store, &attempt).is_err());
    }
}
