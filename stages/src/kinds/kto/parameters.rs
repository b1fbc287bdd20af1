//! What a `kto` stage can be told.

use crate::model::{Dtype, LoraParameters};
use crate::stage::{self, ParameterMistake, Parameters};
use crate::train::{self, AdamSettings, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kto {
    pub epochs: f64,
    pub batch: usize,
    pub micro_batch: Option<usize>,
    pub recompute: bool,
    pub lr: f64,
    pub schedule: Schedule,
    pub adam: AdamSettings,
    pub beta: f64,
    pub desirable_weight: f64,
    pub undesirable_weight: f64,
    pub max_tokens: usize,
    pub heldout: f64,
    pub checkpoint_every: u64,
    pub stop_token: Option<u32>,
    pub ends: bool,
    pub dtype: Dtype,
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

/// In the order in which they are printed.
pub const DOCS: &[(&str, &str)] = &[
    ("epochs", "passes over the training answers; may be a fraction"),
    ("batch", "answers per step; z₀ is estimated on as many"),
    ("micro_batch", train::MICRO_BATCH_DOC),
    ("recompute", train::RECOMPUTE_DOC),
    ("lr", "learning rate"),
    ("schedule", train::SCHEDULE_DOC),
    ("beta", "how far the policy may go from the reference: smaller is further"),
    ("desirable_weight", "what a wanted answer weighs"),
    ("undesirable_weight", "what an unwanted one weighs; by its number, the two should stand 1:1 to 4:3"),
    ("max_tokens", "longest row, prompt and answer together; longer ones are cut"),
    ("heldout", "share of the prompts measured on, when nothing is connected to `heldout`"),
    ("checkpoint_every", "steps between candidates; 0: only the last"),
    ("stop_token", "id put behind each answer; default: the model's eos token"),
    ("ends", "whether answers end by themselves: put the stop token behind them"),
    ("dtype", "f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in"),
];
