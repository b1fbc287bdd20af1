//! Candidates whose truth is known: differences from named distributions, and the number of promotions that a decision
//! about them makes. For tests and benchmarks; it does not know any form, only decisions. Numbers do not depend on
//! threads.

use super::distributions::binomial_at_least;
use super::random::Stream;
use super::{Sample, mean, win_rate, wins_needed};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chosen once, never searched for.
const SEED: u64 = 1;

/// A source of differences. Before the shift its mean is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    pub shape: Shape,
    /// The chance that a difference is exactly zero instead.
    pub zeros: f64,
    /// Added to every difference.
    pub shift: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Normal,
    Laplace,
    /// Student's t with three degrees of freedom.
    Student3,
    /// Student's t with two, which has no variance.
    Student2,
    /// Centred; long tail to the right.
    Exponential,
    /// Centred; long tail to the right. With the standard deviation of the logarithm.
    Lognormal(f64),
    /// 1 or -1, as a paired metric of 0 and 1 has them. With the chance of 1; the mean is zero at one half.
    Sign(f64),
    /// 1 or 2, or less than nothing by as much, as ratings differ. With the chance of more.
    Rating(f64),
    /// Mostly a small gain, rarely a large loss: 97 % normal 0.15 ± 0.3, 3 % −4.85.
    RareHarm,
    /// 95 % a gain of 0.2 and 5 % a loss of 3.8, once [`Distribution::zeros`] leaves 80 % alone: harm to 1 % of all.
    RarerHarm,
}

impl Distribution {
    pub fn of(shape: Shape) -> Distribution {
        Distribution { shape, zeros: 0.0, shift: 0.0 }
    }

    pub fn with_zeros(self, zeros: f64) -> Distribution {
        Distribution { zeros, ..self }
    }

    pub fn with_shift(self, shift: f64) -> Distribution {
        Distribution { shift, ..self }
    }

    pub fn name(&self) -> String {
        let shape = match self.shape {
            Shape::Normal => "normal".to_string(),
            Shape::Laplace => "laplace".to_string(),
            Shape::Student3 => "t3".to_string(),
            Shape::Student2 => "t2".to_string(),
            Shape::Exponential => "exponential".to_string(),
            Shape::Lognormal(sigma) => format!("lognormal {sigma}"),
            Shape::Sign(wins) => format!("sign {wins:.3}"),
            Shape::Rating(wins) => format!("rating {wins:.3}"),
            Shape::RareHarm => "harm to 3 %".to_string(),
            Shape::RarerHarm => "harm to 5 % of those that differ".to_string(),
        };
        if self.zeros > 0.0 { format!("{shape}, {:.0} % zeros", 100.0 * self.zeros) } else { shape }
    }

    fn draw(&self, source: &mut Source) -> f64 {
        let value = if self.zeros > 0.0 && source.uniform() < self.zeros { 0.0 } else { source.shape(self.shape) };
        value + self.shift
    }
}

/// The number of samples that the decision promotes, out of `runs` samples of `n` differences.
pub fn rate(runs: usize, n: usize, distribution: Distribution, decide: &(dyn Fn(&[f64]) -> bool + Sync)) -> usize {
    count(runs, |source| {
        let values: Vec<f64> = (0..n).map(|_| distribution.draw(source)).collect();
        decide(&values)
    })
}

/// The number of chains in which any candidate is promoted, out of `runs` chains of `stages` equally good candidates.
/// Each is compared item by item with the best so far (the start, or the last that was promoted).
pub fn chains(runs: usize, stages: usize, n: usize, decide: &(dyn Fn(&[f64]) -> bool + Sync)) -> usize {
    count(runs, |source| {
        let mut best: Vec<f64> = (0..n).map(|_| source.normal()).collect();
        let mut promoted = false;
        for _ in 0..stages {
            let scores: Vec<f64> = (0..n).map(|_| source.normal()).collect();
            let differences: Vec<f64> = scores.iter().zip(&best).map(|(score, best)| score - best).collect();
            if decide(&differences) {
                promoted = true;
                best = scores;
            }
        }
        promoted
    })
}

/// The number of chains in which any candidate is promoted, where each grows out of the best so far, as models do that
/// are trained from one another: its differences from it are new ones from the source, whatever was promoted before.
pub fn grown_chains(
    runs: usize,
    stages: usize,
    n: usize,
    source_of: Distribution,
    decide: &(dyn Fn(&[f64]) -> bool + Sync),
) -> usize {
    count(runs, |source| {
        (0..stages).any(|_| {
            let differences: Vec<f64> = (0..n).map(|_| source_of.draw(source)).collect();
            decide(&differences)
        })
    })
}

