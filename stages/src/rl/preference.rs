//! Reward models: what scores lose by preferences, and how good a model's word is on held-out ones. Scores have no unit
//! but this: a difference Δ of 1 is meant as odds of e to 1.

use super::{SlopedPairs, mean, same_length, sigmoid, softplus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a pair loses, by Δ = score of the chosen − score of the rejected answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairLoss {
    /// −log σ(Δ − margin) (Bradley & Terry 1952; margin: Touvron et al. 2023, "Llama 2", eq. 2).
    #[default]
    BradleyTerry,
    /// max(0, margin − Δ).
    Hinge,
}

impl PairLoss {
    /// Where the data names none.
    pub fn default_margin(self) -> f64 {
        match self {
            PairLoss::BradleyTerry => 0.0,
            PairLoss::Hinge => 1.0,
        }
    }

    /// Loss and slope in Δ. With label smoothing ε, which the hinge does not know, a pair is believed to be the wrong way
    /// round with probability ε.
    pub fn of(self, delta: f64, margin: f64, label_smoothing: f64) -> (f64, f64) {
        let u = delta - margin;
        match self {
            PairLoss::BradleyTerry => smoothed(u, label_smoothing),
            PairLoss::Hinge if u < 0.0 => (-u, -1.0),
            // Also what is no number.
            PairLoss::Hinge => (0.0 * u, 0.0 * u),
        }
    }
}

/// −(1 − ε)·log σ(u) − ε·log σ(−u) and its slope in u.
pub(super) fn smoothed(u: f64, epsilon: f64) -> (f64, f64) {
    let loss = (1.0 - epsilon) * softplus(-u) + epsilon * softplus(u);
    (loss, epsilon * sigmoid(u) - (1.0 - epsilon) * sigmoid(-u))
}

/// A term per pair, its slopes in the scores.
pub fn preference_loss(
    loss: PairLoss,
    chosen: &[f64],
    rejected: &[f64],
    margins: &[f64],
    label_smoothing: f64,
) -> SlopedPairs {
    same_length(&[chosen, rejected, margins]);
    let mut out = SlopedPairs::default();
    for ((chosen, rejected), margin) in chosen.iter().zip(rejected).zip(margins) {
        let (loss, slope) = loss.of(chosen - rejected, *margin, label_smoothing);
        out.losses.push(loss);
        out.chosen.push(slope);
        out.rejected.push(-slope);
    }
    out
}

/// (r_c + r_r)² per pair, not yet times its weight (0.01): keeps scores near 0, which preferences alone leave free
/// (Eisenstein et al. 2023, "Helping or Herding?").
pub fn centring_penalty(chosen: &[f64], rejected: &[f64]) -> SlopedPairs {
    same_length(&[chosen, rejected]);
    let sums: Vec<f64> = chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen + rejected).collect();
    let slopes: Vec<f64> = sums.iter().map(|sum| 2.0 * sum).collect();
    SlopedPairs { losses: sums.iter().map(|sum| sum * sum).collect(), chosen: slopes.clone(), rejected: slopes }
}

/// −log of the probability that answers are ranked as they were, Σ_i ln(e^(s_i) + Σ_{j worse than i} e^(s_j)) − s_i, and
/// its slopes by the scores (Plackett 1975; Luce 1959). `pairs` are the better and the worse of two. Of a ranking without
/// ties the inner sum goes over all that come after i; what ties is left out of each other's sums, as ties make no pair either. Of two
/// answers, it is Bradley–Terry.
pub fn plackett_luce(scores: &[f64], pairs: &[(usize, usize)]) -> (f64, Vec<f64>) {
    let mut slopes = vec![0.0; scores.len()];
    let mut loss = 0.0;
    // Of an answer and all that are worse: which is the first, by a softmax of their scores.
    for first in 0..scores.len() {
        let worse: BTreeSet<usize> =
            pairs.iter().filter(|(better, _)| *better == first).map(|(_, worse)| *worse).collect();
        if worse.is_empty() {
            continue;
        }
        let left = || worse.iter().copied().chain([first]);
        let largest = left().map(|row| scores[row]).fold(f64::NEG_INFINITY, f64::max);
        let total = largest + left().map(|row| (scores[row] - largest).exp()).sum::<f64>().ln();
        loss += total - scores[first];
        slopes[first] -= 1.0;
        left().for_each(|row| slopes[row] += (scores[row] - total).exp());
    }
    (loss, slopes)
}

// ------------------------------------------------------------------------------------------------------ evaluation

/// Share of pairs in which the chosen answer has the higher score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Equal scores are wrong.
    pub strict: f64,
    /// Equal scores are half right, as a coin would be.
    pub with_ties: f64,
}

