//! LoRA adapters in PEFT layout, and the reward scale beside the head of a reward model.

use crate::architectures::Layout;
use crate::config::Config;
use crate::dtype::Dtype;
use crate::json;
use crate::unreadable::Reading;
use crate::weights::{self, Tensors};
use crate::whole;
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LORA: &str = "base_model.model.";
const HEAD: &str = "base_model.model.score.weight";
const REWARD: &str = "reward.json";

/// An adapter as numbers on the host.
pub struct Lora {
    pub rank: usize,
    pub alpha: f64,
    /// By layer, then in the order of the layout's targets. `None`: the adapter leaves the target alone.
    pub pairs: Vec<Vec<Option<Pair>>>,
    /// The head of a reward model, `[d]`.
    pub head: Option<Vec<f32>>,
    pub scale: RewardScale,
}

/// A `[in, r]` and B `[r, out]`, as they are multiplied: the transposes of what lies in the file.
pub struct Pair {
    pub a: Matrix,
    pub b: Matrix,
}

/// Rows one after the other.
pub struct Matrix {
    pub values: Vec<f32>,
    pub shape: [usize; 2],
}

/// The scale of a reward head: reward = (value − offset) / spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardScale {
    pub offset: f64,
    pub spread: f64,
}

impl Default for RewardScale {
    fn default() -> RewardScale {
        RewardScale { offset: 0.0, spread: 1.0 }
    }
}

/// Whether a whole reward model was made here: a scale lies beside it.
pub fn is_made_here(directory: &Path) -> bool {
    directory.join(REWARD).exists()
}

impl RewardScale {
    /// Reads `reward.json`. A reward model that was trained elsewhere has none, and its values are the rewards.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(directory: &Path) -> Result<RewardScale> {
        Ok(json::read_if_there(&directory.join(REWARD))?.unwrap_or_default())
    }

    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        json::write(&directory.join(REWARD), self)
    }
}

impl Matrix {
    /// `[rows, columns]` → `[columns, rows]`, tile by tile: whole rows of a large matrix would not stay in the cache.
    fn transposed(&self) -> Matrix {
        const TILE: usize = 32;
        let [rows, columns] = self.shape;
        let mut values = vec![0.0; self.values.len()];
        for row in (0..rows).step_by(TILE) {
            for column in (0..columns).step_by(TILE) {
                for r in row..(row + TILE).min(rows) {
                    for c in column..(column + TILE).min(columns) {
                        values[c * rows + r] = self.values[r * columns + c];
                    }
                }
            }
        }
        Matrix { values, shape: [columns, rows] }
    }
}

/// The α for which α/r is the scale of an adapter. Rank-stabilised LoRA scales by α/√r, which is α′/r with a larger α′.
pub fn plain_alpha(rank: usize, alpha: f64, is_rank_stabilised: bool) -> f64 {
    if is_rank_stabilised { alpha * (rank as f64).sqrt() } else { alpha }
}

