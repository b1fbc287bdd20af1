//! The disk space of attempts: when it is freed.

use super::attempt::{Attempt, attempts, directory};
use crate::executor::{self, slurm};
use anyhow::{Context, Result};
use cache::{Digest, Store, Tally};
use stages::work;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The bytes that failed attempts of all actions may keep in total. Stages write checkpoints there, and people may look
/// at what is left; 20 GiB hold a few of a small model's checkpoints.
pub const WORK: u64 = 20 << 30;

/// The number of earlier attempts at an action that keep their log, curves and action.
const KEPT: usize = 9;

/// Removes the large directories of earlier attempts at the same action, and all of the oldest attempts. The last
/// failed attempt was kept whole until now, for people to look at.
pub fn shed_earlier(store: &Store, attempt: &Attempt) {
    let mut dead = siblings(attempt);
    dead.retain(|other| other.number < attempt.number && !lives(other));
    dead.iter().for_each(|other| shed(store, other));
    dead.iter().rev().skip(KEPT).for_each(|other| remove(store, &other.directory));
}

/// Removes the large directories of all attempts at an action whose record is committed, except those of another run.
pub fn shed_all(store: &Store, attempt: &Attempt) {
    let all = siblings(attempt).into_iter();
    all.filter(|other| other.number == attempt.number || !lives(other)).for_each(|other| shed(store, &other));
}

/// All attempts at the same action, this one included.
fn siblings(attempt: &Attempt) -> Vec<Attempt> {
    attempt.directory.parent().and_then(|of_key| attempts(of_key).ok()).unwrap_or_default()
}

fn lives(attempt: &Attempt) -> bool {
    executor::lives(&attempt.directory)
}

fn shed(store: &Store, attempt: &Attempt) {
    work::LARGE.iter().for_each(|name| remove(store, &attempt.directory.join(name)));
}

/// Removes the work directories of actions that are not kept, that no run is doing, and that were not touched for
/// `keep_newer_than`. Returns the bytes that this frees, or would free in a dry run.
pub fn sweep(
    root: &Path,
    store: &Store,
    keep: &BTreeSet<Digest>,
    keep_newer_than: Option<Duration>,
    dry_run: bool,
) -> Result<Tally> {
    let work = directory(root);
    let mut swept = Tally::default();
    let entries = match fs::read_dir(&work) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(swept),
        Err(error) => return Err(error).with_context(|| format!("read {}", work.display())),
    };
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", work.display()))?.path();
        let key = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Digest>().ok());
        // Of unknown age it is young.
        let age = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        let is_young = keep_newer_than.is_some_and(|young| age.is_none_or(|age| age < young));
        if key.is_none_or(|key| keep.contains(&key)) || is_young || attempts(&path)?.iter().any(lives) {
            continue;
        }
        swept.count += 1;
        swept.bytes += free_bytes(&path);
        if !dry_run {
            remove(store, &path);
        }
    }
    if !dry_run {
        slurm::array::sweep(&work)?;
    }
    Ok(swept)
}

/// Removes failed and interrupted attempts, oldest first, until those of all actions take at most `budget` bytes. The
/// `last` failed attempt stays whole, for people to look at.
pub fn prune(root: &Path, store: &Store, budget: u64, last: &Attempt) {
    let entries = fs::read_dir(directory(root)).into_iter().flatten().flatten();
    // Another run may be about to collect the results of its own attempt.
    let is_at_it = |of_key: &fs::DirEntry| {
        let key = of_key.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
        key.is_none_or(|key| !matches!(store.owner(&key), Ok(None)))
    };
    let free = entries.filter(|of_key| last.directory.starts_with(of_key.path()) || !is_at_it(of_key));
    let all = free.flat_map(|of_key| attempts(&of_key.path()).unwrap_or_default());
    let sized = all.map(|attempt| {
        let touched = fs::metadata(&attempt.directory).and_then(|metadata| metadata.modified()).ok();
        (touched, free_bytes(&attempt.directory), attempt)
    });
    let mut sized: Vec<_> = sized.filter(|(_, bytes, _)| *bytes > 0).collect();
    sized.sort_by_key(|(touched, ..)| *touched);
    let mut used: u64 = sized.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, attempt) in sized {
        if used <= budget {
            break;
        }
        if attempt.directory != last.directory && !lives(&attempt) {
            remove(store, &attempt.directory);
            used -= bytes;
        }
    }
}

/// The bytes that removing a directory frees: a file with another name is also in the store and counts nothing, like an
/// unreadable one.
fn free_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => free_bytes(&entry.path()),
        Ok(metadata) if metadata.nlink() == 1 => metadata.len(),
        _ => 0,
    };
    entries.map(of).sum()
}

/// Removes a directory. A failure only costs space.
fn remove(store: &Store, directory: &Path) {
    match store.withdraw(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!("remove {}: {error}", directory.display()),
        _ => {}
    }
}
