//! Comparisons that are not a mean over items (products, medians of two tables). They are computed anew on resamples of
//! the items. Smooth functions of means, as products are, have pseudo-values of the jackknife (Tukey 1958), which are
//! weighed as a mean; of the others the shares of bootstrap results on either side are taken as they are.

use super::super::check;
use super::super::column::Column;
use super::super::functions::{FieldForm, NumberForm};
use super::super::items::PairResult;
use super::super::statistics::{self, Form, Sample};
use super::super::tree::{Arguments, Leaf, Number, Who};
use super::certainty::{Certainty, Limits, Question, count};
use super::view::{FieldKey, Gap, View};
use stages::stage::Direction;
use std::collections::{BTreeMap, HashMap};

/// Weighs the question by the jackknife or the percentile bootstrap over the items, or over their groups.
pub fn resampled(question: &Question, alpha: f64, view: View) -> Result<Certainty, Gap> {
    let mut rows = Rows::default();
    rows.gather(question.left, view)?;
    rows.gather(question.right, view)?;
    let sign = if question.is_upwards { 1.0 } else { -1.0 };
    let difference = |weights: &[u32]| {
        let (left, mut right) = (rows.value(question.left, view, weights)?, rows.value(question.right, view, weights)?);
        if let Some(margin) = question.margin {
            right += sign * if margin.is_percent { margin.amount / 100.0 * right.abs() } else { margin.amount };
        }
        Some(sign * (left - right)).filter(|difference| difference.is_finite())
    };
    let clusters = rows.groups.iter().max().map_or(0, |last| last + 1);
    let of_clusters = |counts: &[u32]| difference(&rows.groups.iter().map(|group| counts[*group]).collect::<Vec<_>>());
    let estimate =
        difference(&vec![1; rows.groups.len()]).ok_or_else(|| Gap::Error("there is no number to weigh".to_owned()))?;
    let is_smooth = is_smooth(question.left) && is_smooth(question.right);
    let pseudo_values = is_smooth.then(|| pseudo_values(clusters, estimate, &of_clusters)).flatten();
    let (inference, differ) = match pseudo_values {
        Some(values) => {
            let sample = Sample::of_items(&values);
            let inference = statistics::mean(&sample, 0.0, alpha, statistics::RESAMPLES);
            (statistics::Inference { form: Form::Jackknife, ..inference }, statistics::differing(&sample))
        }
        None => {
            let seed = statistics::seed(rows.columns.values().flat_map(|column| column.numbers.iter().copied()));
            let resamples = statistics::RESAMPLES;
            (statistics::percentile(clusters, seed, estimate, 0.0, alpha, resamples, &of_clusters), clusters)
        }
    };
    let items = rows.groups.len();
    Ok(Certainty {
        lower: inference.lower,
        upper: inference.upper,
        p_holds: inference.p_above,
        p_fails: inference.p_below,
        ground: format!("{}, {}", inference.form.name(), count(items, clusters, "items")),
        limits: Limits { form: Some(inference.form), items, clusters, differ },
    })
}

/// Whether the number is a smooth function of means over items: of sums, products, quotients of them.
fn is_smooth(number: &Number) -> bool {
    let is_so = match number {
        Number::Call { arguments, .. } => match arguments {
            Arguments::Numbers(of, _) => matches!(of.form, Some(NumberForm::Difference | NumberForm::Quotient)),
            Arguments::Field(of, ..) => matches!(of.form, Some(FieldForm::Mean)),
            Arguments::Answers(_) => true,
            Arguments::Checkpoints(..) | Arguments::Members(..) => false,
        },
        Number::Literal { .. } | Number::Name(_) | Number::Negative(_) | Number::Chain { .. } => true,
    };
    is_so && number.operands().into_iter().all(is_smooth)
}

/// One number for each cluster, of which the mean is the statistic: how much it changes without that cluster. `None`
/// where the statistic is undefined without one of them.
fn pseudo_values(clusters: usize, estimate: f64, of: &dyn Fn(&[u32]) -> Option<f64>) -> Option<Vec<f64>> {
    if clusters < 2 {
        return None;
    }
    let count = clusters as f64;
    let mut weights = vec![1_u32; clusters];
    let mut without = |cluster: usize| {
        weights[cluster] = 0;
        let value = of(&weights);
        weights[cluster] = 1;
        Some(count * estimate - (count - 1.0) * value?)
    };
    (0..clusters).map(&mut without).collect()
}

/// Everything that the comparison reads, row by row in the order of the candidate's ids.
#[derive(Default)]
struct Rows {
    columns: BTreeMap<FieldKey, Column>,
    /// By index into `Leaves::others`.
    answers: HashMap<usize, Vec<PairResult>>,
    /// The group of each row.
    groups: Vec<usize>,
}

impl Rows {
    fn gather(&mut self, number: &Number, view: View) -> Result<(), Gap> {
        number.operands().into_iter().try_for_each(|operand| self.gather(operand, view))?;
        match number.leaf() {
            Some(Leaf::Name(name)) => self.gather_field(name, view),
            Some(Leaf::Other(other)) => self.gather_answers(other, view),
            None => Ok(()),
        }
    }

    fn gather_field(&mut self, name: usize, view: View) -> Result<(), Gap> {
        let name = view.name(name);
        let unknown = || Gap::Error(format!("`{}` is not known item by item", name.label()));
        let key = view.field(name).ok_or_else(unknown)?;
        let items = view.table(&key)?;
        let of_candidate = view.table(&FieldKey { who: Who::Candidate, ..key.clone() });
        let base = of_candidate.as_ref().unwrap_or(&items);
        let (rows, order) = (items.rows_like(base)?, base.order());
        let numbers = order.iter().map(|row| items.number(&key.field, rows[*row])).collect::<Result<Vec<_>, _>>()?;
        if self.groups.is_empty() {
            self.groups = base.groups(&order);
        }
        self.columns.insert(key, Column::new(numbers));
        Ok(())
    }

    fn gather_answers(&mut self, index: usize, view: View) -> Result<(), Gap> {
        let other = view.other(index);
        let (results, mine) = (view.pair_results(other)?, view.answers(other)?);
        let order = mine.order();
        if self.groups.is_empty() {
            self.groups = mine.groups(&order);
        }
        self.answers.insert(index, order.iter().map(|row| results[*row]).collect());
        Ok(())
    }

    /// The number on one resample; `None` where it is undefined.
    fn value(&self, number: &Number, view: View, weights: &[u32]) -> Option<f64> {
        let column = |name: usize| self.columns.get(&view.field(view.name(name))?);
        match number {
            Number::Literal { value, .. } => Some(*value),
            Number::Name(name) => column(*name)?.mean(weights),
            Number::Negative(inner) => Some(-self.value(inner, view, weights)?),
            Number::Chain { first, rest } => {
                let mut result = self.value(first, view, weights)?;
                for (operator, number) in rest {
                    result = operator.apply(result, self.value(number, view, weights)?);
                }
                Some(result)
            }
            Number::Call { arguments, .. } => match arguments {
                Arguments::Numbers(of, numbers) => {
                    let direction = check::direction(of, numbers, view.leaves).unwrap_or(Direction::Higher);
                    let values = numbers.iter().map(|number| self.value(number, view, weights));
                    Some((of.value)(direction, &values.collect::<Option<Vec<_>>>()?))
                }
                Arguments::Answers(other) => view.other(*other).of.value(self.answers.get(other)?, weights),
                Arguments::Field(of, name, argument) => (of.value)(column(*name)?, argument, weights),
                Arguments::Checkpoints(..) | Arguments::Members(..) => None,
            },
        }
    }
}
