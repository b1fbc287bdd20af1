//! The program as a user runs it: a directory, a command line, and the output.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

#[path = "wait.rs"]
mod wait;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use wait::PATIENCE;
pub use wait::wait_for;

/// The repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A temporary directory in which the program is run.
pub struct Place {
    directory: tempfile::TempDir,
}

pub fn place() -> Place {
    Place { directory: tempfile::tempdir().unwrap() }
}

impl Place {
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// Another place with the same files in it.
    pub fn copy(&self) -> Place {
        let copy = place();
        copy_into(self.path(), copy.path());
        copy
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for name in
            ["PIPELINE_STORE", "PIPELINE_DEVICE", "PIPELINE_GPUS", "PIPELINE_PROGRESS_INTERVAL", "RUST_LOG", "NO_COLOR"]
        {
            command.env_remove(name);
        }
        // Nothing of the one who runs the tests.
        command.env("PIPELINE_CONFIG", "/dev/null").env("PIPELINE_CACHE_REMOTE", "");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments))
    }

    pub fn start(&self, arguments: &[&str]) -> Live {
        self.start_command(self.command(arguments))
    }

    pub fn start_command(&self, mut command: Command) -> Live {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let events = lines(child.stdout.take().unwrap(), |line| event(&line));
        let remarks = lines(child.stderr.take().unwrap(), |line| line);
        Live { child, events, remarks }
    }

    /// Starts a command that only prints.
    pub fn watch(&self, mut command: Command) -> Watched {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap(), |line| line);
        let stderr = lines(child.stderr.take().unwrap(), |line| line);
        Watched { child, stdout, stderr }
    }

    /// Every file and directory below, with its content and modification time.
    pub fn snapshot(&self) -> BTreeSet<String> {
        files(self.path())
            .iter()
            .map(|path| {
                let meta = fs::symlink_metadata(path).unwrap();
                let bytes = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
                format!("{} {:?} {}", path.display(), meta.modified().unwrap(), hash(&bytes))
            })
            .collect()
    }

    /// Waits until no process is at work in this directory.
    pub fn wait_for_silence(&self) {
        wait_for("the last worker to end", || at_work_in(self.path()).is_empty().then_some(()));
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

pub fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if from.is_dir() {
            copy_into(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Everything below a directory, in order.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The processes whose working directory lies in `directory`: workers, and whatever they started. Linux lists them; on
/// other systems the list is empty.
pub fn at_work_in(directory: &Path) -> Vec<u32> {
    let directory = directory.canonicalize().unwrap();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let of = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<u32>().ok();
    processes
        .filter_map(of)
        .filter(|id| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|at| at.starts_with(&directory)))
        .collect()
}

/// The result of a command.
pub struct Ran {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

pub fn ran(mut command: Command) -> Ran {
    let started = Instant::now();
    let output = command.output().unwrap();
    let took = started.elapsed();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { exit: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr), took }
}

impl Ran {
    /// Checks the exit code.
    pub fn expect_exit(self, exit: i32) -> Ran {
        assert_eq!(self.exit, Some(exit), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The events that `--json` printed, one per line of stdout.
    pub fn events(&self) -> Events {
        Events(self.stdout.lines().map(event).collect())
    }
}

fn event(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(value["event"].is_string(), "no event: {line}");
    value
}

/// The events of a run.
pub struct Events(pub Vec<Value>);

impl Events {
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |event| event["event"] == kind)
    }

    /// The stages whose own work was executed, in the order they began.
    pub fn executed(&self) -> Vec<&str> {
        self.of("started").filter(|event| event["part"].is_null()).map(|event| word(&event["stage"])).collect()
    }

    /// The stages for which anything at all was executed, measurements included.
    pub fn busy(&self) -> BTreeSet<&str> {
        self.of("started").map(|event| word(&event["stage"])).collect()
    }

    /// The event with which the stage began.
    pub fn started(&self, stage: &str) -> &Value {
        let mut own = self.of("started").filter(|event| event["stage"] == stage && event["part"].is_null());
        own.next().unwrap_or_else(|| panic!("`{stage}` was not executed"))
    }

    /// The outcome of the stage.
    pub fn outcome(&self, stage: &str) -> &Value {
        let mut ended = self.of("ended").filter(|event| event["stage"] == stage);
        let event = ended.next().unwrap_or_else(|| panic!("`{stage}` did not end"));
        assert!(ended.next().is_none(), "`{stage}` ended twice");
        &event["outcome"]
    }

    /// `done`, `stopped`, `failed`, …
    pub fn ending(&self, stage: &str) -> &str {
        word(&self.outcome(stage)["outcome"])
    }

    /// The content that carries the stage's name.
    pub fn content(&self, stage: &str) -> &str {
        word(&self.outcome(stage)["content"])
    }

    pub fn verdict(&self, stage: &str) -> &Value {
        let mut judged = self.of("judged").filter(|event| event["stage"] == stage);
        &judged.next().unwrap_or_else(|| panic!("`{stage}` was not judged"))["verdict"]
    }

    /// `pass`, `fail`, `error`.
    pub fn decision(&self, stage: &str) -> &str {
        word(&self.verdict(stage)["decision"])
    }
}

pub fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A run beside the test. Killed at the end of the test if it still runs.
pub struct Live {
    pub child: Child,
    events: Receiver<Value>,
    remarks: Receiver<String>,
}

/// Sends each line of the output as it is printed.
fn lines<T: Send + 'static>(output: impl Read + Send + 'static, read: fn(String) -> T) -> Receiver<T> {
    let (send, receive) = mpsc::channel();
    let lines = BufReader::new(output).lines();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(read(line))));
    receive
}

/// The next line or event for which this is true.
fn next<T>(lines: &Receiver<T>, is_it: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).expect("the program ended, or told nothing, before what was awaited");
        if is_it(&line) {
            return line;
        }
    }
}

/// A command beside the test. Killed at the end of the test if it still runs.
pub struct Watched {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Watched {
    /// The next line of stdout that begins with this text.
    pub fn says(&self, beginning: &str) -> String {
        next(&self.stdout, |line| line.starts_with(beginning))
    }

    /// The next line of stderr that begins with this text.
    pub fn remarks(&self, beginning: &str) -> String {
        next(&self.stderr, |line| line.starts_with(beginning))
    }

    /// The exit code, and the lines of stdout and stderr that were not read yet.
    pub fn end(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let status = wait_for("the command to end", || self.child.try_wait().unwrap());
        (status.code(), self.stdout.iter().collect(), self.stderr.iter().collect())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Live {
    /// The next event for which this is true.
    pub fn until(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        next(&self.events, is_it)
    }

    /// The next line of stderr that begins with this text.
    pub fn remarks(&self, beginning: &str) -> String {
        next(&self.remarks, |line| line.starts_with(beginning))
    }

    pub fn started(&self, stage: &str) -> Value {
        self.until(|event| event["event"] == "started" && event["stage"] == stage && event["part"].is_null())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// The exit code, and the events that were not read yet.
    pub fn end(mut self) -> (Option<i32>, Events) {
        let status = wait_for("the run to end", || self.child.try_wait().unwrap());
        let rest = self.events.iter().collect();
        (status.code(), Events(rest))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
