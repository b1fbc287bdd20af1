//! Claims: which process works at a key, so that several processes on one store do each piece of work once.
//!
//! A claim is a small file that names its owner. An owner that died without releasing it is detected: on the same
//! machine by asking the kernel, on another one by a missing heartbeat.

use crate::{digest::Digest, inventory::remove, open, store::Store, write};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[derive(Debug)]
pub enum ClaimResult {
    Mine(Claim),
    Theirs(Owner),
}

/// The right to do the work at a key, as long as this value lives. `beat` must be called about every 10 s.
#[derive(Debug)]
pub struct Claim {
    store: Store,
    path: PathBuf,
    nonce: String,
}

/// The process that works at a key, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    pub host: String,
    pub since: SystemTime,
}

/// An owner on another machine counts as dead after this time without a heartbeat: 30 heartbeats, so that a machine
/// that swaps or loses its network for a while keeps its claims.
const SILENCE: Duration = Duration::from_secs(300);

/// A claim as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    version: u32,
    pid: u32,
    /// Clock ticks from the start of the machine to that of the process, since the same pid later names another
    /// process. 0 where it is unknown.
    started: u64,
    /// Identifies a start of the machine: after another start every earlier process is gone. Empty where it is unknown.
    boot: String,
    host: String,
    /// Distinguishes machines of the same name, and containers on one machine, whose pids name different processes.
    machine: String,
    since: u64,
    nonce: String,
}

const VERSION: u32 = 1;

/// The most bytes of a claim.
const MOST: u64 = 64 << 10;

impl Note {
    fn owner(self) -> Owner {
        // A number that is no time comes from no clock.
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(UNIX_EPOCH);
        Owner { pid: self.pid, host: self.host, since }
    }
}

impl Store {
    /// Claims the work at a key, unless a live process has it (this one included).
    pub fn claim(&self, key: &Digest) -> Result<ClaimResult> {
        let path = self.path("claims", key, ".json");
        let claim = || format!("claim {key}");
        let turn = self.take_turn().with_context(claim)?;
        if let Some(note) = read(&path).with_context(claim)? {
            if self.is_alive(&note, &path).with_context(claim)? {
                return Ok(ClaimResult::Theirs(note.owner()));
            }
            tracing::info!("taking over {key} from process {} on {}, which is gone", note.pid, note.host);
        }
        let note = Note { since: seconds(SystemTime::now()), nonce: nonce(), ..here().clone() };
        write::make_parent(&path, false).with_context(claim)?;
        let draft = self.draft(&serde_json::to_vec(&note).expect("a note is plain data")).with_context(claim)?;
        write::step()?;
        // Not synced: if a claim is lost with the power, its owner is gone as well.
        draft.persist(&path).map_err(|error| error.error).with_context(claim)?;
        let mine = Claim { store: self.patient(), path, nonce: note.nonce };
        // Before anything can fail, since releasing the claim takes a turn as well.
        drop(turn);
        write::step()?;
        Ok(ClaimResult::Mine(mine))
    }

    /// The owner of the claim on a key, if it is alive.
    pub fn owner(&self, key: &Digest) -> Result<Option<Owner>> {
        let path = self.path("claims", key, ".json");
        match read(&path)? {
            Some(note) if self.is_alive(&note, &path)? => Ok(Some(note.owner())),
            _ => Ok(None),
        }
    }

    /// Removes a claim whose owner is gone. Returns whether it did, or would.
    pub(crate) fn drop_dead_claim(&self, path: &Path, dry_run: bool) -> Result<bool> {
        let _turn = self.take_turn()?;
        if let Some(note) = read(path)?
            && self.is_alive(&note, path)?
        {
            return Ok(false);
        }
        if !dry_run {
            remove(path)?;
        }
        Ok(true)
    }

    fn is_alive(&self, note: &Note, path: &Path) -> Result<bool> {
        match liveness(note, here(), started) {
            Liveness::Alive => Ok(true),
            Liveness::Dead => Ok(false),
            Liveness::Unknown => Ok(self.silence(path)? < SILENCE),
        }
    }

