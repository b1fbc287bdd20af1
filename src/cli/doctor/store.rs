//! The disk under the store, tried with small temporary files: in the store, or next to it if it does not exist yet.

use super::finding::{Finding, note, ok, problem, size};
use anyhow::{Context, Result};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Free bytes below which not even one small model fits.
const SPACE: u64 = 100_000_000;
/// Free bytes below which the disk will be full soon.
const ROOM: u64 = 5_000_000_000;

pub fn look(store: &Path) -> Vec<Finding> {
    let store = std::path::absolute(store).unwrap_or_else(|_| store.to_owned());
    let mut findings = Vec::new();
    match desk(&store) {
        Err(error) => {
            let help = "give `run` and `doctor` another directory: --store DIR, or PIPELINE_STORE";
            findings.push(problem("store", format!("{error:#}"), help));
        }
        Ok(desk) => {
            let place = if store.is_dir() { "" } else { ", which does not exist yet and can be created" };
            findings.push(ok("store", format!("{}{place}", store.display())));
            findings.extend(file_system(desk.path()));
            findings.extend(space(desk.path()));
            let tried =
                [writing(desk.path()), copies(desk.path()), links(desk.path()), locks(desk.path()), times(desk.path())];
            findings.extend(tried.into_iter().map(|found| {
                found.unwrap_or_else(|error| {
                    problem("store", format!("{error:#}"), "see to the disk, or take another: --store DIR")
                })
            }));
        }
    }
    findings
}

/// A temporary directory for the trials: in the store, else in its nearest ancestor that exists.
fn desk(store: &Path) -> Result<tempfile::TempDir> {
    // A dangling link counts as existing.
    let found = store.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let is_store = found == store;
    let name = if is_store { "write into the store".to_owned() } else { format!("make the store {}", store.display()) };
    if !found.is_dir() {
        anyhow::bail!("{name}: {} is no directory", found.display());
    }
    tempfile::Builder::new()
        .prefix(".pipeline-doctor-")
        .tempdir_in(found)
        .map_err(anyhow::Error::from)
        .with_context(|| name)
}

/// The mount that a path lies on.
#[derive(Debug, PartialEq)]
struct Mount {
    kind: String,
    source: String,
    /// Major and minor number: `254:0`.
    device: String,
}

/// The mount of a path in a table of Linux: the one with the longest mount point; of two at one place the later, which
/// hides the other.
fn mount(path: &Path, table: &str) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let (&[_, _, device, _, point, ..], Some((kind, rest))) = (left.as_slice(), right.split_once(' ')) else {
            continue;
        };
        let point = point.replace("\\040", " ");
        if !path.starts_with(&point) || best.as_ref().is_some_and(|(length, _)| *length > point.len()) {
            continue;
        }
        let source = rest.split(' ').next().unwrap_or_default().to_owned();
        best = Some((point.len(), Mount { kind: kind.to_owned(), source, device: device.to_owned() }));
    }
    best.map(|(_, mount)| mount)
}

fn file_system(desk: &Path) -> Option<Finding> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mount(&desk.canonicalize().ok()?, &table)?;
    let disk = match is_rotational(&mount) {
        Some(true) => ", rotational",
        Some(false) => ", not rotational",
        None => "",
    };
    let text = format!("{} on {}{disk}", mount.kind, mount.source);
    Some(match mount.kind.as_str() {
        "tmpfs" | "ramfs" => note("disk", text, "it is in memory: results are lost when the machine restarts"),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "lustre" | "ceph" | "glusterfs" => {
            note("disk", text, "over a network: every small write waits for it; a local --store is faster")
        }
        _ => ok("disk", text),
    })
}

/// Whether the disk rotates. A partition has no queue of its own; its disk, one directory up, has.
fn is_rotational(mount: &Mount) -> Option<bool> {
    let by_number = PathBuf::from("/sys/dev/block").join(&mount.device);
    let by_name = PathBuf::from("/sys/class/block").join(Path::new(&mount.source).file_name()?);
    let device = [by_number, by_name].into_iter().find_map(|path| path.canonicalize().ok())?;
    let queue = [device.join("queue/rotational"), device.join("../queue/rotational")];
    let word = queue.iter().find_map(|path| fs::read_to_string(path).ok())?;
    Some(word.trim() == "1")
}

#[cfg(unix)]
fn space(desk: &Path) -> Option<Finding> {
    let told = rustix::fs::statvfs(desk).ok()?;
    let (free, total) = (told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize);
    let text = format!("{} free of {}", size(free), size(total));
    let help = "free some, or take another disk: --store DIR";
    // File systems without a limit on the number of files report 0 of 0.
    let has_no_files_left = told.f_files > 0 && told.f_favail == 0;
    Some(match free {
        _ if has_no_files_left => problem("space", format!("{text}, but no more files (inodes)"), help),
        0..SPACE => problem("space", text, help),
        SPACE..ROOM => note("space", text, help),
        _ => ok("space", text),
    })
}

