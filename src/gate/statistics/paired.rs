//! The inference about a mean of differences that take at most three values: none, and as much up as down. Differences
//! of a paired metric of 0 and 1 (right or wrong) are such. A difference in their mean is a difference between the share
//! that rose and the share that fell, so that exact forms exist, and wins are never taken for skewness.

use super::distributions::{binomial_at_least, root};
use super::sample::Sample;
use super::{Form, Inference, usable_level};
use libm::{exp, lgamma, log, log1p};

/// The mean of paired differences of values 0 and 1, times whatever factor, against a threshold. `None` for clusters,
/// and for a sample of other values.
///
/// At the threshold 0 this is the exact test of McNemar (1947): the sign test among the items that differ. At another
/// threshold two p-values are taken and the larger one counts: the binomial one given the share of items that differ,
/// and the exact trinomial one at the estimate of the shares under the threshold (the restricted likelihood of Tango
/// 1998, Stat Med 17:891), which also knows that this share is uncertain.
pub fn paired(sample: &Sample, threshold: f64, alpha: f64) -> Option<Inference> {
    // No other value can occur, so a small number of items is taken at its word.
    let none_unseen = |_: usize| 0.0;
    Some(Trinomial::of(sample)?.inference(threshold, usable_level(alpha), none_unseen))
}

/// Counts of independent items at `centre + unit`, at `centre - unit`, and in all.
#[derive(Clone, Copy)]
pub(super) struct Trinomial {
    centre: f64,
    unit: f64,
    gains: f64,
    losses: f64,
    items: f64,
}

impl Trinomial {
    pub fn of(sample: &Sample) -> Option<Trinomial> {
        if sample.is_clustered() || sample.clusters() < 2 {
            return None;
        }
        let mut values: Vec<f64> = Vec::with_capacity(3);
        for value in sample.sums() {
            if !values.contains(value) {
                if values.len() == 3 {
                    return None;
                }
                values.push(*value);
            }
        }
        values.sort_unstable_by(f64::total_cmp);
        let (centre, unit) = match values[..] {
            [low, high] if low == 0.0 || high == 0.0 => (0.0, high - low),
            [low, high] => (0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low),
            [low, 0.0, high] if is_close(high, -low) => (0.0, high),
            _ => return None,
        };
        if !(unit > 0.0 && unit.is_finite() && centre.is_finite()) {
            return None;
        }
        let count = |is_there: &dyn Fn(f64) -> bool| sample.sums().iter().filter(|value| is_there(**value)).count();
        let (gains, losses) = (count(&|value| value > centre), count(&|value| value < centre));
        Some(Trinomial { centre, unit, gains: gains as f64, losses: losses as f64, items: sample.clusters() as f64 })
    }

    /// `least` is the least p-value of this many items that differ.
    pub fn inference(self, threshold: f64, level: f64, least: fn(usize) -> f64) -> Inference {
        if threshold.is_nan() {
            return Inference::nothing(Form::McNemar);
        }
        let mirrored = self.mirrored();
        Inference {
            lower: self.lower(level, least),
            upper: -mirrored.lower(level, least),
            p_above: self.p_above(threshold, least),
            p_below: mirrored.p_above(-threshold, least),
            form: Form::McNemar,
        }
    }

    fn mirrored(self) -> Trinomial {
        Trinomial { centre: -self.centre, gains: self.losses, losses: self.gains, ..self }
    }

    /// The p-value of "the mean is not above the threshold".
    fn p_above(&self, threshold: f64, least: fn(usize) -> f64) -> f64 {
        self.p_of_shares((threshold - self.centre) / self.unit, least)
    }

    /// The bound, dual to `p_above`.
    fn lower(&self, alpha: f64, least: fn(usize) -> f64) -> f64 {
        if self.p_of_shares(-1.0, least) > alpha {
            return f64::NEG_INFINITY;
        }
        self.centre + self.unit * root(-1.0, 1.0, |difference| self.p_of_shares(difference, least) > alpha)
    }

    /// The p-value of "the share that rose exceeds the share that fell by no more than this".
    fn p_of_shares(&self, difference: f64, least: fn(usize) -> f64) -> f64 {
        let differ = self.gains + self.losses;
        // Further below the ties than a standard deviation the ties are evidence, too.
        let mean = (self.gains - self.losses) / self.items;
        let deviation = ((differ / self.items - mean * mean) * self.items / (self.items - 1.0)).max(0.0).sqrt();
        let floor = least(if difference >= -deviation { differ } else { self.items } as usize);
        let at_zero = self.given_those_that_differ(0.0);
        let p = match difference {
            at if at < -1.0 => 0.0,
            at if at >= 1.0 => 1.0,
            0.0 => at_zero,
            at => {
                let p = self.given_those_that_differ(at).max(self.restricted(at));
                // A claim of less holds wherever the claim of more does.
                if at < 0.0 { p.min(at_zero) } else { p }
            }
        };
        p.max(floor)
    }

