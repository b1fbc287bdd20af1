//! A win rate that may be looked at as often as one likes, while pairs are added, without a maximum: by e-values.
//!
//! The e-value of "the win rate is not above t" is the likelihood of the wins and losses, averaged over win rates above t,
//! divided by their likelihood at t. If the claim is false it is at most 1 on average, whenever one stops, so that it
//! ever reaches 1/α with a chance of at most α (Ville 1939; Robbins 1970, Ann Math Stat 41:1397). Win rates are weighed by
//! a beta distribution around t, cut off at t.

use super::distributions::{beta, root};
use super::sample::Sample;
use super::share::UntiedPairs;
use super::{Form, Inference, usable_level};
use libm::{exp, lgamma, log, log1p};

/// The shape of the beta distribution around one half. Of 2,000 pairs, looked at 20 times, it finds a win rate of 3.5
/// standard errors in 78 %, a shape of 5 in 72 %; where six of ten win, both stop at 260 pairs on average.
const SHAPE: f64 = 20.0;

/// The inference about a win rate of independent pairs of wins (1), ties (0.5) and losses (0), whatever made one stop
/// adding pairs. Ties are left out, as in [`super::win_rate`]. A p-value is 1/e. Clustered pairs say nothing.
pub fn anytime_win_rate(pairs: &Sample, threshold: f64, alpha: f64) -> Inference {
    let form = Form::SignTestByEValues;
    let decided = UntiedPairs::of(pairs);
    if pairs.is_clustered() || pairs.clusters() < 2 || decided.pairs == 0.0 || threshold.is_nan() {
        return Inference::nothing(form);
    }
    let level = usable_level(alpha);
    let losses = UntiedPairs { wins: decided.pairs - decided.wins, ..decided };
    Inference {
        lower: lower(&decided, level),
        upper: 1.0 - lower(&losses, level),
        p_above: p_above(&decided, threshold),
        p_below: p_above(&losses, 1.0 - threshold),
        form,
    }
}

/// The share of wins among decided pairs where the win rate of all is this.
fn among_decided(pairs: &UntiedPairs, win_rate: f64) -> f64 {
    0.5 + (win_rate - 0.5) / pairs.share
}

fn p_above(pairs: &UntiedPairs, threshold: f64) -> f64 {
    p_of_share(pairs, among_decided(pairs, threshold))
}

fn lower(pairs: &UntiedPairs, alpha: f64) -> f64 {
    if p_of_share(pairs, 0.0) > alpha {
        return 0.5 - 0.5 * pairs.share;
    }
    0.5 + pairs.share * (root(0.0, 1.0, |share| p_of_share(pairs, share) > alpha) - 0.5)
}

/// The p-value of "no more than this share of decided pairs are wins". From the share that was seen on it is 1.
fn p_of_share(pairs: &UntiedPairs, share: f64) -> f64 {
    match share {
        share if share < 0.0 => 0.0,
        share if share >= pairs.wins / pairs.pairs => 1.0,
        // Nothing but losses, or at least one win, which a share of 0 has never.
        0.0 => 0.0,
        share => exp(-log_e(pairs.wins, pairs.pairs - pairs.wins, share)).min(1.0),
    }
}

/// The logarithm of the e-value of "at most this share, strictly between 0 and 1, are wins".
fn log_e(wins: f64, losses: f64, share: f64) -> f64 {
    let rest = 1.0 - share;
    let (up, down) = (2.0 * SHAPE * share, 2.0 * SHAPE * rest);
    let log_beta = |a: f64, b: f64| lgamma(a) + lgamma(b) - lgamma(a + b);
    let log_above = |a: f64, b: f64| log(beta(rest, share, b, a));
    let average = log_beta(wins + up, losses + down) - log_beta(up, down) + log_above(wins + up, losses + down)
        - log_above(up, down);
    average - wins * log(share) - losses * log1p(-share)
}
