//! Processes of this machine. Each worker leads its own process group and holds the reading end of a pipe; when this
//! process goes away, however it goes, the pipe closes and the worker ends itself (see `worker.rs`).

use super::{Executor, Exit, Job, JobId, Update};
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use stages::io::Progress;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long a cancelled worker has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// How often progress, time-outs and the caller's interrupt flag are looked at.
const TICK: Duration = Duration::from_millis(100);

pub struct Local {
    running: BTreeMap<JobId, Running>,
    next: JobId,
    ended: (Sender<JobId>, Receiver<JobId>),
}

struct Running {
    /// Not waited for before its end is known and its group is swept: until then its process id cannot be given away.
    child: Child,
    deadline: Option<(Instant, Duration)>,
    events: Tail,
}

/// The lines that a growing file gained.
struct Tail {
    path: PathBuf,
    read: u64,
}

pub fn local() -> Local {
    Local { running: BTreeMap::new(), next: 0, ended: mpsc::channel() }
}

impl Executor for Local {
    fn submit(&mut self, job: Job) -> Result<JobId> {
        let log = job.directory.join("log.txt");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("create {}", log.display()))?;
        // Shared with the worker and whatever it starts: the lock goes when the last of them is gone.
        let _ = flock(&log, FlockOperation::NonBlockingLockExclusive);
        let (program, arguments) = job.command.split_first().context("start a worker: no command")?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&job.directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("share log.txt")?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let id = self.next;
        self.next += 1;
        let (pid, ended) = (pid(&child), self.ended.0.clone());
        thread::spawn(move || {
            // Waits for the end and leaves the process there to be reaped in `poll`.
            while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                .is_err_and(|error| error == rustix::io::Errno::INTR)
            {}
            // The receiver is gone only when nobody asks any more.
            let _ = ended.send(id);
        });
        let deadline = job.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let events = Tail { path: job.directory.join("events.jsonl"), read: 0 };
        self.running.insert(id, Running { child, deadline, events });
        Ok(id)
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
                updates.extend(running.events.progress().map(|progress| Update::Progressed(*id, progress)));
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

    fn cancel_all(&mut self) {
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

/// No worker outlives the one who started it.
impl Drop for Local {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

fn finish(id: JobId, mut running: Running, updates: &mut Vec<Update>) -> Result<()> {
    // Whatever the worker left behind goes with it.
    kill(&running.child, Signal::KILL);
    let status = running.child.wait().context("wait for a worker")?;
    updates.extend(running.events.progress().map(|progress| Update::Progressed(id, progress)));
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
    // An empty group is no mistake.
    let _ = kill_process_group(pid(child), signal);
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("the system gave this process id")
}

impl Tail {
    /// The last whole line that came since the last call: the others are already out of date.
    fn progress(&mut self) -> Option<Progress> {
        let mut file = File::open(&self.path).ok()?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read)).ok()?;
        file.read_to_end(&mut bytes).ok()?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
        self.read += whole as u64;
        bytes[..whole].split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

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
    fn the_death_of_a_worker_is_told_in_words() {
        let deaths = ["exit 0", "exit 3", "kill -9 $$", "kill -11 $$", "kill -6 $$", "exit 134", "kill -15 $$"];
        let told: Vec<String> =
            deaths.iter().map(|script| format!("{script}: {}", exit_of(script).in_words())).collect();
        expect_test::expect![[r#"
            exit 0: the worker ended without an outcome
            exit 3: the worker ended with exit code 3
            kill -9 $$: the worker was killed (SIGKILL): probably out of memory
            kill -11 $$: the worker crashed (SIGSEGV): probably the graphics driver
            kill -6 $$: the worker aborted (SIGABRT): out of memory, or an abort in native code
            exit 134: the worker aborted (SIGABRT): out of memory, or an abort in native code
            kill -15 $$: the worker was ended from outside (SIGTERM)"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn output_and_errors_of_a_worker_go_to_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "echo out; echo err >&2")).unwrap();
        updates_until_the_end(&mut executor);
        assert_eq!(fs::read_to_string(directory.path().join("log.txt")).unwrap(), "out\nerr\n");
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
        // The system takes a moment to bury it.
        for _ in 0..100 {
            if !is_running(&child) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the child outlived its worker");
    }

    #[test]
    fn cancelling_ends_even_a_worker_that_ignores_the_polite_signal() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "trap '' TERM; echo $$ > pid; while :; do sleep 1; done")).unwrap();
        let pid = directory.path().join("pid");
        while !fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
            thread::sleep(Duration::from_millis(5));
        }
        executor.cancel_all();
        assert!(!is_running(&fs::read_to_string(&pid).unwrap()));
    }

    #[test]
    fn the_log_stays_locked_as_long_as_the_worker_lives() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "sleep 60")).unwrap();
        let log = File::open(directory.path().join("log.txt")).unwrap();
        assert!(flock(&log, FlockOperation::NonBlockingLockExclusive).is_err());
        executor.cancel_all();
        // A process that another test is about to start may hold a copy of the file for a moment.
        let until = Instant::now() + Duration::from_secs(5);
        while flock(&log, FlockOperation::NonBlockingLockExclusive).is_err() {
            assert!(Instant::now() < until, "the lock outlived the worker");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