impl Lora {
    /// Reads `adapter_config.json`, `adapter_model.safetensors` and, beside a head, `reward.json`.
    ///
    /// # Errors
    /// A file is missing or damaged, the adapter is more than plain LoRA, or it does not fit the model.
    pub fn load(directory: &Path, config: &Config) -> Result<Lora> {
        #[derive(Deserialize)]
        struct AdapterConfig {
            r: usize,
            lora_alpha: f64,
            #[serde(default)]
            use_rslora: bool,
        }
        let path = directory.join("adapter_config.json");
        let source: Value = json::read(&path)?;
        refuse_what_is_no_plain_lora(&source).reading(&path)?;
        let AdapterConfig { r: rank, lora_alpha, use_rslora } = AdapterConfig::deserialize(&source).reading(&path)?;
        let settings = path;
        let path = directory.join("adapter_model.safetensors");
        if !files::exists(&path)? && files::exists(&directory.join("adapter_model.bin"))? {
            let fault = anyhow!(
                "pickled weights can run code, so they are not read; `PeftModel.from_pretrained(BASE, \
                 DIR).save_pretrained(DIR)` in peft saves them as safetensors"
            );
            return Err(fault).reading(&directory.join("adapter_model.bin"));
        }
        let bytes = whole::read(&path)?;
        let file = weights::tensors(&bytes, &path)?;
        let matrix = |name: &str, shape: [usize; 2]| -> Result<Matrix> {
            let values = weights::tensor(&file, name, shape).reading(&path)?;
            Ok(Matrix { values, shape }.transposed())
        };
        let layout = &config.architecture.layout;
        let mut unread: BTreeSet<&str> = file.names().into_iter().collect();
        let mut pairs = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut block = Vec::with_capacity(layout.targets.len());
            for (target, path) in layout.targets {
                let (inputs, outputs) = target.shape(config);
                let module = layout.path(layer, path);
                let name = format!("{LORA}{module}");
                let [a, b] = ["lora_A", "lora_B"].map(|part| format!("{name}.{part}.weight"));
                // An adapter may leave targets alone; half of one is a mistake.
                let is_there = file.tensor(&a).is_ok() || file.tensor(&b).is_ok();
                if is_there {
                    refuse_what_peft_leaves_out(&source, layer, &module).reading(&settings)?;
                }
                [&a, &b].into_iter().for_each(|name| _ = unread.remove(name.as_str()));
                block.push(match is_there {
                    true => Some(Pair { a: matrix(&a, [rank, inputs])?, b: matrix(&b, [outputs, rank])? }),
                    false => None,
                });
            }
            pairs.push(block);
        }
        unread.remove(HEAD);
        if let Some(name) = unread.first() {
            let fault = anyhow!(
                "`{name}` has no place in this model; without it the adapter would be another; {}",
                WayOut::Merge.words()
            );
            return Err(fault).reading(&path);
        }
        let has_head = file.tensor(HEAD).is_ok();
        Ok(Lora {
            rank,
            alpha: plain_alpha(rank, lora_alpha, use_rslora),
            pairs,
            head: has_head.then(|| weights::tensor(&file, HEAD, [1, config.width]).reading(&path)).transpose()?,
            scale: if has_head { RewardScale::load(directory)? } else { RewardScale::default() },
        })
    }

    /// The head of a whole reward model as an adapter that changes no matrix. One that was exported here has its offset
    /// beside it.
    ///
    /// # Errors
    /// The head is not there, or has more labels than one.
    pub fn of_classifier(directory: &Path, config: &Config) -> Result<Lora> {
        let head = Some(weights::score(directory, config)?);
        Ok(Lora { rank: 1, alpha: 1.0, pairs: Vec::new(), head, scale: RewardScale::load(directory)? })
    }

    /// Writes the files that [`Lora::load`] reads.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn save(&self, layout: &Layout, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let mut tensors = Tensors::new();
        let mut used = BTreeSet::new();
        for (layer, pairs) in self.pairs.iter().enumerate() {
            for ((target, path), pair) in layout.targets.iter().zip(pairs) {
                let Some(pair) = pair else { continue };
                used.insert(*target as usize);
                for (name, matrix) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                    let Matrix { values, shape } = matrix.transposed();
                    let name = format!("{LORA}{}.{name}.weight", layout.path(layer, path));
                    tensors.insert(name, (values, shape.to_vec()));
                }
            }
        }
        if let Some(head) = &self.head {
            tensors.insert(HEAD.to_owned(), (head.clone(), vec![1, head.len()]));
            self.scale.save(directory)?;
        }
        weights::write(&tensors, Dtype::F32, &directory.join("adapter_model.safetensors"))?;
        let source = json!({
            "peft_type": "LORA",
            "task_type": if self.head.is_some() { "SEQ_CLS" } else { "CAUSAL_LM" },
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": layout.is_in_out,
            "inference_mode": true,
            "target_modules": layout.modules(|target| used.contains(&(target as usize))),
            "modules_to_save": self.head.as_ref().map(|_| ["score"]),
        });
        json::write(&directory.join("adapter_config.json"), &source)
    }

    /// The number of parameters, those of the head included.
    pub fn parameters(&self) -> usize {
        let pairs = self.pairs.iter().flatten().flatten();
        pairs.map(|pair| pair.a.values.len() + pair.b.values.len()).sum::<usize>()
            + self.head.as_ref().map_or(0, Vec::len)
    }

    /// The number of matrices that it adapts.
    pub fn matrices(&self) -> usize {
        self.pairs.iter().flatten().flatten().count()
    }
}

