//! Sums of means over items: a side of a comparison → factors and fields → one number an item. Knows nothing of what is
//! made of the numbers.

use super::super::functions::{Body, Fold};
use super::super::items::{self, Items};
use super::super::lexer::Comparison;
use super::super::show;
use super::super::tree::{Arguments, Leaves, Number, Operator, Picked, Who, Yardstick};
use super::Facts;
use super::evidence::Question;
use super::quantity::{self, Gap};
use std::collections::HashMap;

/// `constant + Σ factor · mean(term)`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub constant: f64,
    pub terms: Vec<(f64, Term)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// Of a name: its field, or whether that holds.
    Field(Column, Option<(Comparison, f64)>),
    /// Index into [`Leaves::others`].
    Changed(usize),
    Wins(usize),
}

/// A field of one artifact's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    pub who: Who,
    pub yardstick: Yardstick,
    pub field: String,
}

impl Linear {
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
        // What was measured and taken away again, as in `a - a`, stays: it is still known item by item.
        self
    }
}

/// The right side with its margin.
pub fn moved(question: &Question, leaves: &Leaves, facts: &Facts) -> Result<Option<Linear>, Gap> {
    let Some(mut right) = linear(question.right, leaves, facts) else { return Ok(None) };
    if let Some(margin) = question.margin {
        let sign = if question.is_upwards { 1.0 } else { -1.0 };
        if margin.is_percent {
            let value = quantity::quantity(question.right, leaves, facts).value?;
            right = right.times(1.0 + sign * margin.amount / 100.0 * value.signum());
        } else {
            right.constant += sign * margin.amount;
        }
    }
    Ok(Some(right))
}

/// Left minus right. A quotient against a plain number is multiplied out, in units of its divisor as measured; then the
/// divisor comes along.
pub type Difference = (Linear, Option<(Number, f64)>);

pub fn difference(question: &Question, leaves: &Leaves, facts: &Facts) -> Result<Option<Difference>, Gap> {
    let Some(right) = moved(question, leaves, facts)? else { return Ok(None) };
    let quotient = quotient(question.left).filter(|_| right.terms.is_empty());
    let Some((above, below)) = quotient else {
        let left = linear(question.left, leaves, facts);
        return Ok(left.map(|left| (left.plus(right.times(-1.0)), None)));
    };
    let divisor = quantity::quantity(&below, leaves, facts).value?;
    if divisor == 0.0 {
        return Err(Gap::Error("division by zero".to_owned()));
    }
    let both = linear(&above, leaves, facts).zip(linear(&below, leaves, facts));
    let sum = both.map(|(above, below)| above.plus(below.times(-right.constant)).times(1.0 / divisor));
    Ok(sum.map(|sum| (sum, Some((below, divisor)))))
}

/// `a / b` of two measured numbers, however it is written.
fn quotient(number: &Number) -> Option<(Number, Number)> {
    let is_measured = |number: &Number| !matches!(number, Number::Literal { .. });
    match number {
        Number::Chain { first, rest } => match &rest[..] {
            [(Operator::Over, below)] if is_measured(below) => Some(((**first).clone(), below.clone())),
            _ => None,
        },
        Number::Call { function, arguments: Arguments::Against(mine, theirs), .. } if function.name == "ratio" => {
            Some((Number::Name(*mine), Number::Name(*theirs)))
        }
        _ => None,
    }
}

pub fn linear(number: &Number, leaves: &Leaves, facts: &Facts) -> Option<Linear> {
    let constant = |constant: f64| Linear { constant, terms: Vec::new() };
    let term = |term: Term| Linear { constant: 0.0, terms: vec![(1.0, term)] };
    match number {
        Number::Literal { value, .. } => Some(constant(*value)),
        Number::Name(name) => Some(term(Term::Field(column(*name, leaves)?, None))),
        Number::Negative(inner) => Some(linear(inner, leaves, facts)?.times(-1.0)),
        Number::Chain { first, rest } => {
            let mut sum = linear(first, leaves, facts)?;
            for (operator, number) in rest {
                let next = linear(number, leaves, facts)?;
                sum = match (operator, sum.terms.is_empty(), next.terms.is_empty()) {
                    (Operator::Plus, ..) => sum.plus(next),
                    (Operator::Minus, ..) => sum.plus(next.times(-1.0)),
                    (Operator::Times, _, true) => sum.times(next.constant),
                    (Operator::Times, true, _) => next.times(sum.constant),
                    (Operator::Over, _, true) if next.constant != 0.0 => sum.times(1.0 / next.constant),
                    _ => return None,
                };
            }
            Some(sum)
        }
        Number::Call { function, arguments, .. } => match (&function.body, arguments) {
            (Body::WinRate, Arguments::Other(other)) => Some(term(Term::Wins(*other))),
            (Body::Changed, Arguments::Other(other)) => Some(term(Term::Changed(*other))),
            (Body::Against(_), Arguments::Against(mine, theirs)) if function.name == "delta" => {
                let theirs = term(Term::Field(column(*theirs, leaves)?, None)).times(-1.0);
                Some(term(Term::Field(column(*mine, leaves)?, None)).plus(theirs))
            }
            (Body::OverItems { fold: Fold::Mean, .. }, Arguments::Field(name, Picked::All)) => {
                Some(term(Term::Field(column(*name, leaves)?, None)))
            }
            (Body::OverItems { fold, .. }, Arguments::Field(name, Picked::Where(sign, bound, _))) => {
                let column = column(*name, leaves)?;
                // So many of them is that share of all there are.
                let all = match fold {
                    Fold::Count => quantity::items_of(&column.who, column.yardstick, facts).ok()?.rows.len() as f64,
                    _ => 1.0,
                };
                Some(term(Term::Field(column, Some((*sign, *bound)))).times(all))
            }
            _ => None,
        },
    }
}

