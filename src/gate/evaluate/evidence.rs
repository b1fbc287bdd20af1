//! How sure a comparison is: both sides → one number an item → what [`statistics`] makes of them.
//!
//! A comparison of means over items (metrics, `mean`, `share`, `changed`, `delta`, sums and multiples of them) is one
//! mean of per-item differences, and `a / b > c` is the mean of `a - c·b` (Fieller 1954). A quantile against a number is
//! a share of items on either side of it. Only what is none of these (quantiles of two tables, products of measured
//! numbers) is resampled as it stands. Items are taken in the order of their ids, so that the order of a file says
//! nothing.

use super::super::check;
use super::super::items;
use super::super::statistics::{self, Glance, Sample};
use super::super::tree::{Arguments, Leaves, Margin, Number};
use super::linear::{Term, Values, count, difference, groups, linear, order, values};
use super::quantity::{self, Gap};
use super::{Facts, quantile, resampled};

/// What the items say of `left - right`, in the direction of the comparison: above 0 it holds.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// One-sided bounds of the difference.
    pub lower: f64,
    pub upper: f64,
    /// Of "it does not hold", and of "it holds": small is strong.
    pub p_holds: f64,
    pub p_fails: f64,
    /// How it was weighed, and on how much: `bootstrap, 120 items`.
    pub ground: String,
}

/// One comparison that can be weighed; a margin has been added to `right`.
pub struct Question<'a> {
    pub left: &'a Number,
    pub right: &'a Number,
    pub is_upwards: bool,
    pub margin: Option<&'a Margin>,
}

/// With 10,000 resamples where the form resamples. `alpha` is the chance of a false claim that is allowed.
pub fn weigh(question: &Question, alpha: f64, leaves: &Leaves, facts: &Facts) -> Result<Evidence, Gap> {
    let parts = parts(question, leaves);
    let weighed = parts.iter().map(|part| weigh_one(part, alpha, leaves, facts)).collect::<Result<Vec<_>, _>>()?;
    together(weighed).ok_or_else(|| Gap::Error("there is nothing to weigh".to_owned()))
}

/// All of them must hold, which needs no correction: each alone keeps the level (Berger 1982). That any of them fails
/// has as many chances to be luck as there are parts (Bonferroni).
fn together(parts: Vec<Evidence>) -> Option<Evidence> {
    let count = parts.len() as f64;
    let weaker = |one: Evidence, other: Evidence| Evidence {
        lower: one.lower.min(other.lower),
        upper: one.upper.min(other.upper),
        p_holds: one.p_holds.max(other.p_holds),
        p_fails: one.p_fails.min(other.p_fails),
        ground: one.ground,
    };
    let all = parts.into_iter().reduce(weaker)?;
    Some(Evidence { p_fails: (all.p_fails * count).min(1.0), ..all })
}

/// The same at a glance, in closed form and in microseconds, for a rule that asks for no confidence: bounds at 95 % on
/// both sides. `None` where the items do not tell.
pub fn glance(question: &Question, leaves: &Leaves, facts: &Facts) -> Option<Evidence> {
    let parts = parts(question, leaves);
    let parts = parts.iter().map(|part| glance_one(part, leaves, facts)).collect::<Option<Vec<_>>>()?;
    together(parts)
}

fn glance_one(question: &Question, leaves: &Leaves, facts: &Facts) -> Option<Evidence> {
    if let Some(quantile) = quantile::against(question, leaves, facts) {
        return quantile.ok().map(|quantile| quantile.evidence(0.025));
    }
    let problem = problem(question, leaves, facts).ok()??;
    let Glance { lower, upper, p_above, p_below } = match &problem.kind {
        ProblemKind::Mean => statistics::glance_mean(&problem.sample, problem.threshold),
        ProblemKind::Share => statistics::glance_share(&problem.sample, problem.threshold),
        ProblemKind::Wins => statistics::glance_win_rate(&problem.sample, problem.threshold),
    }?;
    // Items that are all alike show no noise to measure anything by.
    (lower < upper).then(|| problem.evidence(lower, upper, p_above, p_below, ""))
}

/// `a > best(b, c)` asks for more than each of them.
fn parts<'a>(question: &Question<'a>, leaves: &Leaves) -> Vec<Question<'a>> {
    let spread = |number: &'a Number, when_largest: bool| -> Vec<&'a Number> {
        match (check::picks_largest(number, leaves), number) {
            (Some(largest), Number::Call { arguments: Arguments::Numbers(numbers), .. }) if largest == when_largest => {
                numbers.iter().collect()
            }
            _ => vec![number],
        }
    };
    let lefts = spread(question.left, !question.is_upwards);
    let rights = spread(question.right, question.is_upwards);
    let pairs = lefts.into_iter().flat_map(|left| rights.iter().map(move |right| (left, *right)));
    pairs.map(|(left, right)| Question { left, right, ..*question }).collect()
}

