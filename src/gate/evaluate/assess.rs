//! The certainty of a comparison: both sides → one number for each item → the inference by [`statistics`].
//!
//! A comparison of means over items (metrics, `mean`, `share`, `changed`, `delta`, sums and multiples of them) is one
//! mean of per-item differences, and `a / b > c` is the mean of `a - c·b` (Fieller 1954). A quantile against a number
//! is a share of items on either side of it. Everything else is taken as it stands, on resamples of the items: smooth
//! functions of means (products of measured numbers) by the jackknife, quantiles of two tables by the bootstrap. Items are taken in the order of their ids, so that the order of a file does not matter.

use super::super::check;
use super::super::functions::FieldForm;
use super::super::show;
use super::super::statistics::{self, Glance, Inference, Sample};
use super::super::tree::{Arguments, Confidence, DeclaredGrowth, Number};
use super::across;
use super::certainty::{Certainty, Limits, Question, count};
use super::linear::{Contrast, Linear, Term, Values, bounds, contrast, linear, threshold, values};
use super::quantity::none_changed;
use super::resampled;
use super::view::{Gap, View};
use stages::stage::Bounds;

/// The family of forms by which a rule asks to be weighed.
#[derive(Clone, Copy)]
pub enum Weighing {
    Usual,
    /// By e-values, which hold for any number of looks at a table that grows.
    Anytime,
    /// By bets within the declared bounds, which are the best ones at this level.
    Bounded {
        tuned_for: f64,
    },
}

impl Weighing {
    pub fn of(confidence: &Confidence) -> Weighing {
        match (confidence.assumes_bounds, confidence.growth) {
            (true, _) => Weighing::Bounded { tuned_for: confidence.level() },
            (false, Some(DeclaredGrowth::Open)) => Weighing::Anytime,
            (false, _) => Weighing::Usual,
        }
    }
}

/// Weighs the question, with 10,000 resamples where the form resamples. `alpha` is the allowed chance of a false claim.
pub fn assess(question: &Question, alpha: f64, weighing: Weighing, view: View) -> Result<Certainty, Gap> {
    let single = single_questions(question, view);
    let all =
        single.iter().map(|question| assess_one(question, alpha, weighing, view)).collect::<Result<Vec<_>, _>>()?;
    together(all).ok_or_else(|| Gap::Error("there is nothing to weigh".to_owned()))
}

/// Weighs it at a glance, in closed form and in microseconds, for a rule that asks for no confidence: bounds at 95 % on
/// both sides, which for the best of several hold for all of them at once (Bonferroni). `None` where the items do not
/// tell.
pub fn glance(question: &Question, view: View) -> Option<Certainty> {
    let single = single_questions(question, view);
    together(single.iter().map(|question| glance_one(question, view)).collect::<Option<Vec<_>>>()?)
}

/// The standard error of a mean over items, for `within: 1 se`: that of `one - other` on the same items, for two
/// artifacts behind one expression.
pub fn standard_error(number: &Number, one: View, other: View) -> Result<f64, Gap> {
    let not_linear = || Gap::Error("this is no mean over items, so it has no standard error".to_owned());
    let linear = linear(number, one).ok_or_else(not_linear)?;
    let (mine, theirs) = (values(&linear, one)?, values(&linear, other)?);
    if mine.ids != theirs.ids {
        return Err(Gap::Error("the checkpoints were measured on different items".to_owned()));
    }
    let differences: Vec<f64> = mine.numbers.iter().zip(&theirs.numbers).map(|(mine, theirs)| mine - theirs).collect();
    let one_item = || Gap::Error("a single item has no standard error".to_owned());
    Sample::of_groups(&differences, &mine.groups).standard_error().ok_or_else(one_item)
}

/// The questions that must all hold: `a > best(b, c)` asks for more than each of them.
fn single_questions<'a>(question: &Question<'a>, view: View) -> Vec<Question<'a>> {
    let each = |number: &'a Number, when_largest: bool| match check::picks_largest(number, view.leaves) {
        Some(is_largest) if is_largest == when_largest => number.operands(),
        _ => vec![number],
    };
    let lefts = each(question.left, !question.is_upwards);
    let rights = each(question.right, question.is_upwards);
    let pairs = lefts.into_iter().flat_map(|left| rights.iter().map(move |right| (left, *right)));
    pairs.map(|(left, right)| Question { left, right, ..*question }).collect()
}

