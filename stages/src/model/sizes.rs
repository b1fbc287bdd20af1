//! Sizes of a model and of its work, from shapes alone; and how many rows a device takes at once.

use super::Load;
use crate::device::{self, DeviceLimits};
use crate::kernel;
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;
use formats::layout::{self, Weight};

pub const F32: u64 = 4;

impl Load {
    /// The rows that go forward together on this device: those that are only read may be fewer than the stage would take.
    pub fn rows_at_once(&self, config: &Config, device: &Device) -> usize {
        if self.is_training() { self.rows } else { self.rows.min(rows_at_once(config, self.tokens, device)) }
    }
}

/// The rows of `tokens` tokens that go forward together where nothing is trained.
pub fn rows_at_once(config: &Config, tokens: usize, device: &Device) -> usize {
    let of_row = (tokens.max(1) * widest(config)) as u64 * F32;
    usize::try_from(device::limits(device).binding / of_row).unwrap_or(usize::MAX).max(1)
}

/// The rows that can be decoded together: prompts of `tokens` tokens that become rows of `longest`. Their keys in a layer are
/// one tensor, as are their logits; those of all layers are kept beside the weights, and take three quarters of the memory
/// that these leave.
pub fn rows_decoded_at_once(config: &Config, weights: u64, tokens: usize, longest: usize, device: &Device) -> usize {
    let DeviceLimits { binding, memory, .. } = device::limits(device);
    let bound = binding / of_decoded_row(config, tokens, longest, device);
    let rest = memory.map_or(u64::MAX, |memory| memory.saturating_sub(weights) / 4 * 3);
    let kept = rest / kept_of_decoded_row(config, tokens, longest);
    usize::try_from(bound.min(kept)).unwrap_or(usize::MAX).max(1)
}

/// The largest tensor of a row that is decoded.
pub fn of_decoded_row(config: &Config, tokens: usize, longest: usize, device: &Device) -> u64 {
    let keys = config.kv_heads * config.head_dim * longest;
    let scores = if kernel::of(device).holds_scores() { config.heads * longest } else { 0 };
    keys.max(scores).max(config.vocabulary).max(tokens * widest(config)) as u64 * F32
}

/// The most numbers of a token between two operations in a layer.
pub fn widest(config: &Config) -> usize {
    let sides = config.architecture.layout.targets.iter().map(|(target, _)| target.shape(config));
    sides.map(|(inputs, outputs)| inputs.max(outputs)).max().unwrap_or(config.width)
}

/// The weights of a model, in the precision in which a device keeps its matrices.
pub fn bytes_of_weights(config: &Config, kept: Dtype) -> u64 {
    let weights = layout::weights(config);
    weights.iter().map(|weight| weight.numbers() as u64 * size_of_number(weight, kept)).sum()
}

pub fn size_of_number(weight: &Weight, kept: Dtype) -> u64 {
    if weight.sort.is_vector() { F32 } else { kept.size() as u64 }
}

/// The numbers that a block keeps per token (`decoder::Activations`): its input, both normed inputs and the sum between them,
/// and what is added before it is normed; queries and mixed values; keys and values; three of the inner width.
pub fn in_block(config: &Config) -> usize {
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let layout = &config.architecture.layout;
    let out_norms = [layout.attention_out_norm, layout.mlp_out_norm].into_iter().flatten().count();
    (4 + out_norms) * config.width + 2 * queries + 2 * keys + 3 * config.inner
}

/// The scores of a block in bytes, with their weights and the gradients of both, as far as they are computed at once; and the
/// bias of each window. Where they are computed in tiles there are next to none.
pub fn scores(config: &Config, rows: usize, tokens: usize, device: &Device) -> u64 {
    if !kernel::of(device).holds_scores() {
        return 0;
    }
    let pairs = (rows * tokens * tokens) as u64 * F32;
    let at_once = (pairs * config.heads as u64).min(device::limits(device).binding);
    4 * at_once + pairs * config.windows.len() as u64
}

/// The bytes of a row that is decoded: its keys and values in all layers, its logits, and its prompt in two blocks.
pub fn kept_of_decoded_row(config: &Config, tokens: usize, longest: usize) -> u64 {
    let keys = longest * config.layers * 2 * config.kv_heads * config.head_dim;
    (keys + 3 * config.vocabulary + tokens * 2 * in_block(config)) as u64 * F32
}