#[cfg(not(unix))]
fn space(_: &Path) -> Option<Finding> {
    None
}

/// The cost of writing a blob, tree or record.
fn writing(desk: &Path) -> Result<Finding> {
    let mut took = Vec::new();
    for n in 0..20 {
        let started = Instant::now();
        let mut file = File::create(desk.join(format!("write-{n}"))).context("write into the store")?;
        file.write_all(&[0; 4096]).context("write into the store")?;
        file.sync_all().context("write into the store through to the disk (fsync)")?;
        took.push(started.elapsed());
    }
    took.sort();
    let (median, longest) = (took[10], took[19]);
    let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let text = format!(
        "a file of 4 kB written through (fsync): median {}, longest {}, of 20",
        millis(median),
        millis(longest)
    );
    Ok(match median > Duration::from_millis(20) {
        true => note("fsync", text, "slow: hundreds of short stages will wait for it; a local SSD as --store helps"),
        false => ok("fsync", text),
    })
}

/// Whether copies share blocks. Large files are placed by reflink, else by hard link, else by copy.
fn copies(desk: &Path) -> Result<Finding> {
    fs::write(desk.join("original"), [1; 8192]).context("write into the store")?;
    Ok(match reflink_copy::reflink(desk.join("original"), desk.join("reflink")) {
        Ok(()) => ok("reflink", "copies share their blocks: placing a model costs nothing"),
        Err(_) => ok("reflink", "not on this file system; results are placed as read-only hard links"),
    })
}

fn links(desk: &Path) -> Result<Finding> {
    fs::write(desk.join("first"), "x").context("write into the store")?;
    Ok(match fs::hard_link(desk.join("first"), desk.join("second")) {
        Ok(()) if rustix::process::geteuid().is_root() => note(
            "hard links",
            "work, but root writes through a read-only one",
            "a stage that changes its input costs the store the result it came from; run as another user to prevent it",
        ),
        Ok(()) => ok("hard links", "work"),
        Err(error) => note(
            "hard links",
            format!("{error}"),
            "where reflinks are missing too, every model is copied for each stage",
        ),
    })
}

/// Whether file locks work, by which two runs share a store.
fn locks(desk: &Path) -> Result<Finding> {
    let open = || {
        File::options().create(true).truncate(false).write(true).open(desk.join("lock")).context("open a file to lock")
    };
    let (one, other) = (open()?, open()?);
    one.lock().context("lock a file")?;
    Ok(match other.try_lock() {
        Err(TryLockError::WouldBlock) => ok("locks", "work"),
        _ => problem(
            "locks",
            "a locked file can be locked again: two runs would spoil each other's work",
            "take another disk: --store DIR",
        ),
    })
}

/// Whether the clock of the disk agrees with that of this machine: unchanged files are recognised by their times.
fn times(desk: &Path) -> Result<Finding> {
    let path = desk.join("time");
    fs::write(&path, "x").context("write into the store")?;
    let written = fs::metadata(&path).and_then(|file| file.modified()).context("read the time of a file")?;
    let now = SystemTime::now();
    let apart = now.duration_since(written).or_else(|_| written.duration_since(now)).unwrap_or_default();
    let text = format!("the disk's clock and this machine's are {:.1} s apart", apart.as_secs_f64());
    Ok(match apart > Duration::from_secs(2) {
        true => note("times", text, "set both by a time server: ages of results and of locks will be wrong"),
        false => ok("times", text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_on_the_last_of_the_deepest_mounts_above_it() {
        let table = "\
            27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 27 0:25 / /data rw shared:1 - nfs4 server:/data rw\n\
            31 27 0:26 / /data rw - tmpfs none rw\n\
            32 27 8:1 / /my\\040disk rw - xfs /dev/sda1 rw\n";
        let kind = |path: &str| mount(Path::new(path), table).map(|mount| (mount.kind, mount.source, mount.device));
        let expected =
            |kind: &str, source: &str, device: &str| Some((kind.to_owned(), source.to_owned(), device.to_owned()));
        assert_eq!(kind("/home/me"), expected("ext4", "/dev/vda", "254:0"));
        assert_eq!(kind("/data/x"), expected("tmpfs", "none", "0:26"));
        assert_eq!(kind("/database"), expected("ext4", "/dev/vda", "254:0"));
        assert_eq!(kind("/my disk/x"), expected("xfs", "/dev/sda1", "8:1"));
        assert_eq!(mount(Path::new("/x"), ""), None);
    }
}