/// The certainty that all parts hold, which needs no correction: each alone keeps the level (Berger 1982). The claim
/// that any of them fails has as many chances to be luck as there are parts (Bonferroni).
fn together(parts: Vec<Certainty>) -> Option<Certainty> {
    let count = parts.len() as f64;
    let weaker = |one: Certainty, other: Certainty| Certainty {
        lower: one.lower.min(other.lower),
        upper: one.upper.min(other.upper),
        p_holds: one.p_holds.max(other.p_holds),
        p_fails: one.p_fails.min(other.p_fails),
        ground: one.ground,
        limits: one.limits,
    };
    let all = parts.into_iter().reduce(weaker)?;
    Some(Certainty { p_fails: (all.p_fails * count).min(1.0), ..all })
}

fn assess_one(question: &Question, alpha: f64, weighing: Weighing, view: View) -> Result<Certainty, Gap> {
    if let Some(across) = across::certainty(question, alpha, view) {
        return across;
    }
    let is_usual = matches!(weighing, Weighing::Usual);
    if let Some(quantile) = quantile(question, view).filter(|_| is_usual) {
        return Ok(quantile?.certainty(alpha));
    }
    let problem = match problem(question, view)? {
        Some(problem) => problem,
        None if is_usual => return resampled::resampled(question, alpha, view),
        None => return Err(Gap::Error("this is no mean over items".to_owned())),
    };
    let (inference, form) = match weighing {
        Weighing::Usual => {
            let inference = problem.usual(alpha);
            (inference, inference.form.name().to_owned())
        }
        Weighing::Anytime => {
            let inference = problem.anytime(alpha)?;
            (inference, inference.form.name().to_owned())
        }
        Weighing::Bounded { tuned_for } => {
            let bounds = bounds(&problem.linear, view)?;
            let inference = problem.bounded(bounds, alpha, tuned_for);
            // The sum was turned around for a comparison that asks for less.
            let [low, high] = match question.is_upwards {
                true => [bounds.low, bounds.high],
                false => [-bounds.high, -bounds.low],
            };
            let [low, high] = [low, high].map(|bound| show::number(bound, 4));
            (inference, format!("{} within {low} to {high}", inference.form.name()))
        }
    };
    let certainty = problem.certainty(inference.lower, inference.upper, inference.p_above, inference.p_below, &form);
    let certainty = Certainty { limits: Limits::of(inference.form, &problem.sample), ..certainty };
    let Some((below, sign)) = problem.divisor else { return Ok(certainty) };
    // The quotient was multiplied out by the measured sign of the divisor, which has to be certain as well.
    let zero = Number::Literal { value: 0.0, text: "0".to_owned() };
    let sign = Question { left: &below, right: &zero, is_upwards: sign > 0.0, margin: None };
    let p_sign = assess_one(&sign, alpha, weighing, view)?.p_holds;
    let is_certain = p_sign <= alpha;
    Ok(Certainty {
        lower: if is_certain { certainty.lower } else { f64::NEG_INFINITY },
        upper: if is_certain { certainty.upper } else { f64::INFINITY },
        p_holds: certainty.p_holds.max(p_sign),
        p_fails: certainty.p_fails.max(p_sign),
        ground: certainty.ground,
        limits: certainty.limits,
    })
}

fn glance_one(question: &Question, view: View) -> Option<Certainty> {
    let tail = 0.025 / view.chosen_among() as f64;
    if let Some(across) = across::certainty(question, tail, view) {
        return across.ok();
    }
    if let Some(quantile) = quantile(question, view) {
        return quantile.ok().map(|quantile| quantile.certainty(tail));
    }
    let problem = problem(question, view).ok()??;
    let Glance { lower, upper, p_above, p_below } = match &problem.kind {
        ProblemKind::Mean | ProblemKind::Paired => statistics::glance_mean(&problem.sample, problem.threshold, tail),
        ProblemKind::Share => statistics::glance_share(&problem.sample, problem.threshold, tail),
        ProblemKind::Wins => statistics::glance_win_rate(&problem.sample, problem.threshold, tail),
    }?;
    // Items that are all alike show no noise to measure anything by.
    (lower < upper).then(|| problem.certainty(lower, upper, p_above, p_below, ""))
}