/// Of Δ = score of the chosen − score of the rejected answer.
pub fn accuracy(deltas: &[f64]) -> Accuracy {
    let share = |tie: f64| {
        let rightness = |delta: &f64| if *delta == 0.0 { tie } else { f64::from(u8::from(*delta > 0.0)) };
        mean(&deltas.iter().map(rightness).collect::<Vec<_>>())
    };
    Accuracy { strict: share(0.0), with_ties: share(0.5) }
}

/// How sure the model is of its own preference, σ(|Δ|), and whether it is right: 1, 0, or ½ for a tie. That the *chosen*
/// answer is preferred happens always: calibration of σ(Δ) itself would measure nothing.
pub fn confidence(delta: f64) -> (f64, f64) {
    (sigmoid(delta.abs()), if delta == 0.0 { 0.5 } else { f64::from(u8::from(delta > 0.0)) })
}

/// (p − outcome)² (Brier 1950, for an event that happens, 1, or not, 0).
pub fn brier(probability: f64, outcome: f64) -> f64 {
    (probability - outcome).powi(2)
}

/// What was predicted and what happened among the probabilities in (low, high]; the first row has 0 as well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityRow {
    pub low: f64,
    pub high: f64,
    pub count: usize,
    /// Mean probability.
    pub predicted: f64,
    /// Share of the outcomes.
    pub happened: f64,
}

/// Over equal bins of [0, 1]; those that hold nothing have no row.
pub fn reliability(probabilities: &[f64], outcomes: &[f64], bins: usize) -> Vec<ReliabilityRow> {
    same_length(&[probabilities, outcomes]);
    let mut sums = vec![(0, 0.0, 0.0); bins];
    let edge = |bin: usize| bin as f64 / bins as f64;
    for (p, y) in probabilities.iter().zip(outcomes) {
        // Compared with the edges: p·bins is now and then above a whole number where p is on an edge.
        let bin = (1..bins).take_while(|bin| *p > edge(*bin)).count();
        let (count, predicted, happened) = &mut sums[bin];
        *count += 1;
        *predicted += p;
        *happened += y;
    }
    let row = |(bin, (count, predicted, happened)): (usize, (usize, f64, f64))| ReliabilityRow {
        low: edge(bin),
        high: edge(bin + 1),
        count,
        predicted: predicted / count as f64,
        happened: happened / count as f64,
    };
    sums.into_iter().enumerate().filter(|(_, (count, ..))| *count > 0).map(row).collect()
}

/// Expected calibration error: mean |predicted − happened| of the rows, by their counts (Guo et al. 2017, eq. 3).
pub fn calibration_error(rows: &[ReliabilityRow]) -> f64 {
    let total = rows.iter().map(|row| row.count).sum::<usize>() as f64;
    rows.iter().map(|row| row.count as f64 * (row.predicted - row.happened).abs()).sum::<f64>() / total
}

