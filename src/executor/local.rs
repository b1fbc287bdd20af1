//! Runs jobs as processes of this machine; also the part of the protocol that the worker process does. Each worker
//! leads its own process group and holds the reading end of a pipe as its standard input. When the process that started
//! it goes away for whatever reason, the pipe closes and the worker ends itself.
//!
//! 1. The log of a worker stays locked for as long as the worker, or anything it started, lives.
//! 2. A worker may be started before its job comes. It then gets [`SPARE`] for a directory, and waits until its
//!    standard input names one as a line.

use super::{Executor, ExecutorKind, Job, JobId, Update};
use crate::failure::Exit;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process_group, waitid};
use stages::work;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// The time that a cancelled worker has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which progress, time-outs and the caller's interrupt flag are checked.
const TICK: Duration = Duration::from_millis(100);

pub const LOCAL: ExecutorKind = ExecutorKind { open: || Box::new(local()), lives };

/// Stands for a directory that is not known yet.
const SPARE: &str = "-";

struct Local {
    running: BTreeMap<JobId, Process>,
    next: JobId,
    ended: (Sender<JobId>, Receiver<JobId>),
    spare: Option<Spare>,
}

/// A worker that is started before there is a directory for it. Starting takes longer than anything else about a small
/// command, and this way overlaps with another job.
struct Spare {
    command: Vec<OsString>,
    child: Child,
    /// The file has no name yet.
    log: File,
}

struct Process {
    /// Not reaped before its end is known and its group is killed: until then its process id cannot be reused.
    child: Child,
    deadline: Option<(Instant, Duration)>,
    events: Tail,
}

fn local() -> Local {
    Local { running: BTreeMap::new(), next: 0, ended: mpsc::channel(), spare: None }
}

impl Executor for Local {
    fn submit(&mut self, job: Job) -> Result<JobId> {
        let child = match self.spare.take().and_then(|spare| spare.give(&job)) {
            Some(child) => child,
            None => {
                let log = job.directory.join(work::LOG);
                let open = File::options().create(true).append(true).open(&log);
                let log = open.with_context(|| format!("create {}", log.display()))?;
                start(&job.command, job.directory.as_os_str(), &log, Some(&job.directory))?
            }
        };
        let id = self.next;
        self.next += 1;
        let (pid, ended) = (pid(&child), self.ended.0.clone());
        thread::spawn(move || {
            // Waits for the end, and leaves the process to be reaped in `poll`.
            while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                .is_err_and(|error| error == rustix::io::Errno::INTR)
            {}
            // The receiver is gone only with the executor.
            let _ = ended.send(id);
        });
        let deadline = job.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let events = tail(&job.directory.join(work::PROGRESS));
        self.running.insert(id, Process { child, deadline, events });
        Ok(id)
    }

    fn expect(&mut self, command: &[OsString], near: &Path) {
        // Without a spare worker every job is started when it comes.
        let spare = || Spare::start(command, near).inspect_err(|error| tracing::debug!("no spare worker: {error:#}"));
        self.spare = self.spare.take().or_else(|| spare().ok());
    }

    fn poll(&mut self, patience: Duration) -> Result<Vec<Update>> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let first = self.ended.1.recv_timeout(TICK.min(left)).ok();
            let mut updates = Vec::new();
            for id in first.into_iter().chain(self.ended.1.try_iter()) {
                if let Some(running) = self.running.remove(&id) {
                    finish(id, running, &mut updates)?;
                }
            }
            for (id, running) in &mut self.running {
                updates.extend(progress(*id, &mut running.events));
                if running.deadline.is_some_and(|(at, _)| at <= Instant::now()) {
                    kill(&running.child, Signal::KILL);
                }
            }
            if !updates.is_empty() || Instant::now() >= until {
                return Ok(updates);
            }
        }
    }

    fn stop_all(&mut self) {
        self.running.values().for_each(|running| kill(&running.child, Signal::TERM));
    }
}

impl Local {
    fn cancel_all(&mut self) {
        self.spare.take().into_iter().for_each(Spare::end);
        let until = Instant::now() + GRACE;
        self.stop_all();
        while !self.running.is_empty() {
            match self.ended.1.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(id) => {
                    if let Some(mut running) = self.running.remove(&id) {
                        kill(&running.child, Signal::KILL);
                        let _ = running.child.wait();
                    }
                }
                Err(_) => break,
            }
        }
        for (_, mut running) in std::mem::take(&mut self.running) {
            kill(&running.child, Signal::KILL);
            let _ = running.child.wait();
        }
    }
}

/// No worker outlives the process that started it.
impl Drop for Local {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl Spare {
    fn start(command: &[OsString], near: &Path) -> Result<Spare> {
        let log = unnamed(near).with_context(|| format!("create a log in {}", near.display()))?;
        let child = start(command, OsStr::new(SPARE), &log, None)?;
        Ok(Spare { command: command.to_owned(), child, log })
    }

