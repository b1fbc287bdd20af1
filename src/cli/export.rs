//! `export` and `import-adapter`: models for other tools, and adapters from them.

mod base;

use super::draft::TargetDraft;
use super::find::StoredRun;
use super::gates::{self, stage_of};
use super::options::RunArgument;
use super::refusal::refused;
use super::{lineage, model, terminal};
use crate::cli::configuration;
use crate::event::{Outcome, WaitReason};
use crate::progress;
use crate::report::card::{self, BaseSource, CardFacts, ExportedModel, StageWork};
use crate::report::format;
use crate::report::lineage::{ExportOrigin, ExportedFolder};
use anyhow::{Context, Result};
use base::base_of;
use cache::{Content, Store};
use formats::dropout;
use formats::dtype::Dtype;
use serde_json::Value;
use stages::kinds;
use stages::model::export;
use stages::stage::Gives;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The form in which the weights are written.
pub struct ExportForm {
    /// Whether the adapter is merged into the base.
    pub merges: bool,
    /// The precision; `None`: that of the base.
    pub dtype: Option<Dtype>,
}

pub fn export(
    stage: &str,
    directory: &Path,
    form: &ExportForm,
    file: Option<&Path>,
    which: &RunArgument,
) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = which.find_with(stage, file)?;
    let content = content_of(&found, stage)?;
    let store = configuration::store(&found.root)?;
    let draft = draft_of(directory)?;
    let (artifact, folder) = (draft.join("artifact"), draft.join("folder"));
    let placed = content.parse::<Content>().and_then(|content| store.place(&content, &artifact));
    placed.map_err(|error| refused(format!("export `{stage}`: {error:#}; `pipeline run` computes it again")))?;
    let exported =
        export::export(&artifact, &folder, form.merges, form.dtype).with_context(|| format!("export `{stage}`"));
    // Hard links to blobs are removed by the store itself, so that it need not hash the blobs again.
    store.withdraw(&artifact).with_context(|| format!("remove {}", artifact.display()))?;
    let exported = exported?;
    let model = ExportedModel {
        has_adapter: exported.has_adapter,
        is_merged: exported.is_merged,
        is_reward: exported.is_reward,
        offset: exported.offset,
        is_padded: exported.is_padded,
        parameters: exported.summary.parameters,
        dtypes: exported.summary.dtypes.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    let of_run = stage_of(&found, stage)?;
    let base = match card::base_source(&found.run, of_run) {
        BaseSource::Path(source) => Some(base_of(&source)),
        BaseSource::Scratch | BaseSource::Unknown => None,
    };
    let work = |key: &str| work_of(&store, key);
    let card = card::card(&found.run, of_run, &content, &CardFacts { model, base, work: &work });
    fs::write(folder.join("README.md"), card).context("write README.md")?;
    let origin = ExportOrigin { content: content.clone(), stage: stage.to_owned(), run: found.run.name.clone() };
    let origin = serde_json::to_vec_pretty(&origin).context("write the origin")?;
    fs::write(folder.join(lineage::ORIGIN), origin).with_context(|| format!("write {}", lineage::ORIGIN))?;
    keep(&folder, directory)?;
    lineage::note_export(
        &found.root,
        &ExportedFolder {
            at: jiff::Timestamp::now().to_string(),
            stage: stage.to_owned(),
            run: found.run.name.clone(),
            content: content.clone(),
            directory: directory.display().to_string(),
            by: gates::who(None).unwrap_or_default(),
        },
    )?;
    let how = match (exported.has_adapter, exported.is_merged) {
        (false, _) => "the whole model",
        (true, true) => "base and adapter merged",
        (true, false) => "base in model/, adapter in adapter/",
    };
    let bytes = format::bytes(exported.summary.bytes as u64);
    terminal::say(&format!("{}: `{stage}` of {}, {how}, {bytes}\n", directory.display(), found.run.name))?;
    Ok(0)
}

/// The work of an action, as its record tells it.
pub fn work_of(store: &Store, key: &str) -> Option<StageWork> {
    let telemetry = store.lookup(&key.parse().ok()?).ok()??.telemetry;
    let text = |pointer: &str| telemetry.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some(StageWork {
        at: text("/at")?,
        seconds: telemetry.get("seconds")?.as_f64()?,
        device: text("/worker/device"),
        program: text("/program"),
    })
}

/// The artifact that carries the stage's name.
fn content_of(found: &StoredRun, name: &str) -> Result<String> {
    let stage = stage_of(found, name)?;
    let makes_none = kinds::kind(&stage.head.kind).is_some_and(|kind| kind.gives == Gives::Nothing);
    let why = match &stage.outcome {
        Some(Outcome::Done { content, .. }) if content.starts_with("tree:") && !makes_none => {
            return Ok(content.clone());
        }
        Some(Outcome::Done { .. }) => "it made no model",
        Some(Outcome::Stopped { .. }) => "its gate let nothing through",
        Some(Outcome::Held { .. }) => "its gate waits for a decision: `pipeline approve`",
        Some(Outcome::Waits { on: WaitReason::Labels, .. }) => "it waits for labels: `pipeline label`",
        Some(Outcome::Waits { on: WaitReason::Budget, .. }) => "it waits for a larger budget",
        _ => "it was not finished",
    };
    Err(refused(format!("export `{name}` of {}: {why}", found.run.name)))
}

pub fn import_adapter(adapter: &Path, base: &str, directory: &Path) -> Result<u8> {
    let base = model::directory(base)?;
    let draft = draft_of(directory)?;
    let folder = draft.join("folder");
    let read = export::import_adapter(adapter, &base, &folder).map_err(|error| refused(format!("{error:#}")))?;
    keep(&folder, directory)?;
    let dropped = dropout::of_adapter(adapter)?;
    let dropped = dropped.map(|field| format!("; its {field} is not applied in training here")).unwrap_or_default();
    let head = if read.head.is_some() { " with a reward head" } else { "" };
    terminal::say(&format!(
        "{}: an adapter of rank {}, alpha {}{head}, over {}; go on from it with `lora: {{rank: {}, alpha: {}}}`{dropped}\n",
        directory.display(),
        read.rank,
        read.alpha,
        base.display(),
        read.rank,
        read.alpha
    ))?;
    Ok(0)
}

/// The draft of a folder that is not there yet.
fn draft_of(directory: &Path) -> Result<TargetDraft> {
    if fs::symlink_metadata(directory).is_ok() {
        return Err(refused(format!("{} exists already; name another directory", directory.display())));
    }
    TargetDraft::beside(directory).map_err(|error| refused(format!("create {}: {error:#}", directory.display())))
}

fn keep(folder: &Path, directory: &Path) -> Result<()> {
    fs::rename(folder, directory).map_err(|error| match error.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
            refused(format!("{} exists already; name another directory", directory.display()))
        }
        _ => anyhow::Error::from(error).context(format!("create {}", directory.display())),
    })
}