fn weigh_one(question: &Question, alpha: f64, leaves: &Leaves, facts: &Facts) -> Result<Evidence, Gap> {
    if let Some(quantile) = quantile::against(question, leaves, facts) {
        return Ok(quantile?.evidence(alpha));
    }
    let Some(problem) = problem(question, leaves, facts)? else {
        return resampled::weigh(question, alpha, leaves, facts);
    };
    let weighed = match &problem.kind {
        ProblemKind::Mean => statistics::mean(&problem.sample, problem.threshold, alpha, statistics::RESAMPLES),
        ProblemKind::Share => statistics::share(&problem.sample, problem.threshold, alpha),
        ProblemKind::Wins => statistics::win_rate(&problem.sample, problem.threshold, alpha),
    };
    let form = weighed.form.name();
    let evidence = problem.evidence(weighed.lower, weighed.upper, weighed.p_above, weighed.p_below, form);
    let Some((below, sign)) = problem.divisor else { return Ok(evidence) };
    // Multiplied out by the sign the divisor was measured with: that has to be sure as well.
    let zero = Number::Literal { value: 0.0, text: "0".to_owned() };
    let sign = Question { left: &below, right: &zero, is_upwards: sign > 0.0, margin: None };
    let p_sign = weigh_one(&sign, alpha, leaves, facts)?.p_holds;
    let is_sure = p_sign <= alpha;
    Ok(Evidence {
        lower: if is_sure { evidence.lower } else { f64::NEG_INFINITY },
        upper: if is_sure { evidence.upper } else { f64::INFINITY },
        p_holds: evidence.p_holds.max(p_sign),
        p_fails: evidence.p_fails.max(p_sign),
        ground: evidence.ground,
    })
}

/// The standard error of a mean over items, for `within: 1 se`: of `one - other` on the same items.
pub fn standard_error(question: &Question, leaves: &Leaves, one: &Facts, other: &Facts) -> Result<f64, Gap> {
    let not_linear = || Gap::Error("this is no mean over items, so it has no standard error".to_owned());
    let linear = linear(question.left, leaves, one).ok_or_else(not_linear)?;
    let (mine, theirs) = (values(&linear, leaves, one)?, values(&linear, leaves, other)?);
    if mine.ids != theirs.ids {
        return Err(Gap::Error("the checkpoints were measured on different items".to_owned()));
    }
    let differences: Vec<f64> = mine.numbers.iter().zip(&theirs.numbers).map(|(mine, theirs)| mine - theirs).collect();
    let one_item = || Gap::Error("a single item has no standard error".to_owned());
    Sample::of_groups(&differences, &mine.groups).standard_error().ok_or_else(one_item)
}

/// A mean over items against a threshold, or one of its special cases.
struct Problem {
    kind: ProblemKind,
    sample: Sample,
    /// For the mean of the sample.
    threshold: f64,
    /// The difference of the two sides is `scale * (mean - threshold)`.
    scale: f64,
    /// Of a quotient that was multiplied out: the divisor, as measured.
    divisor: Option<(Number, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum ProblemKind {
    Mean,
    /// Every item is 0 or 1.
    Share,
    /// Changed answers, as 0, ½ and 1.
    Wins,
}

impl Problem {
    fn evidence(&self, lower: f64, upper: f64, p_above: f64, p_below: f64, form: &str) -> Evidence {
        let unit = if self.kind == ProblemKind::Wins { "changed answers" } else { "items" };
        let count = count(self.sample.items(), self.sample.clusters(), unit);
        let ground = format!("{form}{}{count}", if form.is_empty() { "" } else { ", " });
        let at = |bound: f64| self.scale * (bound - self.threshold);
        match self.scale > 0.0 {
            true => Evidence { lower: at(lower), upper: at(upper), p_holds: p_above, p_fails: p_below, ground },
            false => Evidence { lower: at(upper), upper: at(lower), p_holds: p_below, p_fails: p_above, ground },
        }
    }
}

/// `None` for what is no mean over items.
fn problem(question: &Question, leaves: &Leaves, facts: &Facts) -> Result<Option<Problem>, Gap> {
    let Some((linear, divisor)) = difference(question, leaves, facts)? else { return Ok(None) };
    let linear = if question.is_upwards { linear } else { linear.times(-1.0) };
    if let [(scale, Term::Wins(other))] = &linear.terms[..] {
        let other = &leaves.others[*other];
        let (mine, theirs) = quantity::both_items(other, facts)?;
        let results = items::versus(mine, theirs)?;
        let order = order(mine);
        let rows = order.iter().zip(groups(mine, &order)).map(|(row, group)| (results[*row], group));
        let changed = rows.filter(|(result, _)| result.is_changed());
        let (points, groups): (Vec<f64>, Vec<usize>) = changed.map(|(result, group)| (result.points(), group)).unzip();
        if points.is_empty() {
            return Err(quantity::none_changed(results.len()));
        }
        let sample = Sample::of_groups(&points, &groups);
        let threshold = -linear.constant / scale;
        return Ok(Some(Problem { kind: ProblemKind::Wins, sample, threshold, scale: *scale, divisor }));
    }
    if linear.terms.iter().any(|(_, term)| matches!(term, Term::Wins(_))) {
        return Ok(None);
    }
    let Values { numbers, groups, .. } = values(&linear, leaves, facts)?;
    if let [(scale, _)] = &linear.terms[..]
        && *scale != 0.0
        && numbers.iter().all(|number| *number == 0.0 || number == scale)
    {
        let ones: Vec<f64> = numbers.iter().map(|number| f64::from(u8::from(*number != 0.0))).collect();
        let (sample, threshold) = (Sample::of_groups(&ones, &groups), -linear.constant / scale);
        return Ok(Some(Problem { kind: ProblemKind::Share, sample, threshold, scale: *scale, divisor }));
    }
    let (sample, threshold) = (Sample::of_groups(&numbers, &groups), -linear.constant);
    Ok(Some(Problem { kind: ProblemKind::Mean, sample, threshold, scale: 1.0, divisor }))
}
