//! `eval`: measures how good a policy is on held-out prompts. It has no action of its own: the runner measures every
//! model in the parts listed here, each of which is cached. So every model is measured once, and all in the same way.

pub mod answers;
pub mod divergence;
pub mod scores;

use crate::stage::{
    self, Accepts, Gives, Kind, Measure, ModelComparison, ParameterMistake, Parameters, Part, PartInput, Port, Work,
};
use answers::Answers;
use formats::data::DataRows;
use formats::dtype::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "held-out rows with a `prompt`"),
        Port::one("baseline", Accepts::Model, "what wins, losses and KL are counted against").optional(),
    ],
    gives: Gives::Nothing,
    metrics: &[
        scores::KIND.metrics[0],
        scores::KIND.metrics[1],
        answers::KIND.metrics[0],
        answers::KIND.metrics[1],
        answers::KIND.metrics[2],
        divergence::KIND.metrics[0],
    ],
    ..Kind::of::<Eval>(Work::Measure(&MEASURE))
};

/// Answers, their scores, and the distance from a baseline. No part depends on a model that the measured one will be
/// compared with.
const MEASURE: Measure = Measure {
    port: "policy",
    parts: &[
        Part {
            kind: &answers::KIND,
            inputs: &[("model", PartInput::Port("policy")), ("prompts", PartInput::Port("prompts"))],
            table: answers::TABLE,
        },
        Part {
            kind: &scores::KIND,
            inputs: &[("answers", PartInput::Part(0)), ("reward", PartInput::Port("reward"))],
            table: scores::TABLE,
        },
        Part {
            kind: &divergence::KIND,
            inputs: &[
                ("answers", PartInput::Part(0)),
                ("model", PartInput::Port("policy")),
                ("baseline", PartInput::Port("baseline")),
            ],
            table: divergence::TABLE,
        },
    ],
    comparison: Some(ModelComparison { part: 1, port: "baseline" }),
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
        let Answers { max_new_tokens, batch, stop_token, dtype } = Answers::default();
        Eval { max_new_tokens, batch, stop_token, dtype }
    }
}

impl Parameters for Eval {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        stage::at_least_one(&[("max_new_tokens", self.max_new_tokens as u64), ("batch", self.batch as u64)])
    }
}