/// The number of tables, out of `runs`, that grow to these sizes and pass at any of them, and the mean number of items at
/// which they pass or end. The decision is told the table and the number of the look, from 0.
pub fn growing(
    runs: usize,
    sizes: &[usize],
    distribution: Distribution,
    decide: &(dyn Fn(&[f64], usize) -> bool + Sync),
) -> (usize, f64) {
    let items = AtomicUsize::new(0);
    let last = sizes.len() - 1;
    let passed = count(runs, |source| {
        let values: Vec<f64> = (0..sizes[last]).map(|_| distribution.draw(source)).collect();
        let at = (0..sizes.len()).find(|look| decide(&values[..sizes[*look]], *look));
        items.fetch_add(sizes[at.unwrap_or(last)], Ordering::Relaxed);
        at.is_some()
    });
    (passed, items.into_inner() as f64 / runs as f64)
}

/// Groups of items of 0 and 1 as [`shares`] draws them.
#[derive(Clone, Copy, Debug)]
pub struct Clusters {
    pub count: usize,
    /// The least and the largest size.
    pub sizes: (usize, usize),
    pub share: f64,
    /// The correlation of two items of one group.
    pub within: f64,
}

/// The number of samples, out of `runs`, that the decision passes: items of 0 and 1 with the number of the group of
/// each. The number of ones in a group is beta-binomial, drawn by Pólya's urn.
pub fn shares(runs: usize, clusters: Clusters, decide: &(dyn Fn(&[f64], &[usize]) -> bool + Sync)) -> usize {
    let Clusters { count: groups, sizes: (least, most), share, within } = clusters;
    let weight = (1.0 - within) / within;
    count(runs, |source| {
        let (mut items, mut names) = (Vec::new(), Vec::new());
        for group in 0..groups {
            let size = least + (source.uniform() * (most - least + 1) as f64) as usize;
            let mut ones = 0.0;
            for before in 0..size {
                let is_one = source.uniform() < (share * weight + ones) / (weight + before as f64);
                ones += f64::from(u8::from(is_one));
                items.push(f64::from(u8::from(is_one)));
                names.push(group);
            }
        }
        decide(&items, &names)
    })
}

/// The number of promotions in `runs` choices of the best of `candidates`, none better than the baseline. Differences
/// of any two candidates on one item have the correlation given.
pub fn winners(
    runs: usize,
    candidates: usize,
    n: usize,
    correlation: f64,
    decide: &(dyn Fn(&[f64]) -> bool + Sync),
) -> usize {
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    contests(runs, n, correlation, &vec![0.0; candidates], &|all| {
        all.iter().max_by(|left, right| sum(left).total_cmp(&sum(right))).is_some_and(|best| decide(best))
    })
}

/// The number of contests, out of `runs`, that the decision passes: normal numbers of candidates with these true means
/// on the same `n` items. Numbers of any two candidates on one item have the correlation given.
pub fn contests(
    runs: usize,
    n: usize,
    correlation: f64,
    truths: &[f64],
    decide: &(dyn Fn(&[Vec<f64>]) -> bool + Sync),
) -> usize {
    let (common, own) = (correlation.sqrt(), (1.0 - correlation).sqrt());
    count(runs, |source| {
        let shared: Vec<f64> = (0..n).map(|_| source.normal()).collect();
        let mut draw =
            |truth: f64| shared.iter().map(|shared| truth + common * shared + own * source.normal()).collect();
        let all: Vec<Vec<f64>> = truths.iter().map(|truth| draw(*truth)).collect();
        decide(&all)
    })
}

/// The power measured for one true effect, and what theory says it is.
#[derive(Clone, Debug)]
pub struct Power {
    pub test: String,
    pub n: usize,
    pub measured: f64,
    pub formula: f64,
}

/// The power of `mean` at 95 % for normal differences, against the noncentral t; of `win_rate`, against binomials.
/// Fewer resamples are allowed for large n: the p-value counts the sample among its resamples and so keeps its level
/// for any number of them; what a noisier p-value loses of power (with 1,000 resamples up to a point) is counted here.
pub fn powers(runs: usize) -> Vec<Power> {
    let mut powers = Vec::new();
    for n in [30, 100, 500, 2000] {
        let resamples = if n <= 100 { 10_000 } else { 4_000 };
        // Effects in standard errors, for a power of about 50, 80 and 95 %.
        for effect in [1.645, 2.486, 3.29] {
            let differences = Distribution::of(Shape::Normal).with_shift(effect / (n as f64).sqrt());
            let passed = rate(runs, n, differences, &|values| {
                mean(&Sample::of_items(values), 0.0, 0.05, resamples).p_above <= 0.05
            });
            let test = format!("mean, effect {effect}");
            powers.push(Power { test, n, measured: passed as f64 / runs as f64, formula: noncentral_t(n, effect) });
        }
        for ties in [0.0, 0.5] {
            let wins = 0.5 + 1.2 / (n as f64 * (1.0 - ties)).sqrt();
            let passed = count(runs, |source| {
                let pair = |source: &mut Source| match () {
                    () if source.uniform() < ties => 0.5,
                    () if source.uniform() < wins => 1.0,
                    () => 0.0,
                };
                let pairs: Vec<f64> = (0..n).map(|_| pair(source)).collect();
                win_rate(&Sample::of_items(&pairs), 0.5, 0.05).p_above <= 0.05
            });
            let test = format!("win rate, {:.0} % ties", 100.0 * ties);
            powers.push(Power { test, n, measured: passed as f64 / runs as f64, formula: sign_test(n, ties, wins) });
        }
    }
    powers
}

