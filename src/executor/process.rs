//! Processes that lead a group, and the lock on the log of the directory in which one works.

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgid, getpgrp, getpid, kill_process_group, waitid};
use stages::{orphans, work};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// The ids of the processes that this one started and did not wait for. Its other children are orphans that it adopted. The
/// lock is held while one is started, which nobody knows yet.
static STARTED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn started() -> MutexGuard<'static, BTreeSet<i32>> {
    // Each change is one insertion or removal, so what a panicking thread left is consistent.
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process that leads its own group.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let mut started = started();
    let child = command.process_group(0).spawn()?;
    started.insert(pid(&child).as_raw_pid());
    Ok(child)
}

/// Waits for a process that was started here.
pub fn reap(child: &mut Child) -> io::Result<ExitStatus> {
    let status = child.wait();
    started().remove(&pid(child).as_raw_pid());
    status
}

/// Kills a process and its group, and reaps it.
pub fn end(child: &mut Child) {
    kill(child, Signal::KILL);
    let _ = reap(child);
}

/// Ends what ended workers left in groups of their own: children that were not started here. `earlier` were there before.
/// What this process starts for other purposes is in its own group.
pub fn end_orphans(earlier: &BTreeSet<i32>) {
    let started = started();
    orphans::end(|pid| !started.contains(&pid) && !earlier.contains(&pid) && !is_of_this_group(pid));
}

/// Whether a process is in the group of this one, or gone.
fn is_of_this_group(pid: i32) -> bool {
    Pid::from_raw(pid).and_then(|pid| getpgid(Some(pid)).ok()).is_none_or(|group| group == getpgrp())
}

/// Sends a signal to a process and its group.
pub fn kill(child: &Child, signal: Signal) {
    // An empty group is no error.
    let _ = kill_process_group(pid(child), signal);
}

pub fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("the system gave this process id")
}

/// Locks a log. The lock is shared with everything that inherits the file: it goes when the last of them is gone.
pub fn lock(log: &File) {
    let _ = flock(log, FlockOperation::NonBlockingLockExclusive);
}

/// Waits until a process has ended, and leaves it to be reaped.
pub fn wait_for_the_end(pid: Pid) {
    while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        .is_err_and(|error| error == rustix::io::Errno::INTR)
    {}
}

/// Whether something works in a directory. Where that cannot be found out, it may be so.
pub fn lives(directory: &Path) -> bool {
    match files::inside(&directory.join(work::LOG)) {
        Ok((log, _)) => flock(&log, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK),
        Err(error) => error.kind() != io::ErrorKind::NotFound && !files::is_not_a_file(&error),
    }
}

/// For a worker: reads the line that its parent writes first, and ends this process and its group as soon as standard
/// input closes. This only holds for a pipe: a worker started by hand, or by a cluster with nothing on its input, has no
/// parent in this sense, and is told nothing.
pub fn end_with_the_parent() -> Option<String> {
    let is_pipe = rustix::fs::fstat(io::stdin())
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo);
    if !is_pipe {
        return None;
    }
    let mut line = String::new();
    let is_told = io::stdin().read_line(&mut line).is_ok();
    let listening = thread::Builder::new().spawn(|| {
        let mut byte = [0];
        while !matches!(io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        end_this_group()
    });
    if let Err(error) = listening {
        eprintln!("error: start a thread: {error}");
        std::process::exit(1);
    }
    is_told.then_some(line)
}

/// For a worker whose parent is gone.
pub fn end_this_group() -> ! {
    if getpgrp() == getpid() {
        // This process belongs to the group as well.
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
    std::process::exit(1);
}
