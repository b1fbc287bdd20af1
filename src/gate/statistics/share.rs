//! The inference about shares and win rates: exact binomial forms, and their counterparts over clusters.

use super::distributions::{binomial_at_least, clopper_pearson_lower, root, student_quantile};
use super::sample::Sample;
use super::{Form, Inference, mean, usable_level};

/// The inference about a share, from a sample of zeros and ones.
///
/// Independent items: Clopper & Pearson (1934). Clustered: the more careful of two forms. Korn & Graubard (1998, Survey
/// Methodology 24, section 3): the same bound with the effective number of items share (1 - share) / variance, times
/// the squared ratio of the t quantiles with items - 1 and clusters - 1 degrees, at most the number of items; where all
/// items agree there is no variance to read that from, and the number of clusters counts. And the mean over clusters, by
/// sign flips of whole clusters: near 0 or 1 the first alone makes 9 % wrong claims at 5 %, the second alone 13 %.
pub fn share(sample: &Sample, threshold: f64, alpha: f64) -> Inference {
    let form = if sample.is_clustered() { Form::KornGraubard } else { Form::ClopperPearson };
    if sample.clusters() < 2 || threshold.is_nan() {
        return Inference::nothing(form);
    }
    let level = usable_level(alpha);
    let ones = Ones::of(sample);
    let zeros = ones.mirrored();
    let exact = Inference {
        lower: ones.lower(level),
        upper: 1.0 - zeros.lower(level),
        p_above: ones.p_above(threshold),
        p_below: zeros.p_above(1.0 - threshold),
        form,
    };
    match form {
        Form::KornGraubard => exact.more_careful(&mean(sample, threshold, alpha, CLUSTERED_RESAMPLES)),
        _ => exact,
    }
}

/// The inference about a win rate, from a sample of wins (1), ties (0.5) and losses (0) over changed pairs.
///
/// Independent pairs: the exact sign test (Dixon & Mood 1946, JASA 41), ties dropped. A bound q for the share of wins
/// among decided pairs is the bound ties / 2 + (1 - ties) q for the win rate, with the share of ties taken as it is: at
/// the threshold 0.5 nothing depends on it and the level is exact; elsewhere it is exact given that share.
/// When all pairs are ties, nothing is said.
///
/// Clustered pairs: a mean over the clusters, by sign flips of whole clusters.
pub fn win_rate(pairs: &Sample, threshold: f64, alpha: f64) -> Inference {
    if pairs.is_clustered() {
        let form = Form::ClusteredWins;
        let inference = mean(pairs, threshold, alpha, CLUSTERED_RESAMPLES);
        return Inference { form, ..inference };
    }
    let decided = UntiedPairs::of(pairs);
    if pairs.clusters() < 2 || decided.pairs == 0.0 || threshold.is_nan() {
        return Inference::nothing(Form::SignTest);
    }
    let level = usable_level(alpha);
    let losses = UntiedPairs { wins: decided.pairs - decided.wins, ..decided };
    Inference {
        lower: decided.lower(level),
        upper: 1.0 - losses.lower(level),
        p_above: decided.p_above(threshold),
        p_below: losses.p_above(1.0 - threshold),
        form: Form::SignTest,
    }
}

const CLUSTERED_RESAMPLES: usize = 10_000;

/// The smallest number of wins of `changed` untied pairs that passes "win rate above 0.5"; `None` when even winning all
/// of them would not pass.
pub fn wins_needed(changed: u64, alpha: f64) -> Option<u64> {
    let level = usable_level(alpha);
    let passes = |wins: u64| binomial_at_least(wins as f64, changed as f64, 0.5) <= level;
    if changed < 2 || !passes(changed) {
        return None;
    }
    let (mut fails, mut enough) = (0, changed);
    while enough - fails > 1 {
        let middle = fails + (enough - fails) / 2;
        if passes(middle) {
            enough = middle;
        } else {
            fails = middle;
        }
    }
    Some(enough)
}

/// The share of ones among items, and the number of independent items that these are worth.
#[derive(Clone, Copy)]
struct Ones {
    share: f64,
    items: f64,
    worth: Worth,
}

