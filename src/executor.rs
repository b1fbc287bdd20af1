//! The interface of executors. An executor knows a directory, a command, and which jobs may share a process; it knows
//! nothing of stages, actions or the store.

pub mod line;
mod local;
pub mod process;
mod table;

pub use table::{EXECUTORS, lives};

use crate::failure::Exit;
use anyhow::Result;
use stages::io::Progress;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A work directory that is ready, and the command that does its work.
pub struct Job {
    pub directory: PathBuf,
    /// The directory is added as the last argument.
    pub command: Vec<OsString>,
    pub timeout: Option<Duration>,
    /// A word that the worker is told by its standard input, and nobody else can read.
    pub handover: String,
    /// Jobs of one such name may be worked one after the other by one process, which keeps what the next one needs.
    /// `None`: the job has a process of its own, and may need the memory of those that wait.
    pub shares: Option<String>,
}

/// Identifies a job for as long as its executor lives.
pub type JobId = u64;

#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    Progressed(JobId, Progress),
    Ended(JobId, Exit),
    /// The job ended with its process, which had done other jobs before: the cause may lie in what they left behind.
    EndedAfterOthers(JobId, Exit),
}

/// Executes jobs in the background. Dropping it ends every job that still runs, with all the processes that it started.
pub trait Executor {
    /// Starts the command; its output goes to `log.txt` in the directory.
    fn submit(&mut self, job: Job) -> Result<JobId>;
    /// Announces a job of this command, for an executor that can prepare for it.
    fn expect(&mut self, _command: &[OsString]) {}
    /// Returns what happened since the last call. If nothing did, waits at most `patience` for something.
    fn poll(&mut self, patience: Duration) -> Result<Vec<Update>>;
    /// Asks every running job to write a checkpoint, if it can, and end. The caller polls until it has.
    fn stop_all(&mut self);
}

/// A row of [`EXECUTORS`].
#[derive(Clone, Copy)]
pub struct ExecutorKind {
    pub open: fn() -> Box<dyn Executor>,
    /// Whether a job that was submitted for this directory, by this process or another, still runs.
    pub lives: fn(&Path) -> bool,
}
