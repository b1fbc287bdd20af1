//! The interface of a running stage to its work directory: its inputs, the candidates it writes, and its progress.
//! `work.rs` has the layout.

mod books;
mod device_choice;
mod handover;
mod host;

pub use books::{CalledReward, Candidate, Host, Interruption, Progress, Shortfall, StageResult};
pub use device_choice::DeviceChoice;
pub use handover::Handover;

use crate::curve;
use crate::secret::Secrets;
use crate::work;
use anyhow::{Context, Result, bail};
use formats::data::DataSource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The remarks of a stage, in its telemetry: see [`Io::remark`].
pub const REMARKS: &str = "remarks";

/// The part of a checkpoint that is not the stage's own state.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    /// The result so far; its telemetry names the device class.
    outcome: StageResult,
    /// The length of `metrics.jsonl`.
    curve_bytes: u64,
}

/// The work directory of a running stage.
pub struct Io {
    work: PathBuf,
    inputs: BTreeMap<String, Vec<DataSource>>,
    host: Host,
    nonce: String,
    secrets: Arc<Secrets>,
    outcome: StageResult,
    events: LineFile,
    curve: LineFile,
    last_progress: Option<Instant>,
    /// The numbers of the last point of the curve.
    last_point: BTreeMap<String, Option<f64>>,
    last_checkpoint: Instant,
    /// Set by SIGTERM. `None` until the stage shows that it can write a checkpoint: until then SIGTERM ends the
    /// process.
    is_to_stop: Option<Arc<AtomicBool>>,
}

/// A file of lines, created with the first one: the stages of a small command have none.
struct LineFile {
    path: PathBuf,
    file: Option<fs::File>,
}

impl LineFile {
    fn open(&mut self) -> Result<&mut fs::File> {
        if self.file.is_none() {
            let open = files::to_append(&self.path);
            self.file = Some(open.with_context(|| format!("open {}", self.path.display()))?);
        }
        Ok(self.file.as_mut().expect("it was opened above"))
    }
}

/// The most work that a kill may cost. Saving takes a fraction of a second and changes no result.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

impl Io {
    /// `inputs` maps each port to its files or directories, in the order of the pipeline file; those of data with how
    /// they are read.
    pub fn open(work: &Path, inputs: BTreeMap<String, Vec<DataSource>>, host: Host) -> Result<Io> {
        Ok(Io {
            work: work.to_owned(),
            inputs,
            host,
            nonce: String::new(),
            secrets: Arc::default(),
            outcome: StageResult::default(),
            events: LineFile { path: work.join(work::PROGRESS), file: None },
            curve: LineFile { path: work.join(work::CURVE), file: None },
            last_progress: None,
            last_point: BTreeMap::new(),
            last_checkpoint: Instant::now(),
            is_to_stop: None,
        })
    }

    /// The same with what the runner told this worker alone.
    pub fn entrusted(self, nonce: String, secrets: Arc<Secrets>) -> Io {
        Io { nonce, secrets, ..self }
    }

    /// The secrets that the command gets.
    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// The contents on a port, as the action names them, in their order.
    ///
    /// # Errors
    /// The action cannot be read.
    pub fn contents(&self, port: &str) -> Result<Vec<String>> {
        fn texts(value: &Value) -> Vec<String> {
            match value {
                Value::String(text) => vec![text.clone()],
                Value::Array(all) => all.iter().flat_map(texts).collect(),
                // Sources with options.
                Value::Object(fields) => fields.get("files").map_or_else(Vec::new, texts),
                _ => Vec::new(),
            }
        }
        Ok(texts(&self.action()?["inputs"][port]))
    }

