//! An estimate of the memory a stage takes, from shapes alone.

use super::sizes::{self, F32, in_block, scores};
use super::{Load, LoraParameters};
use crate::{device, kernel};
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;

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

pub fn estimate(config: &Config, lora: &LoraParameters, dtype: Dtype, load: Load, device: &Device) -> Memory {
    let base = sizes::bytes_of_weights(config, device::kept(dtype, device));
    let pair = |(inputs, outputs): (usize, usize)| (lora.rank * (inputs + outputs)) as u64;
    let targets = config.architecture.layout.targets.iter().map(|(target, _)| pair(target.shape(config)));
    let adapter = if load.is_full { 0 } else { config.layers as u64 * targets.sum::<u64>() * F32 };
    // A trained tensor comes with its gradient and two moments and, during a step, with the three new ones.
    let adapters = adapter * (6 * load.trained + load.read) as u64 + if load.is_full { 5 * base } else { 0 };

    // On the way back one block has the gradients of what it keeps besides, and freed memory waits for the next one: two
    // blocks more. That is a tenth to a fifth more than the peaks that `cargo bench --bench train` measured on the CPU (sft
    // of 7M and 30M, ppo of 7M).
    let (d, in_block) = (config.width, in_block(config));
    let kept = if load.recomputes { config.layers * d + in_block } else { config.layers * in_block };
    let rows = load.rows_at_once(config, device);
    let tokens = rows * load.tokens;
    let kernel = kernel::of(device);
    let forward = (tokens * (if load.is_training() { kept } else { 0 } + 2 * in_block)) as u64 * F32;
    let forward = forward + scores(config, rows, load.tokens, device);
    let logits = (load.predicted * config.vocabulary).min(kernel.logits_at_once(device)) as u64 * 3 * F32;
    let (decoded, longest) = load.decoded;
    let decoded = decoded.min(sizes::rows_decoded_at_once(config, base, load.tokens, longest, device));
    let decoding = decoded as u64 * sizes::kept_of_decoded_row(config, load.tokens, longest);
    let decoding = decoding + if decoded > 0 { scores(config, decoded, load.tokens, device) } else { 0 };
    Memory {
        base: base + load.other_bases,
        adapters,
        activations: (forward + logits).max(decoding),
        can_recompute: load.is_training() && !load.recomputes,
    }
}

/// A size in words.
pub fn bytes(size: u64) -> String {
    match size {
        0..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.2} GB", size as f64 / 1e9),
    }
}

/// The estimate in words, with the parameters to lower.
pub fn in_words(memory: Memory, lower: &str) -> String {
    format!(
        "by its sizes it takes about {} (base {}, what is trained {}, activations {}); lower {lower}{}",
        bytes(memory.total()),
        bytes(memory.base),
        bytes(memory.adapters),
        bytes(memory.activations),
        if memory.can_recompute { ", or set `recompute: true`" } else { "" }
    )
}
