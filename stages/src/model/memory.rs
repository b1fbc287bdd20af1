//! How much memory a stage takes, before one starts. Sums of shapes; knows no device.

use super::config::Config;
use super::layout;
use super::{Dtype, LoraParameters};

/// What a stage does with a model.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Rows that go forward together, and their tokens.
    pub rows: usize,
    pub tokens: usize,
    /// Of those tokens, the ones whose logits are needed.
    pub predicted: usize,
    /// Adapters that are trained at once, on the same rows (PPO: policy and critic), and those that are only read.
    pub trained: usize,
    pub read: usize,
    /// New tokens of rows that are decoded together; 0 where nothing is generated.
    pub decoded: usize,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// The frozen base, once. On the CPU that of an f32 file is the page cache of the file itself.
    pub base: u64,
    /// With gradients and both moments of Adam where they are trained.
    pub adapters: u64,
    /// What a backward pass needs of the forward pass, or the cache of keys and values, whichever is more.
    pub activations: u64,
}

impl Memory {
    pub fn total(self) -> u64 {
        self.base + self.adapters + self.activations
    }
}

const F32: u64 = 4;

pub fn estimate(config: &Config, lora: &LoraParameters, dtype: Dtype, load: Load) -> Memory {
    let size = |weight: &layout::Weight| (weight.shape[0] * weight.shape[1]) as u64;
    let base = layout::weights(config)
        .iter()
        .map(|weight| size(weight) * if weight.sort.is_vector() { F32 } else { dtype.size() as u64 })
        .sum();
    let pair = |(inputs, outputs): (usize, usize)| (lora.rank * (inputs + outputs)) as u64;
    let targets = config.architecture.layout().targets.iter().map(|(target, _)| pair(target.shape(config)));
    let adapter = config.layers as u64 * targets.sum::<u64>() * F32;
    // A trained one has itself, its gradient, and two moments, each old and new while a step is taken.
    let adapters = adapter * (6 * load.trained + load.read) as u64;

    // Numbers that one token leaves behind in one block, by where they arise: norms and residuals (width), queries and
    // what becomes of them, keys and values, scores (one a head and visible position), the inner width of the mlp. How
    // often each is kept was found by the peak memory of `rm` on the CPU (`/usr/bin/time -v pipeline run`, width 256, six
    // layers), with one of the sizes doubled at a time; that of `logits` by `sft` beside it.
    let (d, inner) = (config.width, config.inner);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let in_block = 4 * d + 2 * queries + 2 * keys + 3 * config.heads * load.tokens + 6 * inner;
    let forward = (load.rows * load.tokens * config.layers * in_block) as u64 * F32;
    let logits = (load.predicted * config.vocabulary) as u64 * 5 * F32;
    let training = (forward + logits) * load.trained as u64;
    let decoding = (load.rows * (load.tokens + load.decoded) * config.layers * 2 * keys) as u64 * F32 * 2
        + (load.rows * config.vocabulary) as u64 * F32 * 2;
    let activations = training.max(if load.decoded > 0 { decoding } else { 0 });
    Memory { base, adapters, activations }
}
