//! Losses of the scores of a reward model on preferences. Scores have no unit: a difference Δ of 1 stands for odds of e
//! to 1.

use super::{PairTerms, same_length, sigmoid, softplus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The loss of a pair, a function of Δ = score of the chosen − score of the rejected answer.
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
    /// The margin of a pair for which the data names none.
    pub fn default_margin(self) -> f64 {
        match self {
            PairLoss::BradleyTerry => 0.0,
            PairLoss::Hinge => 1.0,
        }
    }

    /// The loss, and its gradient by Δ. With label smoothing ε, a pair is taken to be the wrong way round with
    /// probability ε; the hinge ignores it.
    pub fn of(self, delta: f64, margin: f64, label_smoothing: f64) -> (f64, f64) {
        let u = delta - margin;
        match self {
            PairLoss::BradleyTerry => smoothed(u, label_smoothing),
            PairLoss::Hinge if u < 0.0 => (-u, -1.0),
            // NaN stays NaN.
            PairLoss::Hinge => (0.0 * u, 0.0 * u),
        }
    }
}

/// −(1 − ε)·log σ(u) − ε·log σ(−u) and its gradient in u.
pub(super) fn smoothed(u: f64, epsilon: f64) -> (f64, f64) {
    let loss = (1.0 - epsilon) * softplus(-u) + epsilon * softplus(u);
    (loss, epsilon * sigmoid(u) - (1.0 - epsilon) * sigmoid(-u))
}

/// One term per pair, with its gradients by the scores.
pub fn preference_loss(
    loss: PairLoss,
    chosen: &[f64],
    rejected: &[f64],
    margins: &[f64],
    label_smoothing: f64,
) -> PairTerms {
    same_length(&[chosen, rejected, margins]);
    let mut out = PairTerms::default();
    for ((chosen, rejected), margin) in chosen.iter().zip(rejected).zip(margins) {
        let (loss, gradient) = loss.of(chosen - rejected, *margin, label_smoothing);
        out.losses.push(loss);
        out.chosen.push(gradient);
        out.rejected.push(-gradient);
    }
    out
}

/// (r_c + r_r)² per pair, not yet times its weight (0.01): keeps scores near 0, which preferences alone leave free
/// (Eisenstein et al. 2023, "Helping or Herding?").
pub fn centring_penalty(chosen: &[f64], rejected: &[f64]) -> PairTerms {
    same_length(&[chosen, rejected]);
    let sums: Vec<f64> = chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen + rejected).collect();
    let gradients: Vec<f64> = sums.iter().map(|sum| 2.0 * sum).collect();
    PairTerms { losses: sums.iter().map(|sum| sum * sum).collect(), chosen: gradients.clone(), rejected: gradients }
}

/// −log of the probability that answers are ranked as they were, Σ_i ln(e^(s_i) + Σ_{j worse than i} e^(s_j)) − s_i,
/// and its gradients by the scores (Plackett 1975; Luce 1959). `pairs` are (better, worse). Without ties the inner sum
/// goes over all answers ranked after i; tied answers are left out of each other's sums, as they make no pair either.
/// For two answers this is Bradley–Terry.
pub fn plackett_luce(scores: &[f64], pairs: &[(usize, usize)]) -> (f64, Vec<f64>) {
    let mut gradients = vec![0.0; scores.len()];
    let mut loss = 0.0;
    // The probability that an answer is ranked before all worse ones: a softmax of their scores.
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
        gradients[first] -= 1.0;
        left().for_each(|row| gradients[row] += (scores[row] - total).exp());
    }
    (loss, gradients)
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, is_gradient, number, row};
    use super::super::mean;
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
        assert_eq!(loss.rejected, loss.chosen.iter().map(|gradient| -gradient).collect::<Vec<_>>());
    }

    #[test]
    fn the_gradient_of_a_preference_loss_is_its_derivative() {
        for loss in [PairLoss::BradleyTerry, PairLoss::Hinge] {
            for (margin, smoothing) in [(0.0, 0.0), (1.0, 0.0), (0.3, 0.2)] {
                for score in [-2.0, -0.3, 0.2, 0.9, 3.0] {
                    let at = |chosen, rejected| preference_loss(loss, &[chosen], &[rejected], &[margin], smoothing);
                    is_gradient(|x| at(x, 0.1).losses[0], score, at(score, 0.1).chosen[0]);
                    is_gradient(|x| at(0.1, x).losses[0], score, at(0.1, score).rejected[0]);
                }
            }
        }
    }

    #[test]
    fn far_scores_neither_overflow_nor_lose_their_gradient() {
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
        is_gradient(|x| at(x, 0.4).losses[0], 1.5, at(1.5, 0.4).chosen[0]);
        is_gradient(|x| at(0.4, x).losses[0], 1.5, at(0.4, 1.5).rejected[0]);
    }

    #[test]
    fn plackett_luce_is_the_golden_one() {
        let golden = group("plackett_luce");
        let scores = row(&golden["scores_best_to_worst"]);
        let pairs: Vec<(usize, usize)> = (0..4).flat_map(|i| (i + 1..4).map(move |j| (i, j))).collect();
        let (loss, gradients) = plackett_luce(&scores, &pairs);
        close(&[loss], &[number(&golden["nll"])], 1e-15);
        for (index, gradient) in gradients.iter().enumerate() {
            let moved = |x| {
                let mut scores = scores.clone();
                scores[index] = x;
                plackett_luce(&scores, &pairs).0
            };
            is_gradient(moved, scores[index], *gradient);
        }
        // The same ranking taken as six pairs.
        let (chosen, rejected): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(i, j)| (scores[*i], scores[*j])).unzip();
        let loss = preference_loss(PairLoss::BradleyTerry, &chosen, &rejected, &[0.0; 6], 0.0);
        close(&[mean(&loss.losses)], &[number(&golden["pairwise_bt_mean_over_6"])], 1e-15);
    }

    #[test]
    fn plackett_luce_of_two_is_bradley_terry_and_of_far_scores_finite() {
        let (loss, gradients) = plackett_luce(&[0.3, 1.1], &[(0, 1)]);
        let pair = preference_loss(PairLoss::BradleyTerry, &[0.3], &[1.1], &[0.0], 0.0);
        close(&[loss, gradients[0], gradients[1]], &[pair.losses[0], pair.chosen[0], pair.rejected[0]], 1e-15);
        assert_eq!(plackett_luce(&[-2000.0, 2000.0], &[(0, 1)]), (4000.0, vec![-1.0, 1.0]));
        assert_eq!(plackett_luce(&[], &[]), (0.0, vec![]));
    }

    /// Two best that tie before one that is worse: each is chosen before that one, neither before the other.
    #[test]
    fn in_plackett_luce_ties_are_not_compared() {
        let scores = [0.3, -0.4, 0.9];
        let (loss, gradients) = plackett_luce(&scores, &[(0, 2), (1, 2), (1, 2)]);
        let pairs = preference_loss(PairLoss::BradleyTerry, &scores[..2], &[0.9; 2], &[0.0; 2], 0.0);
        let expected = [pairs.losses.iter().sum(), pairs.chosen[0], pairs.chosen[1], pairs.rejected.iter().sum()];
        close(&[&[loss], &gradients[..]].concat(), &expected, 1e-15);
    }
}
