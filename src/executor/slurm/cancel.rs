//! Ends jobs that runs left on a cluster.

use super::book::{self, JobBook};
use super::clients;
use super::listing::may_live;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// The time in which a job ends that was cancelled: Slurm itself waits half a minute between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(60);
/// The interval at which the queue is asked meanwhile.
const TICK: Duration = Duration::from_millis(500);

/// A job that a run left, and the directory of its attempt.
pub struct LeftJob {
    pub attempt: PathBuf,
    pub book: JobBook,
}

impl LeftJob {
    /// The job of an attempt, if one may live.
    pub fn of(attempt: PathBuf) -> Option<LeftJob> {
        let book = book::read(&attempt).filter(|_| book::lives(&attempt))?;
        Some(LeftJob { attempt, book })
    }
}

/// Ends jobs, by their names, and returns when none of them is in the queue any more.
///
/// # Errors
/// Slurm does not answer, or they do not end in time.
pub fn cancel(jobs: &[LeftJob]) -> Result<()> {
    for job in jobs {
        // One that Slurm takes late finds nothing that it could do.
        book::close(&job.attempt)?;
    }
    let names: Vec<&str> = jobs.iter().map(|job| &*job.book.name).collect();
    // One that ends at this moment cannot be cancelled: what counts is the queue.
    let said = clients::cancel(&names);
    let until = Instant::now() + PATIENCE;
    loop {
        let queue = clients::queue()?;
        let lives = |job: &&LeftJob| queue.iter().any(|row| row.name == job.book.name && may_live(&row.state));
        let Some(left) = jobs.iter().find(lives) else { return Ok(()) };
        if Instant::now() >= until {
            let name = &left.book.name;
            return said
                .and_then(|()| bail!("it was told to end, and goes on"))
                .with_context(|| format!("end job {name}"));
        }
        thread::sleep(TICK);
    }
}
