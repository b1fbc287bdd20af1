//! The functions of the rule language: one row each. A row says how its arguments are read and what it does with
//! them; the parser, the check and the evaluation follow the row.

use super::lexer;
use stages::stage::Direction;

#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub signature: &'static str,
    pub doc: &'static str,
    pub(super) body: Body,
}

#[derive(Debug)]
pub enum Body {
    Single(fn(f64) -> f64),
    /// Two numbers or more.
    Several(fn(&[f64]) -> f64),
    /// Two metrics or more, all of one direction, which is never neutral.
    Directed(fn(Direction, &[f64]) -> f64),
    /// `win_rate(STAGE over changed)`: over the paired answers whose text differs.
    WinRate,
    /// `changed(STAGE)`: over all paired answers.
    Changed,
    /// `f(METRIC, STAGE)`: the candidate's value and the other's.
    Against(fn(f64, f64) -> f64),
    /// `f(FIELD)`, `f(FIELD, SHARE)` or `f(FIELD > NUMBER)`, as `asks` says: over the items of one artifact.
    OverItems {
        asks: Asks,
        fold: Fold,
    },
    /// `slope(METRIC)`: over the checkpoints.
    Slope,
}

/// What stands behind the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    Quantile,
    Condition,
}

/// A number made of the items' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    Mean,
    /// Linear between neighbours (Hyndman & Fan 1996, definition 7).
    Quantile,
    /// Of those that hold.
    Count,
    Share,
}

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "abs",
        signature: "abs(NUMBER)",
        doc: "the number without its sign",
        body: Body::Single(f64::abs),
    },
    Function {
        name: "min",
        signature: "min(NUMBER, NUMBER, …)",
        doc: "the smallest of the numbers",
        body: Body::Several(smallest),
    },
    Function {
        name: "max",
        signature: "max(NUMBER, NUMBER, …)",
        doc: "the largest of the numbers",
        body: Body::Several(largest),
    },
    Function {
        name: "best",
        signature: "best(METRIC, METRIC, …)",
        doc: "the best of the metrics: the largest where higher is better, the smallest where lower is",
        body: Body::Directed(best),
    },
    Function {
        name: "worst",
        signature: "worst(METRIC, METRIC, …)",
        doc: "the worst of the metrics: the smallest where higher is better, the largest where lower is",
        body: Body::Directed(worst),
    },
    Function {
        name: "delta",
        signature: "delta(METRIC, STAGE)",
        doc: "the candidate's metric minus that of the stage",
        body: Body::Against(|candidate, other| candidate - other),
    },
    Function {
        name: "ratio",
        signature: "ratio(METRIC, STAGE)",
        doc: "the candidate's metric divided by that of the stage",
        body: Body::Against(|candidate, other| candidate / other),
    },
    Function {
        name: "win_rate",
        signature: "win_rate(STAGE over changed)",
        doc: "the share of answers that score higher than the stage's, among those whose text changed; \
              changed answers of equal score count half",
        body: Body::WinRate,
    },
    Function {
        name: "changed",
        signature: "changed(STAGE)",
        doc: "the share of answers whose text differs from the stage's",
        body: Body::Changed,
    },
    Function {
        name: "mean",
        signature: "mean(FIELD)",
        doc: "the mean of a field over the items",
        body: Body::OverItems { asks: Asks::Nothing, fold: Fold::Mean },
    },
    Function {
        name: "median",
        signature: "median(FIELD)",
        doc: "the middle number of a field over the items",
        body: Body::OverItems { asks: Asks::Nothing, fold: Fold::Quantile },
    },
    Function {
        name: "quantile",
        signature: "quantile(FIELD, SHARE)",
        doc: "the number that this share of the items, from 0 to 1, does not exceed",
        body: Body::OverItems { asks: Asks::Quantile, fold: Fold::Quantile },
    },
    Function {
        name: "count",
        signature: "count(FIELD > NUMBER)",
        doc: "how many items hold this; any comparison",
        body: Body::OverItems { asks: Asks::Condition, fold: Fold::Count },
    },
    Function {
        name: "share",
        signature: "share(FIELD > NUMBER)",
        doc: "the share of the items that hold this; any comparison",
        body: Body::OverItems { asks: Asks::Condition, fold: Fold::Share },
    },
    Function {
        name: "slope",
        signature: "slope(METRIC)",
        doc: "how much the stage's own metric rises a step: least squares over its checkpoints up to the candidate",
        body: Body::Slope,
    },
];

/// Words to which the rule language gives a meaning of its own: no stage and no metric may have such a name.
pub fn words() -> impl Iterator<Item = &'static str> {
    let functions = FUNCTIONS.iter().map(|function| function.name);
    lexer::KEYWORDS.iter().chain(lexer::OWN_NAMES).copied().chain(functions)
}

pub fn is_word(word: &str) -> bool {
    words().any(|known| known == word)
}

pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

fn smallest(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn best(direction: Direction, numbers: &[f64]) -> f64 {
    if direction == Direction::Lower { smallest(numbers) } else { largest(numbers) }
}

fn worst(direction: Direction, numbers: &[f64]) -> f64 {
    if direction == Direction::Lower { largest(numbers) } else { smallest(numbers) }
}
