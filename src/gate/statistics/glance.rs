//! Intervals in microseconds, by closed forms: for rules that ask for no confidence, whose explanation shows the noise.
//! They decide nothing; a rule that asks for confidence uses the forms of the parent module.

use super::distributions::{normal_above, normal_quantile, student_above, student_quantile};
use super::sample::Sample;
use super::share::UntiedPairs;
use super::win_rate;

/// A two-sided interval, and one-sided p-values of "not above" and "not below" the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glance {
    pub lower: f64,
    pub upper: f64,
    pub p_above: f64,
    pub p_below: f64,
}

/// The t interval over clusters, with `tail` outside on each side. `None` with fewer than two.
pub fn glance_mean(sample: &Sample, threshold: f64, tail: f64) -> Option<Glance> {
    let error = sample.standard_error().filter(|error| error.is_finite() && !threshold.is_nan())?;
    let degrees = (sample.clusters() - 1) as f64;
    let estimate = sample.mean();
    let distance = estimate - threshold;
    if error <= sample.rounding() {
        let (p_above, p_below) = no_noise(distance, sample.rounding());
        return Some(Glance { lower: estimate, upper: estimate, p_above, p_below });
    }
    let half_width = student_quantile(tail, degrees) * error;
    let t = distance / error;
    Some(Glance {
        lower: estimate - half_width,
        upper: estimate + half_width,
        p_above: student_above(t, degrees),
        p_below: student_above(-t, degrees),
    })
}

/// Wilson's (1927, JASA 22) score interval and the score test it inverts, over the items or, when they are clustered,
/// over share (1 - share) / variance of them: at most the number of items, and the number of clusters when there is no
/// variance. `None` with fewer than two clusters.
pub fn glance_share(sample: &Sample, threshold: f64, tail: f64) -> Option<Glance> {
    let error = sample.standard_error().filter(|_| !threshold.is_nan())?;
    let share = sample.mean().clamp(0.0, 1.0);
    let items = match () {
        () if !sample.is_clustered() => sample.items() as f64,
        () if error > 0.0 => (share * (1.0 - share) / (error * error)).clamp(1.0, sample.items() as f64),
        () => sample.clusters() as f64,
    };
    let z = normal_quantile(tail);
    let stretch = 1.0 + z * z / items;
    let centre = (share + 0.5 * z * z / items) / stretch;
    let half_width = z * (share * (1.0 - share) / items + z * z / (4.0 * items * items)).max(0.0).sqrt() / stretch;
    let variance = threshold * (1.0 - threshold) / items;
    let (p_above, p_below) = if variance > 0.0 {
        let score = (share - threshold) / variance.sqrt();
        (normal_above(score), normal_above(-score))
    } else {
        no_noise(share - threshold, 0.0)
    };
    Some(Glance { lower: (centre - half_width).max(0.0), upper: (centre + half_width).min(1.0), p_above, p_below })
}

/// The exact sign test and its interval; the t interval when pairs are clustered. `None` with fewer than two clusters,
/// or when all pairs are ties.
pub fn glance_win_rate(pairs: &Sample, threshold: f64, tail: f64) -> Option<Glance> {
    if pairs.is_clustered() {
        return glance_mean(pairs, threshold, tail);
    }
    if pairs.clusters() < 2 || UntiedPairs::of(pairs).pairs == 0.0 || threshold.is_nan() {
        return None;
    }
    let inference = win_rate(pairs, threshold, tail);
    Some(Glance {
        lower: inference.lower,
        upper: inference.upper,
        p_above: inference.p_above,
        p_below: inference.p_below,
    })
}

/// The p-values where nothing varies: plain comparisons.
fn no_noise(distance: f64, rounding: f64) -> (f64, f64) {
    let sure = |yes: bool| if yes { 0.0 } else { 1.0 };
    (sure(distance > rounding), sure(-distance > rounding))
}
