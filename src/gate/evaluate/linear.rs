//! Sums of means over items: a side of a comparison → factors and fields → one number for each item.

use super::super::functions::{FieldForm, NumberForm};
use super::super::items::Items;
use super::super::lexer::Comparison;
use super::super::show;
use super::super::tree::{Arguments, Number, Operator};
use super::certainty::{Question, count};
use super::quantity::quantity;
use super::view::{FieldKey, Gap, View};
use stages::stage::Bounds;
use std::borrow::Cow;

/// `constant + Σ factor · mean(term)`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub constant: f64,
    pub terms: Vec<(f64, Term)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// The numbers of a field, or whether each satisfies a condition.
    Field(FieldKey, Option<(Comparison, f64)>),
    /// The points of all answers against those of another artifact. Index into `Leaves::others`.
    Answers(usize),
    /// The points of the answers whose text changed.
    ChangedAnswers(usize),
}

impl Linear {
    fn constant(constant: f64) -> Linear {
        Linear { constant, terms: Vec::new() }
    }

    pub fn mean(term: Term) -> Linear {
        Linear { constant: 0.0, terms: vec![(1.0, term)] }
    }

    pub fn times(mut self, factor: f64) -> Linear {
        self.constant *= factor;
        self.terms.iter_mut().for_each(|(scale, _)| *scale *= factor);
        self
    }

    fn plus(mut self, other: Linear) -> Linear {
        self.constant += other.constant;
        for (factor, term) in other.terms {
            match self.terms.iter_mut().find(|(_, known)| *known == term) {
                Some((known, _)) => *known += factor,
                None => self.terms.push((factor, term)),
            }
        }
        // A term that cancels out, as in `a - a`, stays: it is still known item by item.
        self
    }

    fn minus(self, other: Linear) -> Linear {
        self.plus(other.times(-1.0))
    }
}

/// The linear form of the right side, with its margin.
pub fn threshold(question: &Question, view: View) -> Result<Option<Linear>, Gap> {
    let Some(mut right) = linear(question.right, view) else { return Ok(None) };
    if let Some(margin) = question.margin {
        let sign = if question.is_upwards { 1.0 } else { -1.0 };
        if margin.is_percent {
            let value = quantity(question.right, view).value?;
            right = right.times(1.0 + sign * margin.amount / 100.0 * value.signum());
        } else {
            right.constant += sign * margin.amount;
        }
    }
    Ok(Some(right))
}

/// Left minus right. A quotient against a plain number is multiplied out, in units of its measured divisor, which is
/// then kept.
pub struct Contrast {
    pub linear: Linear,
    pub divisor: Option<(Number, f64)>,
}

/// The contrast of the two sides; `None` for a question that is not a sum of means over items.
pub fn contrast(question: &Question, view: View) -> Result<Option<Contrast>, Gap> {
    let Some(right) = threshold(question, view)? else { return Ok(None) };
    let quotient = quotient(question.left).filter(|_| right.terms.is_empty());
    let Some((above, below)) = quotient else {
        let left = linear(question.left, view);
        return Ok(left.map(|left| Contrast { linear: left.minus(right), divisor: None }));
    };
    let divisor = quantity(&below, view).value?;
    if divisor == 0.0 {
        return Err(Gap::Error("division by zero".to_owned()));
    }
    let both = linear(&above, view).zip(linear(&below, view));
    Ok(both.map(|(above, of_divisor)| Contrast {
        linear: above.plus(of_divisor.times(-right.constant)).times(1.0 / divisor),
        divisor: Some((below, divisor)),
    }))
}