    /// The time since the file was touched, by the clock of its own file system: the clocks of the machines that share
    /// it may differ by more than a heartbeat.
    fn silence(&self, path: &Path) -> Result<Duration> {
        let context = || format!("read the time of {}", path.display());
        let now =
            self.draft(b"")?.as_file().metadata().and_then(|metadata| metadata.modified()).with_context(context)?;
        let beat = match fs::metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(beat) => beat,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Duration::MAX),
            Err(error) => return Err(error).with_context(context),
        };
        // A time to come was the present of a clock that was wrong, or put back since: an owner that lives sets it right with
        // its next beat.
        Ok(now.duration_since(beat).unwrap_or_else(|ahead| ahead.duration()))
    }
}

impl Claim {
    /// Tells other processes that the owner is alive. An error means that the claim is lost: another process took this
    /// one for dead, because it stood still for minutes.
    pub fn beat(&self) -> Result<()> {
        let context = || format!("keep the claim {}", self.path.display());
        match open_to_touch(&self.path) {
            Ok((file, note)) if note.as_ref().is_some_and(|note| note.nonce == self.nonce) => {
                touch(&file).with_context(context)
            }
            Ok((_, Some(note))) => {
                bail!("{}: process {} on {} took it over", context(), note.pid, note.host)
            }
            Ok((_, None)) => bail!("{}: it is damaged", context()),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("{}: it is gone", context()),
            Err(error) => Err(error).with_context(context),
        }
    }

    fn release(&self) -> Result<()> {
        let _turn = self.store.take_turn()?;
        if read(&self.path)?.is_some_and(|note| note.nonce == self.nonce) {
            fs::remove_file(&self.path).with_context(|| format!("remove {}", self.path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            // The claim ends with this process at the latest.
            tracing::warn!("a claim was not given back: {error:#}");
        }
    }
}

#[derive(Debug, PartialEq)]
enum Liveness {
    Alive,
    Dead,
    /// The owner is on another machine, or on one that does not say.
    Unknown,
}

/// Whether the owner of a claim is alive. `started` says when a process of this machine started, `None` if there is
/// none.
fn liveness(note: &Note, here: &Note, started: impl Fn(u32) -> Option<Option<u64>>) -> Liveness {
    if (&note.host, &note.machine) != (&here.host, &here.machine) {
        return Liveness::Unknown;
    }
    if note.boot != here.boot {
        return Liveness::Dead;
    }
    match started(note.pid) {
        None => Liveness::Unknown,
        Some(None) => Liveness::Dead,
        Some(Some(time)) if time != 0 && note.started != 0 && time != note.started => Liveness::Dead,
        Some(Some(_)) => Liveness::Alive,
    }
}

/// The name of this machine.
pub fn host() -> &'static str {
    &here().host
}

/// The note of this process, without the fields that differ between its claims.
fn here() -> &'static Note {
    static HERE: OnceLock<Note> = OnceLock::new();
    HERE.get_or_init(|| {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        let pids = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let machine = format!("{}\n{}", line("/etc/machine-id").unwrap_or_default(), pids.display());
        Note {
            version: VERSION,
            pid: process::id(),
            started: started(process::id()).flatten().unwrap_or(0),
            boot: line("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            host: line("/proc/sys/kernel/hostname").unwrap_or_else(name_of_host),
            // Hashed, because systemd asks that the id itself is shown to nobody.
            machine: Digest::of(machine.as_bytes()).short(),
            since: 0,
            nonce: String::new(),
        }
    })
}

/// The name of this machine where there is no /proc.
fn name_of_host() -> String {
    let output = process::Command::new("uname").arg("-n").output();
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if name.is_empty() { std::env::var("COMPUTERNAME").unwrap_or_default() } else { name }
}

/// When a process started: `None` where that is unknown, `Some(None)` if there is no such process, 0 if it lives but
/// its start is unknown.
#[cfg(unix)]
fn started(pid: u32) -> Option<Option<u64>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => Some(start_in(&text)),
        Err(_) if Path::new("/proc/self/stat").exists() => Some(None),
        Err(_) => {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            Some(match pid.map(rustix::process::test_kill_process) {
                Some(Ok(()) | Err(rustix::io::Errno::PERM)) => Some(0),
                _ => None,
            })
        }
    }
}

