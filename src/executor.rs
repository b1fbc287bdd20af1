//! Who executes. An executor knows a directory and a command, and nothing of stages, actions or the store.

pub mod local;

use anyhow::Result;
use stages::io::Progress;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A work directory, ready to be worked in, and the command that does it.
pub struct Job {
    pub directory: PathBuf,
    /// Gets the directory as its last argument.
    pub command: Vec<OsString>,
    pub timeout: Option<Duration>,
}

/// Stands in the place of a directory that is not known yet.
pub const SPARE: &str = "-";

/// Names a job for as long as its executor lives.
pub type JobId = u64;

#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    Progressed(JobId, Progress),
    Ended(JobId, Exit),
}

/// How a process ended. Whether its work succeeded is said by `outcome.json`, not by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    TimedOut(Duration),
}

pub trait Executor {
    /// Starts the command in the background; its output goes to `log.txt` in the directory.
    fn submit(&mut self, job: Job) -> Result<JobId>;
    /// Says that a job of this command will come. It may be started at once, with [`SPARE`] for a directory: it then
    /// waits until its standard input names one, as a line. `near`: a directory on the disk of the job's.
    fn expect(&mut self, command: &[OsString], near: &Path);
    /// What happened since the last call; waits at most so long when that is nothing.
    fn poll(&mut self, patience: Duration) -> Result<Vec<Update>>;
    /// Asks whatever still runs to end: to write a checkpoint and stop, if it can. It is polled until it has.
    fn stop_all(&mut self);
    /// Ends whatever still runs, with all that it started.
    fn cancel_all(&mut self);
}
