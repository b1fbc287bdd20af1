//! The parameters that training kinds share. The doc comments of fields are printed to users.

use super::adam::AdamSettings;
use super::ends::Ends;
use super::rows::RowEncoder;
use super::truncate::Truncate;
use crate::io::Io;
use crate::model::{Artifact, Base, Expectation, Load, LoraParameters, Templating};
use crate::stage::{self, ParameterMistake};
use anyhow::Result;
use formats::dtype::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of a training on rows of data, shared by `sft`, `rm`, `dpo` and `kto`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Training {
    /// passes over the training data; may be a fraction
    pub epochs: f64,
    /// rows per step; for `rm` and `dpo`, prompts with all their answers; for `kto`, z₀ is estimated on as many
    pub batch: usize,
    #[serde(flatten)]
    pub passes: Passes,
    #[serde(flatten)]
    pub rate: Rate,
    /// longest row in tokens, prompt and answer together; longer rows are cut and counted
    pub max_tokens: usize,
    /// what becomes of longer rows. end: answers lose their end, and rows whose prompt leaves no room are left out; start:
    /// prompts lose their beginning, dialogues their first turns after the system's text; middle: texts keep both ends;
    /// drop: they are left out
    pub truncate: Truncate,
    /// share of the prompts held out to measure on; not used if data is connected to `heldout`
    pub heldout: f64,
    /// steps between candidates; 0: one candidate, at the end
    pub checkpoint_every: u64,
    /// id of the token that ends each answer; default: that of the chat template, else the model's eos token
    pub stop_token: Option<u32>,
    #[serde(flatten)]
    pub templating: Templating,
    #[serde(flatten)]
    pub tuning: Tuning,
}

impl Default for Training {
    fn default() -> Training {
        Training {
            epochs: 1.0,
            batch: 16,
            passes: Passes::default(),
            rate: Rate { lr: 1e-3, schedule: Schedule::Cosine },
            max_tokens: 256,
            truncate: Truncate::End,
            heldout: 0.1,
            checkpoint_every: 0,
            stop_token: None,
            templating: Templating::default(),
            tuning: Tuning::default(),
        }
    }
}

impl Training {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[("batch", self.batch as u64), ("max_tokens", self.max_tokens as u64)]);
        mistakes.extend(self.passes.mistakes());
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs)]));
        mistakes.extend(self.rate.mistakes());
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.templating.mistakes());
        mistakes.extend(self.tuning.mistakes());
        mistakes
    }

    /// The mistake of a `stop_token` that no answer would get.
    pub fn idle_stop_token(&self, end: AnswerEnd) -> Option<ParameterMistake> {
        let message = "`stop_token` has an effect only with `ends: true`";
        (self.stop_token.is_some() && !end.ends).then(|| ParameterMistake::new("stop_token", message))
    }

    /// An encoder of rows for this model.
    ///
    /// # Errors
    /// The model has no token that ends an answer.
    pub fn encoder<'a>(&self, artifact: &'a Artifact, end: AnswerEnd) -> Result<RowEncoder<'a>> {
        let ends = Ends::of(artifact.config(), &artifact.tokenizer, self.stop_token, end.ends)?;
        let max_tokens = self.max_tokens.min(artifact.config().context);
        Ok(RowEncoder { artifact, ends, max_tokens, truncate: self.truncate })
    }

    /// [`Artifact::expect`] of a stage with these parameters, and bases of `others` beside the model.
    ///
    /// # Errors
    /// As there.
    pub fn expect(&self, io: &Io, artifact: &Artifact, load: Load, others: &[&Base]) -> Result<()> {
        let load = Load { recomputes: self.passes.recompute, ..load };
        let lower = &Passes::or_lower("`max_tokens` or `lora.rank`");
        artifact.expect(io, Expectation { lora: &self.tuning.lora, load, others, lower })
    }
}

/// Tells whether the answers in the data are complete, for kinds that compare answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AnswerEnd {
    /// end each answer with the stop token; false if the answers are not complete
    #[schemars(extend("printed-after" = "stop_token"))]
    pub ends: bool,
}

impl Default for AnswerEnd {
    fn default() -> AnswerEnd {
        AnswerEnd { ends: true }
    }
}

