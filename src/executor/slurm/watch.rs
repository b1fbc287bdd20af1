//! One job and its files, as they are looked at.

use super::book::{self, JobBook, StartBook, StartEnd};
use super::class::Remains;
use super::course::{Course, Sight};
use super::mirror::Mirror;
use crate::executor::Placement;
use serde::Deserialize;
use stages::work;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The most bytes of an outcome.
const MOST: u64 = 256 << 20;

pub struct JobWatch {
    pub directory: PathBuf,
    /// Its name is empty before it has one.
    pub book: JobBook,
    pub handover: String,
    pub nonce: String,
    /// The arguments of `sbatch` for what it asks for.
    pub wanted: Vec<OsString>,
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
        let starts: Vec<SeenStart> =
            book::starts(&self.directory).into_iter().map(|(start, _)| SeenStart::of(start, &self.nonce)).collect();
        let mut good: Vec<&SeenStart> = starts.iter().filter(|start| start.is_good).collect();
        // One that has ended counts before one that is about to.
        good.sort_by_key(|start| start.end.is_none());
        let (good, last) = (good.first(), starts.first());
        let beat = last.and_then(|start| Some((start.directory.clone(), start.beat?)));
        if self.heart.0 != beat {
            self.heart = (beat, Instant::now());
        }
        Sight {
            is_good_ended: good.is_some_and(|start| start.end.is_some()),
            good: good.map(|start| start.directory.clone()),
            remains: Remains {
                has_started: last.is_some(),
                end: last.and_then(|start| start.end.clone()),
                tells_of_memory: tells_of_memory(&self.directory),
            },
            last: last.map(|start| start.directory.clone()),
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
}

/// A start as it is seen from here. A file is opened only where its directory lists it: a file system that was asked for a
/// name too early may hide it for a while.
struct SeenStart {
    directory: PathBuf,
    /// Whether there is an outcome of its worker, and all that it names as long as the node left it.
    is_good: bool,
    end: Option<StartEnd>,
    beat: Option<SystemTime>,
}

impl SeenStart {
    fn of(directory: PathBuf, nonce: &str) -> SeenStart {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let names: BTreeSet<OsString> = entries.map(|entry| entry.file_name()).collect();
        let listed = |name: &str| names.contains(OsStr::new(name)).then(|| directory.join(name));
        let end: Option<StartEnd> = listed(book::ENDED).and_then(|path| book::json(&path));
        let beat = listed(book::ALIVE).and_then(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        let is_signed = listed(work::OUTCOME).is_some_and(|path| is_signed(&path, nonce));
        let is_whole = match listed(book::MADE).and_then(|path| book::json::<BTreeMap<PathBuf, u64>>(&path)) {
            Some(made) => made.iter().all(|(path, size)| is_of_size(&directory.join(path), *size)),
            // A node that died between the two leaves no list.
            None => end.is_none(),
        };
        SeenStart { is_good: is_signed && is_whole, directory, end, beat }
    }
}

fn is_signed(outcome: &Path, nonce: &str) -> bool {
    #[derive(Deserialize)]
    struct SignedOutcome {
        #[serde(default)]
        nonce: String,
    }
    let text = files::read(outcome, MOST).ok();
    let signed = text.and_then(|text| serde_json::from_slice::<SignedOutcome>(&text).ok());
    signed.is_some_and(|signed| !nonce.is_empty() && signed.nonce == nonce)
}

fn is_of_size(path: &Path, size: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.len() == size)
}

/// Whether Slurm wrote of memory into the output of a job.
fn tells_of_memory(attempt: &Path) -> bool {
    let text = files::text(&attempt.join(book::OUTPUT), book::MOST).unwrap_or_default();
    let of_slurm = text.lines().filter(|line| line.contains("slurmstepd") || line.contains("slurmd"));
    of_slurm.map(str::to_lowercase).any(|line| line.contains("memory") || line.contains("oom"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_start_is_good_only_when_all_that_its_node_left_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let start = directory.path().to_owned();
        let write = |name: &str, text: &str| fs::write(start.join(name), text).unwrap();
        let is_good = || SeenStart::of(start.clone(), "0badcafe").is_good;
        fs::create_dir_all(start.join("out/0")).unwrap();
        write("out/0/weights", "ten by");
        write(work::OUTCOME, r#"{"nonce":"another","candidates":[]}"#);
        assert!(!is_good());
        write(work::OUTCOME, r#"{"nonce":"0badcafe","candidates":[]}"#);
        assert!(is_good(), "its node may have died, and leaves no list");
        write(book::ENDED, &serde_json::to_string(&StartEnd { exit: Exit::Code(0), is_warned: false }).unwrap());
        assert!(!is_good(), "the list is seen late");
        write(book::MADE, r#"{"out/0/weights":10}"#);
        assert!(!is_good(), "a file is seen short");
        write("out/0/weights", "ten bytes!");
        assert!(is_good());
    }
}