/// Prints [`powers`] and fails if any is more than `points` percentage points from its formula.
pub fn assert_powers(runs: usize, points: f64) {
    println!("{:24} {:>5} {:>10} {:>10}", "test", "n", "measured", "formula");
    let powers = powers(runs);
    for power in &powers {
        println!("{:24} {:5} {:9.2}% {:9.2}%", power.test, power.n, 100.0 * power.measured, 100.0 * power.formula);
    }
    for power in &powers {
        assert!(100.0 * (power.measured - power.formula).abs() <= points, "{power:?}");
    }
}

/// P(T' > t quantile) of a noncentral t with n - 1 degrees: the average over the chi distribution of the sample's
/// standard deviation (Johnson, Kotz & Balakrishnan 1995, ch. 31), by Simpson's rule.
fn noncentral_t(n: usize, effect: f64) -> f64 {
    let degrees = (n - 1) as f64;
    let quantile = super::distributions::student_quantile(0.05, degrees);
    let log_front = std::f64::consts::LN_2 + 0.5 * degrees * (0.5 * degrees).ln() - libm::lgamma(0.5 * degrees);
    let density = |s: f64| (log_front + (degrees - 1.0) * s.ln() - 0.5 * degrees * s * s).exp();
    let power_given = |s: f64| super::distributions::normal_above(quantile * s - effect);
    let width = 8.0 / (2.0 * degrees).sqrt();
    let (from, to, steps) = ((1.0 - width).max(1e-9), 1.0 + width, 2_000);
    let step = (to - from) / steps as f64;
    let at = |k: usize| {
        let s = from + step * k as f64;
        let weight = if k == 0 || k == steps { 1.0 } else { 2.0 + 2.0 * (k % 2) as f64 };
        weight * density(s) * power_given(s)
    };
    (0..=steps).map(at).sum::<f64>() * step / 3.0
}

/// The chance that the sign test passes: over the number of decided pairs, that of enough wins among them.
fn sign_test(n: usize, ties: f64, wins: f64) -> f64 {
    let all = n as f64;
    let decided_is = |decided: usize| {
        let decided = decided as f64;
        binomial_at_least(decided, all, 1.0 - ties) - binomial_at_least(decided + 1.0, all, 1.0 - ties)
    };
    let passes = |decided: usize| {
        wins_needed(decided as u64, 0.05).map_or(0.0, |needed| binomial_at_least(needed as f64, decided as f64, wins))
    };
    if ties == 0.0 { passes(n) } else { (0..=n).map(|decided| decided_is(decided) * passes(decided)).sum() }
}

fn count(runs: usize, promotes: impl Fn(&mut Source) -> bool + Sync) -> usize {
    (0..runs).into_par_iter().filter(|run| promotes(&mut Source(Stream::of(SEED, *run as u64)))).count()
}

struct Source(Stream);

impl Source {
    /// Strictly between 0 and 1.
    fn uniform(&mut self) -> f64 {
        ((self.0.word() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Box & Muller (1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }

    fn student(&mut self, degrees: usize) -> f64 {
        let normal = self.normal();
        let square = (0..degrees).map(|_| self.normal()).map(|value| value * value).sum::<f64>();
        normal / (square / degrees as f64).sqrt()
    }

    fn sign(&mut self, wins: f64) -> f64 {
        if self.uniform() < wins { 1.0 } else { -1.0 }
    }

    fn shape(&mut self, shape: Shape) -> f64 {
        match shape {
            Shape::Normal => self.normal(),
            Shape::Laplace => (self.uniform() / self.uniform()).ln(),
            Shape::Student3 => self.student(3),
            Shape::Student2 => self.student(2),
            Shape::Exponential => -self.uniform().ln() - 1.0,
            Shape::Sign(wins) => self.sign(wins),
            Shape::Rating(wins) => self.sign(wins) * if self.uniform() < 0.5 { 1.0 } else { 2.0 },
            Shape::RareHarm if self.uniform() < 0.03 => -4.85,
            Shape::RareHarm => 0.15 + 0.3 * self.normal(),
            Shape::RarerHarm => {
                if self.uniform() < 0.05 {
                    -3.8
                } else {
                    0.2
                }
            }
            Shape::Lognormal(sigma) => (sigma * self.normal()).exp() - (0.5 * sigma * sigma).exp(),
        }
    }
}
