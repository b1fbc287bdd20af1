//! One job and its files, as they are looked at.

use super::book::{self, JobBook, StartBook, StartEnd};
use super::class::Remains;
use super::course::{Course, Sight};
use super::mirror::Mirror;
use crate::executor::Placement;
use serde::Deserialize;
use stages::work;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The most bytes of an outcome.
const MOST: u64 = 256 << 20;

pub struct JobWatch {
    pub directory: PathBuf,
    pub book: JobBook,
    pub nonce: String,
    pub arguments: Vec<OsString>,
    pub course: Course,
    pub mirror: Mirror,
    pub placement: Placement,
    /// Whether the name was told: nothing is submitted whose name is not in the journal.
    pub is_told: bool,
    /// The last thing that was seen to live, and when.
    pub heart: (Option<(PathBuf, SystemTime)>, Instant),
    /// Whether the queue was asked because its worker ended.
    pub is_end_asked: bool,
}

impl JobWatch {
    /// Looks at its files.
    pub fn sight(&mut self) -> Sight {
        let starts = book::starts(&self.directory);
        let end = |start: &Path| book::json::<StartEnd>(&start.join(book::ENDED));
        let mut good: Vec<&PathBuf> =
            starts.iter().map(|(start, _)| start).filter(|start| self.is_good(start)).collect();
        // The first one counts, and one that has ended before one that is about to.
        good.sort_by_key(|start| end(start).is_none());
        let good = good.first().map(|start| (*start).clone());
        let last: Option<&(PathBuf, StartBook)> = starts.first();
        let beat = last.and_then(|(start, _)| {
            let at = fs::metadata(start.join(book::ALIVE)).and_then(|file| file.modified()).ok()?;
            Some((start.clone(), at))
        });
        if self.heart.0 != beat {
            self.heart = (beat, Instant::now());
        }
        Sight {
            is_good_ended: good.as_deref().is_some_and(|good| end(good).is_some()),
            good,
            remains: Remains {
                has_started: last.is_some(),
                end: last.and_then(|(start, _)| end(start)),
                tells_of_memory: tells_of_memory(&self.directory),
            },
            last: last.map(|(start, _)| start.clone()),
            silence: last.map(|_| self.heart.1.elapsed()),
        }
    }

    /// The place that a start tells, where the queue has told none yet.
    pub fn place_of_start(&mut self) -> Option<Placement> {
        if !self.placement.node.is_empty() {
            return None;
        }
        let (_, StartBook { host, job, .. }) = book::starts(&self.directory).into_iter().next()?;
        let waits = String::new();
        self.placement = Placement { id: job, node: host, waits, ..self.placement.clone() };
        Some(self.placement.clone())
    }

    /// Whether a start has an outcome of its worker. Whether it is whole is looked at when it is taken over.
    fn is_good(&self, start: &Path) -> bool {
        #[derive(Deserialize)]
        struct SignedOutcome {
            #[serde(default)]
            nonce: String,
        }
        let text = files::read(&start.join(work::OUTCOME), MOST).ok();
        let signed = text.and_then(|text| serde_json::from_slice::<SignedOutcome>(&text).ok());
        signed.is_some_and(|signed| !self.nonce.is_empty() && signed.nonce == self.nonce)
    }
}

/// Whether Slurm wrote of memory into the output of a job.
fn tells_of_memory(attempt: &Path) -> bool {
    let text = files::text(&attempt.join(book::OUTPUT), book::MOST).unwrap_or_default();
    let of_slurm = text.lines().filter(|line| line.contains("slurmstepd") || line.contains("slurmd"));
    of_slurm.map(str::to_lowercase).any(|line| line.contains("memory") || line.contains("oom"))
}