    /// The name of the action.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn action_name(&self) -> Result<String> {
        let path = self.work.join(work::ACTION);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(blake3::hash(&text).to_hex().to_string())
    }

    pub fn is_audited(&self) -> bool {
        self.host.audit
    }

    /// Whether a person wants the action executed again.
    pub fn is_forced(&self) -> bool {
        self.host.is_forced
    }

    /// The number of bad rows that may be left out of the data files.
    pub fn may_skip(&self) -> u64 {
        self.host.skip_bad_rows
    }

    /// The work directory.
    pub fn work(&self) -> &Path {
        &self.work
    }

    pub fn input(&self, port: &str) -> Result<&Path> {
        self.optional_input(port).with_context(|| format!("find input `{port}`: nothing is connected to it"))
    }

    pub fn optional_input(&self, port: &str) -> Option<&Path> {
        self.inputs.get(port).and_then(|sources| sources.first()?.files.first()).map(PathBuf::as_path)
    }

    /// Everything that is connected to a port, in its order.
    pub fn inputs_of(&self, port: &str) -> impl Iterator<Item = &Path> {
        self.inputs.get(port).into_iter().flatten().flat_map(|source| &source.files).map(PathBuf::as_path)
    }

    /// The files of a data port, and how they are read.
    pub fn data(&self, port: &str) -> Result<&[DataSource]> {
        self.optional_data(port).with_context(|| format!("find input `{port}`: nothing is connected to it"))
    }

    pub fn optional_data(&self, port: &str) -> Option<&[DataSource]> {
        self.inputs.get(port).map(Vec::as_slice).filter(|sources| !sources.is_empty())
    }

    /// The identity of what is connected to a port, as the action names it.
    ///
    /// # Errors
    /// The action cannot be read, or names several.
    pub fn identity(&self, port: &str) -> Result<String> {
        let named = self.action()?["inputs"][port].as_str().map(str::to_owned);
        named.with_context(|| format!("read {}: it names no `{port}`", work::ACTION))
    }

    fn action(&self) -> Result<Value> {
        let path = self.work.join(work::ACTION);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    }

    /// The folder of the replies of endpoints.
    ///
    /// # Errors
    /// The stage was given none: it is not seen where the stage runs.
    pub fn replies(&self) -> Result<&Path> {
        let unseen = "find the folder of replies: it is beside the store, and not seen here; let the stage run there (`executor: local`)";
        self.host.replies.as_deref().context(unseen)
    }

    /// Ends the stage without a result: it has so much of what it needs, and a later run goes on.
    ///
    /// # Errors
    /// There are none.
    pub fn wait(&mut self, done: usize, needed: usize) -> Result<()> {
        self.outcome.waits = Some(Shortfall { done, needed });
        Ok(())
    }

    /// Creates `out/<step>/`. Fill it before calling [`Io::candidate`] for that step.
    pub fn candidate_dir(&self, step: u64) -> Result<PathBuf> {
        let path = work::candidate(&self.work, step);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// Hands over the candidate of `step`. Steps must rise.
    pub fn candidate(&mut self, step: u64, metrics: &[(&str, f64)]) -> Result<()> {
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), value.is_finite().then_some(*value)));
        self.candidate_with(step, metrics.collect())
    }

    /// Like [`Io::candidate`], for metrics that may be missing a value.
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

    /// Whether to write a checkpoint: the last one is old, or SIGTERM came. A stage asks after every step. From its
    /// first question on, SIGTERM only sets a flag.
    pub fn is_checkpoint_due(&mut self) -> bool {
        self.defer_sigterm();
        self.is_to_stop() || self.last_checkpoint.elapsed() >= CHECKPOINT_EVERY
    }

    /// Makes SIGTERM set a flag instead of ending the process: the stage checks it, and stops in good order.
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

    /// Replaces `resume/`, in one rename, by what `save` writes and the candidates so far. Fails with [`Interruption`]
    /// when the checkpoint is written and SIGTERM came.
    pub fn save_checkpoint(&mut self, step: u64, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let [partial, old, new] =
            [work::PARTIAL_CHECKPOINT, work::OLD_CHECKPOINT, work::CHECKPOINT].map(|name| self.work.join(name));
        for leftover in [&partial, &old] {
            remove_if_there(leftover)?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
        save(&partial).with_context(|| format!("write the checkpoint of step {step}"))?;
        let curve_bytes = self.curve.open()?.metadata().context("read metrics.jsonl")?.len();
        let progress = Checkpoint { outcome: self.outcome.clone(), curve_bytes };
        fs::write(partial.join(work::CHECKPOINT_STATE), serde_json::to_vec(&progress)?)
            .context("write the checkpoint")?;
        // A directory cannot be renamed over one with files: the old one is moved aside first, and counts until it is
        // removed.
        files::found(fs::rename(&new, &old)).with_context(|| format!("rename {}", new.display()))?;
        self.last_checkpoint = Instant::now();
        fs::rename(&partial, &new).with_context(|| format!("rename {}", partial.display()))?;
        if self.is_to_stop() { Err(Interruption { step: Some(step) }.into()) } else { Ok(()) }
    }

    /// Takes up the last complete checkpoint of an earlier attempt: its candidates count as handed over, and what that
    /// attempt wrote later is removed. A checkpoint of another device class is refused, since a resumed run must give
    /// the bytes of an undisturbed one; so is one that is damaged or incomplete.
    pub fn resume_from(&mut self) -> Result<Option<PathBuf>> {
        let found = work::checkpoint(&self.work).context("look for a checkpoint")?;
        let Some(directory) = found else { return Ok(None) };
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
        // The curve continues from the checkpoint.
        self.curve.open()?.set_len(curve_bytes).context("cut metrics.jsonl")?;
        let known: Vec<String> = self.outcome.candidates.iter().map(|candidate| candidate.step.to_string()).collect();
        for place in [work::CANDIDATES, work::TABLES].map(|name| self.work.join(name)) {
            let read = || format!("read {}", place.display());
            for entry in files::found(fs::read_dir(&place)).with_context(read)?.into_iter().flatten() {
                let entry = entry.with_context(read)?;
                if !known.iter().any(|step| entry.file_name() == step.as_str()) {
                    fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
                }
            }
        }
        Ok(is_ours.then_some(directory))
    }

    /// Removes what lies where candidates and tables go: nothing that this stage did not hand over is one.
    pub fn clear_candidates(&self) -> Result<()> {
        [work::CANDIDATES, work::TABLES].into_iter().try_for_each(|name| remove_if_there(&self.work.join(name)))
    }

    /// Discards the checkpoint that [`Io::resume_from`] found, because its contents cannot be read.
    pub fn start_anew(&mut self) -> Result<()> {
        self.outcome.candidates.clear();
        self.curve.open()?.set_len(0).context("cut metrics.jsonl")?;
        let all = [work::CANDIDATES, work::TABLES, work::CHECKPOINT, work::OLD_CHECKPOINT];
        for place in all.map(|name| self.work.join(name)) {
            remove_if_there(&place)?;
        }
        Ok(())
    }

    /// Appends a point to the training curve.
    pub fn curve(&mut self, point: &impl Serialize) -> Result<()> {
        let point = serde_json::to_value(point).context("write metrics.jsonl")?;
        if let Value::Object(fields) = &point {
            self.last_point.extend(curve::numbers(fields));
        }
        let line = point.to_string();
        writeln!(self.curve.open()?, "{line}").context("write metrics.jsonl")
    }

    /// Reports progress to the parent. Rate-limited; the last step is always reported.
    pub fn progress(&mut self, done: u64, total: u64, unit: &str, message: impl FnOnce() -> String) -> Result<()> {
        let is_due = self.last_progress.is_none_or(|last| last.elapsed() >= Duration::from_millis(100));
        if !is_due && done != total {
            return Ok(());
        }
        self.last_progress = Some(Instant::now());
        let progress =
            Progress { done, total, unit: unit.to_owned(), message: message(), metrics: self.last_point.clone() };
        let line = serde_json::to_string(&progress).context("write events.jsonl")?;
        writeln!(self.events.open()?, "{line}").context("write events.jsonl")
    }

    /// Writes down, as a sentence, the memory that the stage is expected to take, in case it dies of too little.
    pub fn expects(&self, memory: &str) -> Result<()> {
        let path = self.work.join(work::EXPECTED_MEMORY);
        files::write(&path, memory.as_bytes()).with_context(|| format!("write {}", path.display()))
    }

    /// Tells people something about the stage that is no failure. A remark is kept once, even when the stage resumes.
    pub fn remark(&mut self, message: String) {
        let said = self.outcome.telemetry.entry(REMARKS.to_owned()).or_insert_with(|| serde_json::json!([]));
        let said = said.as_array_mut().expect("nothing else is kept under this name");
        if !said.iter().any(|other| other.as_str() == Some(&message)) {
            tracing::warn!("{message}");
            said.push(message.into());
        }
    }

    pub fn telemetry(&mut self, name: &str, value: impl Into<Value>) {
        self.outcome.telemetry.insert(name.to_owned(), value.into());
    }

    /// Writes the outcome, last of all: its presence means that the attempt succeeded.
    pub fn finish(self) -> Result<()> {
        if self.outcome.candidates.is_empty() && self.outcome.waits.is_none() {
            bail!("finish the stage: it handed over no candidate");
        }
        let path = self.work.join(work::OUTCOME);
        let partial = self.work.join(work::PARTIAL_OUTCOME);
        let outcome = serde_json::to_string_pretty(&StageResult { nonce: self.nonce, ..self.outcome })?;
        // Remarks and telemetry may quote what a command said.
        files::write(&partial, self.secrets.redacted(&outcome).as_bytes())
            .with_context(|| format!("write {}", partial.display()))?;
        fs::rename(&partial, &path).with_context(|| format!("write {}", path.display()))
    }
}

fn remove_if_there(directory: &Path) -> Result<()> {
    let removed = files::found(fs::remove_dir_all(directory));
    removed.map(drop).with_context(|| format!("remove {}", directory.display()))
}

/// Writes rows as JSONL.
pub fn write_rows<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Reads rows that [`write_rows`] wrote.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("read {}", path.display()))).collect()
}