    /// Names the log and tells the worker its directory. `None` when the worker cannot be used.
    fn give(mut self, job: &Job) -> Option<Child> {
        let directory = job.directory.as_os_str().as_bytes();
        let tell = |input: &mut ChildStdin| input.write_all(directory).and_then(|()| input.write_all(b"\n"));
        let is_line = !directory.contains(&b'\n');
        let is_named =
            is_line && self.command == job.command && name(&self.log, &job.directory.join(work::LOG)).is_ok();
        if is_named && self.child.stdin.as_mut().is_some_and(|input| tell(input).is_ok()) {
            return Some(self.child);
        }
        self.end();
        None
    }

    fn end(mut self) {
        kill(&self.child, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A file without a name, which can be given one later.
#[cfg(target_os = "linux")]
fn unnamed(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::from_raw_mode(0o644))?.into())
}

#[cfg(target_os = "linux")]
fn name(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(rustix::fs::CWD, open, rustix::fs::CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn name(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn start(command: &[OsString], directory: &OsStr, log: &File, within: Option<&Path>) -> Result<Child> {
    // The lock is shared with the worker and everything it starts: it goes when the last of them is gone.
    let _ = flock(log, FlockOperation::NonBlockingLockExclusive);
    let (program, arguments) = command.split_first().context("start a worker: no command")?;
    let mut command = Command::new(program);
    if let Some(within) = within {
        command.current_dir(within);
    }
    command
        .args(arguments)
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().context("share log.txt")?)
        .stderr(log.try_clone().context("share log.txt")?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

fn finish(id: JobId, mut running: Process, updates: &mut Vec<Update>) -> Result<()> {
    // Everything that the worker left running ends with it, except processes that made a session of their own.
    kill(&running.child, Signal::KILL);
    let status = running.child.wait().context("wait for a worker")?;
    updates.extend(progress(id, &mut running.events));
    let killed_late = running.deadline.filter(|(at, _)| status.signal() == Some(9) && *at <= Instant::now());
    let exit = match (killed_late, status.code(), status.signal()) {
        (Some((_, timeout)), ..) => Exit::TimedOut(timeout),
        (None, Some(code), _) => Exit::Code(code),
        (None, None, signal) => Exit::Signal(signal.unwrap_or_default()),
    };
    updates.push(Update::Ended(id, exit));
    Ok(())
}

fn kill(child: &Child, signal: Signal) {
    // An empty group is no error.
    let _ = kill_process_group(pid(child), signal);
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("the system gave this process id")
}

/// The latest progress. Progress that cannot be read is not shown, and the work goes on.
fn progress(id: JobId, events: &mut Tail) -> Option<Update> {
    events.progress().ok().flatten().map(|progress| Update::Progressed(id, progress))
}

fn lives(directory: &Path) -> bool {
    File::open(directory.join(work::LOG))
        .is_ok_and(|log| flock(&log, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
}

/// For a worker: the directory it is to work in. A spare worker waits for its directory and changes into it. `None` if
/// no job came.
pub fn directory_of(argument: OsString) -> Option<PathBuf> {
    if argument != SPARE {
        return Some(argument.into());
    }
    let mut path = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut path).ok()?;
    let directory = PathBuf::from(OsString::from_vec(path.strip_suffix(b"\n")?.to_vec()));
    std::env::set_current_dir(&directory).ok()?;
    Some(directory)
}

/// For a worker: ends this process and its group as soon as standard input closes. This only holds for a pipe: a worker
/// started by hand, or by a cluster with nothing on its input, has no parent in this sense.
pub fn end_with_the_parent() {
    let is_pipe = rustix::fs::fstat(io::stdin())
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo);
    if !is_pipe {
        return;
    }
    thread::spawn(|| {
        let mut byte = [0];
        while !matches!(io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        if getpgrp() == getpid() {
            // This process belongs to the group as well.
            let _ = kill_process_group(getpgrp(), Signal::KILL);
        }
        std::process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_for;
    use std::fs;

    fn sh(directory: &Path, script: &str) -> Job {
        let command = ["sh", "-c", script].map(Into::into).to_vec();
        Job { directory: directory.to_owned(), command, timeout: None }
    }

    fn updates_until_the_end(executor: &mut Local) -> Vec<Update> {
        let mut updates = Vec::new();
        while !updates.iter().any(|update| matches!(update, Update::Ended(..))) {
            updates.extend(executor.poll(Duration::from_secs(10)).unwrap());
        }
        updates
    }

    fn exit_of(script: &str) -> Exit {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), script)).unwrap();
        match updates_until_the_end(&mut executor).pop() {
            Some(Update::Ended(_, exit)) => exit,
            other => panic!("{other:?}"),
        }
    }

    fn is_running(pid: &str) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z")
    }

    #[test]
    fn the_end_of_a_worker_is_its_code_or_its_signal() {
        let ends = ["exit 0", "exit 3", "kill -9 $$", "kill -6 $$", "exit 134", "kill -15 $$"].map(exit_of);
        let expected =
            [Exit::Code(0), Exit::Code(3), Exit::Signal(9), Exit::Signal(6), Exit::Code(134), Exit::Signal(15)];
        assert_eq!(ends, expected);
    }

    #[test]
    fn output_and_errors_of_a_worker_go_to_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "echo out; echo err >&2")).unwrap();
        updates_until_the_end(&mut executor);
        assert_eq!(fs::read_to_string(directory.path().join("log.txt")).unwrap(), "out\nerr\n");
    }

    /// Says where it is told to work, and whether it had to wait for that; `mark` is written as it starts.
    fn patient(mark: &Path) -> Vec<OsString> {
        let script = format!(
            "echo $$ > {}; [ \"$1\" != - ] || {{ echo waited; read -r told || exit 0; set -- \"$told\"; }}; echo \"$1\"",
            mark.display()
        );
        ["sh", "-c", &script, "worker"].map(Into::into).to_vec()
    }

    fn written(mark: &Path) -> String {
        wait_for("a line in the mark", || fs::read_to_string(mark).ok().filter(|text| text.ends_with('\n')))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_job_that_was_expected_goes_to_the_worker_that_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let command = patient(&directory.path().join("mark"));
        let mut executor = local();
        let mut log_of = |name: &str, expected: &[OsString]| {
            let job = directory.path().join(name);
            fs::create_dir(&job).unwrap();
            if !expected.is_empty() {
                executor.expect(expected, directory.path());
                executor.expect(expected, directory.path());
            }
            executor.submit(Job { directory: job.clone(), command: command.clone(), timeout: None }).unwrap();
            updates_until_the_end(&mut executor);
            assert!(executor.spare.is_none());
            fs::read_to_string(job.join("log.txt")).unwrap().replace(&job.display().to_string(), name)
        };
        assert_eq!(log_of("told", &command), "waited\ntold\n");
        assert_eq!(log_of("started", &[]), "started\n");
        // A worker that waits for another command is of no use.
        assert_eq!(log_of("other", &["sleep".into()]), "other\n");
        assert_eq!(log_of("two\nlines", &command), "two\nlines\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_worker_that_is_not_needed_after_all_is_not_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let mut executor = local();
        executor.expect(&patient(&mark), directory.path());
        let pid = written(&mark);
        assert!(is_running(&pid));
        drop(executor);
        assert!(!is_running(&pid));
        // Its log is not left behind either.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_last_progress_arrives_before_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let line = |done: u64| format!(r#"{{"done":{done},"total":2,"unit":"step","message":""}}"#);
        let script = format!(
            "echo '{}' > events.jsonl; echo '{}' >> events.jsonl; printf torn >> events.jsonl",
            line(1),
            line(2)
        );
        let mut executor = local();
        let id = executor.submit(sh(directory.path(), &script)).unwrap();
        let updates = updates_until_the_end(&mut executor);
        assert_eq!(updates.last(), Some(&Update::Ended(id, Exit::Code(0))));
        let last = updates.iter().rev().find_map(|update| match update {
            Update::Progressed(_, progress) => Some(progress.done),
            Update::Ended(..) => None,
        });
        assert_eq!(last, Some(2));
    }

    #[test]
    fn a_worker_that_takes_too_long_is_ended_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        let timeout = Some(Duration::from_millis(300));
        executor.submit(Job { timeout, ..sh(directory.path(), "sleep 60 & echo $! > child; wait") }).unwrap();
        let started = Instant::now();
        let updates = updates_until_the_end(&mut executor);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(matches!(updates.last(), Some(Update::Ended(_, Exit::TimedOut(_)))), "{updates:?}");
        let child = fs::read_to_string(directory.path().join("child")).unwrap();
        // The system takes a moment to remove the process.
        wait_for("the child of the worker to end", || (!is_running(&child)).then_some(()));
    }

    #[test]
    fn cancelling_ends_even_a_worker_that_ignores_the_polite_signal() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "trap '' TERM; echo $$ > pid; while :; do sleep 1; done")).unwrap();
        let pid = written(&directory.path().join("pid"));
        executor.cancel_all();
        assert!(!is_running(&pid));
    }

    #[test]
    fn a_directory_lives_as_long_as_its_worker() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "sleep 60")).unwrap();
        assert!(lives(directory.path()));
        executor.cancel_all();
        // A process that another test is about to start may hold a copy of the file for a moment.
        wait_for("the lock of the worker to go", || (!lives(directory.path())).then_some(()));
    }
}
