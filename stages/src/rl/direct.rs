//! Preference optimisation without a reward model: DPO and its variants. All of them use the log-ratio of an answer,
//! log π(answer) − log π_ref(answer), nats, summed over its tokens. The gradient by the log-ratio is also the gradient
//! by log π, and by the log-probability of each token of the answer.

use super::preference::smoothed;
use super::{PairTerms, same_length, sigmoid, softplus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss of a pair, a function of d = log-ratio of the chosen − log-ratio of the rejected answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DirectLoss {
    /// −log σ(β·d) (Rafailov et al. 2023, eq. 7). With label smoothing ε, −(1 − ε)·log σ(β·d) − ε·log σ(−β·d): cDPO
    /// (Mitchell 2023, "A note on DPO with noisy preferences").
    #[default]
    Sigmoid,
    /// (−(1 − ε)·log σ(β·d) + ε·log σ(−β·d)) / (1 − 2ε), unbiased where a share ε < ½ of the labels is wrong (Ray
    /// Chowdhury et al. 2024, "Provably Robust DPO").
    Robust,
    /// (d − 1/(2β))² (Azar et al. 2024, eq. 17).
    Ipo,
    /// As `ipo`, each log-ratio divided by the tokens of its answer, so that long answers do not outweigh short ones
    /// (what TRL does).
    IpoPerToken,
    /// max(0, 1 − β·d) (Zhao et al. 2023, "SLiC-HF", with the reference of DPO).
    Hinge,
}

impl DirectLoss {
    /// Tells whether the loss has a term for wrong labels.
    pub fn takes_label_smoothing(self) -> bool {
        matches!(self, DirectLoss::Sigmoid | DirectLoss::Robust)
    }

    /// The loss, and its gradient by d.
    fn of(self, d: f64, beta: f64, epsilon: f64) -> (f64, f64) {
        let u = beta * d;
        match self {
            DirectLoss::Sigmoid => {
                let (loss, gradient) = smoothed(u, epsilon);
                (loss, beta * gradient)
            }
            DirectLoss::Robust => {
                let loss = (1.0 - epsilon) * softplus(-u) - epsilon * softplus(u);
                let gradient = -(1.0 - epsilon) * sigmoid(-u) - epsilon * sigmoid(u);
                (loss / (1.0 - 2.0 * epsilon), beta * gradient / (1.0 - 2.0 * epsilon))
            }
            DirectLoss::Ipo | DirectLoss::IpoPerToken => {
                let error = d - 0.5 / beta;
                (error * error, 2.0 * error)
            }
            DirectLoss::Hinge if u < 1.0 => (1.0 - u, -beta),
            // NaN stays NaN.
            DirectLoss::Hinge => (0.0 * u, 0.0 * u),
        }
    }
}

/// log π − log π_ref per answer.
pub fn log_ratios(policy: &[f64], reference: &[f64]) -> Vec<f64> {
    same_length(&[policy, reference]);
    policy.iter().zip(reference).map(|(policy, reference)| policy - reference).collect()
}

/// One term per pair of log-ratios, with its gradients by log π of either answer. `lengths` are the tokens of the
/// chosen and of the rejected answer, which only [`DirectLoss::IpoPerToken`] uses.
pub fn direct_loss(
    loss: DirectLoss,
    chosen: &[f64],
    rejected: &[f64],
    lengths: &[(usize, usize)],
    beta: f64,
    label_smoothing: f64,
) -> PairTerms {
    same_length(&[chosen, rejected]);
    assert_eq!(chosen.len(), lengths.len(), "two lengths per pair");
    let mut out = PairTerms::default();
    for ((chosen, rejected), (chosen_length, rejected_length)) in chosen.iter().zip(rejected).zip(lengths) {
        let (per_chosen, per_rejected) = match loss {
            DirectLoss::IpoPerToken => (*chosen_length as f64, *rejected_length as f64),
            _ => (1.0, 1.0),
        };
        let (loss, gradient) = loss.of(chosen / per_chosen - rejected / per_rejected, beta, label_smoothing);
        out.losses.push(loss);
        out.chosen.push(gradient / per_chosen);
        out.rejected.push(-gradient / per_rejected);
    }
    out
}

/// β·log-ratio: the reward that the policy is optimal for, up to a constant per prompt (Rafailov et al. 2023, eq. 5).
/// [`super::accuracy`] of their differences is the share of pairs that the policy ranks as the data does.
pub fn implicit_rewards(log_ratios: &[f64], beta: f64) -> Vec<f64> {
    log_ratios.iter().map(|log_ratio| beta * log_ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, counts, group, is_gradient, number, row};
    use super::super::{accuracy, mean};
    use super::*;
    use serde_json::Value;

    /// Log-ratios of the chosen and of the rejected answers.
    fn ratios(golden: &Value) -> [Vec<f64>; 2] {
        [("policy_chosen", "ref_chosen"), ("policy_rejected", "ref_rejected")]
            .map(|(policy, reference)| log_ratios(&row(&golden[policy]), &row(&golden[reference])))
    }

    fn lengths(golden: &Value) -> Vec<(usize, usize)> {
        counts(&golden["len_chosen"]).into_iter().zip(counts(&golden["len_rejected"])).collect()
    }

    #[test]
    fn the_direct_losses_are_the_golden_ones() {
        let golden = group("dpo");
        let ([chosen, rejected], lengths, beta) = (ratios(&golden), lengths(&golden), number(&golden["beta"]));
        let cases = [
            ("sigmoid_mean", DirectLoss::Sigmoid, 0.0),
            ("cdpo_eps0.1_mean", DirectLoss::Sigmoid, 0.1),
            ("robust_eps0.1_mean", DirectLoss::Robust, 0.1),
            ("ipo_sum_mean", DirectLoss::Ipo, 0.0),
            ("ipo_length_normalised_mean (TRL v1)", DirectLoss::IpoPerToken, 0.0),
            ("hinge_mean", DirectLoss::Hinge, 0.0),
        ];
        for (name, loss, smoothing) in cases {
            let loss = direct_loss(loss, &chosen, &rejected, &lengths, beta, smoothing);
            close(&[mean(&loss.losses)], &[number(&golden[name])], 1e-14);
        }
    }

    #[test]
    fn dpo_has_the_golden_terms_and_gradient() {
        let golden = group("dpo");
        let [chosen, rejected] = ratios(&golden);
        close(&log_ratios(&chosen, &rejected), &row(&golden["delta"]), 1e-15);
        let beta = number(&golden["beta"]);
        let loss = direct_loss(DirectLoss::Sigmoid, &chosen, &rejected, &lengths(&golden), beta, 0.0);
        close(&loss.losses, &row(&golden["sigmoid"]), 1e-15);
        let loss = loss.weighted(&[1.0 / 3.0; 3]);
        close(&loss.chosen, &row(&golden["grad_policy_chosen"]), 1e-15);
        assert_eq!(loss.rejected, loss.chosen.iter().map(|gradient| -gradient).collect::<Vec<_>>());
    }

    #[test]
    fn implicit_rewards_are_the_golden_ones() {
        let golden = group("dpo");
        let rewards = ratios(&golden).map(|ratios| implicit_rewards(&ratios, number(&golden["beta"])));
        close(&rewards[0], &row(&golden["reward_chosen"]), 1e-15);
        close(&rewards[1], &row(&golden["reward_rejected"]), 1e-15);
        let deltas: Vec<f64> = rewards[0].iter().zip(&rewards[1]).map(|(chosen, rejected)| chosen - rejected).collect();
        close(&[accuracy(&deltas).strict], &[number(&golden["accuracy"])], 1e-15);
    }

    #[test]
    fn the_gradient_of_a_direct_loss_is_its_derivative() {
        use DirectLoss::{Hinge, Ipo, IpoPerToken, Robust, Sigmoid};
        for loss in [Sigmoid, Robust, Ipo, IpoPerToken, Hinge] {
            for (beta, smoothing) in [(0.1, 0.0), (0.5, 0.2)] {
                for log_ratio in [-12.0, -0.7, 1.3, 25.0] {
                    let at = |chosen, rejected| direct_loss(loss, &[chosen], &[rejected], &[(3, 7)], beta, smoothing);
                    is_gradient(|x| at(x, 0.4).losses[0], log_ratio, at(log_ratio, 0.4).chosen[0]);
                    is_gradient(|x| at(0.4, x).losses[0], log_ratio, at(0.4, log_ratio).rejected[0]);
                }
            }
        }
    }

    #[test]
    fn only_the_losses_that_take_label_smoothing_change_with_it() {
        use DirectLoss::{Hinge, Ipo, IpoPerToken, Robust, Sigmoid};
        for loss in [Sigmoid, Robust, Ipo, IpoPerToken, Hinge] {
            let at = |smoothing| direct_loss(loss, &[0.3], &[-0.9], &[(3, 7)], 0.1, smoothing);
            assert_eq!(at(0.0) != at(0.1), loss.takes_label_smoothing(), "{loss:?}");
            assert!(direct_loss(loss, &[f64::NAN], &[0.0], &[(1, 1)], 0.1, 0.0).losses[0].is_nan(), "{loss:?}");
        }
    }

    #[test]
    fn robust_dpo_is_unbiased_under_wrong_labels() {
        let [right, wrong] =
            [(1.4, -0.3), (-0.3, 1.4)].map(|(x, y)| direct_loss(DirectLoss::Robust, &[x], &[y], &[(1, 1)], 0.5, 0.2));
        let clean = direct_loss(DirectLoss::Sigmoid, &[1.4], &[-0.3], &[(1, 1)], 0.5, 0.0);
        close(&[0.8 * right.losses[0] + 0.2 * wrong.losses[0]], &clean.losses, 1e-15);
    }
}
