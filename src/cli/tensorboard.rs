//! `export-tensorboard` and `run --log tensorboard=DIR`: curves as files that TensorBoard reads, a folder a stage.

use super::curves;
use super::options::RunArgument;
use super::terminal;
use crate::event::Event;
use crate::progress;
use crate::report::curves as read;
use crate::report::tensorboard;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
use stages::work;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

pub fn export(directory: &Path, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = which.find(file)?;
    let at = seconds(&found.run.at);
    let mut told = Vec::new();
    for stage in &found.run.stages {
        let name = &stage.head.name;
        // Stages that measure, and those that the run did not reach, have none.
        let Ok(curves) = curves::of(&found, name) else { continue };
        let folder = directory.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(tensorboard::FILE);
        fs::write(&path, tensorboard::file(&curves, at)).with_context(|| format!("write {}", path.display()))?;
        told.push(format!("{name} ({} points)", curves.len()));
    }
    let told = if told.is_empty() { "no stage of this run has curves".to_owned() } else { told.join(", ") };
    terminal::say(&format!("{}: {told}\n", directory.display()))?;
    Ok(0)
}

fn seconds(rfc_3339: &str) -> f64 {
    rfc_3339.parse::<jiff::Timestamp>().map_or(0.0, |at| at.as_millisecond() as f64 / 1000.0)
}

/// Writes the points of running stages as they come. A fault of the folder ends the writing, not the run.
pub struct TensorboardLog {
    directory: PathBuf,
    running: BTreeMap<String, TailOfCurve>,
}

struct TailOfCurve {
    points: Tail,
    out: File,
}

impl TensorboardLog {
    /// # Errors
    /// The folder cannot be created.
    pub fn open(directory: &Path) -> Result<TensorboardLog> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        Ok(TensorboardLog { directory: directory.to_owned(), running: BTreeMap::new() })
    }

    pub fn hear(&mut self, event: &Event) {
        let heard = match event {
            Event::Started { stage, part: None, log, .. } => self.begin(stage, Path::new(log)),
            Event::Progressed { stage, part: None, .. } => self.go_on(stage),
            Event::Finished { stage, part: None, .. } | Event::Failed { stage, part: None, .. } => {
                let heard = self.go_on(stage);
                self.running.remove(stage);
                heard
            }
            _ => Ok(()),
        };
        if let Err(error) = heard {
            tracing::warn!("log to TensorBoard: {error:#}");
            self.running.clear();
        }
    }

    fn begin(&mut self, stage: &str, log: &Path) -> Result<()> {
        let folder = self.directory.join(stage);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(tensorboard::FILE);
        let mut out = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        out.write_all(&tensorboard::header(now())).with_context(|| format!("write {}", path.display()))?;
        let points = tail(&log.with_file_name(work::CURVE));
        self.running.insert(stage.to_owned(), TailOfCurve { points, out });
        Ok(())
    }

    fn go_on(&mut self, stage: &str) -> Result<()> {
        let Some(TailOfCurve { points, out }) = self.running.get_mut(stage) else { return Ok(()) };
        for line in points.lines()? {
            let point = read::read(&String::from_utf8_lossy(&line));
            out.write_all(&tensorboard::points(&point, now())).context("write a point")?;
        }
        Ok(())
    }
}

fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}
