//! Forms of a question to people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The form of a question, which is the same for training and review: rankings and ratings of the same answers
/// disagree (Ethayarajh & Jurafsky 2022; arXiv 2308.15812).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    Pairs,
    Ranking,
    Ratings,
    Edit,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::Pairs => "pairs",
            Form::Ranking => "rankings",
            Form::Ratings => "ratings",
            Form::Edit => "edits",
        }
    }
}
