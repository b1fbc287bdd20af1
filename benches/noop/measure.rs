//! The cost of a process: time by the clock, and the most memory it held. Knows nothing of what is run.

use anyhow::{Context, Result, bail};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The measurements of several runs of the same thing.
#[derive(Clone)]
pub struct Sample {
    /// Sorted.
    walls: Vec<Duration>,
    /// Bytes; of the run that held the most.
    pub peak: u64,
}

impl Sample {
    /// At least one wall.
    pub fn of(mut walls: Vec<Duration>, peak: u64) -> Sample {
        walls.sort();
        Sample { walls, peak }
    }

    /// The upper one of two in the middle.
    pub fn median(&self) -> Duration {
        self.walls[self.walls.len() / 2]
    }

    pub fn lowest(&self) -> Duration {
        self.walls[0]
    }
}

/// The number of runs, and the time after which no further one begins.
#[derive(Clone, Copy)]
pub struct Patience {
    pub least: usize,
    pub most: usize,
    pub budget: Duration,
}

/// The command that `next` gives, again and again. What `next` does itself is not counted.
pub fn sample(patience: Patience, mut next: impl FnMut() -> Result<Command>) -> Result<Sample> {
    let started = Instant::now();
    let mut runs = Vec::new();
    while runs.len() < patience.least || (runs.len() < patience.most && started.elapsed() < patience.budget) {
        runs.push(once(&mut next()?)?);
    }
    let peak = runs.iter().map(|(_, peak)| *peak).max().unwrap_or_default();
    Ok(Sample::of(runs.into_iter().map(|(wall, _)| wall).collect(), peak))
}

/// Runs it to its end, unheard. One that fails is an error with the first line of what it said when it is run again.
pub fn once(command: &mut Command) -> Result<(Duration, u64)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
    let (status, peak) = wait(child.id())?;
    let wall = started.elapsed();
    if status != 0 {
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().context("run it once more")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let is_telling = |line: &&str| line.contains("rror");
        let line = said.lines().find(is_telling).or_else(|| said.lines().next()).unwrap_or("it says nothing");
        bail!("{}: {line}", ExitStatus::from_raw(status));
    }
    Ok((wall, peak))
}

/// Waits as `time` does: the kernel says with the end what the process and those it waited for held at most. A process
/// counts what its parent held when it was started, so this program must stay smaller than what it measures.
fn wait(id: u32) -> Result<(i32, u64)> {
    let id = libc::pid_t::try_from(id).context("read a process id")?;
    let mut status = 0;
    // SAFETY: all of `rusage` are plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both point to values of this function; the process is a child that nobody else waits for.
        if unsafe { libc::wait4(id, &raw mut status, 0, &raw mut usage) } == id {
            let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
            return Ok((status, u64::try_from(usage.ru_maxrss).unwrap_or_default() * unit));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("wait for a process");
        }
    }
}
