//! The percentile bootstrap over clusters, for statistics without a form of their own (quantiles of two tables,
//! products).

use super::random::Stream;
use super::{Form, Inference, usable_level};
use rayon::prelude::*;

/// The percentile bootstrap (Efron & Tibshirani 1993, ch. 13): `statistic` sees how often each cluster was drawn and
/// returns `None` where it is undefined, which counts against both sides. The p-values count the resamples on the wrong
/// side of the threshold, plus one for the sample itself. `estimate` is the statistic of the sample; nothing is said
/// unless it is a number.
pub fn percentile(
    clusters: usize,
    seed: u64,
    estimate: f64,
    threshold: f64,
    alpha: f64,
    resamples: usize,
    statistic: &(dyn Fn(&[u32]) -> Option<f64> + Sync),
) -> Inference {
    let form = Form::Percentile;
    let Ok(bound) = u32::try_from(clusters) else { return Inference::nothing(form) };
    if clusters < 2 || !estimate.is_finite() || threshold.is_nan() {
        return Inference::nothing(form);
    }
    let draw = |counts: &mut Vec<u32>, number: usize| {
        counts.fill(0);
        let mut stream = Stream::of(seed, number as u64);
        for _ in 0..clusters / 2 {
            let [first, second] = stream.two_indices(bound);
            counts[first] += 1;
            counts[second] += 1;
        }
        if clusters % 2 == 1 {
            counts[stream.two_indices(bound)[0]] += 1;
        }
        statistic(counts).filter(|value| !value.is_nan())
    };
    let drawn: Vec<Option<f64>> = (0..resamples)
        .into_par_iter()
        .map_init(|| vec![0_u32; clusters], |counts, number| draw(counts, number))
        .collect();
    Resamples::new(drawn.into_iter(), 0.0).inference(threshold, alpha, form)
}

/// The values of a statistic over resamples, from which bounds and p-values are read in one way, so that they are dual.
pub(super) struct Resamples {
    /// The defined values.
    values: Vec<f64>,
    /// The number of undefined values, which lie on the wrong side of any threshold.
    undefined: usize,
    /// Values closer than this to a threshold are taken to be on its wrong side.
    rounding: f64,
}

impl Resamples {
    pub fn new(values: impl ExactSizeIterator<Item = Option<f64>>, rounding: f64) -> Resamples {
        let all = values.len();
        let values: Vec<f64> = values.flatten().collect();
        Resamples { undefined: all - values.len(), values, rounding }
    }

    pub fn inference(mut self, threshold: f64, alpha: f64, form: Form) -> Inference {
        let not_above = self.values.iter().filter(|value| **value - self.rounding <= threshold).count();
        let not_below = self.values.iter().filter(|value| **value + self.rounding >= threshold).count();
        let p_above = self.p_value(self.undefined + not_above);
        let p_below = self.p_value(self.undefined + not_below);
        let (mut lower, mut upper) = (f64::NEG_INFINITY, f64::INFINITY);
        let allowed = self.allowed(usable_level(alpha)).and_then(|allowed| allowed.checked_sub(self.undefined));
        if let (Some(rank), Some(last)) = (allowed, self.values.len().checked_sub(1)) {
            let rank = rank.min(last);
            lower = *self.values.select_nth_unstable_by(rank, f64::total_cmp).1 - self.rounding;
            upper = *self.values.select_nth_unstable_by(last - rank, f64::total_cmp).1 + self.rounding;
        }
        Inference { lower, upper, p_above, p_below, form }
    }

    /// The p-value; the sample itself counts as one more on the wrong side.
    fn p_value(&self, wrong_side: usize) -> f64 {
        (wrong_side + 1) as f64 / (self.values.len() + self.undefined + 1) as f64
    }

    /// The number of resamples that may lie on the wrong side while the p-value is not above `alpha`. It is found from
    /// the p-value itself, so that rounding cannot make the bound differ from it.
    fn allowed(&self, alpha: f64) -> Option<usize> {
        let guess = (alpha * (self.values.len() + self.undefined + 1) as f64) as usize + 1;
        (0..=guess).rev().take(4).find(|wrong_side| self.p_value(*wrong_side) <= alpha)
    }
}
