//! One attempt at an action: `work/<key>/<attempt>/`, made ready for a worker and read back after it. Knows nothing
//! of processes, stage names or what happens next.

use crate::action::{Action, Candidate, Record};
use crate::executor::Exit;
use anyhow::{Context, Result, bail};
use cache::{Content, Digest, Store};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use stages::io::{Host, Outcome};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A worker whose parent was killed ends itself within moments; so long its checkpoint is waited for.
const LAST_BREATH: Duration = Duration::from_secs(3);
/// Lines of the log that a cause of death quotes.
const QUOTED: usize = 5;

#[derive(Clone, Debug)]
pub struct Attempt {
    pub number: u32,
    pub directory: PathBuf,
    /// It goes on from a checkpoint of an earlier one.
    pub is_resumed: bool,
}

impl Attempt {
    pub fn log(&self) -> PathBuf {
        self.directory.join("log.txt")
    }
}

/// A directory in which a worker can start. `outside` says where inputs that are not in the store yet lie.
pub fn prepare(
    root: &Path,
    store: &Store,
    key: &Digest,
    action: &Action,
    host: Host,
    outside: &BTreeMap<PathBuf, Content>,
) -> Result<Attempt> {
    let of_key = root.join("work").join(key.to_string());
    fs::create_dir_all(&of_key).with_context(|| format!("create {}", of_key.display()))?;
    let earlier = attempts(&of_key)?;
    let mut attempt = create(&of_key, earlier.last().map_or(1, |last| last.number + 1))?;
    write(&attempt.directory.join("action.json"), &action.bytes()?)?;
    write(&attempt.directory.join("host.json"), &serde_json::to_vec(&host).context("write host.json")?)?;
    for (_, path, content) in action.placements() {
        place(store, content, &attempt.directory.join(path), outside)?;
    }
    attempt.is_resumed = adopt_resume(&earlier, &attempt)?;
    // One failed attempt is kept whole, to look at; those before it only as logs.
    earlier.iter().filter(|attempt| !is_alive(attempt)).for_each(shed);
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
            Ok(()) => return Ok(Attempt { number, directory, is_resumed: false }),
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
            attempts.push(Attempt { number, directory: entry.path(), is_resumed: false });
        }
    }
    attempts.sort_by_key(|attempt| attempt.number);
    Ok(attempts)
}

/// The last checkpoint of an earlier attempt goes on in this one. One that is still being written to belongs to
/// another run of the same action and is left alone.
fn adopt_resume(earlier: &[Attempt], attempt: &Attempt) -> Result<bool> {
    for old in earlier.iter().rev() {
        // Only then looked for: until it is dead it may put another checkpoint in the place of this one.
        let until = Instant::now() + LAST_BREATH;
        while is_alive(old) && Instant::now() < until {
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
fn shed(attempt: &Attempt) {
    for big in ["in", "out", "tables", "resume", "resume.old", "resume.partial"] {
        let path = attempt.directory.join(big);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!("remove {}: {error}", path.display()),
            _ => {}
        }
    }
}

/// After the record is committed nothing in any directory of this key is needed any more, save by another run.
pub fn tidy(attempt: &Attempt) {
    let all = attempt.directory.parent().and_then(|of_key| attempts(of_key).ok()).unwrap_or_default();
    all.iter().filter(|other| other.number == attempt.number || !is_alive(other)).for_each(shed);
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

/// Why there is no outcome: what the worker said itself (`error.txt`), else what its end looks like, and how its log
/// ends.
pub fn cause(attempt: &Attempt, exit: Exit) -> String {
    let said = fs::read_to_string(attempt.directory.join("error.txt")).ok().filter(|said| !said.trim().is_empty());
    let cause = match (exit, said) {
        (Exit::TimedOut(_), _) | (_, None) => exit.in_words(),
        (_, Some(said)) => said.trim().to_owned(),
    };
    let repeats = format!("error: {cause}");
    let lines: Vec<String> =
        last_lines(&attempt.log()).into_iter().filter(|line| !repeats.contains(line.trim())).collect();
    if lines.is_empty() { cause } else { format!("{cause}\n  {}", lines.join("\n  ")) }
}

/// A log may be long: only its end is read.
fn last_lines(log: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(8192)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED)..].iter().map(|line| (*line).to_owned()).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
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

    fn action(inputs: BTreeMap<String, crate::action::ActionInput>) -> Action {
        Action { kind: "exec".to_owned(), version: 1, parameters: json!({}), seed: None, inputs, salt: None }
    }

    fn attempt_at(place: &Place, action: &Action, outside: &BTreeMap<PathBuf, Content>) -> Result<Attempt> {
        prepare(place.root.path(), &place.store, &action.key().unwrap(), action, Host::default(), outside)
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
        assert_eq!(Digest::of(&bytes), action.key().unwrap());
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

    #[test]
    fn a_cause_is_what_the_worker_said_or_else_what_its_end_looks_like() {
        let place = place();
        let attempt = attempt_at(&place, &action(BTreeMap::new()), &BTreeMap::new()).unwrap();
        let mut told = vec![cause(&attempt, Exit::Signal(9))];
        fs::write(attempt.log(), "1\n2\n3\n4\n5\nmemory allocation of 9 bytes failed\n").unwrap();
        told.push(cause(&attempt, Exit::Code(134)));
        fs::write(attempt.log(), "loading\nerror: read row 7: no field `prompt`\n").unwrap();
        fs::write(attempt.directory.join("error.txt"), "read row 7: no field `prompt`").unwrap();
        told.push(cause(&attempt, Exit::Code(1)));
        told.push(cause(&attempt, Exit::TimedOut(Duration::from_secs(90))));
        expect![[r#"
            the worker was killed (SIGKILL): probably out of memory
            the worker aborted (SIGABRT): out of memory, or an abort in native code
              2
              3
              4
              5
              memory allocation of 9 bytes failed
            read row 7: no field `prompt`
              loading
            the worker was ended after 90s, the stage's `timeout`
              loading
              error: read row 7: no field `prompt`"#]]
        .assert_eq(&told.join("\n"));
    }
}
