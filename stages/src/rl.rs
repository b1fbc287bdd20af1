//! The mathematics of RLHF on plain slices of f64, without tensors, models or files. An objective takes
//! log-probabilities, values or scores, and returns one loss term per number with its gradient, d term / d number; the
//! backward pass carries these gradients on to the weights. Rows are answers, columns are response tokens;
//! log-probabilities and KL are in nats.

pub mod advantage;
pub mod agreement;
pub mod average;
pub mod best_of;
pub mod direct;
pub mod group;
pub mod kl;
pub mod kto;
pub mod policy;
pub mod preference;
pub mod reliability;
pub mod sameness;

pub use advantage::{MissingEos, advantages, explained_variance, token_rewards, truncated, whiten};
pub use agreement::{Agreement, cohen, description_length, fleiss};
pub use average::{Average, token_weights};
pub use best_of::best_of_n;
pub use direct::{DirectLoss, direct_loss, implicit_rewards, log_ratios};
pub use group::{GroupBaseline, group_advantages};
pub use kl::{KlEstimate, adapted_beta, kl_loss};
pub use kto::{KtoWeights, kto_loss, kto_reference_point};
pub use policy::{RatioStatistics, policy_loss, ratio_statistics, value_loss};
pub use preference::{PairLoss, centring_penalty, plackett_luce, preference_loss};
pub use reliability::{
    Accuracy, ReliabilityRow, accuracy, brier, calibration_error, confidence, reliability, temperature,
};
pub use sameness::{distinct_pairs, repetition, same_answer_share};

/// One loss term per number, and its gradient, d term / d number. Not weighted until [`LossTerms::weighted`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossTerms {
    pub losses: Vec<f64>,
    pub gradients: Vec<f64>,
}

impl LossTerms {
    /// Multiplies each term by its weight. If the weights sum to 1, the loss is then the sum of the terms.
    pub fn weighted(mut self, weights: &[f64]) -> Self {
        scale(&mut self.losses, weights);
        scale(&mut self.gradients, weights);
        self
    }

    /// Adds the terms of a second loss of the same numbers, times a factor.
    pub fn plus(mut self, factor: f64, other: &Self) -> Self {
        add(&mut self.losses, factor, &other.losses);
        add(&mut self.gradients, factor, &other.gradients);
        self
    }
}

/// One loss term per pair, and its gradients by the numbers of the chosen and of the rejected answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairTerms {
    pub losses: Vec<f64>,
    pub chosen: Vec<f64>,
    pub rejected: Vec<f64>,
}

impl PairTerms {
    /// As [`LossTerms::weighted`], a weight per pair.
    pub fn weighted(mut self, weights: &[f64]) -> Self {
        scale(&mut self.losses, weights);
        scale(&mut self.chosen, weights);
        scale(&mut self.rejected, weights);
        self
    }

    /// As [`LossTerms::plus`].
    pub fn plus(mut self, factor: f64, other: &Self) -> Self {
        add(&mut self.losses, factor, &other.losses);
        add(&mut self.chosen, factor, &other.chosen);
        add(&mut self.rejected, factor, &other.rejected);
        self
    }
}

fn scale(terms: &mut [f64], weights: &[f64]) {
    same_length(&[terms, weights]);
    terms.iter_mut().zip(weights).for_each(|(term, weight)| *term *= weight);
}

fn add(terms: &mut [f64], factor: f64, others: &[f64]) {
    same_length(&[terms, others]);
    terms.iter_mut().zip(others).for_each(|(term, other)| *term += factor * other);
}

/// Refuses slices of different lengths: a `zip` would silently drop the rest, and the loss would look right.
fn same_length(slices: &[&[f64]]) {
    let lengths: Vec<usize> = slices.iter().map(|slice| slice.len()).collect();
    assert!(lengths.windows(2).all(|two| two[0] == two[1]), "slices of one length, not of {lengths:?}");
}

