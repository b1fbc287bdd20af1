//! A model on disk: `model/` as `transformers` loads it, and at most one `adapter/` as `peft` loads it over that.
//! Base weights pass through untouched: a stage that trains an adapter writes only the adapter.

use super::layout::Layout;
use super::lora::Pair;
use super::weights::{self, transposed, write};
use super::{Adapter, Config, Decoder, LoraParameters};
use crate::draw::Draw;
use crate::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything a stage reads of a model.
pub struct Artifact {
    pub model: Decoder,
    pub adapter: Option<Adapter>,
    pub tokenizer: Tokenizer,
    /// Digest of `tokenizer.json`: ids mean the same under equal ones only.
    pub tokenizer_digest: String,
    /// Holds `config.json`.
    directory: PathBuf,
}

/// `adapter/reward.json`: what turns the head's value into the reward.
#[derive(Serialize, Deserialize)]
struct Reward {
    offset: f64,
    spread: f64,
}

impl Artifact {
    /// Reads a stage's artifact (`model/`, `adapter/`) or a plain Hugging Face directory.
    pub fn load(directory: &Path, device: &Device) -> Result<Artifact> {
        Artifact::open(directory, None, device)
    }

    /// As [`Artifact::load`], sharing the base of `other` when both lie on the same bytes: one frozen base in memory.
    pub fn load_beside(directory: &Path, other: &Artifact, device: &Device) -> Result<Artifact> {
        Artifact::open(directory, Some(other), device)
    }

    fn open(directory: &Path, other: Option<&Artifact>, device: &Device) -> Result<Artifact> {
        let model_directory = model_directory(directory);
        let model = match other {
            Some(other) if has_same_weights(&model_directory, &other.directory) => other.model.clone(),
            _ => weights::load(&model_directory, Config::load(&model_directory)?, device)?,
        };
        let tokenizer = Tokenizer::load(&model_directory, model.config.bos)?;
        let path = model_directory.join("tokenizer.json");
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let tokenizer_digest = blake3::hash(&bytes).to_hex().to_string();
        let adapter_directory = directory.join("adapter");
        let adapter = match adapter_directory.is_dir() {
            true => Some(load_adapter(&adapter_directory, &model.config, device)?),
            false => None,
        };
        Ok(Artifact { model, adapter, tokenizer, tokenizer_digest, directory: model_directory })
    }

    /// Writes a candidate: the base as it came, and `adapter` beside it.
    pub fn save_with(&self, adapter: &Adapter, directory: &Path) -> Result<()> {
        let target = directory.join("model");
        fs::create_dir_all(&target).with_context(|| format!("create {}", target.display()))?;
        for entry in fs::read_dir(&self.directory).with_context(|| format!("read {}", self.directory.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(is_of_model) {
                let to = target.join(entry.file_name());
                fs::hard_link(entry.path(), &to)
                    .or_else(|_| fs::copy(entry.path(), &to).map(drop))
                    .with_context(|| format!("write {}", to.display()))?;
            }
        }
        save_adapter(adapter, self.model.config.architecture.layout(), &directory.join("adapter"))
    }

    /// The adapter training starts from: the incoming one, or a new one where there is none.
    pub fn start_adapter(&self, lora: &LoraParameters, draw: Draw) -> Result<Adapter> {
        let Some(incoming) = &self.adapter else {
            return Ok(Adapter::new(&self.model.config, lora, draw, &self.model.device()));
        };
        if (incoming.rank, incoming.alpha) != (lora.rank, lora.alpha) {
            bail!(
                "start from the incoming adapter: it has rank {} and alpha {}, `lora` says {} and {}; training goes on \
                 with the incoming adapter, so write `lora: {{rank: {0}, alpha: {1}}}`",
                incoming.rank,
                incoming.alpha,
                lora.rank,
                lora.alpha
            );
        }
        Ok(incoming.clone())
    }

    /// Tokens that end an answer: `stop` where the stage names one, else the model's own.
    pub fn stops(&self, stop: Option<u32>) -> Vec<u32> {
        stop.map_or_else(|| self.model.config.eos.clone(), |id| vec![id])
    }

    /// The token put behind a completion. Without one a model would never learn to stop.
    pub fn end(&self, stop: Option<u32>) -> Result<u32> {
        self.stops(stop)
            .first()
            .copied()
            .context("find the end token: the model names no eos_token_id; set `stop_token`")
    }

    /// Refuses to read the ids of one tokenizer by another.
    pub fn same_tokens_as(&self, digest: &str) -> Result<()> {
        if self.tokenizer_digest != digest {
            bail!("score answers: the reward model has another tokenizer than the model that answered");
        }
        Ok(())
    }
}

/// Where the model's files lie: in `model/` of a stage's artifact, else in the directory itself.
pub fn model_directory(directory: &Path) -> PathBuf {
    let inner = directory.join("model");
    if inner.is_dir() { inner } else { directory.to_owned() }
}

/// Files of a model; whatever else lies in a plain directory (notes, checkpoints, images) stays there.
fn is_of_model(name: &str) -> bool {
    let starts = [
        "config",
        "generation_config",
        "tokenizer",
        "special_tokens",
        "added_tokens",
        "vocab",
        "merges",
        "chat_template",
    ];
    let is_of_weights = name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".index.json"));
    is_of_weights || starts.iter().any(|start| name.starts_with(start))
}