/// The bound on the pairs of a prompt, for kinds that compare answers with each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PairBound {
    /// most pairs of one prompt; of more, so many are drawn, and what is drawn is told
    #[schemars(extend("printed-after" = "shards"))]
    pub pairs_per_prompt: usize,
}

impl Default for PairBound {
    fn default() -> PairBound {
        PairBound { pairs_per_prompt: 64 }
    }
}

impl PairBound {
    pub fn mistakes(self) -> Vec<ParameterMistake> {
        stage::at_least_one(&[("pairs_per_prompt", self.pairs_per_prompt as u64)])
    }
}

/// Parameters that trade time for memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Passes {
    /// rows that go through the model at once; null: the whole batch. A smaller number takes less memory
    pub micro_batch: Option<usize>,
    /// run each block again in the backward pass instead of keeping it in memory: a third more time, the same result
    pub recompute: bool,
    /// parts of each batch that go through the model by themselves and are then added up: as many GPUs can work on them
    /// (`resources: {gpu: 4}`), and the result is the same on one; null: 1
    pub shards: Option<usize>,
}

impl Passes {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        stage::at_least_one(&[
            ("micro_batch", self.micro_batch.unwrap_or(1) as u64),
            ("shards", self.shards.unwrap_or(1) as u64),
        ])
    }

    /// Number of rows that go through the model together, in a batch of `size`.
    pub fn at_once(&self, size: usize) -> usize {
        let shard = size.div_ceil(self.shards());
        self.micro_batch.unwrap_or(shard).min(shard)
    }

    /// The parts of a batch that may go to different devices.
    pub fn shards(&self) -> usize {
        self.shards.unwrap_or(1)
    }

    /// Names the parameters that take less memory when they are lowered.
    pub fn or_lower(others: &str) -> String {
        format!("`micro_batch` (null is the whole batch), {others}")
    }
}

/// The learning rate over the steps of a training.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rate {
    /// learning rate
    pub lr: f64,
    /// constant, or linear or cosine decay from `lr` at the first step to 0 after the last
    pub schedule: Schedule,
}

impl Rate {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        stage::above_zero(&[("lr", self.lr)])
    }

    /// Learning rate at `step` of `total`, counted from 0.
    pub fn at(&self, step: u64, total: u64) -> f64 {
        self.schedule.rate(self.lr, step, total)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Constant,
    /// To 0 at the end.
    Linear,
    /// Half a cosine, to 0 at the end.
    #[default]
    Cosine,
}

impl Schedule {
    /// Learning rate at `step` of `total`, counted from 0.
    pub fn rate(self, base: f64, step: u64, total: u64) -> f64 {
        let done = step as f64 / total as f64;
        match self {
            Schedule::Constant => base,
            Schedule::Linear => base * (1.0 - done),
            Schedule::Cosine => base * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

/// Parameters of the frozen base and of the adapter trained on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tuning {
    /// precision of the matrices of the frozen base, in memory and in products: OPTIONS
    pub dtype: Dtype,
    pub adam: AdamSettings,
    pub lora: LoraParameters,
}

impl Tuning {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        [self.adam.mistakes(), self.lora.mistakes()].concat()
    }
}

/// The mistake of a label smoothing out of its bounds.
pub fn smoothing_mistake(label_smoothing: f64) -> Option<ParameterMistake> {
    let message = "`label_smoothing` is at least 0 and below one half";
    (!(0.0..0.5).contains(&label_smoothing)).then(|| ParameterMistake::new("label_smoothing", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_golden_schedules() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/rlhf-golden.json")).unwrap();
        let golden = &golden["lr"];
        for (name, schedule) in [("linear_to_0", Schedule::Linear), ("cosine_to_0", Schedule::Cosine)] {
            for point in golden[name].as_array().unwrap() {
                let rate = schedule.rate(
                    golden["base"].as_f64().unwrap(),
                    point["step"].as_u64().unwrap(),
                    golden["total"].as_u64().unwrap(),
                );
                assert!((rate - point["lr"].as_f64().unwrap()).abs() < 1e-18);
            }
        }
    }
}
