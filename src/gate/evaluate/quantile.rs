//! A quantile against a number, weighed exactly. Knows one field of one table.

use super::super::functions::{Body, Fold};
use super::super::statistics::{self, Sample};
use super::super::tree::{Arguments, Leaves, Number, Picked};
use super::Facts;
use super::evidence::{Evidence, Question};
use super::linear::{self, Linear, Term, Values};
use super::quantity::Gap;

/// A quantile against a number, without any assumption: that it lies above `t` says that less than its share of the
/// items do not exceed `t`, which is a share like any other (Conover 1999, §3.2).
pub struct Quantile {
    values: Values,
    share: f64,
    threshold: f64,
    is_upwards: bool,
}

/// `None` for what is no quantile against a number.
pub fn against(question: &Question, leaves: &Leaves, facts: &Facts) -> Option<Result<Quantile, Gap>> {
    let Number::Call { function, arguments: Arguments::Field(name, picked), .. } = question.left else { return None };
    let share = match (&function.body, picked) {
        (Body::OverItems { fold: Fold::Quantile, .. }, Picked::All) => 0.5,
        (Body::OverItems { fold: Fold::Quantile, .. }, Picked::Quantile(share, _)) => *share,
        _ => return None,
    };
    let right = linear::moved(question, leaves, facts).ok()??;
    if !right.terms.is_empty() {
        return None;
    }
    let term = Term::Field(linear::column(*name, leaves)?, None);
    let values = linear::values(&Linear { constant: 0.0, terms: vec![(1.0, term)] }, leaves, facts);
    let (threshold, is_upwards) = (right.constant, question.is_upwards);
    Some(values.map(|values| Quantile { values, share, threshold, is_upwards }))
}

impl Quantile {
    /// p-values of "it does not lie above this", and of "it does not lie below this".
    fn p(&self, threshold: f64, alpha: f64) -> (f64, f64) {
        let share = |holds: &dyn Fn(f64) -> bool| {
            let ones: Vec<f64> = self.values.numbers.iter().map(|number| f64::from(u8::from(holds(*number)))).collect();
            statistics::share(&Sample::of_groups(&ones, &self.values.groups), self.share, alpha)
        };
        (share(&|number| number <= threshold).p_below, share(&|number| number < threshold).p_above)
    }

    pub fn evidence(&self, alpha: f64) -> Evidence {
        let mut sorted = self.values.numbers.clone();
        sorted.sort_by(f64::total_cmp);
        // Both p-values are monotone in the threshold, so the bounds are found by halving.
        let above = sorted.partition_point(|number| self.p(*number, alpha).0 <= alpha);
        let below = sorted.partition_point(|number| self.p(*number, alpha).1 > alpha);
        let lower = above.checked_sub(1).map_or(f64::NEG_INFINITY, |at| sorted[at]) - self.threshold;
        let upper = sorted.get(below).copied().unwrap_or(f64::INFINITY) - self.threshold;
        let (p_above, p_below) = self.p(self.threshold, alpha);
        let ground = format!("order statistics, {}", self.values.count("items"));
        match self.is_upwards {
            true => Evidence { lower, upper, p_holds: p_above, p_fails: p_below, ground },
            false => Evidence { lower: -upper, upper: -lower, p_holds: p_below, p_fails: p_above, ground },
        }
    }
}