#[cfg(not(unix))]
fn started(_: u32) -> Option<Option<u64>> {
    None
}

/// The start time from `/proc/PID/stat`, its field 22. Field 2, the name in brackets, may itself hold brackets. A
/// process that has ended but was not waited for does not count.
#[cfg(unix)]
fn start_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X" | "x");
    let start = fields.nth(18)?.parse().ok()?;
    if has_ended { None } else { Some(start) }
}

/// Reads a note. A torn one, or one that must not be read, belongs to nobody.
fn read(path: &Path) -> Result<Option<Note>> {
    match files::read(path, MOST) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if open::is_foreign(&error) || error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn parse(bytes: &[u8]) -> Option<Note> {
    serde_json::from_slice(bytes).ok().filter(|note: &Note| note.version == VERSION)
}

/// Opens a note and reads it in one go: a second opening by name might find another file.
fn open_to_touch(path: &Path) -> io::Result<(File, Option<Note>)> {
    let (file, metadata) = open::inside(path)?;
    let bytes = files::rest(file.try_clone()?, &metadata, Vec::new(), MOST)?;
    Ok((file, parse(&bytes)))
}

/// Sets the modification time. The file system sets it, not this process: see `silence`.
#[cfg(unix)]
fn touch(file: &File) -> io::Result<()> {
    use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: time(UTIME_OMIT as _), last_modification: time(UTIME_NOW as _) };
    futimens(file, &times).map_err(io::Error::from)
}

