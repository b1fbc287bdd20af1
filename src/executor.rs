//! The interface of executors. An executor knows a directory, a command, which jobs may share a process, and what they
//! need; it knows nothing of stages, actions or the store.

pub mod line;
pub mod local;
pub mod process;
pub mod slurm;
mod table;

pub use table::{EXECUTORS, close, lives};

use crate::failure::{Exit, Loss};
use crate::plan::{Resources, SlurmSettings};
use anyhow::Result;
use stages::io::Progress;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A work directory that is ready, and the command that does its work.
#[derive(Default)]
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
    /// For people: the pipeline, and what of it is worked.
    pub pipeline: String,
    pub title: String,
    /// The resources that a cluster gives it.
    pub resources: Resources,
    pub gpus: u64,
}

/// Identifies a job of this process, whichever executor has it.
pub type JobId = u64;

/// An id that no other job has.
fn next_id() -> JobId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Where a cluster has a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    pub job: String,
    /// Empty before it has one.
    pub id: String,
    pub node: String,
    /// Why it waits, in the words of the cluster; empty if it does not.
    pub waits: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    Progressed(JobId, Progress),
    Ended(JobId, Exit),
    /// The job ended with its process, which had done other jobs before: the cause may lie in what they left behind.
    EndedAfterOthers(JobId, Exit),
    /// A job of a cluster ended, with an exit or by a loss. The work was done in the directory, if there is one.
    Gone {
        job: JobId,
        worked_in: Option<PathBuf>,
        end: Result<Exit, Loss>,
    },
    Placed(JobId, Placement),
    /// Something that people should know.
    Noted(JobId, String),
    /// The job goes on without this process, and another run can take its result.
    Left(JobId),
}

/// Executes jobs in the background. Dropping it ends every job that still runs on this machine, with all the processes that
/// it started.
pub trait Executor {
    /// Starts the command; its output goes to `log.txt` in the directory.
    fn submit(&mut self, job: Job) -> Result<JobId>;
    /// Goes on with a job that an earlier process submitted for this directory.
    fn attach(&mut self, job: Job) -> Result<JobId> {
        self.submit(job)
    }
    /// Whether another job may be submitted now.
    fn has_room(&self) -> bool {
        true
    }
    /// Announces a job of this command, for an executor that can prepare for it.
    fn expect(&mut self, _command: &[OsString]) {}
    /// Returns what happened since the last call. If nothing did, waits at most `patience` for something.
    fn poll(&mut self, patience: Duration) -> Result<Vec<Update>>;
    /// Asks every running job to write a checkpoint, if it can, and end; jobs of a cluster are left there. The caller polls
    /// until it has.
    fn stop_all(&mut self);
}

/// A row of [`EXECUTORS`].
#[derive(Clone, Copy)]
pub struct ExecutorKind {
    /// Opens it by its name and its settings.
    pub open: fn(&str, &SlurmSettings) -> Result<Box<dyn Executor>>,
    /// Whether a job that was submitted for this directory, by this process or another, still runs.
    pub lives: fn(&Path) -> bool,
    /// Writes down that nobody expects anything of such a job any more.
    pub close: fn(&Path) -> Result<()>,
}