/// The fields of plain LoRA in `adapter_config.json`, and the values at which they change nothing that is computed of the
/// tensors in the file. A field that is not listed must be empty, since it may mean anything.
const PLAIN: [(&str, IsPlain); 23] = [
    ("peft_type", |value| value == "LORA"),
    ("r", |value| value.as_u64().is_some_and(|rank| rank > 0)),
    ("lora_alpha", Value::is_number),
    ("use_rslora", Value::is_boolean),
    // How A and B were drawn, over a base that was left alone.
    ("init_lora_weights", |value| value.is_boolean() || value == "gaussian"),
    ("bias", |value| value == "none"),
    // The head of a reward model; other modules would be trained as a whole.
    ("modules_to_save", |value| names(value).is_some_and(|names| names.iter().all(|name| HEADS.contains(name)))),
    // peft itself corrects it by the class of the module.
    ("fan_in_fan_out", Value::is_boolean),
    // Names of what the tensors of the file are there for: `refuse_what_peft_leaves_out` compares both.
    ("target_modules", |_| true),
    ("exclude_modules", |_| true),
    ("layers_to_transform", |_| true),
    ("layers_pattern", |_| true),
    // Used in training alone, or only beside other options.
    ("lora_dropout", |_| true),
    ("ensure_weight_tying", |_| true),
    ("megatron_core", |_| true),
    ("qalora_group_size", |_| true),
    ("inference_mode", |_| true),
    ("runtime_config", |_| true),
    ("auto_mapping", |_| true),
    // Where it comes from.
    ("base_model_name_or_path", |_| true),
    ("revision", |_| true),
    ("task_type", |_| true),
    ("peft_version", |_| true),
];

/// Whether plain LoRA may have a value.
type IsPlain = fn(&Value) -> bool;

/// The names of modules that hold the head of a reward model.
const HEADS: [&str; 2] = ["score", "classifier"];

/// Meanings of other fields and values, for people.
const METHODS: [(&str, &str, WayOut); 24] = [
    ("use_dora", "DoRA", WayOut::Merge),
    ("use_qalora", "QA-LoRA", WayOut::Merge),
    ("use_bdlora", "BD-LoRA", WayOut::Merge),
    ("alora_invocation_tokens", "aLoRA, which is active only behind some tokens", WayOut::Train),
    ("arrow_config", "Arrow, which chooses among adapters", WayOut::Train),
    ("layer_replication", "LoRA over layers that are there several times", WayOut::Train),
    ("rank_pattern", "LoRA with matrices of several ranks", WayOut::Merge),
    ("alpha_pattern", "LoRA with matrices of several scales", WayOut::Merge),
    ("bias", "LoRA with trained biases", WayOut::Merge),
    ("lora_bias", "LoRA with a bias of its own", WayOut::Train),
    ("modules_to_save", "LoRA with modules that were trained as a whole", WayOut::Merge),
    ("trainable_token_indices", "LoRA with trained tokens", WayOut::Merge),
    ("target_parameters", "LoRA over parameters that are no modules", WayOut::Merge),
    ("loftq_config", "LoftQ, over a quantised base", WayOut::Merge),
    ("eva_config", "EVA", WayOut::Merge),
    ("corda_config", "CorDA, over a changed base", WayOut::Convert),
    ("lora_ga_config", "LoRA-GA, over a changed base", WayOut::Convert),
    ("pissa", "PiSSA, over a changed base", WayOut::Convert),
    ("olora", "OLoRA, over a changed base", WayOut::Convert),
    ("corda", "CorDA, over a changed base", WayOut::Convert),
    ("lora_ga", "LoRA-GA, over a changed base", WayOut::Convert),
    ("loftq", "LoftQ, over a quantised base", WayOut::Merge),
    ("eva", "EVA", WayOut::Merge),
    ("mica", "MiCA", WayOut::Merge),
];

/// The way of an adapter to one that is read.
#[derive(Clone, Copy)]
enum WayOut {
    /// Its product with the base is a plain model.
    Merge,
    /// Its difference to the unchanged base is plain LoRA; it can also be merged.
    Convert,
    /// Neither: what it computes depends on the text, or is no model of the same shape, or peft refuses it.
    Train,
}

impl WayOut {
    fn words(self) -> &'static str {
        match self {
            WayOut::Merge => {
                "merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and \
                 take OUT as the model"
            }
            WayOut::Convert => {
                "convert it to plain LoRA in peft: `save_pretrained(OUT, \
                 path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before \
                 training; or merge it: `PeftModel.from_pretrained(BASE, \
                 DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model"
            }
            WayOut::Train => "it cannot be merged either: train a plain LoRA in its place",
        }
    }
}

