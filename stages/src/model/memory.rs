//! An estimate of the memory a stage takes, from shapes alone.

use super::LoraParameters;
use crate::{device, kernel};
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;
use formats::layout;

/// The work of a stage, as far as its memory depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Rows that go forward together.
    pub rows: usize,
    /// Tokens of a row.
    pub tokens: usize,
    /// Tokens of all rows whose logits are needed.
    pub predicted: usize,
    /// Adapters that are trained, one after the other (PPO: policy and critic).
    pub trained: usize,
    /// Adapters that are only read.
    pub read: usize,
    /// All weights are trained, and no adapter.
    pub is_full: bool,
    /// Blocks are computed again on the way back, instead of being kept.
    pub recomputes: bool,
    /// Rows that are decoded together, and the new tokens of each; 0 where nothing is generated.
    pub decoded: (usize, usize),
    /// Frozen bases beside the model's own, assumed to be of its size.
    pub other_bases: usize,
}

/// The line of a kind in `pipeline model inspect`: the load of a stage with the default parameters.
pub struct Demand {
    /// In words: `32 rows of 256 tokens`.
    pub of: String,
    pub lora: LoraParameters,
    pub load: Load,
}

/// An estimate in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// The frozen base, and others beside it. On the CPU that of an f32 file is the page cache of the file itself.
    pub base: u64,
    /// With gradients and both moments of Adam where they are trained.
    pub adapters: u64,
    /// The activations that a backward pass needs, or the cache of keys and values, whichever is more.
    pub activations: u64,
    /// `recompute: true` would lower the activations.
    pub can_recompute: bool,
}

impl Memory {
    pub fn total(self) -> u64 {
        self.base + self.adapters + self.activations
    }
}

const F32: u64 = 4;

pub fn estimate(config: &Config, lora: &LoraParameters, dtype: Dtype, load: Load, device: &Device) -> Memory {
    let dtype = device::kept(dtype, device);
    let size = |weight: &layout::Weight| (weight.shape[0] * weight.shape[1]) as u64;
    let base: u64 = layout::weights(config)
        .iter()
        .map(|weight| size(weight) * if weight.sort.is_vector() { F32 } else { dtype.size() as u64 })
        .sum();
    let pair = |(inputs, outputs): (usize, usize)| (lora.rank * (inputs + outputs)) as u64;
    let targets = config.architecture.layout.targets.iter().map(|(target, _)| pair(target.shape(config)));
    let adapter = if load.is_full { 0 } else { config.layers as u64 * targets.sum::<u64>() * F32 };
    // A trained tensor comes with its gradient and two moments and, during a step, with the three new ones.
    let adapters = adapter * (6 * load.trained + load.read) as u64 + if load.is_full { 5 * base } else { 0 };

    // The numbers that a block keeps per token (`decoder::Activations`): its input, both normed inputs and the sum
    // between them, and what is added before it is normed; queries and mixed values; keys and values; three of the inner
    // width. On the way back one block has
    // their gradients besides, and freed memory waits for the next one: two blocks more. That is a tenth to a fifth
    // more than the peaks that `cargo bench --bench train` measured on the CPU (sft of 7M and 30M, ppo of 7M).
    let (d, inner) = (config.width, config.inner);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let layout = &config.architecture.layout;
    let out_norms = [layout.attention_out_norm, layout.mlp_out_norm].into_iter().flatten().count();
    let in_block = (4 + out_norms) * d + 2 * queries + 2 * keys + 3 * inner;
    let kept = if load.recomputes { config.layers * d + in_block } else { config.layers * in_block };
    let tokens = load.rows * load.tokens;
    // In rectangles, all scores of a block are in memory, with the weights and the gradients of both; row by row there
    // are next to none.
    let kernel = kernel::of(device);
    let scores = if kernel.attends_by_row() { 0 } else { 4 * tokens * load.tokens * config.heads };
    let is_training = load.trained > 0 || load.is_full;
    let forward = (tokens * (if is_training { kept } else { 0 } + 2 * in_block) + scores) as u64 * F32;
    let logits = (load.predicted * config.vocabulary).min(kernel.logits_at_once()) as u64 * 3 * F32;
    let (rows, new) = load.decoded;
    let decoding = (rows * (load.tokens + new) * config.layers * 2 * keys + 3 * rows * config.vocabulary) as u64 * F32;
    let activations = (forward + logits).max(decoding);
    Memory {
        base: base * (1 + load.other_bases) as u64,
        adapters,
        activations,
        can_recompute: is_training && !load.recomputes,
    }
}

/// The estimate in words, with the parameters to lower.
pub fn in_words(memory: Memory, lower: &str) -> String {
    let shown = |bytes: u64| match bytes {
        0..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    };
    format!(
        "by its sizes it takes about {} (base {}, what is trained {}, activations {}); lower {lower}{}",
        shown(memory.total()),
        shown(memory.base),
        shown(memory.adapters),
        shown(memory.activations),
        if memory.can_recompute { ", or set `recompute: true`" } else { "" }
    )
}
