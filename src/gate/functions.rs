//! The functions of the rule language: one row each. A row says how its arguments are read and carries the faces of the
//! function: its number, which is also computed on every resample, and the form in which a claim about it is weighed.
//! The parser, the check and the evaluation follow the row, so a new function is a new row and its mathematics.

use super::column::{Column, FieldArgument};
use super::items::{Counts, PairResult};
use super::lexer::{self, Comparison};
use super::statistics;
use stages::stage::Direction;

#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub signature: &'static str,
    pub doc: &'static str,
    pub(super) body: Body,
}

/// The values that a function is computed from, with its faces.
#[derive(Debug)]
pub enum Body {
    Numbers(OfNumbers),
    Answers(OfAnswers),
    Field(OfField),
    Checkpoints(OfCheckpoints),
    Members(OfMembers),
}

/// A function of numbers: `f(NUMBER, …)`, `f(METRIC, STAGE)`.
#[derive(Debug)]
pub struct OfNumbers {
    pub takes: Takes,
    /// The direction is that of the metrics where `takes` asks for metrics, else neutral.
    pub value: fn(Direction, &[f64]) -> f64,
    /// `None`: the value is computed anew on every resample.
    pub form: Option<NumberForm>,
}

/// The arguments of a function of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    One,
    /// Two or more.
    Several,
    /// Two metrics or more, all of one direction, which is never neutral.
    Metrics,
    /// A metric of the candidate and the name of another artifact, which stands for the same metric of that artifact.
    MetricAndStage,
}

/// The form in which a claim about a function of numbers is weighed.
#[derive(Debug)]
pub enum NumberForm {
    /// The first number minus the second: a mean of differences.
    Difference,
    /// The first number divided by the second: multiplied out (Fieller 1954).
    Quotient,
    /// One of the numbers, each of which is compared; tells whether it is the largest, else it is the smallest.
    Pick(fn(Direction) -> bool),
    /// No confidence can be given, for this reason.
    Refused { reason: &'static str, help: &'static str },
}

/// A function of the candidate's answers paired with those of another artifact: `f(STAGE)`, `f(STAGE over changed)`. It
/// is the mean of one number for each pair.
#[derive(Debug)]
pub struct OfAnswers {
    /// Only pairs whose texts differ count, and the rule has to say so: `over changed`.
    pub is_over_changed: bool,
    /// Without it only the texts are compared.
    pub asks_scores: bool,
    pub points: fn(PairResult) -> f64,
    /// The counts behind the number, as an explanation shows them.
    pub detail: fn(&Counts) -> String,
}

impl OfAnswers {
    pub fn counts(&self, result: PairResult) -> bool {
        !self.is_over_changed || result.is_changed()
    }

    /// `None` when no pair counts.
    pub fn value(&self, results: &[PairResult], weights: &[u32]) -> Option<f64> {
        let counted = results.iter().zip(weights).filter(|(result, _)| self.counts(**result));
        let (points, total) = counted.fold((0.0, 0.0), |(points, total), (result, weight)| {
            (points + f64::from(*weight) * (self.points)(*result), total + f64::from(*weight))
        });
        (total > 0.0).then(|| points / total)
    }
}

/// A function of one field over the items of one artifact: `f(FIELD)`, `f(FIELD, SHARE)`, `f(FIELD > NUMBER)`.
#[derive(Debug)]
pub struct OfField {
    pub asks: Asks,
    /// `None` where it is undefined. The last argument is the weight of each row.
    pub value: fn(&Column, &FieldArgument, &[u32]) -> Option<f64>,
    /// `None`: the value is computed anew on every resample.
    pub form: Option<FieldForm>,
}

/// The argument that a function asks for after the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    Share,
    Condition,
}

/// The form in which a claim about a function of a field is weighed. Each item counts as its number, or with a
/// condition as 1 where the condition holds and 0 where it does not.
#[derive(Debug)]
pub enum FieldForm {
    Mean,
    /// The mean times the number of items.
    Total,
    /// The number that this share of the items does not exceed: a claim about it is one about a share of items.
    Quantile,
}

/// A function of the stage's own metric over its checkpoints: `f(METRIC)`. Checkpoints are no sample, so no confidence
/// can be given.
#[derive(Debug)]
pub struct OfCheckpoints {
    /// The number for the points `(step, metric)`, of which there are at least two.
    pub value: fn(&[(f64, f64)]) -> f64,
}

