//! The files of an attempt that is worked by a node, beside those that the run shows (log, curve, progress):
//!
//! ```text
//! <attempt>/job.json        the name of the job, written and on the disk before it is submitted
//! <attempt>/id              its id, once Slurm gave one
//! <attempt>/handover        what only the worker may hear; for its owner alone, and removed at the end
//! <attempt>/script.sh       what is submitted
//! <attempt>/slurm.txt       what Slurm and the prelude print
//! <attempt>/given/          what every start begins with, as a work directory of its own; nobody writes there any more
//! <attempt>/starts/<restart>-<random>/   a start on a node, and all that it writes
//!                  …/started.json        last of what makes it: the host, the number of the restart
//!                  …/alive               written once a minute
//!                  …/made.json           after an outcome: the sizes of all files that it names, which may be seen late here
//!                  …/ended.json          how the worker ended
//! <attempt>/over            the run has taken the result, or knows that there is none
//! ```

use super::array;
use crate::failure::Exit;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub const JOB: &str = "job.json";
pub const ID: &str = "id";
pub const HANDOVER: &str = "handover";
pub const SCRIPT: &str = "script.sh";
pub const OUTPUT: &str = "slurm.txt";
pub const STARTED: &str = "started.json";
pub const ALIVE: &str = "alive";
pub const MADE: &str = "made.json";
pub const ENDED: &str = "ended.json";
pub const OVER: &str = "over";

/// The most bytes of any of these files.
pub const MOST: u64 = 1 << 20;

/// The time after which a job that nobody asked for is taken for gone; clusters allow days, not months.
const LONGEST: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// The content of `job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobBook {
    /// The name of the executor in the settings.
    pub executor: String,
    /// The name of the job, which no other attempt has.
    pub name: String,
    /// The pipeline of which it is.
    #[serde(default)]
    pub pipeline: String,
    /// For people: `sft`, or `eval: answers of sft`.
    pub title: String,
    /// The time limit of the work itself, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// The content of `started.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartBook {
    pub host: String,
    /// The id of the job.
    #[serde(default)]
    pub job: String,
    pub restart: u32,
    /// RFC 3339.
    pub at: String,
}

/// The content of `ended.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartEnd {
    pub exit: Exit,
    /// Whether SIGTERM came before.
    pub is_warned: bool,
}

/// The name of a job: the beginning of the key, the number of the attempt, and a word that nobody else draws.
pub fn name(attempt: &Path, random: u32) -> String {
    let part = |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let key: String = part(attempt.parent()).unwrap_or_default().chars().take(16).collect();
    format!("pl-{key}-{}-{random:08x}", part(Some(attempt)).unwrap_or_default())
}

/// A number that nobody else draws.
pub fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).context("read /dev/urandom")?;
    Ok(u32::from_ne_bytes(bytes))
}

/// The book of an attempt that was given to a cluster; `None` for any other.
pub fn read(attempt: &Path) -> Option<JobBook> {
    json(&attempt.join(JOB))
}

/// The content of a small file; `None` if it is not there, or not whole yet.
pub fn json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&files::read(path, MOST).ok()?).ok()
}

/// Whether a node may still work for an attempt: nothing but the run that takes its result knows that it does not.
pub fn lives(attempt: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(attempt.join(JOB)) else { return false };
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_none_or(|age| age < LONGEST) && fs::symlink_metadata(attempt.join(OVER)).is_err()
}

/// Writes down that nothing more is expected of a job.
pub fn close(attempt: &Path) -> Result<()> {
    if let Some(book) = read(attempt) {
        write(&attempt.join(OVER), b"")?;
        let removed = files::found(fs::remove_file(attempt.join(HANDOVER)));
        removed.context("remove the handover of a job")?;
        array::forget(attempt, &book.name)?;
    }
    Ok(())
}

/// The starts of an attempt, the latest first. Those that are still being made are not there yet.
pub fn starts(attempt: &Path) -> Vec<(PathBuf, StartBook)> {
    let entries = fs::read_dir(attempt.join(stages::work::STARTS)).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| Some((entry.path(), json::<StartBook>(&entry.path().join(STARTED))?));
    let mut starts: Vec<_> = entries.filter_map(read).collect();
    starts.sort_by(|(_, one), (_, other)| (other.restart, &other.at).cmp(&(one.restart, &one.at)));
    starts
}

/// Writes a file so that it is there whole, and on the disk, or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = || format!("write {}", path.display());
    let partial = path.with_added_extension("partial");
    let mut file =
        File::options().create(true).write(true).truncate(true).mode(0o600).open(&partial).with_context(name)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(name)?;
    fs::rename(&partial, path).with_context(name)?;
    let directory = path.parent().context("find the directory of a file")?;
    let directory = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    directory.and_then(rustix::fs::fsync).with_context(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_lives_from_its_name_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = directory.path().join("0badcafe0badcafe0badcafe").join("2");
        fs::create_dir_all(&attempt).unwrap();
        assert_eq!(name(&attempt, 0xab), "pl-0badcafe0badcafe-2-000000ab");
        assert!(!lives(&attempt));
        let (executor, pipeline, title) = ("lab".into(), "rlhf".into(), "sft".into());
        let book = JobBook { executor, name: name(&attempt, 1), pipeline, title, timeout: None };
        write(&attempt.join(JOB), &serde_json::to_vec(&book).unwrap()).unwrap();
        write(&attempt.join(HANDOVER), b"secret").unwrap();
        assert!(lives(&attempt));
        assert_eq!(read(&attempt), Some(book));
        close(&attempt).unwrap();
        assert!(!lives(&attempt) && !attempt.join(HANDOVER).exists());
    }
}
