//! A model on disk: `model/` as `transformers` loads it, and at most one `adapter/` as `peft` loads it over that.
//! Base weights pass through untouched: a stage that trains an adapter writes only the adapter.

use super::lora::{Pair, Target};
use super::{Adapter, Block, Config, Llama, LoraParameters};
use crate::draw::Draw;
use crate::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything a stage reads of a model.
pub struct Artifact {
    pub model: Llama,
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
            _ => load_weights(&model_directory, Config::load(&model_directory)?, device)?,
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
        save_adapter(adapter, &directory.join("adapter"))
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
    name == WEIGHTS || starts.iter().any(|start| name.starts_with(start))
}

const WEIGHTS: &str = "model.safetensors";

/// Placed from the store, equal files are one file; only others are read to tell.
fn has_same_weights(one: &Path, other: &Path) -> bool {
    ["config.json", WEIGHTS].iter().all(|name| {
        let (one, other) = (one.join(name), other.join(name));
        let (Ok(of_one), Ok(of_other)) = (fs::metadata(&one), fs::metadata(&other)) else { return false };
        if (of_one.dev(), of_one.ino()) == (of_other.dev(), of_other.ino()) {
            return true;
        }
        of_one.len() == of_other.len()
            && matches!((fs::read(&one), fs::read(&other)), (Ok(one), Ok(other)) if one == other)
    })
}

// ---------------------------------------------------------------------------------------------- base weights

/// Names and tensors of a model, in a fixed order, `[in, out]` for projections: what pretraining trains.
pub fn named(model: &Llama) -> Vec<(String, Tensor<2>)> {
    let mut out = vec![("model.embed_tokens.weight".to_owned(), model.embedding.clone())];
    for (layer, block) in model.blocks.iter().enumerate() {
        out.push((format!("model.layers.{layer}.input_layernorm.weight"), block.attention_norm.clone()));
        out.push((format!("model.layers.{layer}.post_attention_layernorm.weight"), block.mlp_norm.clone()));
        for target in Target::ALL {
            out.push((format!("{}.weight", target.path(layer)), block.projections[target as usize].clone()));
        }
    }
    out.push(("model.norm.weight".to_owned(), model.norm.clone()));
    if let Some(head) = &model.head {
        out.push(("lm_head.weight".to_owned(), head.clone()));
    }
    out
}

/// Builds a model, asking `tensor(name, shape, is_projection)` for each weight in the order of [`named`].
pub fn build(config: Config, mut tensor: impl FnMut(&str, [usize; 2], bool) -> Result<Tensor<2>>) -> Result<Llama> {
    let (vocabulary, width) = (config.vocabulary, config.width);
    let embedding = tensor("model.embed_tokens.weight", [vocabulary, width], false)?;
    let mut blocks = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let mut norm = |name: &str| tensor(&format!("model.layers.{layer}.{name}.weight"), [1, width], false);
        let (attention_norm, mlp_norm) = (norm("input_layernorm")?, norm("post_attention_layernorm")?);
        let mut projections = Vec::with_capacity(Target::COUNT);
        for target in Target::ALL {
            let (inputs, outputs) = target.shape(&config);
            projections.push(tensor(&format!("{}.weight", target.path(layer)), [inputs, outputs], true)?);
        }
        let projections = projections.try_into().unwrap_or_else(|_| unreachable!("one projection per target"));
        blocks.push(Block { attention_norm, mlp_norm, projections });
    }
    let norm = tensor("model.norm.weight", [1, width], false)?;
    let head = match config.is_tied {
        true => None,
        false => Some(tensor("lm_head.weight", [vocabulary, width], false)?),
    };
    Ok(Llama { config, embedding, blocks, norm, head })
}

fn load_weights(directory: &Path, config: Config, device: &Device) -> Result<Llama> {
    let path = directory.join(WEIGHTS);
    for (other, advice) in [
        ("model.safetensors.index.json", "sharded weights are not read yet; merge them into one model.safetensors"),
        ("pytorch_model.bin", "pickled weights are not read, they can run code; convert them to model.safetensors"),
    ] {
        if !path.exists() && directory.join(other).exists() {
            bail!("read {}: {advice}", directory.join(other).display());
        }
    }
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("read {}", path.display()))?;
    build(config, |name, [rows, columns], is_projection| {
        let shape = if is_projection { [columns, rows] } else { [rows, columns] };
        let values = read(&file, name, shape).with_context(|| format!("read {}", path.display()))?;
        let values = if is_projection { transposed(&values, shape) } else { values };
        Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), device))
    })
}

