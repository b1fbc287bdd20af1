//! What a stage may touch: its input directories, the candidates it writes, and its progress line.
//! It does not know where the directory lies, who started it, or what becomes of the files. `work.rs` has the layout.

use crate::data::Sieve;
use crate::model::memory::{self, Memory};
use crate::work;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Among the telemetry: what [`Io::remark`] was told.
pub const REMARKS: &str = "remarks";

/// Where to compute. Never part of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A real GPU through wgpu when there is one, else the CPU backend.
    #[default]
    Auto,
    Wgpu,
    Cpu,
}

/// `host.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    pub device: DeviceChoice,
    /// Names of variables that the command of the stage finds in its environment, and nobody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether the files that the command reads are noted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    /// Bad rows of its data files that may be left out. Where they are fewer, the result does not depend on it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skip_bad_rows: u64,
}

fn is_none(rows: &u64) -> bool {
    *rows == 0
}

/// Why a stage ended early, at the wish of whoever sent SIGTERM: the next attempt goes on after this step.
#[derive(Clone, Copy, Debug)]
pub struct Interruption {
    /// `None` of a command, which keeps its own checkpoints or none.
    pub step: Option<u64>,
}

impl std::fmt::Display for Interruption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.step {
            Some(step) => write!(formatter, "stopped after writing a checkpoint of step {step}"),
            None => write!(formatter, "stopped, and the command with it"),
        }
    }
}

impl std::error::Error for Interruption {}

/// One checkpoint a stage hands over: `out/<step>/` and what was measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub step: u64,
    /// `None` is a value that came out as no finite number; gates treat it as an error.
    pub metrics: BTreeMap<String, Option<f64>>,
}

/// `outcome.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    pub candidates: Vec<Candidate>,
    /// Telemetry of the worker: device class, seconds by phase. Outside digests and gates.
    #[serde(default)]
    pub telemetry: BTreeMap<String, serde_json::Value>,
}

/// What a checkpoint knows besides the stage's own state.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    /// So far; its telemetry names the device class.
    outcome: StageResult,
    /// Length of `metrics.jsonl`.
    curve_bytes: u64,
}

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// What is counted: `step`, `row`, …
    pub unit: String,
    /// What is being done, with the numbers worth seeing: `ppo: reward 0.41, kl 0.08`.
    pub message: String,
}

/// The hands of a running stage.
pub struct Io {
    work: PathBuf,
    inputs: BTreeMap<String, Vec<PathBuf>>,
    host: Host,
    outcome: StageResult,
    events: LineFile,
    curve: LineFile,
    last_progress: Option<Instant>,
    last_checkpoint: Instant,
    /// Set by SIGTERM. `None` until the stage shows that it can write a checkpoint: so long SIGTERM ends the process.
    is_to_stop: Option<Arc<AtomicBool>>,
}

/// A file of lines, made when the first one comes: the stages of a small command have none.
struct LineFile {
    path: PathBuf,
    file: Option<fs::File>,
}

impl LineFile {
    fn open(&mut self) -> Result<&mut fs::File> {
        if self.file.is_none() {
            let open = fs::OpenOptions::new().create(true).append(true).open(&self.path);
            self.file = Some(open.with_context(|| format!("open {}", self.path.display()))?);
        }
        Ok(self.file.as_mut().expect("it was opened above"))
    }
}

/// How much work a kill may cost. Saving takes a fraction of a second and changes no result.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

impl Io {
    /// `inputs`: the files or directories behind each port, in the order given in the file.
    pub fn open(work: &Path, inputs: BTreeMap<String, Vec<PathBuf>>, host: Host) -> Result<Io> {
        Ok(Io {
            work: work.to_owned(),
            inputs,
            host,
            outcome: StageResult::default(),
            events: LineFile { path: work.join(work::PROGRESS), file: None },
            curve: LineFile { path: work.join(work::CURVE), file: None },
            last_progress: None,
            last_checkpoint: Instant::now(),
            is_to_stop: None,
        })
    }

    pub fn device(&self) -> DeviceChoice {
        self.host.device
    }

    /// Names of the secrets that are passed on to a command.
    pub fn secrets(&self) -> &[String] {
        &self.host.secrets
    }

    pub fn is_audited(&self) -> bool {
        self.host.audit
    }

    /// What may be left out of the data, and what has been read of it: nothing yet.
    pub fn sieve(&self) -> Sieve {
        Sieve::new(self.host.skip_bad_rows)
    }