#[derive(Clone, Copy)]
enum Worth {
    /// The same at every level.
    Items(f64),
    /// Korn and Graubard's number, before the correction for few clusters, which depends on the level.
    Effective { items: f64, clusters: f64 },
}

impl Ones {
    fn of(sample: &Sample) -> Ones {
        // Values outside 0 to 1 are not refused, so the share is kept within.
        let share = sample.mean().clamp(0.0, 1.0);
        let items = sample.items() as f64;
        let worth = match sample.standard_error() {
            Some(_) if !sample.is_clustered() => Worth::Items(items),
            Some(error) if error > 0.0 => {
                Worth::Effective { items: share * (1.0 - share) / (error * error), clusters: sample.clusters() as f64 }
            }
            _ => Worth::Items(sample.clusters() as f64),
        };
        Ones { share, items, worth }
    }

    fn mirrored(self) -> Ones {
        Ones { share: 1.0 - self.share, ..self }
    }

    /// The number of independent items these are worth in a claim at a level.
    fn worth(&self, alpha: f64) -> f64 {
        match self.worth {
            Worth::Items(items) => items,
            Worth::Effective { items, clusters } => {
                // Near one half both quantiles vanish; a quarter is far above any level in use.
                let tail = alpha.clamp(LEAST_P, 0.25);
                let ratio = student_quantile(tail, self.items - 1.0) / student_quantile(tail, clusters - 1.0);
                (items * ratio * ratio).min(self.items)
            }
        }
    }

    fn ones(&self, worth: f64) -> f64 {
        match self.worth {
            // The share was divided by the number of items: rounding gives back the whole number.
            Worth::Items(_) => libm::round(self.share * worth),
            Worth::Effective { .. } => self.share * worth,
        }
    }

    fn lower(&self, alpha: f64) -> f64 {
        let worth = self.worth(alpha);
        clopper_pearson_lower(self.ones(worth), worth, alpha)
    }

    /// The smallest level at which the lower bound clears the threshold; for a known worth that is the binomial tail.
    fn p_above(&self, threshold: f64) -> f64 {
        if threshold < 0.0 {
            return 0.0;
        }
        let tail = |alpha: f64| {
            let worth = self.worth(alpha);
            binomial_at_least(self.ones(worth), worth, threshold)
        };
        match self.worth {
            Worth::Items(_) => tail(1.0),
            Worth::Effective { .. } if tail(LEAST_P) <= LEAST_P => LEAST_P,
            // The smaller the level, the fewer items count, so the tail falls while the level rises.
            Worth::Effective { .. } => root(LEAST_P, 1.0, |alpha| tail(alpha) <= alpha),
        }
    }
}

/// The least p-value of clustered items; smaller ones are not told apart.
const LEAST_P: f64 = 1e-12;

/// The pairs that are no ties: their wins, their number, and their share of all pairs.
#[derive(Clone, Copy)]
pub(super) struct UntiedPairs {
    pub wins: f64,
    pub pairs: f64,
    pub share: f64,
}

impl UntiedPairs {
    pub fn of(pairs: &Sample) -> UntiedPairs {
        let wins = pairs.sums().iter().filter(|value| **value > 0.5).count() as f64;
        let losses = pairs.sums().iter().filter(|value| **value < 0.5).count() as f64;
        let all = pairs.items() as f64;
        UntiedPairs { wins, pairs: wins + losses, share: if all > 0.0 { (wins + losses) / all } else { 0.0 } }
    }

    /// The formula is centred at one half, so that a threshold of one half is met exactly.
    fn lower(&self, alpha: f64) -> f64 {
        0.5 + self.share * (clopper_pearson_lower(self.wins, self.pairs, alpha) - 0.5)
    }

    fn p_above(&self, threshold: f64) -> f64 {
        let among_decided = 0.5 + (threshold - 0.5) / self.share;
        if among_decided < 0.0 { 0.0 } else { binomial_at_least(self.wins, self.pairs, among_decided) }
    }
}