/// `a / b` of two measured numbers, however it is written.
fn quotient(number: &Number) -> Option<(Number, Number)> {
    let is_measured = |number: &Number| !matches!(number, Number::Literal { .. });
    match number {
        Number::Chain { first, rest } => match &rest[..] {
            [(Operator::Over, below)] if is_measured(below) => Some(((**first).clone(), below.clone())),
            _ => None,
        },
        Number::Call { arguments: Arguments::Numbers(of, numbers), .. } => match (&of.form, &numbers[..]) {
            (Some(NumberForm::Quotient), [above, below]) => Some((above.clone(), below.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// The linear form of a number; `None` if it is not a sum of means over items.
pub fn linear(number: &Number, view: View) -> Option<Linear> {
    match number {
        Number::Literal { value, .. } => Some(Linear::constant(*value)),
        Number::Name(name) => Some(Linear::mean(Term::Field(view.field(view.name(*name))?, None))),
        Number::Negative(inner) => Some(linear(inner, view)?.times(-1.0)),
        Number::Chain { first, rest } => {
            let mut sum = linear(first, view)?;
            for (operator, number) in rest {
                let next = linear(number, view)?;
                sum = match (operator, sum.terms.is_empty(), next.terms.is_empty()) {
                    (Operator::Plus, ..) => sum.plus(next),
                    (Operator::Minus, ..) => sum.minus(next),
                    (Operator::Times, _, true) => sum.times(next.constant),
                    (Operator::Times, true, _) => next.times(sum.constant),
                    (Operator::Over, _, true) if next.constant != 0.0 => sum.times(1.0 / next.constant),
                    _ => return None,
                };
            }
            Some(sum)
        }
        Number::Call { arguments, .. } => call(arguments, view),
    }
}

fn call(arguments: &Arguments, view: View) -> Option<Linear> {
    match arguments {
        Arguments::Numbers(of, numbers) => match (&of.form, &numbers[..]) {
            (Some(NumberForm::Difference), [first, second]) => Some(linear(first, view)?.minus(linear(second, view)?)),
            _ => None,
        },
        Arguments::Answers(other) => Some(Linear::mean(match view.other(*other).of.is_over_changed {
            true => Term::ChangedAnswers(*other),
            false => Term::Answers(*other),
        })),
        Arguments::Field(of, name, argument) => {
            let field = view.field(view.name(*name))?;
            let scale = match of.form.as_ref()? {
                FieldForm::Mean => 1.0,
                FieldForm::Total => view.table(&field).ok()?.rows.len() as f64,
                FieldForm::Quantile => return None,
            };
            Some(Linear::mean(Term::Field(field, argument.condition())).times(scale))
        }
        Arguments::Checkpoints(..) | Arguments::Members(..) => None,
    }
}

/// One number for each item, in the order of the ids.
pub struct Values {
    pub ids: Vec<String>,
    pub numbers: Vec<f64>,
    pub groups: Vec<usize>,
    /// Whether each number is the difference of two that are 0 or 1, times one factor.
    pub is_paired: bool,
}

impl Values {
    pub fn count(&self) -> String {
        count(self.numbers.len(), self.groups.iter().max().map_or(0, |last| last + 1), "items")
    }
}

/// Computes the values. Every table is paired with the first one.
pub fn values(linear: &Linear, view: View) -> Result<Values, Gap> {
    let tables = linear.terms.iter().map(|(_, term)| match term {
        Term::Field(field, _) => view.table(field),
        Term::Answers(other) => Ok(Cow::Borrowed(view.answers(view.other(*other))?)),
        Term::ChangedAnswers(_) => Err(Gap::Error("a rate over changed answers is no mean over all items".to_owned())),
    });
    let tables = tables.collect::<Result<Vec<Cow<Items>>, Gap>>()?;
    let Some(base) = tables.first() else {
        return Err(Gap::Error("nothing here was measured item by item".to_owned()));
    };
    let mut sums = vec![0.0; base.rows.len()];
    let mut is_paired = matches!(&linear.terms[..], [(one, _), (other, _)] if *one == -*other && *one != 0.0);
    for ((factor, term), table) in linear.terms.iter().zip(&tables) {
        let points = match term {
            Term::Field(..) => Vec::new(),
            Term::Answers(other) | Term::ChangedAnswers(other) => view.points(view.other(*other))?,
        };
        for (sum, row) in sums.iter_mut().zip(table.rows_like(base)?) {
            let number = match term {
                Term::Field(field, None) => table.number(&field.field, row)?,
                Term::Field(field, Some((comparison, bound))) => {
                    f64::from(u8::from(comparison.holds(table.number(&field.field, row)?, *bound)))
                }
                Term::Answers(_) | Term::ChangedAnswers(_) => points[row],
            };
            is_paired = is_paired && (number == 0.0 || number == 1.0);
            *sum += factor * number;
        }
    }
    check_means(linear, view)?;
    let order = base.order();
    Ok(Values {
        ids: order.iter().map(|row| base.rows[*row].id.clone()).collect(),
        numbers: order.iter().map(|row| sums[*row]).collect(),
        groups: base.groups(&order),
        is_paired,
    })
}

/// The least and the largest number that an item can have, apart from the constant: of each metric the bounds that it
/// declares. An item outside them is an error.
pub fn bounds(linear: &Linear, view: View) -> Result<Bounds, Gap> {
    let mut all = Bounds { low: 0.0, high: 0.0 };
    for (factor, term) in &linear.terms {
        let Bounds { low, high } = match term {
            Term::Field(field, None) => kept_bounds(field, view)?,
            Term::Field(_, Some(_)) | Term::Answers(_) | Term::ChangedAnswers(_) => Bounds { low: 0.0, high: 1.0 },
        };
        all.low += (factor * low).min(factor * high);
        all.high += (factor * low).max(factor * high);
    }
    Ok(all)
}

/// The declared bounds of a field, if every item keeps them.
fn kept_bounds(field: &FieldKey, view: View) -> Result<Bounds, Gap> {
    let mut names = view.leaves.names.iter().filter(|name| view.field(name).as_ref() == Some(field));
    let bounds = names.find_map(|name| name.meaning.as_ref()?.bounds);
    let bounds = bounds.ok_or_else(|| Gap::Error(format!("no bounds are declared of `{}`", field.field)))?;
    let items = view.table(field)?;
    for (row, number) in items.numbers(&field.field)?.into_iter().enumerate() {
        if !(bounds.low..=bounds.high).contains(&number) {
            let (id, [number, low, high]) =
                (&items.rows[row].id, [number, bounds.low, bounds.high].map(|of| show::number(of, 6)));
            let field = &field.field;
            return Err(Gap::Error(format!(
                "the {field} of item `{id}` is {number}, and its bounds are {low} to {high}"
            )));
        }
    }
    Ok(bounds)
}

/// The largest difference between a metric and the mean of its items that counts as rounding: sums of one table in
/// another order differ, and a number may have been rounded when it was written down.
fn rounding(value: f64) -> f64 {
    let written = value.to_string();
    let decimals = written.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let rounded = if decimals >= 2 { 0.5000001 * 10_f64.powi(-(decimals as i32)) } else { 0.0 };
    rounded.max(1e-6 * value.abs().max(1.0))
}

/// Refuses a metric that is not the mean of its field: it would be weighed by other numbers than the ones shown.
fn check_means(linear: &Linear, view: View) -> Result<(), Gap> {
    let is_mean =
        |key: &FieldKey| linear.terms.iter().any(|(_, term)| matches!(term, Term::Field(known, None) if known == key));
    for name in view.leaves.names.iter().filter(|name| !name.is_field) {
        let Some(key) = view.field(name).filter(is_mean) else { continue };
        let numbers = view.table(&key)?.numbers(&key.field)?;
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let Ok(value) = view.metric(name) else { continue };
        if (mean - value).abs() > rounding(value) {
            let (mean, label) = (show::number(mean, 6), name.label());
            let value = show::number(value, 6);
            return Err(Gap::Error(format!(
                "`{label}` is {value}, but the mean of its items is {mean}: both must come from one measurement"
            )));
        }
    }
    Ok(())
}
