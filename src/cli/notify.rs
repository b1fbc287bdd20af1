//! The command of `notify:` in a pipeline file. It hears of a stage that is held or fails, and of the end of the run, each
//! as one JSON object on its stdin. Whatever it does, the run goes its way.

use crate::event::{Event, Outcome};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time that a command has for one notice: the run waits for the last ones.
const PATIENCE: Duration = Duration::from_secs(10);

/// The object that the command reads. Fields may be added, and none changes its meaning.
#[derive(Debug, PartialEq, Serialize)]
struct Notice<'a> {
    /// `held`, `failed`, `finished`.
    notice: &'static str,
    run: &'a str,
    pipeline: &'a str,
    file: &'a str,
    /// Null at the end of the run.
    stage: Option<&'a str>,
    /// The exit code of the run, at its end: 0 done, 1 failed, 3 held or stopped by a gate, 130 interrupted.
    exit: Option<u8>,
    /// A sentence for people.
    message: String,
}

pub struct Notifier {
    run: String,
    pipeline: String,
    file: String,
    /// The lines for the command, and the thread that hands them over.
    lines: Sender<String>,
    thread: JoinHandle<()>,
}

impl Notifier {
    /// `None` where the file asks for none. `variables` are given to the command beside those of this process.
    pub fn open(command: &[String], file: &Path, variables: BTreeMap<String, OsString>) -> Option<Notifier> {
        if command.is_empty() {
            return None;
        }
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (command, directory) = (command.to_vec(), directory.to_owned());
        let (lines, heard) = channel::<String>();
        // One after the other, so that they come in the order in which things happened.
        let thread = std::thread::Builder::new().spawn(move || {
            for line in heard {
                if let Err(error) = hand_over(&command, &directory, &variables, &line) {
                    tracing::warn!("notify: `{}`: {error:#}", command.join(" "));
                }
            }
        });
        let thread = thread.inspect_err(|error| tracing::warn!("notify: start a thread: {error}")).ok()?;
        Some(Notifier { run: String::new(), pipeline: String::new(), file: String::new(), lines, thread })
    }

    pub fn hear(&mut self, event: &Event) {
        if let Event::RunStarted { run, pipeline, file, .. } = event {
            (self.run, self.pipeline, self.file) = (run.clone(), pipeline.clone(), file.clone());
        }
        let Some(notice) = self.notice(event) else { return };
        let line = serde_json::to_string(&notice).expect("a notice is plain data");
        // The thread ends with this value alone.
        let _ = self.lines.send(line);
    }

    /// Waits until every notice was handed over.
    pub fn end(self) {
        drop(self.lines);
        let _ = self.thread.join();
    }

    fn notice<'a>(&'a self, event: &'a Event) -> Option<Notice<'a>> {
        let of = |notice, stage, exit, message| Notice {
            notice,
            run: &self.run,
            pipeline: &self.pipeline,
            file: &self.file,
            stage,
            exit,
            message,
        };
        Some(match event {
            Event::Ended { stage, outcome: Outcome::Held { .. }, .. } => {
                let message = format!(
                    "{}: `{stage}` waits for a decision: `pipeline gate show {stage} {}`, then `pipeline approve`",
                    self.pipeline, self.file
                );
                of("held", Some(stage), None, message)
            }
            Event::Ended { stage, outcome: Outcome::Waits { done, needed, on }, .. } => {
                let (progress, way_on) = (on.progress(*done, *needed), on.way_on(&self.file, stage));
                let message = format!("{}: `{stage}` {progress}; {way_on}", self.pipeline);
                of("waits", Some(stage), None, message)
            }
            Event::Ended { stage, outcome: Outcome::Failed { cause }, .. } => {
                of("failed", Some(stage), None, format!("{}: `{stage}` failed: {cause}", self.pipeline))
            }
            Event::RunFinished { exit, .. } => {
                let how = match exit {
                    0 => "done",
                    3 => "ended at a gate: it is held or stopped",
                    130 => "interrupted",
                    _ => "failed",
                };
                of("finished", None, Some(*exit), format!("{}: {how}", self.pipeline))
            }
            _ => return None,
        })
    }
}

/// Runs the command with a notice on its stdin.
fn hand_over(command: &[String], directory: &Path, variables: &BTreeMap<String, OsString>, line: &str) -> Result<()> {
    // Its stdout is not that of the run, which may be a stream of events.
    let (stdin, stdout) = (Stdio::piped(), Stdio::null());
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).envs(variables).current_dir(directory).stdin(stdin).stdout(stdout);
    let mut child = program.spawn().context("start it")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read is none the worse.
        let _ = writeln!(stdin, "{line}");
    }
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().context("wait for it")? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("it ended with {status}"),
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            None => {
                child.kill().context("end it")?;
                child.wait().context("wait for it")?;
                bail!("it did not end within {} s", PATIENCE.as_secs());
            }
        }
    }
}
