//! `eval`: how good a policy is on held-out prompts. It does nothing itself: the runner measures every model
//! in parts (`answers`, `scores`, `divergence`), each cached, so all are measured once and by one yardstick.

use super::answers::Answers;
use super::divergence::Divergence;
use super::scores::Scores;
use crate::model::Dtype;
use crate::stage::{self, Accepts, Gives, Kind, Metric, ParameterMistake, Parameters, Parts, Port, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const KIND: Kind = Kind {
    name: "eval",
    version: 1,
    doc: "measure a policy: greedy answers, their scores, its distance from a baseline",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to measure; the candidate, when this stage judges"),
        Port::one(
            "reward",
            Accepts::Reward,
            "what scores the answers: reward models, or word lists (`word<tab>valence`); the first one judges",
        )
        .many(),
        Port::one("prompts", Accepts::Data, "held-out rows with a `prompt`"),
        Port::one("baseline", Accepts::Model, "what wins, losses and KL are counted against").optional(),
    ],
    gives: Gives::Nothing,
    metrics: &[
        Metric::higher("mean_score", "mean score of the greedy answers under the first reward").mean_of("score"),
        Metric::neutral("score_sd", "their standard deviation"),
        Metric::neutral("length", "mean answer length, tokens").mean_of("length"),
        Metric::higher("eos_share", "share of answers that ended by themselves").mean_of("ended"),
        Metric::higher(
            "distinct_2",
            "distinct token pairs over all token pairs of an answer, mean: repetition lowers it",
        )
        .mean_of("distinct_2"),
        Metric::lower("kl", "mean over answers of Σ log π − log π_baseline on them, nats (needs `baseline`)")
            .mean_of("kl"),
    ],
    ..Kind::of::<Eval>(Work::Measure(parts))
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// longest answer
    pub max_new_tokens: usize,
    /// prompts answered at once; never changes a number's meaning
    pub batch: usize,
    /// id that ends an answer; default: the model's eos tokens
    pub stop_token: Option<u32>,
    /// f32, f16 or bf16: what the matrices of the models are kept and multiplied in
    pub dtype: Dtype,
}

impl Default for Eval {
    fn default() -> Eval {
        Eval { max_new_tokens: 48, batch: 64, stop_token: None, dtype: Dtype::F32 }
    }
}

impl Parameters for Eval {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        stage::at_least_one(&[("max_new_tokens", self.max_new_tokens as u64), ("batch", self.batch as u64)])
    }
}

/// Who gets which parameter. None of the three knows the other model it will be compared with.
fn parts(parameters: &Value) -> Parts {
    let Eval { max_new_tokens, batch, stop_token, dtype } =
        serde_json::from_value(parameters.clone()).expect("parameters were typed before");
    let plain = |value: Result<Value, serde_json::Error>| value.expect("parameters are plain data");
    Parts {
        answers: plain(serde_json::to_value(Answers { max_new_tokens, batch, stop_token, dtype })),
        scores: plain(serde_json::to_value(Scores { batch, dtype })),
        divergence: plain(serde_json::to_value(Divergence { batch, dtype })),
    }
}