/// Placed from the store, equal files are one file; only others are read to tell.
fn has_same_weights(one: &Path, other: &Path) -> bool {
    let (Ok(names), Ok(of_other)) = (weights::files_of(one), weights::files_of(other)) else { return false };
    let mut all = names.iter().map(String::as_str).chain(["config.json"]);
    names == of_other
        && all.all(|name| {
            let (one, other) = (one.join(name), other.join(name));
            let (Ok(of_one), Ok(of_other)) = (fs::metadata(&one), fs::metadata(&other)) else { return false };
            if (of_one.dev(), of_one.ino()) == (of_other.dev(), of_other.ino()) {
                return true;
            }
            of_one.len() == of_other.len()
                && matches!((fs::read(&one), fs::read(&other)), (Ok(one), Ok(other)) if one == other)
        })
}

// -------------------------------------------------------------------------------------------------- adapters

const LORA: &str = "base_model.model.";
const HEAD: &str = "base_model.model.score.weight";

/// Writes an adapter in PEFT layout.
pub fn save_adapter(adapter: &Adapter, layout: &Layout, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let mut tensors = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (layer, pairs) in adapter.pairs.iter().enumerate() {
        for ((target, path), pair) in layout.targets.iter().zip(pairs) {
            let Some(pair) = pair else { continue };
            used.insert(*target as usize);
            for (name, tensor) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                let [rows, columns] = tensor.dims();
                let values = transposed(&values_of(tensor.clone())?, [rows, columns]);
                tensors
                    .insert(format!("{LORA}{}.{name}.weight", layout.path(layer, path)), (values, vec![columns, rows]));
            }
        }
    }
    if let Some(head) = &adapter.head {
        let [width, _] = head.dims();
        tensors.insert(HEAD.to_owned(), (values_of(head.clone())?, vec![1, width]));
        let path = directory.join("reward.json");
        let reward = Reward { offset: adapter.offset, spread: adapter.spread };
        fs::write(&path, serde_json::to_vec_pretty(&reward)?).with_context(|| format!("write {}", path.display()))?;
    }
    write(&tensors, &directory.join("adapter_model.safetensors"))?;
    let settings = json!({
        "peft_type": "LORA",
        "task_type": if adapter.head.is_some() { "SEQ_CLS" } else { "CAUSAL_LM" },
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": layout.is_in_out,
        "inference_mode": true,
        "target_modules": layout.modules(|target| used.contains(&(target as usize))),
        "modules_to_save": adapter.head.as_ref().map(|_| ["score"]),
    });
    let path = directory.join("adapter_config.json");
    fs::write(&path, serde_json::to_vec_pretty(&settings)?).with_context(|| format!("write {}", path.display()))
}

/// Reads an adapter in PEFT layout.
pub fn load_adapter(directory: &Path, config: &Config, device: &Device) -> Result<Adapter> {
    #[derive(Deserialize)]
    struct Settings {
        peft_type: String,
        r: usize,
        lora_alpha: f64,
    }
    let path = directory.join("adapter_config.json");
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let settings: Settings = serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
    if settings.peft_type != "LORA" {
        bail!("read {}: peft_type is `{}`; only LORA is known", path.display(), settings.peft_type);
    }
    let path = directory.join("adapter_model.safetensors");
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("read {}", path.display()))?;
    let matrix = |name: &str, shape: [usize; 2]| -> Result<Tensor<2>> {
        let values = read(&file, name, shape).with_context(|| format!("read {}", path.display()))?;
        Ok(Tensor::from_data(TensorData::new(transposed(&values, shape), [shape[1], shape[0]]), device))
    };
    let layout = config.architecture.layout();
    let mut pairs = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let mut block = Vec::with_capacity(layout.targets.len());
        for (target, path) in layout.targets {
            let (inputs, outputs) = target.shape(config);
            let name = format!("{LORA}{}", layout.path(layer, path));
            let [a, b] = ["lora_A", "lora_B"].map(|part| format!("{name}.{part}.weight"));
            // An adapter may leave targets alone; half of one is a mistake.
            let is_there = file.tensor(&a).is_ok() || file.tensor(&b).is_ok();
            block.push(match is_there {
                true => Some(Pair { a: matrix(&a, [settings.r, inputs])?, b: matrix(&b, [outputs, settings.r])? }),
                false => None,
            });
        }
        pairs.push(block);
    }
    let mut adapter =
        Adapter { rank: settings.r, alpha: settings.lora_alpha, pairs, head: None, offset: 0.0, spread: 1.0 };
    if file.tensor(HEAD).is_ok() {
        adapter.head = Some(matrix(HEAD, [1, config.width])?);
        // One that was trained elsewhere has none: its values are the rewards.
        let path = directory.join("reward.json");
        if path.exists() {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let reward: Reward = serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
            (adapter.offset, adapter.spread) = (reward.offset, reward.spread);
        }
    }
    Ok(adapter)
}

/// Reads a tensor as f32; a `[1, n]` shape also takes a vector of n.
pub fn read(file: &SafeTensors, name: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
    let view = file.tensor(name).with_context(|| format!("find `{name}`"))?;
    if view.shape() != shape && !(shape[0] == 1 && view.shape() == [shape[1]]) {
        bail!("`{name}` has shape {:?}, expected {shape:?}", view.shape());
    }
    weights::floats(view.dtype(), view.data()).with_context(|| format!("`{name}`"))
}

/// The f32 values of a tensor, autodiff or not.
pub fn values_of<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.inner().try_into_vec_as::<f32>().map_err(|error| anyhow::anyhow!("read a tensor from the device: {error}"))
}
