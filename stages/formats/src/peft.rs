//! LoRA adapters in PEFT layout, and the reward scale beside the head of a reward model.

use crate::architectures::Layout;
use crate::config::Config;
use crate::dtype::Dtype;
use crate::json;
use crate::pointer;
use crate::unreadable::Reading;
use crate::weights::{self, Tensors};
use anyhow::{Context, Result, anyhow, bail};
use safetensors::tensor::SafeTensors;
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
        let AdapterConfig { r: rank, lora_alpha, use_rslora } = serde_json::from_value(source).reading(&path)?;
        let path = directory.join("adapter_model.safetensors");
        if !path.exists() && directory.join("adapter_model.bin").exists() {
            let fault = anyhow!(
                "pickled weights can run code, so they are not read; `PeftModel.from_pretrained(BASE, \
                 DIR).save_pretrained(DIR)` in peft saves them as safetensors"
            );
            return Err(fault).reading(&directory.join("adapter_model.bin"));
        }
        let bytes = pointer::read(&path)?;
        let file = SafeTensors::deserialize(&bytes).reading(&path)?;
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
                let name = format!("{LORA}{}", layout.path(layer, path));
                let [a, b] = ["lora_A", "lora_B"].map(|part| format!("{name}.{part}.weight"));
                // An adapter may leave targets alone; half of one is a mistake.
                let is_there = file.tensor(&a).is_ok() || file.tensor(&b).is_ok();
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
            let fault = anyhow!("`{name}` has no place in this model; without it the adapter would be another");
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

/// Refuses adapters that add more than s·A·B to a matrix, or a different s to some.
fn refuse_what_is_no_plain_lora(source: &Value) -> Result<()> {
    let field = |name: &str| source.get(name).filter(|value| !value.is_null());
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
