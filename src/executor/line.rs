//! The line between an executor and a worker that waits for directories: a socket, which is the worker's standard input.
//!
//! ```text
//! executor → worker   `once WORD DIRECTORY`  work there, and end
//!                     `stay WORD DIRECTORY`  work there, and wait for the next
//! worker → executor   `begun`                the log of the directory is open, locked, and takes what the process prints
//!                     `done`                 it is closed again, after `stay` and good work
//! ```
//!
//! WORD is what only the worker may hear (`Job::handover`).
//!
//! Nothing that a worker says makes work succeed: that is up to `outcome.json`. Whatever is neither of the two words is the
//! end of a worker that cannot be understood.

use super::Job;
use super::process::{self, end, end_this_group, lock};
use anyhow::{Context, Result};
use rustix::stdio;
use stages::io::Handover;
use stages::work;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Stands for the directory in the command of a worker that is to wait for one.
pub const WAITS: &str = "-";

const ONCE: &str = "once ";
const STAY: &str = "stay ";
const BEGUN: &str = "begun\n";
const DONE: &str = "done\n";

/// The longest time in which a worker begins: it opens a file. One that does not is replaced.
const BEGINNING: Duration = Duration::from_secs(10);

/// A worker that waits for a directory.
pub struct Waiting {
    command: Vec<OsString>,
    pub child: Child,
    line: UnixStream,
    /// The name of the jobs for which it stays; `None` before its first one.
    shared: Option<String>,
    jobs: usize,
    /// The end of its last job.
    pub since: Instant,
}

impl Waiting {
    /// Starts one. What it prints before its first directory is lost.
    pub fn start(command: &[OsString]) -> Result<Waiting> {
        let (program, arguments) = command.split_first().context("start a worker: no command")?;
        let (line, of_worker) = UnixStream::pair().context("make the line to a worker")?;
        let mut worker = Command::new(program);
        worker.args(arguments).arg(WAITS);
        worker.stdin(OwnedFd::from(of_worker)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = process::start(&mut worker).with_context(|| format!("start {}", program.display()))?;
        Ok(Waiting { command: command.to_owned(), child, line, shared: None, jobs: 0, since: Instant::now() })
    }

    /// Tells it a job. `None` if it cannot do it; it is ended then.
    pub fn tell(mut self, job: &Job) -> Option<Waiting> {
        let is_line = !job.directory.as_os_str().as_bytes().contains(&b'\n');
        if is_line && self.line.write_all(&told_line(job)).is_ok() && says(&self.line, BEGUN, Some(BEGINNING)) {
            self.shared.clone_from(&job.shares);
            self.jobs += 1;
            return Some(self);
        }
        self.end();
        None
    }

    /// Waits, in another thread, until it says that it is done, or something else, or nothing more.
    pub fn is_done(&self) -> Result<impl FnOnce() -> bool + Send + 'static> {
        let line = self.line.try_clone().context("listen to a worker")?;
        Ok(move || says(&line, DONE, None))
    }

    pub fn waits_again(self) -> Waiting {
        Waiting { since: Instant::now(), ..self }
    }

    pub fn is_for(&self, command: &[OsString]) -> bool {
        self.command == command
    }

    /// Whether it has been told nothing yet.
    pub fn is_new(&self) -> bool {
        self.jobs == 0
    }

    /// Whether it has done other jobs than the one it was told last.
    pub fn has_worked(&self) -> bool {
        self.jobs > 1
    }

    /// Whether it stays after its job.
    pub fn stays(&self) -> bool {
        self.shared.is_some()
    }

    pub fn is_of(&self, name: Option<&str>) -> bool {
        self.stays() && self.shared.as_deref() == name
    }

    /// The time since its last job; none for one that is new.
    pub fn has_waited(&self) -> Duration {
        if self.is_new() { Duration::ZERO } else { self.since.elapsed() }
    }

    pub fn end(mut self) {
        end(&mut self.child);
    }
}

/// The line that tells a worker its job.
pub fn told_line(job: &Job) -> Vec<u8> {
    let word = if job.shares.is_some() { STAY } else { ONCE };
    [word.as_bytes(), job.handover.as_bytes(), b" ", job.directory.as_os_str().as_bytes(), b"\n"].concat()
}

/// Whether the other end says exactly this next.
fn says(mut line: &UnixStream, word: &str, within: Option<Duration>) -> bool {
    let mut said = vec![0; word.len()];
    let heard = line.set_read_timeout(within).and_then(|()| line.read_exact(&mut said));
    heard.is_ok() && said == word.as_bytes()
}

/// A directory that a worker was told, with what only it may hear, and whether more may follow.
pub struct Assignment {
    pub directory: PathBuf,
    pub handover: Handover,
    pub stays: bool,
}

/// For a worker: the directories that it is told, each with its log opened and the process moved there. The process ends
/// itself and its group as soon as the other end of the line is gone.
pub fn told() -> impl Iterator<Item = Assignment> {
    let (sender, directories) = mpsc::channel();
    // Without a thread nothing is told, and this worker ends: another one is started for the job, and says why it cannot.
    let _ = thread::Builder::new().spawn(move || {
        // The receiver is gone only with the process.
        let lines = io::stdin().lock().split(b'\n').map_while(Result::ok);
        lines.map_while(|line| read(&line)).for_each(|told| drop(sender.send(told)));
        end_this_group()
    });
    directories.into_iter().take_while(|told| begin(&told.directory).is_ok())
}

/// Reads a line that tells a worker its job.
pub fn read(line: &[u8]) -> Option<Assignment> {
    let (word, rest) = line.split_at_checked(ONCE.len())?;
    let stays = [ONCE, STAY].iter().position(|known| known.as_bytes() == word)? == 1;
    let at = rest.iter().position(|byte| *byte == b' ')?;
    let handover = Handover::read(str::from_utf8(&rest[..at]).ok()?)?;
    Some(Assignment { directory: PathBuf::from(OsString::from_vec(rest[at + 1..].to_vec())), handover, stays })
}

fn begin(directory: &Path) -> Result<()> {
    let log = File::options().create(true).append(true).open(directory.join(work::LOG))?;
    lock(&log);
    print_to(&log)?;
    std::env::set_current_dir(directory)?;
    say(BEGUN)
}

/// For a worker: lets go of the directory and says so.
pub fn done() -> Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    print_to(&nowhere)?;
    std::env::set_current_dir("/")?;
    say(DONE)
}

/// Everything that this process prints goes there from now on.
fn print_to(file: &File) -> Result<()> {
    io::stdout().flush()?;
    stdio::dup2_stdout(file)?;
    stdio::dup2_stderr(file)?;
    Ok(())
}

fn say(word: &str) -> Result<()> {
    rustix::io::write(stdio::stdin(), word.as_bytes())?;
    Ok(())
}