/// Refuses adapters that are more than plain LoRA, by what such a one may say and not by what it may not: new methods
/// come with every version of peft.
fn refuse_what_is_no_plain_lora(source: &Value) -> Result<()> {
    let fields = source.as_object().context("it is no mapping")?;
    match fields.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        other => {
            bail!("peft_type is `{}`; only LORA is known; {}", other.unwrap_or("missing"), WayOut::Merge.words())
        }
    }
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    for (name, value) in fields {
        let known = PLAIN.iter().find(|(known, _)| known == name);
        if known.is_some_and(|(_, is_plain)| is_plain(value)) || is_empty(value) {
            continue;
        }
        let is_meant = |(method, ..): &&(&str, &str, WayOut)| {
            name == method || name == "init_lora_weights" && value.as_str().is_some_and(|text| text.starts_with(method))
        };
        match METHODS.iter().find(is_meant) {
            Some((_, what, way)) => bail!("it is {what} (`{name}: {value}`), and no plain LoRA; {}", way.words()),
            None if known.is_some() => {
                bail!("`{name}: {value}` is nothing that plain LoRA has; {}", WayOut::Merge.words())
            }
            None => bail!(
                "`{name}: {value}` may make it more than plain LoRA: the field is not known here; {}",
                WayOut::Merge.words()
            ),
        }
    }
    Ok(())
}

