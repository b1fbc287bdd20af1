//! The command of `notify:` in a pipeline file. It hears of a stage that is held or fails, and of the end of the run, each
//! as one JSON object on its stdin. Whatever it does, the run goes its way.

use crate::event::{Event, Outcome};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time that the commands have after the end of the run.
const PATIENCE: Duration = Duration::from_secs(30);

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
    command: Vec<String>,
    /// The directory of the pipeline file, where the command runs.
    directory: PathBuf,
    run: String,
    pipeline: String,
    file: String,
    children: Vec<Child>,
}

impl Notifier {
    /// `None` where the file asks for none.
    pub fn open(command: &[String], file: &Path) -> Option<Notifier> {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (!command.is_empty()).then(|| Notifier {
            command: command.to_vec(),
            directory: directory.to_owned(),
            run: String::new(),
            pipeline: String::new(),
            file: String::new(),
            children: Vec::new(),
        })
    }

    pub fn hear(&mut self, event: &Event) {
        if let Event::RunStarted { run, pipeline, file, .. } = event {
            (self.run, self.pipeline, self.file) = (run.clone(), pipeline.clone(), file.clone());
        }
        let Some(notice) = self.notice(event) else { return };
        let line = serde_json::to_string(&notice).expect("a notice is plain data");
        match start(&self.command, &self.directory, &line) {
            Ok(child) => self.children.push(child),
            Err(error) => tracing::warn!("notify: start `{}`: {error}", self.command.join(" ")),
        }
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

    /// Waits for the commands, but not for ever.
    pub fn end(mut self) {
        let until = Instant::now() + PATIENCE;
        for child in &mut self.children {
            loop {
                match child.try_wait() {
                    Ok(Some(status)) if !status.success() => {
                        tracing::warn!("notify: `{}` ended with {status}", self.command.join(" "));
                        break;
                    }
                    Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                    Ok(None) => {
                        tracing::warn!(
                            "notify: `{}` did not end within {} s",
                            self.command.join(" "),
                            PATIENCE.as_secs()
                        );
                        let _ = child.kill();
                        let _ = child.wait();
                        break;
                    }
                    Ok(Some(_)) | Err(_) => break,
                }
            }
        }
    }
}

fn start(command: &[String], directory: &Path, line: &str) -> std::io::Result<Child> {
    // Its stdout is not that of the run, which may be a stream of events.
    let (stdin, stdout) = (Stdio::piped(), Stdio::null());
    let mut child =
        Command::new(&command[0]).args(&command[1..]).current_dir(directory).stdin(stdin).stdout(stdout).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read is none the worse.
        let _ = writeln!(stdin, "{line}");
    }
    Ok(child)
}