#[cfg(not(unix))]
fn touch(file: &File) -> io::Result<()> {
    file.set_modified(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Distinguishes two claims of one process. It is no secret.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Digest::of(format!("{now} {count} {} {}", here().pid, here().machine).as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sample, wait::wait_for};
    use expect_test::expect;
    use std::{
        process::{Child, Command, Stdio},
        thread,
    };

    fn key() -> Digest {
        Digest::of(b"work")
    }

    fn is_mine(store: &Store) -> bool {
        matches!(store.claim(&key()).unwrap(), ClaimResult::Mine(_))
    }

    fn path(store: &Store) -> PathBuf {
        store.path("claims", &key(), ".json")
    }

    /// Writes the claim of a made-up owner.
    fn forge(store: &Store, change: impl FnOnce(&mut Note)) {
        let mut note = Note { since: 1, nonce: "theirs".to_owned(), ..here().clone() };
        change(&mut note);
        fs::create_dir_all(path(store).parent().unwrap()).unwrap();
        fs::write(path(store), serde_json::to_vec(&note).unwrap()).unwrap();
    }

    fn beat_before(store: &Store, ago: Duration) {
        File::options().write(true).open(path(store)).unwrap().set_modified(SystemTime::now() - ago).unwrap();
    }

    /// Starts a test again, as another process that claims.
    fn child(store: &Store, test: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("claim::tests::{test}"), "--nocapture"])
            .env("CACHE_TEST_STORE", store.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The store that a test was started again for, in the process of that second start.
    fn store_of_child() -> Option<Store> {
        let root = std::env::var_os("CACHE_TEST_STORE")?;
        Some(Store::open(Path::new(&root).parent().unwrap().parent().unwrap()).unwrap())
    }

    #[test]
    fn a_claim_on_disk_says_who_has_it() {
        let note = Note {
            version: VERSION,
            pid: 71,
            started: 4242,
            boot: "3b6c".to_owned(),
            host: "here".to_owned(),
            machine: "0123456789ab".to_owned(),
            since: 1_700_000_000,
            nonce: "ba9876543210".to_owned(),
        };
        expect![[r#"{"version":1,"pid":71,"started":4242,"boot":"3b6c","host":"here","machine":"0123456789ab","since":1700000000,"nonce":"ba9876543210"}"#]]
            .assert_eq(&serde_json::to_string(&note).unwrap());
    }

    #[test]
    fn a_second_claim_in_the_same_process_is_somebody_elses_until_the_first_is_given_back() {
        let (_home, store) = sample::store();
        let ClaimResult::Mine(first) = store.claim(&key()).unwrap() else { panic!("nobody had it") };
        let ClaimResult::Theirs(owner) = store.claim(&key()).unwrap() else { panic!("two have it") };
        assert_eq!((owner.pid, &owner.host), (process::id(), &here().host));
        assert!(owner.since.elapsed().unwrap() < Duration::from_secs(60));
        assert_eq!(store.owner(&key()).unwrap(), Some(owner));
        assert!(matches!(store.claim(&Digest::of(b"other work")).unwrap(), ClaimResult::Mine(_)));
        first.beat().unwrap();
        drop(first);
        assert_eq!(store.owner(&key()).unwrap(), None);
        assert!(is_mine(&store));
        assert!(!path(&store).exists());
    }

    #[test]
    fn what_somebody_else_took_over_is_not_given_back_and_its_beat_is_an_error() {
        let (_home, store) = sample::store();
        let ClaimResult::Mine(lost) = store.claim(&key()).unwrap() else { panic!() };
        forge(&store, |note| note.pid = 71);
        let error = lost.beat().unwrap_err().to_string();
        assert!(error.contains("process 71 on") && error.ends_with("took it over"), "{error}");
        drop(lost);
        assert!(path(&store).exists());
    }

    #[test]
    fn a_torn_claim_is_nobodys() {
        let (_home, store) = sample::store();
        forge(&store, |_| ());
        let whole = fs::read(path(&store)).unwrap();
        assert!(!is_mine(&store));
        for torn in [&b""[..], &whole[..whole.len() - 1], b"[]", b"\0\0\0", br#"{"version":2}"#] {
            fs::write(path(&store), torn).unwrap();
            assert!(is_mine(&store), "{}", String::from_utf8_lossy(torn));
            fs::create_dir_all(path(&store).parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn an_owner_on_another_machine_is_alive_as_long_as_it_beats() {
        let (_home, store) = sample::store();
        for change in [|note: &mut Note| note.host = "there".to_owned(), |note: &mut Note| note.machine = String::new()]
        {
            forge(&store, change);
            assert!(!is_mine(&store));
            beat_before(&store, SILENCE - Duration::from_secs(30));
            assert!(!is_mine(&store));
            beat_before(&store, SILENCE + Duration::from_secs(1));
            assert!(is_mine(&store));
        }
    }

    #[test]
    fn a_claim_of_a_host_that_is_gone_ends_whatever_its_clock_said() {
        let (_home, store) = sample::store();
        forge(&store, |note| (note.host, note.since) = ("there".to_owned(), u64::MAX));
        let ClaimResult::Theirs(owner) = store.claim(&key()).unwrap() else { panic!("it beats") };
        assert_eq!(owner.since, UNIX_EPOCH);
        let file = File::options().write(true).open(path(&store)).unwrap();
        file.set_modified(SystemTime::now() + SILENCE * 1000).unwrap();
        assert!(is_mine(&store));
    }

    #[test]
    fn a_beat_is_seen_by_others() {
        let (_home, store) = sample::store();
        let ClaimResult::Mine(claim) = store.claim(&key()).unwrap() else { panic!() };
        beat_before(&store, SILENCE * 2);
        assert!(store.silence(&path(&store)).unwrap() > SILENCE);
        claim.beat().unwrap();
        assert!(store.silence(&path(&store)).unwrap() < Duration::from_secs(60));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_owner_of_before_the_machine_was_started_anew_is_dead() {
        let (_home, store) = sample::store();
        forge(&store, |note| note.boot = "before".to_owned());
        assert!(is_mine(&store));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pid_that_was_given_to_another_process_is_not_the_owner() {
        let (_home, store) = sample::store();
        forge(&store, |note| note.started += 1);
        assert!(is_mine(&store));
    }

    #[cfg(unix)]
    #[test]
    fn a_dead_owner_is_taken_over_even_before_it_was_waited_for() {
        let (_home, store) = sample::store();
        let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = owner.id();
        forge(&store, |note| (note.pid, note.started) = (pid, started(pid).unwrap().unwrap()));
        assert!(!is_mine(&store));
        owner.kill().unwrap();
        // Its parent, this test, has not waited: the pid is still there.
        wait_for("the owner to die", || {
            let is_mine = is_mine(&store);
            forge(&store, |note| (note.pid, note.started) = (pid, 0));
            is_mine.then_some(())
        });
        owner.wait().unwrap();
        forge(&store, |note| (note.pid, note.started) = (pid, 0));
        assert!(is_mine(&store));
    }

    #[cfg(unix)]
    #[test]
    fn the_start_of_a_process_is_read_past_any_name_it_gave_itself() {
        let numbers: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let stat = |state| format!("71 (a) Z 1 (b) {state} {}", numbers.join(" "));
        assert_eq!(start_in(&stat("S")), Some(22));
        assert_eq!(start_in(&stat("Z")), None);
        assert_eq!(start_in("71 (a) S 1"), None);
    }

    #[test]
    fn where_nothing_can_be_asked_of_a_process_its_beat_decides() {
        assert_eq!(liveness(here(), here(), |_| None), Liveness::Unknown);
        assert_eq!(liveness(here(), here(), |_| Some(None)), Liveness::Dead);
        assert_eq!(liveness(here(), here(), |_| Some(Some(0))), Liveness::Alive);
    }

    #[test]
    fn of_many_threads_one_at_a_time_has_the_claim() {
        let (_home, store) = sample::store();
        let inside = AtomicU64::new(0);
        let times = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        if let ClaimResult::Mine(_claim) = store.claim(&key()).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            thread::yield_now();
                            times.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(times.into_inner() > 0);
    }

    /// Each process, while it has the claim, makes a file that must not be there and takes it away again; every third
    /// time it dies with the claim in hand.
    #[test]
    fn of_ten_processes_one_at_a_time_has_the_claim_though_some_die_with_it() {
        if let Some(store) = store_of_child() {
            return contend(&store);
        }
        let (_home, store) = sample::store();
        let test = "of_ten_processes_one_at_a_time_has_the_claim_though_some_die_with_it";
        let children: Vec<Child> = (0..10).map(|_| child(&store, test)).collect();
        let outcomes: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        for outcome in &outcomes {
            assert!(matches!(outcome.status.code(), Some(0 | 137)), "{outcome:?}");
        }
        assert!(is_mine(&store));
        let had = fs::read_to_string(store.root().join("had")).unwrap();
        assert_eq!(had.lines().count(), 10, "each had it once: {had}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.status.code() == Some(137)).count(), 3);
    }

    fn contend(store: &Store) {
        let inside = store.root().join("inside");
        let claim = wait_for("the claim", || match store.claim(&key()).unwrap() {
            ClaimResult::Mine(claim) => Some(claim),
            ClaimResult::Theirs(_) => None,
        });
        // To have it on the disk takes long enough that others try meanwhile.
        File::create_new(&inside).unwrap().sync_all().unwrap();
        let mut had = File::options().create(true).append(true).open(store.root().join("had")).unwrap();
        io::Write::write_all(&mut had, format!("{}\n", process::id()).as_bytes()).unwrap();
        fs::remove_file(inside).unwrap();
        let had = fs::read_to_string(store.root().join("had")).unwrap();
        if had.lines().count().is_multiple_of(3) {
            process::exit(137);
        }
        drop(claim);
    }

    #[test]
    fn a_claim_of_a_process_that_was_killed_is_taken_over() {
        if let Some(store) = store_of_child() {
            let ClaimResult::Mine(_claim) = store.claim(&key()).unwrap() else { panic!() };
            // Waits until it is killed, or until the test is gone and with it the other end.
            return drop(io::stdin().read_line(&mut String::new()));
        }
        let (_home, store) = sample::store();
        let mut owner = child(&store, "a_claim_of_a_process_that_was_killed_is_taken_over");
        wait_for("the other process to claim", || store.owner(&key()).unwrap());
        assert_eq!(store.owner(&key()).unwrap().unwrap().pid, owner.id());
        assert!(!is_mine(&store));
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert!(path(&store).exists());
        assert!(cfg!(not(unix)) || is_mine(&store));
    }
}
