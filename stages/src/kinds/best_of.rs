//! `best_of`: the best of several stages, by the rule of its gate. It computes nothing: what it gives is what one of them
//! gave.

use crate::stage::{Accepts, Gives, Kind, ParameterMistake, Parameters, Port, TokenizerSource, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// There are none.
#[derive(Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BestOf {}

impl Parameters for BestOf {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// The port of the stages to choose from.
pub const PORT: &str = "stages";

pub const KIND: Kind = Kind {
    name: "best_of",
    doc: "the best of several stages, by `select: {best: …}` of its gate; trains nothing",
    ports: &[
        Port::one(PORT, Accepts::Any, "the stages to choose from, all of one sort; one that failed is not chosen")
            .many(),
        Port::one("incumbent", Accepts::Any, "what `on_fail: keep` keeps").optional(),
    ],
    gives: Gives::Model,
    tokenizer: TokenizerSource::Port(PORT),
    incumbent: Some("incumbent"),
    computes: false,
    ..Kind::of::<BestOf>(Work::Choose { port: PORT })
};

/// The same of reward models.
const OF_REWARDS: Kind = Kind { gives: Gives::Reward, ..KIND };

/// The same of what commands made.
const OF_FILES: Kind = Kind { gives: Gives::Any, tokenizer: TokenizerSource::Unknown, ..KIND };

/// The kind for what the stages to choose from give; `None` where there is nothing to choose.
pub fn of(gives: Gives) -> Option<&'static Kind> {
    match gives {
        Gives::Model => Some(&KIND),
        Gives::Reward => Some(&OF_REWARDS),
        Gives::Any => Some(&OF_FILES),
        Gives::Nothing | Gives::Scorer => None,
    }
}