/// A mean over items against a threshold, or one of its special cases.
struct Problem {
    kind: ProblemKind,
    /// The sum of means that the sample was made of.
    linear: Linear,
    sample: Sample,
    /// The threshold for the mean of the sample.
    threshold: f64,
    /// The difference of the two sides is `scale * (mean - threshold)`.
    scale: f64,
    /// The divisor of a quotient that was multiplied out, and its value as measured.
    divisor: Option<(Number, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum ProblemKind {
    Mean,
    /// A difference of two columns of 0 and 1, as of right and wrong answers.
    Paired,
    /// Every item is 0 or 1.
    Share,
    /// Changed answers, as 0, ½ and 1.
    Wins,
}

impl Problem {
    fn usual(&self, alpha: f64) -> Inference {
        let Problem { sample, threshold, .. } = self;
        let mean = || statistics::mean(sample, *threshold, alpha, statistics::RESAMPLES);
        match self.kind {
            ProblemKind::Mean => mean(),
            ProblemKind::Paired => statistics::paired(sample, *threshold, alpha).unwrap_or_else(mean),
            ProblemKind::Share => statistics::share(sample, *threshold, alpha),
            ProblemKind::Wins => statistics::win_rate(sample, *threshold, alpha),
        }
    }

    fn anytime(&self, alpha: f64) -> Result<Inference, Gap> {
        if self.kind != ProblemKind::Wins {
            return Err(Gap::Error("only a win rate is weighed without a maximum of items".to_owned()));
        }
        if self.sample.clusters() < self.sample.items() {
            let reason = "without a maximum of items only one pair of answers for each prompt is weighed, and here are \
                          several: declare one, as `up to 2000 items`";
            return Err(Gap::Open(reason.to_owned()));
        }
        Ok(statistics::anytime_win_rate(&self.sample, self.threshold, alpha))
    }

    /// `bounds` are those of `linear`, of which the sample is in units of `scale`.
    fn bounded(&self, bounds: Bounds, alpha: f64, tuned_for: f64) -> Inference {
        let (one, other) = (bounds.low / self.scale, bounds.high / self.scale);
        let bounds = Bounds { low: one.min(other), high: one.max(other) };
        statistics::betting(&self.sample, bounds, self.threshold, alpha, tuned_for)
    }

    fn certainty(&self, lower: f64, upper: f64, p_above: f64, p_below: f64, form: &str) -> Certainty {
        let unit = if self.kind == ProblemKind::Wins { "changed answers" } else { "items" };
        let count = count(self.sample.items(), self.sample.clusters(), unit);
        let ground = format!("{form}{}{count}", if form.is_empty() { "" } else { ", " });
        let at = |bound: f64| self.scale * (bound - self.threshold);
        let limits = Limits::default();
        match self.scale > 0.0 {
            true => {
                Certainty { lower: at(lower), upper: at(upper), p_holds: p_above, p_fails: p_below, ground, limits }
            }
            false => {
                Certainty { lower: at(upper), upper: at(lower), p_holds: p_below, p_fails: p_above, ground, limits }
            }
        }
    }
}

/// The problem that the question comes down to; `None` for a question that is not a mean over items.
fn problem(question: &Question, view: View) -> Result<Option<Problem>, Gap> {
    let Some(Contrast { linear, divisor }) = contrast(question, view)? else { return Ok(None) };
    let linear = if question.is_upwards { linear } else { linear.times(-1.0) };
    if let [(scale, Term::ChangedAnswers(other))] = &linear.terms[..] {
        let (scale, sample) = (*scale, changed_answers(*other, view)?);
        let threshold = -linear.constant / scale;
        return Ok(Some(Problem { kind: ProblemKind::Wins, linear, sample, threshold, scale, divisor }));
    }
    if linear.terms.iter().any(|(_, term)| matches!(term, Term::ChangedAnswers(_))) {
        return Ok(None);
    }
    let Values { numbers, groups, is_paired, .. } = values(&linear, view)?;
    if let [(scale, _)] = linear.terms[..]
        && scale != 0.0
        && numbers.iter().all(|number| *number == 0.0 || *number == scale)
    {
        let ones: Vec<f64> = numbers.iter().map(|number| f64::from(u8::from(*number != 0.0))).collect();
        let (sample, threshold) = (Sample::of_groups(&ones, &groups), -linear.constant / scale);
        return Ok(Some(Problem { kind: ProblemKind::Share, linear, sample, threshold, scale, divisor }));
    }
    let (sample, threshold) = (Sample::of_groups(&numbers, &groups), -linear.constant);
    let kind = if is_paired { ProblemKind::Paired } else { ProblemKind::Mean };
    Ok(Some(Problem { kind, linear, sample, threshold, scale: 1.0, divisor }))
}

/// The points of the answers whose text changed.
fn changed_answers(other: usize, view: View) -> Result<Sample, Gap> {
    let other = view.other(other);
    let (results, mine) = (view.pair_results(other)?, view.answers(other)?);
    let order = mine.order();
    let rows = order.iter().zip(mine.groups(&order)).map(|(row, group)| (results[*row], group));
    let changed = rows.filter(|(result, _)| result.is_changed());
    let (points, groups): (Vec<f64>, Vec<usize>) =
        changed.map(|(result, group)| ((other.of.points)(result), group)).unzip();
    if points.is_empty() { Err(none_changed(results.len())) } else { Ok(Sample::of_groups(&points, &groups)) }
}

/// A quantile against a number, without any assumption: it lies above `t` if less than its share of the items do not
/// exceed `t`, which is a share like any other (Conover 1999, §3.2).
struct Quantile {
    values: Values,
    share: f64,
    threshold: f64,
    is_upwards: bool,
}

/// The two sides as a quantile against a number; `None` for everything else.
fn quantile(question: &Question, view: View) -> Option<Result<Quantile, Gap>> {
    let Number::Call { arguments: Arguments::Field(of, name, argument), .. } = question.left else { return None };
    let Some(FieldForm::Quantile) = of.form else { return None };
    let right = threshold(question, view).ok()??;
    if !right.terms.is_empty() {
        return None;
    }
    let values = values(&Linear::mean(Term::Field(view.field(view.name(*name))?, None)), view);
    let (share, threshold, is_upwards) = (argument.share(), right.constant, question.is_upwards);
    Some(values.map(|values| Quantile { values, share, threshold, is_upwards }))
}

impl Quantile {
    /// The p-values of "it does not lie above this", and of "it does not lie below this".
    fn p(&self, threshold: f64, alpha: f64) -> (f64, f64) {
        let share = |holds: &dyn Fn(f64) -> bool| {
            let ones: Vec<f64> = self.values.numbers.iter().map(|number| f64::from(u8::from(holds(*number)))).collect();
            statistics::share(&Sample::of_groups(&ones, &self.values.groups), self.share, alpha)
        };
        (share(&|number| number <= threshold).p_below, share(&|number| number < threshold).p_above)
    }

    fn certainty(&self, alpha: f64) -> Certainty {
        let mut sorted = self.values.numbers.clone();
        sorted.sort_by(f64::total_cmp);
        // Both p-values are monotone in the threshold, so the bounds are found by halving.
        let above = sorted.partition_point(|number| self.p(*number, alpha).0 <= alpha);
        let below = sorted.partition_point(|number| self.p(*number, alpha).1 > alpha);
        let lower = above.checked_sub(1).map_or(f64::NEG_INFINITY, |at| sorted[at]) - self.threshold;
        let upper = sorted.get(below).copied().unwrap_or(f64::INFINITY) - self.threshold;
        let (p_above, p_below) = self.p(self.threshold, alpha);
        let ground = format!("order statistics, {}", self.values.count());
        let is_one = vec![1.0; self.values.numbers.len()];
        let sample = Sample::of_groups(&is_one, &self.values.groups);
        let is_grouped = sample.clusters() < sample.items();
        let form = if is_grouped { statistics::Form::KornGraubard } else { statistics::Form::ClopperPearson };
        let limits = Limits::of(form, &sample);
        match self.is_upwards {
            true => Certainty { lower, upper, p_holds: p_above, p_fails: p_below, ground, limits },
            false => Certainty { lower: -upper, upper: -lower, p_holds: p_below, p_fails: p_above, ground, limits },
        }
    }
}
