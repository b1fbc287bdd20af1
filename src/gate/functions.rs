//! The functions of the rule language: one row each. A row says how its arguments are read and what it does with
//! them; the parser, the check and the evaluation follow the row.

use super::evaluate::Gap;
use super::pairs::{self, Pair};
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
    /// `f(STAGE)`, or `f(STAGE over changed)` when `is_over_changed`: a fold over the paired items of the candidate
    /// and of that artifact.
    Paired {
        is_over_changed: bool,
        measure: fn(&[Pair]) -> Result<Measure, Gap>,
    },
    /// `f(METRIC, STAGE)`: the candidate's value and the other's.
    Against(fn(f64, f64) -> f64),
}

/// A number folded from items, and what it was folded from.
pub struct Measure {
    pub value: f64,
    pub detail: String,
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
        name: "win_rate",
        signature: "win_rate(STAGE over changed)",
        doc: "the share of answers that score higher than the stage's, among those whose text changed; \
              changed answers of equal score count half",
        body: Body::Paired { is_over_changed: true, measure: win_rate },
    },
    Function {
        name: "changed",
        signature: "changed(STAGE)",
        doc: "the share of answers whose text differs from the stage's",
        body: Body::Paired { is_over_changed: false, measure: changed },
    },
];

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

fn win_rate(items: &[Pair]) -> Result<Measure, Gap> {
    let counts = pairs::count(items)?;
    let none = || Gap::Open(format!("none of {} texts changed, so none won or lost", counts.total()));
    let value = counts.win_rate().ok_or_else(none)?;
    Ok(Measure { value, detail: counts.to_string() })
}

fn changed(items: &[Pair]) -> Result<Measure, Gap> {
    let changed = items.iter().filter(|pair| pair.is_changed()).count();
    Ok(Measure { value: changed as f64 / items.len() as f64, detail: format!("{changed} of {}", items.len()) })
}
