//! `eval`: how good a policy is on held-out prompts. It does nothing itself: the runner measures every model
//! in parts (`answers`, `scores`, `divergence`), each cached, so all are measured once and by one yardstick.

use super::answers::Answers;
use super::divergence::Divergence;
use super::scores::Scores;
use crate::model::Dtype;
use crate::stage::{self, Accepts, Direction, Gives, Kind, Metric, ParameterMistake, Parameters, Parts, Port, Work};
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
    takes_any_port: false,
    gives: Gives::Nothing,
    metrics: &[
        Metric {
            name: "mean_score",
            direction: Direction::Higher,
            doc: "mean score of the greedy answers under the first reward",
        },
        Metric { name: "score_sd", direction: Direction::Neutral, doc: "their standard deviation" },
        Metric { name: "length", direction: Direction::Neutral, doc: "mean answer length, tokens" },
        Metric { name: "eos_share", direction: Direction::Higher, doc: "share of answers that ended by themselves" },
        Metric {
            name: "distinct_2",
            direction: Direction::Higher,
            doc: "distinct token pairs over all token pairs of an answer, mean: repetition lowers it",
        },
        Metric {
            name: "kl",
            direction: Direction::Lower,
            doc: "mean over answers of Σ log π − log π_baseline on them, nats (needs `baseline`)",
        },
    ],
    means: &[
        ("mean_score", "score"),
        ("length", "length"),
        ("eos_share", "ended"),
        ("distinct_2", "distinct_2"),
        ("kl", "kl"),
    ],
    incumbent: None,
    draws: false,
    parse: stage::parse::<Eval>,
    defaults: stage::defaults::<Eval>,
    schema: stage::schema::<Eval>,
    parameter_docs: &[&[
        ("max_new_tokens", "longest answer"),
        ("batch", "prompts answered at once; never changes a number's meaning"),
        ("stop_token", "id that ends an answer; default: the model's eos tokens"),
        ("dtype", "f32, f16 or bf16: what the matrices of the models are kept and multiplied in"),
    ]],
    work: Work::Measure(parts),
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    pub max_new_tokens: usize,
    pub batch: usize,
    pub stop_token: Option<u32>,
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