/// Writes `model.safetensors` and `config.json` in Hugging Face layout.
pub fn save_weights(model: &Llama, directory: &Path) -> Result<()> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in named(model) {
        let [rows, columns] = tensor.dims();
        let values = values_of(tensor)?;
        let (values, shape) = if name.ends_with("_proj.weight") {
            (transposed(&values, [rows, columns]), vec![columns, rows])
        } else if name.ends_with("norm.weight") {
            (values, vec![columns])
        } else {
            (values, vec![rows, columns])
        };
        tensors.insert(name, (values, shape));
    }
    write(&tensors, &directory.join(WEIGHTS))?;
    let path = directory.join("config.json");
    fs::write(&path, serde_json::to_vec_pretty(&model.config.source)?)
        .with_context(|| format!("write {}", path.display()))
}

// -------------------------------------------------------------------------------------------------- adapters

const LORA: &str = "base_model.model.";
const HEAD: &str = "base_model.model.score.weight";

pub fn save_adapter(adapter: &Adapter, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let mut tensors = BTreeMap::new();
    for (layer, pairs) in adapter.pairs.iter().enumerate() {
        for (target, pair) in Target::ALL.into_iter().zip(pairs) {
            for (name, tensor) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                let [rows, columns] = tensor.dims();
                let values = transposed(&values_of(tensor.clone())?, [rows, columns]);
                tensors.insert(format!("{LORA}{}.{name}.weight", target.path(layer)), (values, vec![columns, rows]));
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
        "fan_in_fan_out": false,
        "inference_mode": true,
        "target_modules": Target::ALL.map(Target::name),
        "modules_to_save": adapter.head.as_ref().map(|_| ["score"]),
    });
    let path = directory.join("adapter_config.json");
    fs::write(&path, serde_json::to_vec_pretty(&settings)?).with_context(|| format!("write {}", path.display()))
}

fn load_adapter(directory: &Path, config: &Config, device: &Device) -> Result<Adapter> {
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
    let mut pairs = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let mut block = Vec::with_capacity(Target::COUNT);
        for target in Target::ALL {
            let (inputs, outputs) = target.shape(config);
            let name = format!("{LORA}{}", target.path(layer));
            block.push(Pair {
                a: matrix(&format!("{name}.lora_A.weight"), [settings.r, inputs])?,
                b: matrix(&format!("{name}.lora_B.weight"), [outputs, settings.r])?,
            });
        }
        pairs.push(block.try_into().unwrap_or_else(|_| unreachable!("one pair per target")));
    }
    let mut adapter =
        Adapter { rank: settings.r, alpha: settings.lora_alpha, pairs, head: None, offset: 0.0, spread: 1.0 };
    if file.tensor(HEAD).is_ok() {
        adapter.head = Some(matrix(HEAD, [1, config.width])?);
        let path = directory.join("reward.json");
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let reward: Reward = serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
        (adapter.offset, adapter.spread) = (reward.offset, reward.spread);
    }
    Ok(adapter)
}

// ----------------------------------------------------------------------------------------------- safetensors

/// Reads a tensor as f32; a `[1, n]` shape also takes a vector of n.
pub fn read(file: &SafeTensors, name: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
    let view = file.tensor(name).with_context(|| format!("find `{name}`"))?;
    if view.shape() != shape && !(shape[0] == 1 && view.shape() == [shape[1]]) {
        bail!("`{name}` has shape {:?}, expected {shape:?}", view.shape());
    }
    let pairs = || view.data().chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    Ok(match view.dtype() {
        Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect(),
        // bfloat16 is the upper half of an f32.
        Dtype::BF16 => pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        Dtype::F16 => pairs().map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
        other => bail!("`{name}` is {other:?}; F32, BF16 and F16 are known"),
    })
}

/// Writes named f32 tensors; the names' order makes the bytes a function of the content.
pub fn write(tensors: &BTreeMap<String, (Vec<f32>, Vec<usize>)>, path: &Path) -> Result<()> {
    let views: Vec<(&String, TensorView)> = tensors
        .iter()
        .map(|(name, (values, shape))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?))
        })
        .collect::<Result<_>>()?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    safetensors::serialize_to_file(views, metadata, path).with_context(|| format!("write {}", path.display()))
}

/// The f32 values of a tensor, autodiff or not.
pub fn values_of<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.inner().try_into_vec_as::<f32>().map_err(|error| anyhow::anyhow!("read a tensor from the device: {error}"))
}

fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
