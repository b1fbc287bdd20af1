//! Comparisons that are no mean over items (medians of two tables, products): computed anew on every resample of the
//! items, and the shares of the results on either side taken as they are. Knows no special cases.

use super::super::functions::{Body, Fold};
use super::super::items::{self, Versus};
use super::super::statistics;
use super::super::tree::{Arguments, Leaves, Number, Operator, Picked};
use super::Facts;
use super::evidence::{Evidence, Question};
use super::linear::{self, Column};
use super::quantity::{self, Gap};
use crate::gate::check;
use stages::stage::Direction;
use std::collections::{BTreeMap, HashMap};

/// Everything the comparison reads, row by row in one order.
#[derive(Default)]
struct Table {
    columns: BTreeMap<Column, Sorted>,
    versus: HashMap<usize, Vec<Versus>>,
    /// The group of each row.
    groups: Vec<usize>,
}

/// A column, and its rows from the smallest number to the largest.
struct Sorted {
    numbers: Vec<f64>,
    order: Vec<usize>,
}

pub fn weigh(question: &Question, alpha: f64, leaves: &Leaves, facts: &Facts) -> Result<Evidence, Gap> {
    let mut table = Table::default();
    gather(question.left, leaves, facts, &mut table)?;
    gather(question.right, leaves, facts, &mut table)?;
    let sign = if question.is_upwards { 1.0 } else { -1.0 };
    let difference = |weights: &[u32]| {
        let (left, mut right) =
            (value(question.left, leaves, &table, weights)?, value(question.right, leaves, &table, weights)?);
        if let Some(margin) = question.margin {
            right += sign * if margin.is_percent { margin.amount / 100.0 * right.abs() } else { margin.amount };
        }
        Some(sign * (left - right)).filter(|difference| difference.is_finite())
    };
    let clusters = table.groups.iter().max().map_or(0, |last| last + 1);
    let of_rows = |counts: &[u32]| difference(&table.groups.iter().map(|group| counts[*group]).collect::<Vec<_>>());
    let estimate =
        difference(&vec![1; table.groups.len()]).ok_or_else(|| Gap::Error("there is no number to weigh".to_owned()))?;
    let seed = statistics::seed(table.columns.values().flat_map(|column| column.numbers.iter().copied()));
    let weighed = statistics::percentile(clusters, seed, estimate, 0.0, alpha, statistics::RESAMPLES, &of_rows);
    Ok(Evidence {
        lower: weighed.lower,
        upper: weighed.upper,
        p_holds: weighed.p_above,
        p_fails: weighed.p_below,
        ground: format!("{}, {}", weighed.form.name(), linear::count(table.groups.len(), clusters, "items")),
    })
}

fn gather(number: &Number, leaves: &Leaves, facts: &Facts, table: &mut Table) -> Result<(), Gap> {
    let mut names = Vec::new();
    match number {
        Number::Literal { .. } => {}
        Number::Name(name) => names.push(*name),
        Number::Negative(inner) => gather(inner, leaves, facts, table)?,
        Number::Chain { first, rest } => {
            gather(first, leaves, facts, table)?;
            rest.iter().try_for_each(|(_, number)| gather(number, leaves, facts, table))?;
        }
        Number::Call { arguments, .. } => match arguments {
            Arguments::Numbers(numbers) => {
                numbers.iter().try_for_each(|number| gather(number, leaves, facts, table))?;
            }
            Arguments::Other(other) => {
                let (mine, theirs) = quantity::both_items(&leaves.others[*other], facts)?;
                let versus = items::versus(mine, theirs)?;
                let order = linear::order(mine);
                if table.groups.is_empty() {
                    table.groups = linear::groups(mine, &order);
                }
                table.versus.insert(*other, order.iter().map(|row| versus[*row]).collect());
            }
            Arguments::Against(mine, theirs) => names.extend([*mine, *theirs]),
            Arguments::Field(name, _) | Arguments::Metric(name) => names.push(*name),
        },
    }
    for name in names {
        let unknown = || Gap::Error(format!("`{}` is not known item by item", leaves.names[name].label()));
        let column = linear::column(name, leaves).ok_or_else(unknown)?;
        let items = quantity::items_of(&column.who, column.yardstick, facts)?;
        // All tables are put into one order: that of the candidate's rows by their ids.
        let base = quantity::items_of(&super::super::tree::Who::Candidate, column.yardstick, facts).unwrap_or(items);
        let (rows, order) = (linear::rows_like(base, items)?, linear::order(base));
        let numbers = order.iter().map(|row| items.number(&column.field, rows[*row])).collect::<Result<Vec<_>, _>>()?;
        if table.groups.is_empty() {
            table.groups = linear::groups(base, &order);
        }
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|one, other| numbers[*one].total_cmp(&numbers[*other]));
        table.columns.insert(column, Sorted { numbers, order });
    }
    Ok(())
}

