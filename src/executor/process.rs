//! Processes that lead a group, and the lock on the log of the directory in which one works.

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process_group, waitid};
use stages::work;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::Child;
use std::thread;

/// Kills a process and its group, and reaps it.
pub fn end(child: &mut Child) {
    kill(child, Signal::KILL);
    let _ = child.wait();
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

/// Whether something works in a directory.
pub fn lives(directory: &Path) -> bool {
    File::open(directory.join(work::LOG))
        .is_ok_and(|log| flock(&log, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
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
        end_this_group()
    });
}

/// For a worker whose parent is gone.
pub fn end_this_group() -> ! {
    if getpgrp() == getpid() {
        // This process belongs to the group as well.
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
    std::process::exit(1);
}
