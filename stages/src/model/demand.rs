//! The work of a stage, as its memory is estimated from it. A part of the contract of a kind, so it knows no device.

use super::LoraParameters;

/// The line of a kind in `pipeline model inspect`: the load of a stage with the default parameters.
pub struct Demand {
    /// In words: `32 rows of 256 tokens`.
    pub of: String,
    pub lora: LoraParameters,
    pub load: Load,
}

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
    /// Rows that may be decoded together, and the tokens that each may come to have; 0 where nothing is generated.
    pub decoded: (usize, usize),
    /// Bytes of the frozen bases beside the model's own.
    pub other_bases: u64,
}

impl Load {
    pub fn is_training(&self) -> bool {
        self.trained > 0 || self.is_full
    }
}
