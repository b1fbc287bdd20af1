//! Gate rules: text → [`Rule`] → names and types checked against a [`RuleScope`] → judged by the numbers of
//! [`Subjects`]. Pure: it depends on no other part of the program, neither on YAML nor on the store or the journal.
//! [`GRAMMAR`] is the language.

mod check;
mod claim;
mod column;
mod evaluate;
mod functions;
mod items;
mod lexer;
mod parser;
mod readings;
mod resolve;
mod select;
mod show;
pub mod statistics;
mod tree;

pub use check::{check, check_best, check_where, warnings};
pub use evaluate::{Judgement, LookTerms, Readings, Subject, Subjects, evaluate};
pub use functions::{FUNCTIONS, Function, is_word, words};
pub use items::{Counts, Item, Items, PairResult, pair, pair_results};
pub use parser::{parse, parse_expression};
pub use readings::JudgeReading;
pub use resolve::{JudgeScope, MetricName, RuleScope};
pub use select::{Choice, Select, Survivors, choose, survivors};
pub use show::number as show_number;
pub use tree::{DeclaredGrowth, DeclaredLooks, Expression, RecordOrigin, Rule, Who};

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The grammar, as `pipeline kinds --gates` and the page on gates print it.
pub const GRAMMAR: &str = "\
rule   := sum cmp sum {cmp sum} [margin] [conf]      mean_score > incumbent.mean_score by 2% with 95% confidence
        | sum between sum and sum [conf]             self.kl between 0.1 and 5
        | metric improves over stage [margin] [conf] heldout_loss improves over sft
        | rule and rule | rule or rule | not rule | ( rule )
margin := by NUMBER [%]
conf   := with NUMBER% confidence [over [NUMBER] looks] [up to [NUMBER] items] [assuming bounds]
cmp    := > >= < <= = !=
sum    := + - * / over numbers, names and functions
        | FUNCTION(FIELD … [where subset = \"NAME\"])    mean(score where subset = \"ja\") > 0
name   := METRIC | self.METRIC | judge.METRIC | STAGE.METRIC | incumbent.METRIC, with several judges JUDGE. before it
";

/// The result of a rule, or of a whole gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Pass,
    Fail,
    /// The numbers are there and do not decide.
    Unsure,
    /// A number is missing or not finite.
    Error,
}

impl Decision {
    pub fn word(self) -> &'static str {
        match self {
            Decision::Pass => "pass",
            Decision::Fail => "fail",
            Decision::Unsure => "unsure",
            Decision::Error => "error",
        }
    }
}

/// A mistake in the text of a rule. `range` counts bytes of that text.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    pub range: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

impl Mistake {
    fn new(range: &Range<usize>, message: impl Into<String>) -> Mistake {
        Mistake { range: range.clone(), message: message.into(), help: None }
    }
    fn help(self, help: impl Into<String>) -> Mistake {
        Mistake { help: Some(help.into()), ..self }
    }
}

#[cfg(test)]
mod tests;
