//! The machine that was measured on: the facts without which the numbers say nothing. Where the system does not tell,
//! "unknown".

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory: String,
    pub system: String,
    /// The file system of the directory in which everything ran.
    pub file_system: String,
    pub disk: String,
}

pub fn machine(home: &Path) -> Machine {
    let (file_system, disk) = disk(home).unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()));
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    Machine {
        processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        memory: memory.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.0} GiB", kib / 1024.0 / 1024.0)),
        system: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| std::env::consts::OS.to_owned(), |release| format!("Linux {}", release.trim())),
        file_system,
        disk,
    }
}

/// The load of the machine: the mean number of processes that wanted to run in the last minute.
pub fn load() -> Option<String> {
    let loads = fs::read_to_string("/proc/loadavg").ok()?;
    Some(loads.split(' ').next()?.to_owned())
}

/// `name : value` or `name: value`, the first there is.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The file system and the disk of a path, by the table of mounts, whose third field is the device and whose part behind
/// ` - ` begins with the file system.
fn disk(path: &Path) -> Option<(String, String)> {
    let device = fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = format!("{major}:{minor}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let file_system = mount.split_once(" - ")?.1.split(' ').next()?.to_owned();
    let of_block = format!("/sys/dev/block/{device}");
    let Ok(block) = fs::canonicalize(&of_block) else { return Some((file_system, "none: in memory".to_owned())) };
    let name = block.file_name()?.to_string_lossy().into_owned();
    // A partition has no queue of its own.
    let queue = ["queue/rotational", "../queue/rotational"].map(|file| fs::read_to_string(block.join(file)));
    let turns = match queue.into_iter().flatten().next().as_deref().map(str::trim) {
        Some("1") => ", which says that it is rotational",
        Some("0") => ", not rotational",
        _ => "",
    };
    let virtual_disk = if name.starts_with("vd") { " (virtual)" } else { "" };
    Some((file_system, format!("{name}{virtual_disk}{turns}")))
}

/// The times it takes to have a new file of 4 KiB on the disk for certain, and its name.
pub fn durable_writes(home: &Path) -> Result<Vec<Duration>> {
    let directory = tempfile::tempdir_in(home).context("make a directory")?;
    let write = |number: u32| {
        let started = Instant::now();
        let mut file = File::create(directory.path().join(number.to_string()))?;
        file.write_all(&[7; 4096])?;
        file.sync_all()?;
        File::open(directory.path())?.sync_all()?;
        Ok(started.elapsed())
    };
    (0..21).map(write).collect::<std::io::Result<_>>().context("write durably")
}
