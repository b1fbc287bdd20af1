//! A model on disk: `model/` as `transformers` loads it, and at most one `adapter/` as `peft` loads it over that.
//! Base weights pass through untouched: a stage that trains an adapter writes only the adapter.

use super::layout::Layout;
use super::llama2c;
use super::lora::Pair;
use super::weights::{self, transposed, write, write_json};
use super::{Adapter, Config, Decoder, Dtype, LoraParameters};
use crate::chat::{self, Template};
use crate::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Everything a stage reads of a model.
pub struct Artifact {
    pub model: Decoder,
    pub dtype: Dtype,
    pub adapter: Option<Adapter>,
    pub tokenizer: Tokenizer,
    /// Digest of `tokenizer.json`: ids mean the same under equal ones only.
    pub tokenizer_digest: String,
    base: Base,
    /// Its base is in memory for itself, and not that of a model it was loaded beside.
    pub has_own_base: bool,
    /// In the place of the model's own.
    chat_template: Option<String>,
}

/// `adapter/reward.json`: what turns the head's value into the reward.
#[derive(Serialize, Deserialize)]
pub(super) struct Reward {
    pub(super) offset: f64,
    pub(super) spread: f64,
}

impl Artifact {
    /// Reads a stage's artifact (`model/`, `adapter/`) or a plain Hugging Face directory, matrices of the base as `dtype`.
    ///
    /// # Errors
    /// What is there cannot be read as a model, or the device does not compute in `dtype`.
    pub fn load(directory: &Path, dtype: Dtype, device: &Device) -> Result<Artifact> {
        Artifact::open(directory, None, dtype, device)
    }