    /// The binomial tail among the items that differ, given their share.
    fn given_those_that_differ(&self, difference: f64) -> f64 {
        let differ = self.gains + self.losses;
        if differ == 0.0 {
            return if difference < 0.0 { 0.0 } else { 1.0 };
        }
        let wins = 0.5 + 0.5 * difference * self.items / differ;
        // If all that differ were losses, the surplus would still be larger.
        if wins < 0.0 { 0.0 } else { binomial_at_least(self.gains, differ, wins) }
    }

    /// P(gains - losses >= those seen) under the likeliest shares that differ by exactly this.
    fn restricted(&self, difference: f64) -> f64 {
        let (more, less) = if difference < 0.0 { (self.losses, self.gains) } else { (self.gains, self.losses) };
        let (by, items) = (difference.abs(), self.items);
        // The larger root of 2 n p^2 - b p - less by (1 - by) = 0, where p is the smaller share.
        let b = (more + less) * (1.0 - by) - 2.0 * by * (items - more);
        let square = (b * b + 8.0 * items * less * by * (1.0 - by)).sqrt();
        let root = if b >= 0.0 { (b + square) / (4.0 * items) } else { 2.0 * less * by * (1.0 - by) / (square - b) };
        let small = if root.is_finite() { root.clamp(0.0, 0.5 * (1.0 - by)) } else { 0.0 };
        let large = small + by;
        let (rise, fall) = if difference < 0.0 { (small, large) } else { (large, small) };
        surplus_at_least(self.gains - self.losses, items, rise, fall)
    }
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

/// P(R - F >= surplus) where of `items` each rises with the chance `rise`, falls with `fall` and else stays: the sum
/// over the number that move of its binomial chance times the binomial tail of those that rise. The tail is carried
/// from one number to the next by the recurrences of the binomial.
fn surplus_at_least(surplus: f64, items: f64, rise: f64, fall: f64) -> f64 {
    let moves = rise + fall;
    if fall <= 0.0 {
        return binomial_at_least(surplus, items, moves);
    }
    if rise <= 0.0 {
        // Nothing rises: at most -surplus fall.
        return if surplus > 0.0 { 0.0 } else { 1.0 - binomial_at_least(1.0 - surplus, items, moves) };
    }
    let (wins, odds) = (rise / moves, rise / fall);
    let spread = (items * moves * (1.0 - moves).max(0.0)).sqrt();
    // What lies outside weighs less than 1e-15.
    let from = (items * moves - 9.0 * spread - 20.0).max(0.0).floor();
    let to = (items * moves + 9.0 * spread + 20.0).min(items).ceil();
    let (mut sum, mut moved) = (0.0, from);
    let mut chance_of_moved = chance(moved, items, moves);
    let mut needed = ((moved + surplus) / 2.0).ceil();
    let mut tail = BinomialTail::of(needed, moved, wins);
    loop {
        sum += chance_of_moved * tail.at_least;
        if moved >= to {
            return sum.clamp(0.0, 1.0);
        }
        chance_of_moved = match moves < 1.0 && chance_of_moved > 1e-280 {
            true => chance_of_moved * (items - moved) / (moved + 1.0) * (moves / (1.0 - moves)),
            false => chance(moved + 1.0, items, moves),
        };
        moved += 1.0;
        let next = ((moved + surplus) / 2.0).ceil();
        // Where the recurrence has lost its digits it starts anew.
        tail = match needed >= 1.0 && tail.exactly > 1e-280 {
            true => tail.with_one_more(needed, moved, wins, odds, next > needed),
            false => BinomialTail::of(next, moved, wins),
        };
        needed = next;
    }
}

/// P(X >= needed) and P(X = needed) of a binomial.
struct BinomialTail {
    at_least: f64,
    exactly: f64,
}

impl BinomialTail {
    fn of(needed: f64, trials: f64, share: f64) -> BinomialTail {
        let is_possible = needed <= trials;
        BinomialTail {
            at_least: if is_possible { binomial_at_least(needed, trials, share) } else { 0.0 },
            exactly: if is_possible && needed >= 0.0 { chance(needed, trials, share) } else { 0.0 },
        }
    }

    /// The same for one trial more, `trials` in all, and for one success more if `is_raised`.
    fn with_one_more(self, needed: f64, trials: f64, share: f64, odds: f64, is_raised: bool) -> BinomialTail {
        let before = trials - 1.0;
        // P(X = needed - 1) among the trials before.
        let one_less = self.exactly * needed / (before - needed + 1.0) / odds;
        let at_least = self.at_least + share * one_less;
        let exactly = (1.0 - share) * self.exactly * trials / (trials - needed);
        let exactly = if exactly.is_finite() { exactly } else { chance(needed, trials, share) };
        match is_raised {
            false => BinomialTail { at_least, exactly },
            true => BinomialTail {
                at_least: (at_least - exactly).max(0.0),
                exactly: exactly * (trials - needed) / (needed + 1.0) * odds,
            },
        }
    }
}

/// P(X = successes) of a binomial.
fn chance(successes: f64, trials: f64, share: f64) -> f64 {
    if share >= 1.0 {
        return f64::from(u8::from(successes == trials));
    }
    let ways = lgamma(trials + 1.0) - lgamma(successes + 1.0) - lgamma(trials - successes + 1.0);
    exp(ways + successes * log(share) + (trials - successes) * log1p(-share))
}
