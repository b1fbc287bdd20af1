//! The winner's curse: the best of several is best by merit and by luck, so that its estimate is too high.

use super::random::{Hash, Stream};
use super::sample::Sample;
use libm::{cos, log};

/// The measurements of the candidates of a choice, item by item, in the same order for all.
pub struct Contest<'a> {
    /// The numbers by which they were compared: more is better.
    pub criteria: &'a [Vec<f64>],
    /// The numbers that a rule is about.
    pub quantities: &'a [Vec<f64>],
    pub groups: &'a [usize],
    /// The earliest was taken that is worse than the best by at most so many standard errors of the difference.
    pub within: Option<f64>,
}

/// The number of times that the choice is made anew: good to about 2 % of a standard error.
const DRAWS: u64 = 2_000;

/// The expectation of the noise in the quantity of the chosen one: its estimate is too high by about that.
///
/// The choice is made again and again on true values with noise drawn anew (parametric bootstrap). Noise has the
/// covariance of the means over clusters. True values are the measured ones, drawn together until they spread as they
/// do without noise: measured values alone would spread too much, which makes luck look like merit. `None` without
/// enough items.
pub fn selection_bias(contest: &Contest) -> Option<f64> {
    let Contest { criteria, quantities, groups, within } = *contest;
    let count = criteria.len();
    if count < 2 || quantities.len() != count || criteria.iter().chain(quantities).any(|all| all.len() != groups.len())
    {
        return None;
    }
    let samples: Vec<Sample> =
        criteria.iter().chain(quantities).map(|numbers| Sample::of_groups(numbers, groups)).collect();
    let clusters = samples[0].clusters();
    if clusters < 2 || samples.iter().any(|sample| sample.clusters() != clusters) {
        return None;
    }
    let covariance = covariance(&samples);
    let means: Vec<f64> = samples[..count].iter().map(Sample::mean).collect();
    let truths = drawn_together(&means, &covariance);
    let factor = factor(&covariance);
    let mut hash = Hash::new();
    samples.iter().for_each(|sample| hash.add(sample.seed()));
    let seed = hash.finish();
    let mut total = 0.0;
    for draw in 0..DRAWS {
        let noise = noise(&factor, Stream::of(seed, draw));
        let seen: Vec<f64> = truths.iter().zip(&noise).map(|(truth, noise)| truth + noise).collect();
        total += noise[count + chosen(&seen, within, &covariance)];
    }
    Some(total / DRAWS as f64).filter(|bias| bias.is_finite())
}

/// The covariance of the means, linearised over clusters as in [`Sample::standard_error`].
fn covariance(samples: &[Sample]) -> Vec<Vec<f64>> {
    let clusters = samples[0].clusters();
    let total: f64 = samples[0].weights().iter().sum();
    let scale = clusters as f64 / (clusters as f64 - 1.0) / (total * total);
    let residuals = |sample: &Sample| {
        let mean = sample.mean();
        sample.sums().iter().zip(sample.weights()).map(|(sum, weight)| sum - mean * weight).collect::<Vec<f64>>()
    };
    let all: Vec<Vec<f64>> = samples.iter().map(residuals).collect();
    let of = |one: &[f64], other: &[f64]| scale * one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    all.iter().map(|one| all.iter().map(|other| of(one, other)).collect()).collect()
}

/// The means with their spread reduced by what noise adds to it.
fn drawn_together(means: &[f64], covariance: &[Vec<f64>]) -> Vec<f64> {
    let count = means.len() as f64;
    let middle = means.iter().sum::<f64>() / count;
    let spread = means.iter().map(|mean| (mean - middle) * (mean - middle)).sum::<f64>() / (count - 1.0);
    let own: f64 = (0..means.len()).map(|at| covariance[at][at]).sum();
    let shared: f64 = covariance[..means.len()].iter().flat_map(|row| &row[..means.len()]).sum();
    let noise = (own - shared / count) / (count - 1.0);
    let kept = if spread > 0.0 { (1.0 - noise / spread).max(0.0).sqrt() } else { 0.0 };
    means.iter().map(|mean| middle + kept * (mean - middle)).collect()
}

/// The lower triangle L with L L' = covariance (Cholesky). What depends on those before adds no noise of its own.
fn factor(covariance: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(covariance.len());
    for (row, values) in covariance.iter().enumerate() {
        let mut line: Vec<f64> = Vec::with_capacity(row + 1);
        for (before, value) in values[..row].iter().enumerate() {
            let above: &Vec<f64> = &factor[before];
            let rest = value - line.iter().zip(above).map(|(one, other)| one * other).sum::<f64>();
            line.push(if above[before] > 0.0 { rest / above[before] } else { 0.0 });
        }
        let rest = values[row] - line.iter().map(|part| part * part).sum::<f64>();
        line.push(if rest > 1e-12 * values[row] { rest.sqrt() } else { 0.0 });
        factor.push(line);
    }
    factor
}

/// One draw of the noise, from normal numbers by Box & Muller (1958).
fn noise(factor: &[Vec<f64>], mut stream: Stream) -> Vec<f64> {
    let mut uniform = || ((stream.word() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    let mut normal = || (-2.0 * log(uniform())).sqrt() * cos(2.0 * std::f64::consts::PI * uniform());
    let normals: Vec<f64> = factor.iter().map(|_| normal()).collect();
    let of = |line: &Vec<f64>| line.iter().zip(&normals).map(|(part, normal)| part * normal).sum();
    factor.iter().map(of).collect()
}

/// The best, the earlier of two that tie, or the earliest that is close enough to it.
fn chosen(seen: &[f64], within: Option<f64>, covariance: &[Vec<f64>]) -> usize {
    let better = |best: usize, at: usize| if seen[at] > seen[best] { at } else { best };
    let best = (0..seen.len()).fold(0, better);
    let Some(within) = within else { return best };
    let error = |at: usize| (covariance[at][at] + covariance[best][best] - 2.0 * covariance[at][best]).max(0.0).sqrt();
    (0..best).find(|at| seen[best] - seen[*at] <= within * error(*at)).unwrap_or(best)
}