    /// As [`Artifact::load`], in the precision of `other` and sharing its base when both lie on the same bytes: one
    /// frozen base in memory.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn load_beside(directory: &Path, other: &Artifact) -> Result<Artifact> {
        Artifact::open(directory, Some(other), other.dtype, &other.model.device())
    }

    fn open(directory: &Path, other: Option<&Artifact>, dtype: Dtype, device: &Device) -> Result<Artifact> {
        if !device.supports_dtype(dtype.of_burn()) {
            bail!("this device does not compute in {}; take `dtype: f32`, or another device", dtype.name());
        }
        let base = Base::of(directory)?;
        let other = other.filter(|other| has_same_weights(base.path(), other.base.path()));
        let model = match other {
            Some(other) => other.model.clone(),
            None => weights::load(base.path(), Config::load(base.path())?, dtype, device)?,
        };
        let tokenizer = Tokenizer::load(base.path(), model.config.bos)?;
        let path = base.path().join("tokenizer.json");
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let tokenizer_digest = blake3::hash(&bytes).to_hex().to_string();
        let adapter_directory = directory.join("adapter");
        let adapter = match adapter_directory.is_dir() {
            true => Some(load_adapter(&adapter_directory, &model.config, device)?),
            false if model.config.is_classifier => Some(classifier(base.path(), &model.config, device)?),
            false => None,
        };
        Ok(Artifact {
            model,
            dtype,
            adapter,
            tokenizer,
            tokenizer_digest,
            base,
            has_own_base: other.is_none(),
            chat_template: None,
        })
    }

    /// The same with another chat template, which stays with the model when it is written.
    ///
    /// # Errors
    /// The template is no Jinja.
    pub fn with_chat_template(self, source: &str) -> Result<Artifact> {
        let template = Template::load(self.base.path(), Some(source)).context("read `chat_template`")?;
        let tokenizer = self.tokenizer.with_template(template);
        Ok(Artifact { tokenizer, chat_template: Some(source.to_owned()), ..self })
    }

    /// Writes a candidate: the base as it came, and `adapter` beside it.
    pub fn save_with(&self, adapter: &Adapter, directory: &Path) -> Result<()> {
        let target = directory.join("model");
        self.copy_to(&target, |name| adapter.head.is_some() && name == CONFIG)?;
        if adapter.head.is_some() {
            // Else the classifier that `transformers` makes of it has two labels.
            let mut source = self.model.config.source.clone();
            (source["id2label"], source["label2id"]) = (json!({"0": "reward"}), json!({"reward": 0}));
            write_json(&target.join(CONFIG), &source)?;
        }
        save_adapter(adapter, self.model.config.architecture.layout(), &directory.join("adapter"))
    }

    /// Writes a candidate whose weights are those of `model`, trained as f32.
    pub fn save_weights(&self, model: &Decoder, directory: &Path) -> Result<()> {
        let target = directory.join("model");
        self.copy_to(&target, |name| name == CONFIG || weights::is_of_weights(name))?;
        let mut model = model.clone();
        weights::set_dtype(&mut model.config.source, Dtype::F32);
        weights::save(&model, &BTreeMap::new(), Dtype::F32, &target)
    }

    /// The files of the model but for those that are `replaced`, and the chat template.
    fn copy_to(&self, target: &Path, is_replaced: impl Fn(&str) -> bool) -> Result<()> {
        fs::create_dir_all(target).with_context(|| format!("create {}", target.display()))?;
        let base = self.base.path();
        for entry in fs::read_dir(base).with_context(|| format!("read {}", base.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_wanted = |name: &str| {
                is_of_model(name) && !is_replaced(name) && !(self.chat_template.is_some() && name == chat::FILE)
            };
            if entry.file_type()?.is_file() && name.to_str().is_some_and(is_wanted) {
                let to = target.join(name);
                fs::hard_link(entry.path(), &to)
                    .or_else(|_| fs::copy(entry.path(), &to).map(drop))
                    .with_context(|| format!("write {}", to.display()))?;
            }
        }
        if let Some(template) = &self.chat_template {
            let path = target.join(chat::FILE);
            fs::write(&path, template).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Where the model's files lie: in `model/` of a stage's artifact, else in the directory itself.
pub fn model_directory(directory: &Path) -> PathBuf {
    let inner = directory.join("model");
    if inner.is_dir() { inner } else { directory.to_owned() }
}

/// The files of a model in Hugging Face layout; what came in another one has been converted, into a directory that goes
/// with this.
pub struct Base {
    path: PathBuf,
    _converted: Option<TempDir>,
}

impl Base {
    /// # Errors
    /// A checkpoint of llama2.c cannot be converted.
    pub fn of(directory: &Path) -> Result<Base> {
        let path = model_directory(directory);
        let Some(checkpoint) = llama2c::find(&path) else { return Ok(Base { path, _converted: None }) };
        let converted = TempDir::new().context("create a directory to convert the model in")?;
        llama2c::convert(&checkpoint, converted.path())?;
        Ok(Base { path: converted.path().to_owned(), _converted: Some(converted) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Files of a model; whatever else lies in a plain directory (notes, checkpoints, images) stays there.
pub(super) fn is_of_model(name: &str) -> bool {
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
    weights::is_of_weights(name) || starts.iter().any(|start| name.starts_with(start))
}

/// Placed from the store, equal files are one file; only others are read to tell.
fn has_same_weights(one: &Path, other: &Path) -> bool {
    let (Ok(names), Ok(of_other)) = (weights::files_of(one), weights::files_of(other)) else { return false };
    // What a classifier calls its labels does not matter here.
    let config = |directory: &Path| Config::load(directory).map(|config| Config { source: Value::Null, ..config }).ok();
    names == of_other
        && config(one).is_some_and(|of_one| Some(of_one) == config(other))
        && names.iter().all(|name| {
            let (one, other) = (one.join(name), other.join(name));
            let (Ok(of_one), Ok(of_other)) = (fs::metadata(&one), fs::metadata(&other)) else { return false };
            if (of_one.dev(), of_one.ino()) == (of_other.dev(), of_other.ino()) {
                return true;
            }
            of_one.len() == of_other.len()
                && matches!((weights::mapped(&one), weights::mapped(&other)), (Ok(one), Ok(other)) if one == other)
        })
}

const CONFIG: &str = "config.json";
pub(super) const REWARD: &str = "reward.json";

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
        let reward = Reward { offset: adapter.offset, spread: adapter.spread };
        write_json(&directory.join(REWARD), &reward)?;
    }
    write(&tensors, Dtype::F32, &directory.join("adapter_model.safetensors"))?;
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
    write_json(&directory.join("adapter_config.json"), &settings)
}

/// Reads an adapter in PEFT layout.
pub fn load_adapter(directory: &Path, config: &Config, device: &Device) -> Result<Adapter> {
    #[derive(Deserialize)]
    struct Settings {
        r: usize,
        lora_alpha: f64,
        #[serde(default)]
        use_rslora: bool,
    }
    let path = directory.join("adapter_config.json");
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let source: Value = serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
    refuse_what_is_no_plain_lora(&source).with_context(|| format!("read {}", path.display()))?;
    let settings: Settings = serde_json::from_value(source).with_context(|| format!("read {}", path.display()))?;
    let lora = LoraParameters { rank: settings.r, alpha: settings.lora_alpha, rslora: settings.use_rslora };
    let alpha = lora.plain_alpha();
    let path = directory.join("adapter_model.safetensors");
    if !path.exists() && directory.join("adapter_model.bin").exists() {
        bail!(
            "read {}: pickled weights can run code, so they are not read; `PeftModel.from_pretrained(BASE, \
             DIR).save_pretrained(DIR)` in peft saves them as safetensors",
            directory.join("adapter_model.bin").display()
        );
    }
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("read {}", path.display()))?;
    let matrix = |name: &str, shape: [usize; 2]| -> Result<Tensor<2>> {
        let values = read(&file, name, shape).with_context(|| format!("read {}", path.display()))?;
        Ok(Tensor::from_data(TensorData::new(transposed(&values, shape), [shape[1], shape[0]]), device))
    };
    let layout = config.architecture.layout();
    let mut unread: BTreeSet<&str> = file.names().into_iter().collect();
    let mut pairs = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let mut block = Vec::with_capacity(layout.targets.len());
        for (target, path) in layout.targets {
            let (inputs, outputs) = target.shape(config);
            let name = format!("{LORA}{}", layout.path(layer, path));
            let [a, b] = ["lora_A", "lora_B"].map(|part| format!("{name}.{part}.weight"));
            // An adapter may leave targets alone; half of one is a mistake.
            let is_there = file.tensor(&a).is_ok() || file.tensor(&b).is_ok();
            [&a, &b].into_iter().for_each(|name| _ = unread.remove(name.as_str()));
            block.push(match is_there {
                true => Some(Pair { a: matrix(&a, [settings.r, inputs])?, b: matrix(&b, [outputs, settings.r])? }),
                false => None,
            });
        }
        pairs.push(block);
    }
    unread.remove(HEAD);
    if let Some(name) = unread.first() {
        bail!("read {}: `{name}` has no place in this model; without it the adapter would be another", path.display());
    }
    let mut adapter = Adapter { rank: settings.r, alpha, pairs, head: None, offset: 0.0, spread: 1.0 };
    if file.tensor(HEAD).is_ok() {
        adapter.head = Some(matrix(HEAD, [1, config.width])?);
        set_reward(&mut adapter, directory)?;
    }
    Ok(adapter)
}

/// The head of a whole reward model as an adapter that changes no matrix. One that was exported here has its offset beside
/// it.
fn classifier(directory: &Path, config: &Config, device: &Device) -> Result<Adapter> {
    let head = TensorData::new(weights::score(directory, config)?, [config.width, 1]);
    let mut adapter = Adapter {
        rank: 1,
        alpha: 1.0,
        pairs: Vec::new(),
        head: Some(Tensor::from_data(head, device)),
        offset: 0.0,
        spread: 1.0,
    };
    set_reward(&mut adapter, directory)?;
    Ok(adapter)
}

/// What turns the head's value into the reward, where that is known: one that was trained elsewhere has none.
fn set_reward(adapter: &mut Adapter, directory: &Path) -> Result<()> {
    let path = directory.join(REWARD);
    if path.exists() {
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let reward: Reward = serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
        (adapter.offset, adapter.spread) = (reward.offset, reward.spread);
    }
    Ok(())
}

/// What adds more than s·A·B to a matrix, or not the same s to all.
fn refuse_what_is_no_plain_lora(settings: &Value) -> Result<()> {
    let field = |name: &str| settings.get(name).filter(|value| !value.is_null());
    match field("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        other => bail!("peft_type is `{}`; only LORA is known", other.unwrap_or("missing")),
    }
    if field("use_dora") == Some(&json!(true)) {
        bail!("it is DoRA (`use_dora`), which is not supported; merge it in peft");
    }
    for name in ["alpha_pattern", "rank_pattern"] {
        if field(name).and_then(Value::as_object).is_some_and(|pattern| !pattern.is_empty()) {
            bail!("its matrices are of several ranks or scales (`{name}`), which is not supported; merge it in peft");
        }
    }
    match field("bias").and_then(Value::as_str) {
        None | Some("none") => Ok(()),
        Some(other) => bail!("it trains biases (`bias: {other}`), which is not supported; merge it in peft"),
    }
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