    /// The stage's own directory, which is also the current directory of an `exec` command.
    pub fn work(&self) -> &Path {
        &self.work
    }

    pub fn input(&self, port: &str) -> Result<&Path> {
        self.optional_input(port).with_context(|| format!("find input `{port}`: nothing is connected to it"))
    }

    pub fn optional_input(&self, port: &str) -> Option<&Path> {
        self.inputs.get(port).and_then(|paths| paths.first()).map(PathBuf::as_path)
    }

    /// Makes `out/<step>/`, to be filled before [`Io::candidate`] is called for that step.
    pub fn candidate_dir(&self, step: u64) -> Result<PathBuf> {
        let path = work::candidate(&self.work, step);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// Hands over the candidate of `step`. Steps rise.
    pub fn candidate(&mut self, step: u64, metrics: &[(&str, f64)]) -> Result<()> {
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), value.is_finite().then_some(*value)));
        self.candidate_with(step, metrics.collect())
    }

    /// As [`Io::candidate`], for metrics that may be missing a value.
    pub fn candidate_with(&mut self, step: u64, metrics: BTreeMap<String, Option<f64>>) -> Result<()> {
        if self.outcome.candidates.last().is_some_and(|last| last.step >= step) {
            bail!("hand over candidate {step}: steps must rise");
        }
        self.outcome.candidates.push(Candidate { step, metrics });
        Ok(())
    }

    /// Writes the per-item table `name` of the candidate of `step`, one JSON object a line.
    pub fn table<T: Serialize>(&self, step: u64, name: &str, rows: &[T]) -> Result<()> {
        let dir = work::tables(&self.work, step);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        write_rows(&dir.join(format!("{name}.jsonl")), rows)
    }

    /// Whether the last checkpoint is so old that a kill would cost too much, or SIGTERM came. A stage asks after
    /// every step, and from its first question on SIGTERM waits for the answer.
    pub fn is_checkpoint_due(&mut self) -> bool {
        self.defer_sigterm();
        self.is_to_stop() || self.last_checkpoint.elapsed() >= CHECKPOINT_EVERY
    }

    /// From here on SIGTERM ends the process no more: the stage looks for it, and stops in good order.
    pub fn defer_sigterm(&mut self) {
        if self.is_to_stop.is_none() {
            let flag = Arc::new(AtomicBool::new(false));
            match signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&flag)) {
                Ok(_) => self.is_to_stop = Some(flag),
                Err(error) => tracing::warn!("listen for SIGTERM: {error}"),
            }
        }
    }

    /// Whether SIGTERM came since [`Io::defer_sigterm`].
    pub fn is_to_stop(&self) -> bool {
        self.is_to_stop.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Replaces `resume/` in one rename by what `save` writes. The candidates handed over so far are part of it. The
    /// error is [`Interruption`] when the checkpoint is there and SIGTERM came.
    pub fn save_checkpoint(&mut self, step: u64, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let [partial, old, new] =
            [work::PARTIAL_CHECKPOINT, work::OLD_CHECKPOINT, work::CHECKPOINT].map(|name| self.work.join(name));
        for leftover in [&partial, &old] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).with_context(|| format!("remove {}", leftover.display()))?;
            }
        }
        fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
        save(&partial).with_context(|| format!("write the checkpoint of step {step}"))?;
        let curve_bytes = self.curve.open()?.metadata().context("read metrics.jsonl")?.len();
        let progress = Checkpoint { outcome: self.outcome.clone(), curve_bytes };
        fs::write(partial.join(work::CHECKPOINT_STATE), serde_json::to_vec(&progress)?)
            .context("write the checkpoint")?;
        // A directory cannot be renamed over a full one: the old one steps aside first, and counts until it is gone.
        if new.exists() {
            fs::rename(&new, &old).with_context(|| format!("rename {}", new.display()))?;
        }
        self.last_checkpoint = Instant::now();
        fs::rename(&partial, &new).with_context(|| format!("rename {}", partial.display()))?;
        if self.is_to_stop() { Err(Interruption { step: Some(step) }.into()) } else { Ok(()) }
    }

    /// The last complete checkpoint of an earlier attempt. Its candidates count as handed over; what that
    /// attempt wrote later is removed. A checkpoint of another device class is not taken up, since the bytes of a
    /// resumed run must be those of an undisturbed one; nor is one that is damaged or incomplete.
    pub fn resume_from(&mut self) -> Result<Option<PathBuf>> {
        let Some(directory) = work::checkpoint(&self.work) else { return Ok(None) };
        let read = || -> Result<Checkpoint> {
            let checkpoint: Checkpoint = serde_json::from_slice(&fs::read(directory.join(work::CHECKPOINT_STATE))?)?;
            if checkpoint.outcome.telemetry.get("device") != self.outcome.telemetry.get("device") {
                bail!("it is of another device class");
            }
            for candidate in &checkpoint.outcome.candidates {
                if !work::candidate(&self.work, candidate.step).is_dir() {
                    bail!("its candidate of step {} is gone", candidate.step);
                }
            }
            Ok(checkpoint)
        };
        let checkpoint =
            read().inspect_err(|error| tracing::warn!("starting anew, not from the checkpoint: {error:#}"));
        let (is_ours, curve_bytes) =
            checkpoint.as_ref().map_or((false, 0), |checkpoint| (true, checkpoint.curve_bytes));
        if let Ok(checkpoint) = checkpoint {
            self.outcome.candidates = checkpoint.outcome.candidates;
        }
        // The curve goes on where the checkpoint left it.
        self.curve.open()?.set_len(curve_bytes).context("cut metrics.jsonl")?;
        let known: Vec<String> = self.outcome.candidates.iter().map(|candidate| candidate.step.to_string()).collect();
        for place in [work::CANDIDATES, work::TABLES].map(|name| self.work.join(name)) {
            for entry in fs::read_dir(&place).into_iter().flatten() {
                let entry = entry?;
                if !known.iter().any(|step| entry.file_name() == step.as_str()) {
                    fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
                }
            }
        }
        Ok(is_ours.then_some(directory))
    }

    /// Gives up the checkpoint that [`Io::resume_from`] found: its contents turned out to be unreadable.
    pub fn start_anew(&mut self) -> Result<()> {
        self.outcome.candidates.clear();
        self.curve.open()?.set_len(0).context("cut metrics.jsonl")?;
        let all = [work::CANDIDATES, work::TABLES, work::CHECKPOINT, work::OLD_CHECKPOINT];
        for place in all.map(|name| self.work.join(name)) {
            if place.exists() {
                fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
            }
        }
        Ok(())
    }

    /// One point of the training curve.
    pub fn curve(&mut self, point: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(point).context("write metrics.jsonl")?;
        writeln!(self.curve.open()?, "{line}").context("write metrics.jsonl")
    }

    /// Tells the parent how far the work is. Rate-limited; the last step always arrives.
    pub fn progress(&mut self, done: u64, total: u64, unit: &str, message: impl FnOnce() -> String) -> Result<()> {
        let is_due = self.last_progress.is_none_or(|last| last.elapsed() >= Duration::from_millis(100));
        if !is_due && done != total {
            return Ok(());
        }
        self.last_progress = Some(Instant::now());
        let progress = Progress { done, total, unit: unit.to_owned(), message: message() };
        let line = serde_json::to_string(&progress).context("write events.jsonl")?;
        writeln!(self.events.open()?, "{line}").context("write events.jsonl")
    }

    /// Leaves word of the memory that this will take, for whoever has to say why it died of too little.
    pub fn expects(&self, memory: Memory, lower: &str) -> Result<()> {
        let path = self.work.join(work::EXPECTED_MEMORY);
        fs::write(&path, memory::in_words(memory, lower)).with_context(|| format!("write {}", path.display()))
    }

    /// What whoever runs the pipeline should be told, though it is no failure. Said once, also by a stage that resumes.
    pub fn remark(&mut self, message: String) {
        let said = self.outcome.telemetry.entry(REMARKS.to_owned()).or_insert_with(|| serde_json::json!([]));
        let said = said.as_array_mut().expect("nothing else is kept under this name");
        if !said.iter().any(|other| other.as_str() == Some(&message)) {
            tracing::warn!("{message}");
            said.push(message.into());
        }
    }

    pub fn telemetry(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.outcome.telemetry.insert(name.to_owned(), value.into());
    }

    /// The outcome is the last thing written: its presence is the success of the attempt.
    pub fn finish(self) -> Result<()> {
        if self.outcome.candidates.is_empty() {
            bail!("finish the stage: it handed over no candidate");
        }
        let path = self.work.join(work::OUTCOME);
        let partial = self.work.join(work::PARTIAL_OUTCOME);
        fs::write(&partial, serde_json::to_vec_pretty(&self.outcome)?)
            .with_context(|| format!("write {}", partial.display()))?;
        fs::rename(&partial, &path).with_context(|| format!("write {}", path.display()))
    }
}

/// Writes `rows` as JSONL.
pub fn write_rows<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