/// The items behind a name, if there are any.
pub fn column(name: usize, leaves: &Leaves) -> Option<Column> {
    let name = &leaves.names[name];
    let meaning = name.meaning.as_ref()?;
    Some(Column { who: name.who.clone(), yardstick: meaning.yardstick, field: meaning.field.clone()? })
}

/// One number an item, in the order of the ids.
pub struct Values {
    pub ids: Vec<String>,
    pub numbers: Vec<f64>,
    pub groups: Vec<usize>,
}

impl Values {
    pub fn count(&self, unit: &str) -> String {
        count(self.numbers.len(), self.groups.iter().max().map_or(0, |last| last + 1), unit)
    }
}

/// `120 items in 40 groups`.
pub fn count(items: usize, clusters: usize, unit: &str) -> String {
    let unit = if items == 1 { unit.trim_end_matches('s') } else { unit };
    let groups = if clusters < items { format!(" in {clusters} groups") } else { String::new() };
    format!("{items} {unit}{groups}")
}

/// The rows of a table by their ids.
pub fn order(items: &Items) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.rows.len()).collect();
    order.sort_by(|one, other| items.rows[*one].id.cmp(&items.rows[*other].id));
    order
}

/// Every table is paired with the first one.
pub fn values(linear: &Linear, leaves: &Leaves, facts: &Facts) -> Result<Values, Gap> {
    let tables = linear.terms.iter().map(|(_, term)| match term {
        Term::Field(column, _) => quantity::items_of(&column.who, column.yardstick, facts),
        Term::Changed(other) | Term::Wins(other) => Ok(quantity::both_items(&leaves.others[*other], facts)?.0),
    });
    let tables = tables.collect::<Result<Vec<&Items>, Gap>>()?;
    let Some(base) = tables.first() else {
        return Err(Gap::Error("nothing here was measured item by item".to_owned()));
    };
    let mut sums = vec![0.0; base.rows.len()];
    for ((factor, term), table) in linear.terms.iter().zip(&tables) {
        let changed = match term {
            Term::Changed(other) => {
                let (mine, theirs) = quantity::both_items(&leaves.others[*other], facts)?;
                items::changed(mine, theirs)?
            }
            Term::Field(..) | Term::Wins(_) => Vec::new(),
        };
        for (at, row) in rows_like(base, table)?.into_iter().enumerate() {
            let number = match term {
                Term::Field(column, None) => table.number(&column.field, row)?,
                Term::Field(column, Some((sign, bound))) => {
                    f64::from(u8::from(sign.holds(table.number(&column.field, row)?, *bound)))
                }
                Term::Changed(_) => f64::from(u8::from(changed[row])),
                Term::Wins(_) => 0.0,
            };
            sums[at] += factor * number;
        }
    }
    check_means(linear, leaves, facts)?;
    let order = order(base);
    Ok(Values {
        ids: order.iter().map(|row| base.rows[*row].id.clone()).collect(),
        numbers: order.iter().map(|row| sums[*row]).collect(),
        groups: groups(base, &order),
    })
}

/// The row of `table` for every row of `base`.
pub fn rows_like(base: &Items, table: &Items) -> Result<Vec<usize>, String> {
    if std::ptr::eq(base, table) {
        return match base.rows.is_empty() {
            true => Err("there are no items to compare".to_owned()),
            false => Ok((0..base.rows.len()).collect()),
        };
    }
    Ok(items::pair(base, table)?.into_iter().map(|(_, row)| row).collect())
}

/// The group of each row of `order` as a number; a row without one stands alone.
pub fn groups(items: &Items, order: &[usize]) -> Vec<usize> {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut count = 0;
    let mut all = Vec::with_capacity(items.rows.len());
    for row in order.iter().map(|row| &items.rows[*row]) {
        let known = row.group.as_deref().and_then(|group| numbers.get(group).copied());
        all.push(known.unwrap_or(count));
        if known.is_none() {
            numbers.extend(row.group.as_deref().map(|group| (group, count)));
            count += 1;
        }
    }
    all
}

/// How far a metric may lie from the mean of its items: sums of one table in another order, or as far as the number
/// was rounded when it was written down.
fn rounding(value: f64) -> f64 {
    let written = value.to_string();
    let decimals = written.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let rounded = if decimals >= 2 { 0.5000001 * 10_f64.powi(-(decimals as i32)) } else { 0.0 };
    rounded.max(1e-6 * value.abs().max(1.0))
}

/// A metric that is not the mean of the field it is said to be the mean of would be weighed by other numbers than are
/// shown.
fn check_means(linear: &Linear, leaves: &Leaves, facts: &Facts) -> Result<(), Gap> {
    let is_mean = |column: &Column| {
        linear.terms.iter().any(|(_, term)| matches!(term, Term::Field(known, None) if known == column))
    };
    for name in leaves.names.iter().filter(|name| !name.is_field) {
        let Some(meaning) = &name.meaning else { continue };
        let Some(field) = &meaning.field else { continue };
        let column = Column { who: name.who.clone(), yardstick: meaning.yardstick, field: field.clone() };
        if !is_mean(&column) {
            continue;
        }
        let items = quantity::items_of(&column.who, column.yardstick, facts)?;
        let numbers = (0..items.rows.len()).map(|row| items.number(field, row)).collect::<Result<Vec<_>, _>>()?;
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let Ok(value) = quantity::lookup(name, facts) else { continue };
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
