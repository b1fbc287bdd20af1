//! Export of models to other tools, as one folder with the adapter merged or beside the base, and import of adapters
//! that were trained elsewhere.

use super::classifier;
use super::weights::{self, load_adapter};
use super::{Adapter, Decoder};
use crate::tensor::values_of;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use formats::architectures::Architecture;
use formats::config::Config;
use formats::directory::{ModelFiles, is_of_model};
use formats::dtype::{Dtype, set_dtype};
use formats::peft::{Lora, RewardScale};
use formats::tokenizer::{self, Tokenizer};
use formats::weights::{Summary, Tensors, check, summary};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The facts of an export, for its card.
#[derive(Debug)]
pub struct Export {
    pub has_adapter: bool,
    pub is_reward: bool,
    pub is_merged: bool,
    /// Subtracted from the values of a merged reward model.
    pub offset: f64,
    /// A merged reward model has a padding token, so that other tools can score several texts at once.
    pub is_padded: bool,
    pub summary: Summary,
}

/// Writes the artifact in `from` to the empty directory `to`. A model without an adapter, or with its adapter merged,
/// is written as `transformers` loads it; else base and adapter are written to `model/` and `adapter/`. `dtype` is the
/// precision of the base or the merged weights, by default that of the base.
///
/// A merged reward model is a sequence classifier with the reward as its only label: the head is divided by the spread,
/// and the offset, which a head without bias cannot hold, is written to `reward.json`.
///
/// # Errors
/// The artifact cannot be read, or `to` cannot be written.
pub fn export(from: &Path, to: &Path, merge: bool, dtype: Option<Dtype>) -> Result<Export> {
    let base = ModelFiles::open(from)?;
    let base = base.path();
    let config = Config::load(base)?;
    let adapter = from.join("adapter");
    let has_adapter = files::is_directory(&adapter)?;
    let is_flat = !has_adapter || merge;
    let target = if is_flat { to.to_owned() } else { to.join("model") };
    fs::create_dir_all(&target).with_context(|| format!("create {}", target.display()))?;
    let is_as_it_is = dtype.is_none() && !(has_adapter && merge);
    copy_files(base, &target, |name| is_as_it_is || !(is_weights(name) || name == "config.json"))?;
    let mut exported = Export {
        has_adapter,
        is_reward: false,
        is_merged: has_adapter && merge,
        offset: 0.0,
        is_padded: true,
        summary: check(base, &config)?,
    };
    let read = has_adapter.then(|| load_adapter(&adapter, &config, &Device::flex())).transpose()?;
    exported.is_reward = read.as_ref().is_some_and(|adapter| adapter.head.is_some());
    if !is_as_it_is {
        let dtype = match dtype {
            Some(dtype) => dtype,
            None => {
                exported.summary.dtype().context("tell the precision of the base: its tensors differ; say --dtype")?
            }
        };
        let mut model = weights::load(base, config, Dtype::F32, &Device::flex())?;
        let mut more = Tensors::new();
        if let Some(adapter) = read.filter(|_| merge) {
            merge_into(&mut model, &adapter)?;
            if let Some(head) = &adapter.head {
                exported.offset = adapter.offset / adapter.spread;
                let head: Vec<f32> =
                    values_of(head.clone())?.iter().map(|x| (f64::from(*x) / adapter.spread) as f32).collect();
                more.insert("score.weight".to_owned(), (head, vec![1, model.config.width]));
                model.config.source = as_classifier(&model.config)?;
                let tokenizer = Tokenizer::load(base)?;
                let ends: Vec<u32> = model.config.eos.iter().copied().chain(tokenizer.template_end()).collect();
                let padding = classifier::RewardPadding::of(&model.config, &tokenizer, &ends);
                padding.write(&mut model.config.source, base, &target)?;
                exported.is_padded = padding.is_there();
                RewardScale { offset: exported.offset, spread: 1.0 }.save(to)?;
            }
        }
        set_dtype(&mut model.config.source, dtype);
        weights::save(&model, &more, dtype, &target)?;
    }
    tokenizer::write_converted(base, &target)?;
    if !is_flat {
        copy_files(&adapter, &to.join("adapter"), |_| true)?;
    }
    exported.summary = summary(&target)?;
    Ok(exported)
}

/// Writes an artifact of a base and an adapter over it, both unchanged.
///
/// # Errors
/// One of them cannot be read, or they do not fit each other.
pub fn import_adapter(adapter: &Path, base: &Path, to: &Path) -> Result<Lora> {
    let base = ModelFiles::open(base)?;
    let base = base.path();
    let config = Config::load(base)?;
    check(base, &config)?;
    ensure!(tokenizer::is_there(base)?, "{}: there is no tokenizer.json", base.display());
    let read = Lora::load(adapter, &config)?;
    if read.matrices() == 0 {
        bail!("read {}: none of its tensors is one of this base", adapter.display());
    }
    copy_files(base, &to.join("model"), is_of_model)?;
    // Written anew: paths, versions and dropout that other tools add are no part of an adapter.
    read.save(&config.architecture.layout, &to.join("adapter"))?;
    Ok(read)
}

/// Adds s·A·B to each W, in f32; it is rounded once, when it is written.
fn merge_into(model: &mut Decoder, adapter: &Adapter) -> Result<()> {
    let is_in_out = model.config.architecture.layout.is_in_out;
    for (layer, block) in model.blocks.iter_mut().enumerate() {
        for (place, projection) in block.projections.iter_mut().enumerate() {
            let Some(change) = adapter.change(layer, place) else { continue };
            let change = if is_in_out { change } else { change.transpose() };
            projection.weight = projection.weight.clone() + change;
        }
    }
    Ok(())
}

/// The configuration of a classifier with one label: `LlamaForCausalLM` → `LlamaForSequenceClassification`.
fn as_classifier(config: &Config) -> Result<Value> {
    let mut source = config.source.clone();
    let fields = source.as_object_mut().context("read the configuration: it is no mapping")?;
    let Architecture { classifier, title, .. } = config.architecture;
    let class = classifier.with_context(|| {
        format!(
            "merge the reward model: `transformers` has no sequence classifier for {title}; export it without --merge"
        )
    })?;
    fields.insert("architectures".to_owned(), json!([format!("{class}ForSequenceClassification")]));
    fields.insert("problem_type".to_owned(), json!("regression"));
    classifier::label(&mut source);
    Ok(source)
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
}

fn copy_files(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(&is_wanted) && files::is_file(&entry.path())? {
            let (mut source, target) = (fs::File::open(entry.path())?, to.join(name));
            // Content alone: files of a store are read-only, and a folder to publish is edited.
            let mut copy = fs::File::create_new(&target).with_context(|| format!("create {}", target.display()))?;
            std::io::copy(&mut source, &mut copy).with_context(|| format!("write {}", target.display()))?;
        }
    }
    Ok(())
}