/// A function of one metric over the stages of a `for`: `f(FAMILY.METRIC)`, `f(FAMILY.METRIC > NUMBER)`.
#[derive(Debug)]
pub struct OfMembers {
    /// Whether a condition follows, whose bound is any number. It holds for no stage that failed; without one, a stage that
    /// failed has no number, so that all of them together have none.
    pub asks_condition: bool,
    /// Whether it asks which side is better.
    pub asks_direction: bool,
    /// The number for the metrics of the stages that did not fail, of which there is at least one.
    pub value: fn(&MemberNumbers) -> f64,
    /// Whether confidence can be given, by the spread between the stages.
    pub is_mean: bool,
}

/// The metrics of stages of a `for`.
pub struct MemberNumbers<'a> {
    pub direction: Direction,
    /// The condition that the function asks for, if it asks.
    pub condition: Option<(Comparison, f64)>,
    pub numbers: &'a [f64],
}

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "abs",
        signature: "abs(NUMBER)",
        doc: "the number without its sign",
        body: Body::Numbers(OfNumbers {
            takes: Takes::One,
            value: |_, numbers| numbers[0].abs(),
            // It lies above zero by luck alone, even where there is no difference.
            form: Some(NumberForm::Refused {
                reason: "the size of a difference is never zero, so no confidence can be given to `abs`",
                help: "write `a - b between -0.02 and 0.02`, or the two sides joined by `or`, with confidence",
            }),
        }),
    },
    Function {
        name: "min",
        signature: "min(NUMBER, NUMBER, …)",
        doc: "the smallest of the numbers",
        body: Body::Numbers(OfNumbers {
            takes: Takes::Several,
            value: |_, numbers| smallest(numbers),
            form: Some(NumberForm::Pick(|_| false)),
        }),
    },
    Function {
        name: "max",
        signature: "max(NUMBER, NUMBER, …)",
        doc: "the largest of the numbers",
        body: Body::Numbers(OfNumbers {
            takes: Takes::Several,
            value: |_, numbers| largest(numbers),
            form: Some(NumberForm::Pick(|_| true)),
        }),
    },
    Function {
        name: "best",
        signature: "best(METRIC, METRIC, …)",
        doc: "the best of the metrics: the largest where higher is better, the smallest where lower is",
        body: Body::Numbers(OfNumbers {
            takes: Takes::Metrics,
            value: best,
            form: Some(NumberForm::Pick(|direction| direction == Direction::Higher)),
        }),
    },
    Function {
        name: "worst",
        signature: "worst(METRIC, METRIC, …)",
        doc: "the worst of the metrics: the smallest where higher is better, the largest where lower is",
        body: Body::Numbers(OfNumbers {
            takes: Takes::Metrics,
            value: worst,
            form: Some(NumberForm::Pick(|direction| direction != Direction::Higher)),
        }),
    },
    Function {
        name: "delta",
        signature: "delta(METRIC, STAGE)",
        doc: "the candidate's metric minus that of the stage",
        body: Body::Numbers(OfNumbers {
            takes: Takes::MetricAndStage,
            value: |_, numbers| numbers[0] - numbers[1],
            form: Some(NumberForm::Difference),
        }),
    },
    Function {
        name: "ratio",
        signature: "ratio(METRIC, STAGE)",
        doc: "the candidate's metric divided by that of the stage",
        body: Body::Numbers(OfNumbers {
            takes: Takes::MetricAndStage,
            value: |_, numbers| numbers[0] / numbers[1],
            form: Some(NumberForm::Quotient),
        }),
    },
    Function {
        name: "win_rate",
        signature: "win_rate(STAGE over changed)",
        doc: "the share of answers that score higher than the stage's, among those whose text changed; \
              changed answers of equal score count half",
        body: Body::Answers(OfAnswers {
            is_over_changed: true,
            asks_scores: true,
            points: PairResult::points,
            detail: Counts::to_string,
        }),
    },
    Function {
        name: "changed",
        signature: "changed(STAGE)",
        doc: "the share of answers whose text differs from the stage's",
        body: Body::Answers(OfAnswers {
            is_over_changed: false,
            asks_scores: false,
            points: |result| f64::from(u8::from(result.is_changed())),
            detail: |counts| format!("{} of {}", counts.changed(), counts.total()),
        }),
    },
    Function {
        name: "mean",
        signature: "mean(FIELD)",
        doc: "the mean of a field over the items",
        body: Body::Field(OfField {
            asks: Asks::Nothing,
            value: |column, _, weights| column.mean(weights),
            form: Some(FieldForm::Mean),
        }),
    },
    Function {
        name: "median",
        signature: "median(FIELD)",
        doc: "the middle number of a field over the items",
        body: Body::Field(OfField { asks: Asks::Nothing, value: Column::quantile, form: Some(FieldForm::Quantile) }),
    },
    Function {
        name: "quantile",
        signature: "quantile(FIELD, SHARE)",
        doc: "the number that this share of the items, from 0 to 1, does not exceed",
        body: Body::Field(OfField { asks: Asks::Share, value: Column::quantile, form: Some(FieldForm::Quantile) }),
    },
    Function {
        name: "count",
        signature: "count(FIELD > NUMBER)",
        doc: "the number of items for which this holds; any comparison",
        body: Body::Field(OfField { asks: Asks::Condition, value: Column::count, form: Some(FieldForm::Total) }),
    },
    Function {
        name: "share",
        signature: "share(FIELD > NUMBER)",
        doc: "the share of items for which this holds; any comparison",
        body: Body::Field(OfField { asks: Asks::Condition, value: Column::share, form: Some(FieldForm::Mean) }),
    },
    Function {
        name: "slope",
        signature: "slope(METRIC)",
        doc: "the rise of the stage's own metric per step: least squares over its checkpoints up to the candidate",
        body: Body::Checkpoints(OfCheckpoints { value: least_squares }),
    },
    Function {
        name: "mean_across",
        signature: "mean_across(STAGES.METRIC)",
        doc: "the mean of a metric across the stages of a `for`: `mean_across(ppo.mean_score)` of `ppo_${seed}`; unknown \
              where one of them failed; with confidence by their spread, which counts stages and not items as evidence",
        body: Body::Members(OfMembers {
            asks_condition: false,
            asks_direction: false,
            value: |of| statistics::sample_mean(of.numbers),
            is_mean: true,
        }),
    },
    Function {
        name: "sd_across",
        signature: "sd_across(STAGES.METRIC)",
        doc: "the standard deviation of a metric across the stages of a `for`; unknown where one of them failed",
        body: Body::Members(OfMembers {
            asks_condition: false,
            asks_direction: false,
            value: |of| statistics::sample_deviation(of.numbers),
            is_mean: false,
        }),
    },
    Function {
        name: "worst_across",
        signature: "worst_across(STAGES.METRIC)",
        doc: "the worst of a metric across the stages of a `for`; unknown where one of them failed, so that nothing passes",
        body: Body::Members(OfMembers {
            asks_condition: false,
            asks_direction: true,
            value: |of| worst(of.direction, of.numbers),
            is_mean: false,
        }),
    },
    Function {
        name: "count_across",
        signature: "count_across(STAGES.METRIC > NUMBER)",
        doc: "the number of stages of a `for` for which this holds; any comparison, with any number, as `sft.mean_score`; it holds \
              for none that failed",
        body: Body::Members(OfMembers { asks_condition: true, asks_direction: false, value: holding, is_mean: false }),
    },
];

pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Words to which the rule language gives a meaning of its own: no stage and no metric may have such a name.
pub fn words() -> impl Iterator<Item = &'static str> {
    let functions = FUNCTIONS.iter().map(|function| function.name);
    lexer::KEYWORDS.iter().chain(lexer::OWN_NAMES).copied().chain(functions)
}

pub fn is_word(word: &str) -> bool {
    words().any(|known| known == word)
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

fn holding(of: &MemberNumbers) -> f64 {
    let holds = |number: &&f64| of.condition.is_some_and(|(comparison, bound)| comparison.holds(**number, bound));
    of.numbers.iter().filter(holds).count() as f64
}

/// The slope of the straight line through the points with the least squared error.
fn least_squares(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |number: fn(&(f64, f64)) -> f64| points.iter().map(number).sum::<f64>() / count;
    let (middle, level) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = points.iter().map(|(step, value)| (step - middle) * (value - level)).sum();
    let run: f64 = points.iter().map(|(step, _)| (step - middle).powi(2)).sum();
    rise / run
}