/// Cuts a flat list into rows of these lengths.
pub fn by_row<T>(flat: &[T], lengths: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &[T]> {
    let mut rest = flat;
    lengths.into_iter().map(move |length| {
        let (row, later) = rest.split_at(length);
        rest = later;
        row
    })
}

/// The mean; NaN for an empty slice.
pub fn mean(xs: &[f64]) -> f64 {
    if xs.is_empty() { f64::NAN } else { xs.iter().sum::<f64>() / xs.len() as f64 }
}

/// Unbiased standard deviation; 0 for fewer than two numbers.
pub fn standard_deviation(xs: &[f64]) -> f64 {
    if xs.len() < 2 {
        return 0.0;
    }
    let mean = mean(xs);
    (xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (xs.len() - 1) as f64).sqrt()
}

/// Pearson correlation; 0 if one side does not vary.
pub fn correlation(xs: &[f64], ys: &[f64]) -> f64 {
    same_length(&[xs, ys]);
    let (mean_x, mean_y) = (mean(xs), mean(ys));
    let sum = |f: &dyn Fn(f64, f64) -> f64| xs.iter().zip(ys).map(|(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>();
    let (xx, yy) = (sum(&|x, _| x * x), sum(&|_, y| y * y));
    if xx == 0.0 || yy == 0.0 { 0.0 } else { sum(&|x, y| x * y) / (xx * yy).sqrt() }
}

/// σ(x) = 1/(1 + e^(−x)).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + e^x) = −log σ(−x), without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Golden vectors and checks that the tests of these files share.
#[cfg(test)]
mod golden {
    use serde_json::Value;

    /// A group of float64 vectors; `tests/golden/SOURCE.md` says where they come from.
    pub fn group(name: &str) -> Value {
        let all: Value = serde_json::from_str(include_str!("../tests/golden/rlhf-golden.json")).unwrap();
        all.get(name).unwrap().clone()
    }

    pub fn number(value: &Value) -> f64 {
        value.as_f64().unwrap()
    }

    pub fn row(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(number).collect()
    }

    pub fn rows(value: &Value) -> Vec<Vec<f64>> {
        value.as_array().unwrap().iter().map(row).collect()
    }

    pub fn counts(value: &Value) -> Vec<usize> {
        value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
    }

    /// The real tokens of a padded matrix.
    pub fn real(matrix: &Value, mask: &Value) -> Vec<Vec<f64>> {
        let keep = |(row, mask): (Vec<f64>, Vec<f64>)| {
            row.into_iter().zip(mask).filter(|(_, m)| *m == 1.0).map(|(x, _)| x).collect()
        };
        rows(matrix).into_iter().zip(rows(mask)).map(keep).collect()
    }

    #[track_caller]
    pub fn close(ours: &[f64], theirs: &[f64], tolerance: f64) {
        assert_eq!(ours.len(), theirs.len());
        for (one, other) in ours.iter().zip(theirs) {
            assert!((one - other).abs() <= tolerance, "{one} is not {other}: {ours:?}, {theirs:?}");
        }
    }

    /// Asserts that a gradient equals the central differences of the loss.
    #[track_caller]
    pub fn is_gradient(loss: impl Fn(f64) -> f64, at: f64, gradient: f64) {
        let step = 1e-5;
        let measured = (loss(at + step) - loss(at - step)) / (2.0 * step);
        assert!((measured - gradient).abs() <= 1e-8 * measured.abs().max(1.0), "at {at}: {gradient} is not {measured}");
    }
}

#[cfg(test)]
mod tests {
    use super::golden::{close, is_gradient};
    use super::*;

    #[test]
    fn statistics_of_a_sample_are_the_unbiased_ones() {
        let xs = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        close(&[mean(&xs), standard_deviation(&xs)], &[5.0, (32.0_f64 / 7.0).sqrt()], 1e-15);
        assert!(mean(&[]).is_nan());
        assert_eq!(standard_deviation(&[3.0]), 0.0);
    }

    #[test]
    fn a_line_correlates_fully_and_a_constant_not_at_all() {
        let xs = [1.0, 2.0, 4.0];
        close(&[correlation(&xs, &[-2.0, -4.0, -8.0])], &[-1.0], 1e-15);
        // Deviations (−4/3, −1/3, 5/3) and (−1/3, 2/3, −1/3).
        close(&[correlation(&xs, &[0.0, 1.0, 0.0])], &[(-1.0 / 3.0) / (14.0_f64 / 3.0 * 2.0 / 3.0).sqrt()], 1e-15);
        assert_eq!(correlation(&xs, &[7.0; 3]), 0.0);
    }

    #[test]
    fn the_softplus_neither_overflows_nor_vanishes() {
        close(&[softplus(800.0), softplus(0.0)], &[800.0, 2.0_f64.ln()], 1e-15);
        close(&[softplus(-40.0) / (-40.0_f64).exp()], &[1.0], 1e-15);
        assert!(softplus(f64::NAN).is_nan());
        for x in [-2.0, 0.3, 4.0] {
            is_gradient(softplus, x, sigmoid(x));
        }
    }

    #[test]
    fn terms_are_weighted_one_by_one_and_added_with_their_factor() {
        let one = LossTerms { losses: vec![1.0, 2.0], gradients: vec![3.0, 4.0] };
        let both = one.clone().weighted(&[0.5, 0.25]).plus(10.0, &one);
        assert_eq!(both, LossTerms { losses: vec![10.5, 20.5], gradients: vec![31.5, 41.0] });
    }

    #[test]
    #[should_panic(expected = "slices of one length, not of [1, 2]")]
    fn slices_of_different_lengths_are_refused() {
        let _ = LossTerms { losses: vec![1.0], gradients: vec![1.0] }.weighted(&[1.0, 2.0]);
    }
}