/// The names of a list.
fn names(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// Refuses tensors of a module that peft leaves out, by name or by layer. Names that are a pattern, which peft reads as a
/// regular expression of Python, are not compared.
fn refuse_what_peft_leaves_out(source: &Value, layer: usize, module: &str) -> Result<()> {
    let is_named = |name: &&str| module == *name || module.strip_suffix(*name).is_some_and(|rest| rest.ends_with('.'));
    if names(&source["target_modules"]).is_some_and(|names| !names.iter().any(is_named)) {
        bail!("the file adapts `{module}`, and `target_modules` does not name it, so that peft leaves it out");
    }
    if names(&source["exclude_modules"]).is_some_and(|names| names.iter().any(is_named)) {
        bail!("the file adapts `{module}`, and `exclude_modules` names it, so that peft leaves it out");
    }
    let layers = &source["layers_to_transform"];
    let is_meant = |number: &Value| number.as_u64() == Some(layer as u64);
    let has_layer = layers.as_array().map_or(is_meant(layers), |layers| layers.iter().any(is_meant));
    if !layers.is_null() && !has_layer {
        bail!("the file adapts layer {layer}, and `layers_to_transform` does not name it, so that peft leaves it out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const LLAMA: &str = "../tests/parity/llama";

    fn changed(name: &str, value: Value) -> String {
        let directory = tempfile::tempdir().unwrap();
        let model = Path::new(LLAMA);
        let file = "adapter_model.safetensors";
        fs::copy(model.join("adapter").join(file), directory.path().join(file)).unwrap();
        let mut source: Value = json::read(&model.join("adapter/adapter_config.json")).unwrap();
        source[name] = value;
        json::write(&directory.path().join("adapter_config.json"), &source).unwrap();
        let read = Lora::load(directory.path(), &Config::load(model).unwrap());
        read.map_or_else(|error| format!("{:#}", error.root_cause()), |_| "plain".to_owned())
    }

    /// Every method of peft 0.21 that is more than plain LoRA, and a field of a later one.
    #[test]
    fn what_is_no_plain_lora_is_refused_by_name() {
        let cases = [
            ("init_lora_weights", json!("pissa")),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("init_lora_weights", json!("olora")),
            ("init_lora_weights", json!("eva")),
            ("init_lora_weights", json!("corda")),
            ("init_lora_weights", json!("loftq")),
            ("init_lora_weights", json!("lora_ga")),
            ("init_lora_weights", json!("mica")),
            ("init_lora_weights", json!("orthogonal")),
            ("loftq_config", json!({"loftq_bits": 4})),
            ("eva_config", json!({"rho": 2.0})),
            ("corda_config", json!({"corda_method": "ipm"})),
            ("lora_ga_config", json!({"direction": "ArB2r"})),
            ("alora_invocation_tokens", json!([5, 6])),
            ("arrow_config", json!({"top_k": 3})),
            ("use_qalora", json!(true)),
            ("use_bdlora", json!({"nblocks": 1})),
            ("use_dora", json!(true)),
            ("velora_config", json!({"num_groups": 4})),
            ("kasa_config", json!({"beta": 1e-4})),
            ("monteclora_config", json!({"num_samples": 8})),
            ("layer_replication", json!([[0, 2], [1, 2]])),
            ("rank_pattern", json!({"q_proj": 2})),
            ("alpha_pattern", json!({"q_proj": 32})),
            ("modules_to_save", json!(["lm_head"])),
            ("trainable_token_indices", json!([3])),
            ("target_parameters", json!(["mlp.experts.down_proj"])),
            ("bias", json!("all")),
            ("lora_bias", json!(true)),
            ("megatron_config", json!({"tensor_model_parallel_size": 2})),
            ("peft_type", json!("LOHA")),
            ("use_something_new", json!(1)),
            ("target_modules", json!(["q_proj", "v_proj"])),
            ("exclude_modules", json!(["down_proj"])),
            ("layers_to_transform", json!([1])),
        ];
        let told = |(name, value): (&str, Value)| changed(name, value) + "\n";
        expect![[r#"
            it is PiSSA, over a changed base (`init_lora_weights: "pissa"`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is PiSSA, over a changed base (`init_lora_weights: "pissa_niter_16"`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is OLoRA, over a changed base (`init_lora_weights: "olora"`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is EVA (`init_lora_weights: "eva"`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is CorDA, over a changed base (`init_lora_weights: "corda"`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoftQ, over a quantised base (`init_lora_weights: "loftq"`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA-GA, over a changed base (`init_lora_weights: "lora_ga"`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is MiCA (`init_lora_weights: "mica"`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            `init_lora_weights: "orthogonal"` is nothing that plain LoRA has; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoftQ, over a quantised base (`loftq_config: {"loftq_bits":4}`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is EVA (`eva_config: {"rho":2.0}`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is CorDA, over a changed base (`corda_config: {"corda_method":"ipm"}`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA-GA, over a changed base (`lora_ga_config: {"direction":"ArB2r"}`), and no plain LoRA; convert it to plain LoRA in peft: `save_pretrained(OUT, path_initial_model_for_weight_conversion=INITIAL)`, where INITIAL is the adapter as it was before training; or merge it: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is aLoRA, which is active only behind some tokens (`alora_invocation_tokens: [5,6]`), and no plain LoRA; it cannot be merged either: train a plain LoRA in its place
            it is Arrow, which chooses among adapters (`arrow_config: {"top_k":3}`), and no plain LoRA; it cannot be merged either: train a plain LoRA in its place
            it is QA-LoRA (`use_qalora: true`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is BD-LoRA (`use_bdlora: {"nblocks":1}`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is DoRA (`use_dora: true`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            `velora_config: {"num_groups":4}` may make it more than plain LoRA: the field is not known here; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            `kasa_config: {"beta":0.0001}` may make it more than plain LoRA: the field is not known here; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            `monteclora_config: {"num_samples":8}` may make it more than plain LoRA: the field is not known here; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA over layers that are there several times (`layer_replication: [[0,2],[1,2]]`), and no plain LoRA; it cannot be merged either: train a plain LoRA in its place
            it is LoRA with matrices of several ranks (`rank_pattern: {"q_proj":2}`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA with matrices of several scales (`alpha_pattern: {"q_proj":32}`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA with modules that were trained as a whole (`modules_to_save: ["lm_head"]`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA with trained tokens (`trainable_token_indices: [3]`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA over parameters that are no modules (`target_parameters: ["mlp.experts.down_proj"]`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA with trained biases (`bias: "all"`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            it is LoRA with a bias of its own (`lora_bias: true`), and no plain LoRA; it cannot be merged either: train a plain LoRA in its place
            `megatron_config: {"tensor_model_parallel_size":2}` may make it more than plain LoRA: the field is not known here; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            peft_type is `LOHA`; only LORA is known; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            `use_something_new: 1` may make it more than plain LoRA: the field is not known here; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            the file adapts `model.layers.0.mlp.down_proj`, and `target_modules` does not name it, so that peft leaves it out
            the file adapts `model.layers.0.mlp.down_proj`, and `exclude_modules` names it, so that peft leaves it out
            the file adapts layer 0, and `layers_to_transform` does not name it, so that peft leaves it out
        "#]].assert_eq(&cases.map(told).concat());
    }

    #[test]
    fn what_changes_nothing_of_plain_lora_is_read() {
        for (name, value) in [
            ("init_lora_weights", json!("gaussian")),
            ("init_lora_weights", json!(false)),
            ("init_lora_weights", Value::Null),
            ("modules_to_save", json!(["score"])),
            ("fan_in_fan_out", json!(true)),
            ("lora_dropout", json!(0.1)),
            ("target_modules", json!("all-linear")),
            ("target_modules", json!(["self_attn.q_proj", "v_proj", "down_proj"])),
            ("layers_to_transform", json!([0, 1])),
            ("use_something_new", json!(false)),
            ("something_new_config", json!({})),
        ] {
            assert_eq!(changed(name, value.clone()), "plain", "{name}: {value}");
        }
    }
}
