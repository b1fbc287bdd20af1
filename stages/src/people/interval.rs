//! Exact intervals of shares.

/// A share of a number of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub times: usize,
    pub all: usize,
}

impl Share {
    /// The exact interval at 95 %.
    pub fn interval(self) -> [f64; 2] {
        clopper_pearson(self.times, self.all, 0.95)
    }

    pub fn add(&mut self, is_so: bool) {
        self.times += usize::from(is_so);
        self.all += 1;
    }
}

/// The interval of Clopper & Pearson (1934) of a share: `times` of `all`, at this confidence.
pub fn clopper_pearson(times: usize, all: usize, confidence: f64) -> [f64; 2] {
    let tail = (1.0 - confidence) / 2.0;
    let low = if times == 0 { 0.0 } else { root(|share| at_least(times, all, share) - tail) };
    let high = if times == all { 1.0 } else { root(|share| tail - (1.0 - at_least(times + 1, all, share))) };
    [low, high]
}

/// The chance of at least `times` of `all`, each with the chance `share`.
pub fn at_least(times: usize, all: usize, share: f64) -> f64 {
    if times == 0 {
        return 1.0;
    }
    if share <= 0.0 || share >= 1.0 {
        return f64::from(u8::from(share >= 1.0));
    }
    let n = all as f64;
    let log = |k: f64| {
        libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
            + k * libm::log(share)
            + (n - k) * libm::log1p(-share)
    };
    (times..=all).map(|k| libm::exp(log(k as f64))).sum::<f64>().min(1.0)
}

/// The level and the power for which [`labels_needed`] asks.
const LEVEL: f64 = 0.05;
const POWER: f64 = 0.8;

/// The most labels that are thought of.
const MOST: usize = 3000;

/// The number of labels from which an exact test shows, with a chance of 80 % or more, that a share is above `bound` with
/// 95 % confidence, if it truly is `truth`; `None` if thousands would not.
pub fn labels_needed(bound: f64, truth: f64) -> Option<usize> {
    if truth <= bound {
        return None;
    }
    let has_power = |all: usize| {
        let wins = (0..=all + 1).collect::<Vec<_>>().partition_point(|wins| at_least(*wins, all, bound) > LEVEL);
        wins <= all && at_least(wins, all, truth) >= POWER
    };
    // The normal approximation is not far off; a tenth above it, the sawtooth of the power stays above the bound.
    let spread = 1.645 * (bound * (1.0 - bound)).sqrt() + 0.842 * (truth * (1.0 - truth)).sqrt();
    let about = (spread / (truth - bound)).powi(2).ceil() as usize;
    if about > MOST {
        return None;
    }
    let last = (1..about + about / 10 + 25).rev().find(|all| !has_power(*all))?;
    Some(last + 1)
}

/// Where a rising function of a share is 0.
fn root(function: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if function(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}
