//! What a `kto` stage can be told.

use crate::model::{Dtype, LoraParameters};
use crate::stage::{self, ParameterMistake, Parameters};
use crate::train::{self, AdamSettings, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kto {
    /// passes over the training answers; may be a fraction
    pub epochs: f64,
    /// answers per step; z₀ is estimated on as many
    pub batch: usize,
    /// rows that go through the model together; null: the whole batch. Fewer take less memory
    pub micro_batch: Option<usize>,
    /// run each block again on the way back instead of remembering it: less memory, a third more time, the same bytes
    pub recompute: bool,
    /// learning rate
    pub lr: f64,
    /// constant, or linear or cosine from `lr` at the first step down to 0 behind the last
    pub schedule: Schedule,
    /// how far the policy may go from the reference: smaller is further
    pub beta: f64,
    /// what a wanted answer weighs
    pub desirable_weight: f64,
    /// what an unwanted one weighs; by its number, the two should stand 1:1 to 4:3
    pub undesirable_weight: f64,
    /// longest row, prompt and answer together; longer ones are cut
    pub max_tokens: usize,
    /// share of the prompts measured on, when nothing is connected to `heldout`
    pub heldout: f64,
    /// steps between candidates; 0: only the last
    pub checkpoint_every: u64,
    /// id put behind each answer; default: the model's eos token
    pub stop_token: Option<u32>,
    /// whether answers end by themselves: put the stop token behind them
    pub ends: bool,
    /// f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in
    pub dtype: Dtype,
    pub adam: AdamSettings,
    pub lora: LoraParameters,
}

impl Default for Kto {
    fn default() -> Kto {
        Kto {
            epochs: 1.0,
            batch: 32,
            micro_batch: None,
            recompute: false,
            lr: 3e-4,
            schedule: Schedule::Linear,
            adam: AdamSettings::default(),
            beta: 0.1,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
            max_tokens: 256,
            heldout: 0.1,
            checkpoint_every: 0,
            stop_token: None,
            ends: true,
            dtype: Dtype::F32,
            lora: LoraParameters::default(),
        }
    }
}

impl Parameters for Kto {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[
            ("micro_batch", self.micro_batch.unwrap_or(1) as u64),
            ("max_tokens", self.max_tokens as u64),
        ]);
        if self.batch < 2 {
            mistakes.push(ParameterMistake::new("batch", "z₀ is a mean over the batch: at least 2"));
        }
        mistakes.extend(stage::above_zero(&[
            ("epochs", self.epochs),
            ("lr", self.lr),
            ("beta", self.beta),
            ("desirable_weight", self.desirable_weight),
            ("undesirable_weight", self.undesirable_weight),
        ]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.adam.mistakes());
        mistakes.extend(self.lora.mistakes());
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        train::idle_stop_token(self.stop_token, self.ends).into_iter().collect()
    }
}
