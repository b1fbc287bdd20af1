//! One column of a table of items, and the statistics of it. Each row counts as often as a resample drew it, which is
//! its weight; for the number itself every weight is 1.

use super::lexer::Comparison;
use std::fmt;

/// The argument after the name of a field.
#[derive(Clone, Debug)]
pub enum FieldArgument {
    Nothing,
    /// A share from 0 to 1, and as it was typed.
    Share(f64, String),
    /// A condition on the items; the number also as it was typed.
    Condition(Comparison, f64, String),
}

impl FieldArgument {
    /// One half where no share is asked for: the median.
    pub fn share(&self) -> f64 {
        if let FieldArgument::Share(share, _) = self { *share } else { 0.5 }
    }

    pub fn condition(&self) -> Option<(Comparison, f64)> {
        if let FieldArgument::Condition(comparison, bound, _) = self { Some((*comparison, *bound)) } else { None }
    }
}

impl fmt::Display for FieldArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldArgument::Nothing => Ok(()),
            FieldArgument::Share(_, share) => write!(f, ", {share}"),
            FieldArgument::Condition(comparison, _, bound) => write!(f, " {} {bound}", comparison.sign()),
        }
    }
}

/// `` where subset = "ja"``, where one subset alone counts.
pub fn restriction(subset: Option<&str>) -> String {
    subset.map_or_else(String::new, |subset| format!(" where subset = \"{subset}\""))
}

/// The numbers of a column, and its rows from the smallest number to the largest.
pub struct Column {
    pub numbers: Vec<f64>,
    order: Vec<usize>,
}

impl Column {
    pub fn new(numbers: Vec<f64>) -> Column {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|one, other| numbers[*one].total_cmp(&numbers[*other]));
        Column { numbers, order }
    }

    /// `None` without rows, as for every statistic here.
    pub fn mean(&self, weights: &[u32]) -> Option<f64> {
        let total = total(weights)?;
        let sum: f64 = self.numbers.iter().zip(weights).map(|(number, weight)| number * f64::from(*weight)).sum();
        Some(sum / f64::from(total))
    }

    /// The number of rows that satisfy the condition.
    pub fn count(&self, argument: &FieldArgument, weights: &[u32]) -> Option<f64> {
        total(weights)?;
        let (comparison, bound) = argument.condition()?;
        let rows = self.numbers.iter().zip(weights).filter(|(number, _)| comparison.holds(**number, bound));
        Some(f64::from(rows.map(|(_, weight)| *weight).sum::<u32>()))
    }

    /// The share of the rows that satisfy the condition.
    pub fn share(&self, argument: &FieldArgument, weights: &[u32]) -> Option<f64> {
        Some(self.count(argument, weights)? / f64::from(total(weights)?))
    }

    /// Linear between neighbours (Hyndman & Fan 1996, definition 7), as if each row were written out as often as it
    /// weighs.
    pub fn quantile(&self, argument: &FieldArgument, weights: &[u32]) -> Option<f64> {
        let position = argument.share() * f64::from(total(weights)? - 1);
        let (below, part) = (position.floor(), position - position.floor());
        let at = |rank: f64| {
            let mut before = 0.0;
            let row = self.order.iter().find(|row| {
                before += f64::from(weights[**row]);
                before > rank
            })?;
            Some(self.numbers[*row])
        };
        let low = at(below)?;
        if part == 0.0 { Some(low) } else { Some(low + part * (at(below + 1.0)? - low)) }
    }
}

/// `None` when it is zero.
fn total(weights: &[u32]) -> Option<u32> {
    Some(weights.iter().sum()).filter(|total| *total > 0)
}