/// `None` where the resample leaves it undefined.
fn value(number: &Number, leaves: &Leaves, table: &Table, weights: &[u32]) -> Option<f64> {
    let column = |name: usize| table.columns.get(&linear::column(name, leaves)?);
    match number {
        Number::Literal { value, .. } => Some(*value),
        Number::Name(name) => mean(column(*name)?, weights),
        Number::Negative(inner) => Some(-value(inner, leaves, table, weights)?),
        Number::Chain { first, rest } => {
            let mut result = value(first, leaves, table, weights)?;
            for (operator, number) in rest {
                let next = value(number, leaves, table, weights)?;
                result = match operator {
                    Operator::Plus => result + next,
                    Operator::Minus => result - next,
                    Operator::Times => result * next,
                    Operator::Over => result / next,
                };
            }
            Some(result)
        }
        Number::Call { function, arguments, .. } => match (&function.body, arguments) {
            (Body::Single(sum), Arguments::Numbers(numbers)) => {
                Some(sum(value(numbers.first()?, leaves, table, weights)?))
            }
            (Body::Several(sum), Arguments::Numbers(numbers)) => Some(sum(&values(numbers, leaves, table, weights)?)),
            (Body::Directed(sum), Arguments::Numbers(numbers)) => {
                let direction = check::direction(numbers, leaves).unwrap_or(Direction::Higher);
                Some(sum(direction, &values(numbers, leaves, table, weights)?))
            }
            (Body::Against(sum), Arguments::Against(mine, theirs)) => {
                Some(sum(mean(column(*mine)?, weights)?, mean(column(*theirs)?, weights)?))
            }
            (Body::WinRate, Arguments::Other(other)) => {
                let changed = table.versus.get(other)?.iter().zip(weights).filter(|(versus, _)| versus.is_changed());
                let (points, total) = changed.fold((0.0, 0.0), |(points, total), (versus, weight)| {
                    (points + f64::from(*weight) * versus.points(), total + f64::from(*weight))
                });
                (total > 0.0).then(|| points / total)
            }
            (Body::Changed, Arguments::Other(other)) => {
                let rows = table.versus.get(other)?.iter().zip(weights);
                let changed: u32 = rows.filter(|(versus, _)| versus.is_changed()).map(|(_, weight)| *weight).sum();
                Some(f64::from(changed) / f64::from(weights.iter().sum::<u32>()))
            }
            (Body::OverItems { fold, .. }, Arguments::Field(name, picked)) => {
                folded(column(*name)?, *fold, picked, weights)
            }
            _ => None,
        },
    }
}

fn values(numbers: &[Number], leaves: &Leaves, table: &Table, weights: &[u32]) -> Option<Vec<f64>> {
    numbers.iter().map(|number| value(number, leaves, table, weights)).collect()
}

fn mean(column: &Sorted, weights: &[u32]) -> Option<f64> {
    let total: u32 = weights.iter().sum();
    let sum: f64 = column.numbers.iter().zip(weights).map(|(number, weight)| number * f64::from(*weight)).sum();
    (total > 0).then(|| sum / f64::from(total))
}

fn folded(column: &Sorted, fold: Fold, picked: &Picked, weights: &[u32]) -> Option<f64> {
    let total: u32 = weights.iter().sum();
    let held = |sign: &super::super::lexer::Comparison, bound: f64| {
        let rows = column.numbers.iter().zip(weights).filter(|(number, _)| sign.holds(**number, bound));
        f64::from(rows.map(|(_, weight)| *weight).sum::<u32>())
    };
    match (fold, picked) {
        _ if total == 0 => None,
        (Fold::Count, Picked::Where(sign, bound, _)) => Some(held(sign, *bound)),
        (Fold::Share, Picked::Where(sign, bound, _)) => Some(held(sign, *bound) / f64::from(total)),
        (Fold::Quantile, Picked::All) => quantile(column, 0.5, weights, total),
        (Fold::Quantile, Picked::Quantile(share, _)) => quantile(column, *share, weights, total),
        _ => mean(column, weights),
    }
}

/// As of the rows written out as often as they weigh.
fn quantile(column: &Sorted, share: f64, weights: &[u32], total: u32) -> Option<f64> {
    let place = share * f64::from(total - 1);
    let (below, part) = (place.floor(), place - place.floor());
    let at = |rank: f64| {
        let mut seen = 0.0;
        let row = column.order.iter().find(|row| {
            seen += f64::from(weights[**row]);
            seen > rank
        })?;
        Some(column.numbers[*row])
    };
    let low = at(below)?;
    if part == 0.0 { Some(low) } else { Some(low + part * (at(below + 1.0)? - low)) }
}

/// The same on the items as they are, each once.
pub fn over_items(numbers: Vec<f64>, fold: Fold, picked: &Picked) -> Option<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|one, other| numbers[*one].total_cmp(&numbers[*other]));
    let weights = vec![1; numbers.len()];
    folded(&Sorted { numbers, order }, fold, picked, &weights)
}