/// The T for which σ(Δ/T) has the least log loss: above 1 for a model that is too sure of itself (Guo et al. 2017, §4.2).
/// None where no finite T > 0 is best: all pairs are right, or they are right no more than wrong.
pub fn temperature(deltas: &[f64]) -> Option<f64> {
    let is_wrong_once = deltas.iter().any(|delta| *delta < 0.0);
    let scale = mean(&deltas.iter().map(|delta| delta.abs()).collect::<Vec<_>>());
    let leans_right = mean(deltas) > 0.0;
    if !(is_wrong_once && leans_right && scale.is_finite()) {
        return None;
    }
    // The log loss is convex in 1/T: its slope there rises from below 0 at 0 to above 0, and is cut in half each time.
    let slope = |inverse: f64| -deltas.iter().map(|delta| delta * sigmoid(-delta * inverse)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0 / scale);
    while slope(high) < 0.0 {
        (low, high) = (high, 2.0 * high);
    }
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return Some(1.0 / middle);
        }
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, number, row, slopes_down};
    use super::*;

    fn scores() -> [Vec<f64>; 3] {
        let golden = group("reward_model");
        ["chosen", "rejected", "margin"].map(|name| row(&golden[name]))
    }

    #[test]
    fn the_preference_losses_are_the_golden_ones() {
        let golden = group("reward_model");
        let [chosen, rejected, margins] = scores();
        let cases = [
            ("bt_mean", PairLoss::BradleyTerry, vec![PairLoss::BradleyTerry.default_margin(); 4], 0.0),
            ("bt_margin_mean", PairLoss::BradleyTerry, margins, 0.0),
            ("cdpo_like_label_smoothing_0.1", PairLoss::BradleyTerry, vec![0.0; 4], 0.1),
            ("margin_ranking_loss_1.0", PairLoss::Hinge, vec![PairLoss::Hinge.default_margin(); 4], 0.0),
        ];
        for (name, loss, margins, smoothing) in cases {
            let loss = preference_loss(loss, &chosen, &rejected, &margins, smoothing);
            close(&[mean(&loss.losses)], &[number(&golden[name])], 1e-15);
        }
    }

    #[test]
    fn the_preference_loss_has_the_golden_gradient() {
        let golden = group("reward_model");
        let [chosen, rejected, _] = scores();
        let loss = preference_loss(PairLoss::BradleyTerry, &chosen, &rejected, &[0.0; 4], 0.0).weighted(&[0.25; 4]);
        close(&loss.chosen, &row(&golden["grad_chosen"]), 1e-15);
        assert_eq!(loss.rejected, loss.chosen.iter().map(|slope| -slope).collect::<Vec<_>>());
    }

    #[test]
    fn the_slope_of_a_preference_loss_is_its_derivative() {
        for loss in [PairLoss::BradleyTerry, PairLoss::Hinge] {
            for (margin, smoothing) in [(0.0, 0.0), (1.0, 0.0), (0.3, 0.2)] {
                for score in [-2.0, -0.3, 0.2, 0.9, 3.0] {
                    let at = |chosen, rejected| preference_loss(loss, &[chosen], &[rejected], &[margin], smoothing);
                    slopes_down(|x| at(x, 0.1).losses[0], score, at(score, 0.1).chosen[0]);
                    slopes_down(|x| at(0.1, x).losses[0], score, at(0.1, score).rejected[0]);
                }
            }
        }
    }

    #[test]
    fn far_scores_neither_overflow_nor_lose_their_slope() {
        let loss = preference_loss(PairLoss::BradleyTerry, &[-900.0, 900.0, 40.0], &[0.0; 3], &[0.0; 3], 0.0);
        close(&loss.losses, &[900.0, 0.0, (-40.0_f64).exp()], 1e-30);
        close(&loss.chosen, &[-1.0, 0.0, -(-40.0_f64).exp()], 1e-30);
        for loss in [PairLoss::BradleyTerry, PairLoss::Hinge] {
            assert!(preference_loss(loss, &[f64::NAN], &[0.0], &[0.0], 0.0).losses[0].is_nan());
        }
    }

    #[test]
    fn the_centring_penalty_is_the_golden_one() {
        let golden = group("reward_model");
        let [chosen, rejected, _] = scores();
        let penalty = centring_penalty(&chosen, &rejected);
        close(&[mean(&penalty.losses)], &[number(&golden["center_penalty_unit"])], 1e-15);
        let both = preference_loss(PairLoss::BradleyTerry, &chosen, &rejected, &[0.0; 4], 0.0).plus(0.01, &penalty);
        close(&[mean(&both.losses)], &[number(&golden["bt_plus_center_0.01"])], 1e-15);
        let at = |chosen, rejected| centring_penalty(&[chosen], &[rejected]);
        slopes_down(|x| at(x, 0.4).losses[0], 1.5, at(1.5, 0.4).chosen[0]);
        slopes_down(|x| at(0.4, x).losses[0], 1.5, at(0.4, 1.5).rejected[0]);
    }

    #[test]
    fn plackett_luce_is_the_golden_one() {
        let golden = group("plackett_luce");
        let scores = row(&golden["scores_best_to_worst"]);
        let pairs: Vec<(usize, usize)> = (0..4).flat_map(|i| (i + 1..4).map(move |j| (i, j))).collect();
        let (loss, slopes) = plackett_luce(&scores, &pairs);
        close(&[loss], &[number(&golden["nll"])], 1e-15);
        for (place, slope) in slopes.iter().enumerate() {
            let moved = |x| {
                let mut scores = scores.clone();
                scores[place] = x;
                plackett_luce(&scores, &pairs).0
            };
            slopes_down(moved, scores[place], *slope);
        }
        // The same ranking taken as six pairs.
        let (chosen, rejected): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(i, j)| (scores[*i], scores[*j])).unzip();
        let loss = preference_loss(PairLoss::BradleyTerry, &chosen, &rejected, &[0.0; 6], 0.0);
        close(&[mean(&loss.losses)], &[number(&golden["pairwise_bt_mean_over_6"])], 1e-15);
    }

    #[test]
    fn plackett_luce_of_two_is_bradley_terry_and_of_far_scores_finite() {
        let (loss, slopes) = plackett_luce(&[0.3, 1.1], &[(0, 1)]);
        let pair = preference_loss(PairLoss::BradleyTerry, &[0.3], &[1.1], &[0.0], 0.0);
        close(&[loss, slopes[0], slopes[1]], &[pair.losses[0], pair.chosen[0], pair.rejected[0]], 1e-15);
        assert_eq!(plackett_luce(&[-2000.0, 2000.0], &[(0, 1)]), (4000.0, vec![-1.0, 1.0]));
        assert_eq!(plackett_luce(&[], &[]), (0.0, vec![]));
    }

    /// Two best that tie before one that is worse: each is chosen before that one, neither before the other.
    #[test]
    fn in_plackett_luce_ties_are_not_compared() {
        let scores = [0.3, -0.4, 0.9];
        let (loss, slopes) = plackett_luce(&scores, &[(0, 2), (1, 2), (1, 2)]);
        let pairs = preference_loss(PairLoss::BradleyTerry, &scores[..2], &[0.9; 2], &[0.0; 2], 0.0);
        let expected = [pairs.losses.iter().sum(), pairs.chosen[0], pairs.chosen[1], pairs.rejected.iter().sum()];
        close(&[&[loss], &slopes[..]].concat(), &expected, 1e-15);
    }

    #[test]
    fn accuracy_is_the_golden_one() {
        let golden = group("reward_model");
        let [chosen, rejected, _] = scores();
        let deltas: Vec<f64> = chosen.iter().zip(&rejected).map(|(chosen, rejected)| chosen - rejected).collect();
        let [strict, with_ties] = ["accuracy_strict", "accuracy_half_ties"].map(|name| number(&golden[name]));
        assert_eq!(accuracy(&deltas), Accuracy { strict, with_ties });
    }

    #[test]
    fn calibration_is_the_golden_one() {
        let golden = group("calibration");
        let [p, y] = ["p", "y"].map(|name| row(&golden[name]));
        let rows = reliability(&p, &y, 5);
        let table = golden["bins"].as_array().unwrap();
        assert_eq!(rows.len(), table.len());
        for (ours, theirs) in rows.iter().zip(table) {
            let ours = [ours.low, ours.high, ours.count as f64, ours.predicted, ours.happened];
            close(&ours, &["lo", "hi", "n", "conf", "acc"].map(|name| number(&theirs[name])), 1e-15);
        }
        let of_each =
            |cost: fn(f64, f64) -> f64| mean(&p.iter().zip(&y).map(|(p, y)| cost(*p, *y)).collect::<Vec<_>>());
        // The log loss of a probability is what the score that stands for it loses.
        let log_loss = of_each(|p, y| PairLoss::BradleyTerry.of((2.0 * y - 1.0) * (p / (1.0 - p)).ln(), 0.0, 0.0).0);
        let ours = [calibration_error(&rows), of_each(brier), log_loss];
        close(&ours, &["ece_5bins", "brier", "logloss"].map(|name| number(&golden[name])), 1e-15);
    }

    #[test]
    fn a_probability_on_an_edge_is_in_the_bin_below() {
        for bins in [5, 10, 15, 100] {
            for bin in 1..=bins {
                let edge = bin as f64 / bins as f64;
                assert_eq!(reliability(&[edge], &[1.0], bins)[0].high, edge);
            }
        }
        assert!((0.07_f64 * 100.0).ceil() > 7.0, "what the edges are compared for");
        assert_eq!(reliability(&[0.0], &[1.0], 5)[0].low, 0.0);
    }

    #[test]
    fn a_model_is_as_sure_of_a_wrong_preference_as_of_a_right_one() {
        let expected = 2.0_f64.exp() / (1.0 + 2.0_f64.exp());
        for (delta, right) in [(2.0, 1.0), (-2.0, 0.0)] {
            let (confidence, outcome) = confidence(delta);
            close(&[confidence, outcome], &[expected, right], 1e-15);
        }
        assert_eq!(confidence(0.0), (0.5, 0.5));
    }

    #[test]
    fn the_temperature_is_where_certainty_equals_accuracy() {
        // Three of four are right at Δ = ±d: σ(d/T) must be ¾, so T = d / ln 3.
        for d in [1e-6, 1.0, 5.0, 3e4] {
            let fitted = temperature(&[d, d, -d, d]).unwrap();
            close(&[fitted * 3.0_f64.ln() / d], &[1.0], 1e-12);
        }
        let deltas = [0.4, 2.5, -0.7, 1.9, -0.1, 3.3];
        let fitted = temperature(&deltas).unwrap();
        let loss = |t: f64| deltas.iter().map(|delta| softplus(-delta / t)).sum::<f64>();
        slopes_down(loss, fitted, 0.0);
        assert!(loss(fitted) < loss(1.01 * fitted) && loss(fitted) < loss(0.99 * fitted));
    }

    #[test]
    fn no_temperature_is_best_for_a_model_without_errors_or_without_skill() {
        for deltas in [&[1.0, 2.0][..], &[1.0, -1.0], &[-1.0], &[0.0], &[], &[1.0, -0.5, f64::NAN]] {
            assert_eq!(temperature(deltas), None, "{deltas:?}");
        }
    }
}
