//! Parameters of an adapter, as a pipeline file says them.

use crate::stage::ParameterMistake;
use formats::peft;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameter `lora:` of the training kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraParameters {
    /// rank of the adapter
    pub rank: usize,
    /// the update is scaled by alpha/rank
    pub alpha: f64,
    /// scale by alpha/√rank instead, so that a larger rank does not learn more slowly (Kalajdzievski 2023)
    pub rslora: bool,
}

impl Default for LoraParameters {
    fn default() -> LoraParameters {
        LoraParameters { rank: 8, alpha: 16.0, rslora: false }
    }
}

impl LoraParameters {
    /// The α for which α/r is the scale: α/√r is α′/r with a larger one.
    pub fn plain_alpha(&self) -> f64 {
        peft::plain_alpha(self.rank, self.alpha, self.rslora)
    }

    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = Vec::new();
        if self.rank == 0 {
            mistakes.push(ParameterMistake::new("lora.rank", "the rank must be at least 1"));
        }
        if self.alpha <= 0.0 {
            mistakes.push(ParameterMistake::new("lora.alpha", "alpha must be above 0"));
        }
        mistakes
    }
}
