//! Preference optimisation without a reward model: DPO and its variants, KTO. All by the log-ratio of an answer,
//! log π(answer) − log π_ref(answer), nats, summed over its tokens. A slope in the log-ratio is the slope in log π, and so
//! the slope in the log-probability of each of the answer's tokens.

use super::preference::smoothed;
use super::{Sloped, SlopedPairs, same_length, sigmoid, softplus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a pair loses, by d = log-ratio of the chosen − log-ratio of the rejected answer.
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
    /// The others have no place for a wrong label.
    pub fn takes_label_smoothing(self) -> bool {
        matches!(self, DirectLoss::Sigmoid | DirectLoss::Robust)
    }

    /// Loss and slope in d.
    fn of(self, d: f64, beta: f64, epsilon: f64) -> (f64, f64) {
        let u = beta * d;
        match self {
            DirectLoss::Sigmoid => {
                let (loss, slope) = smoothed(u, epsilon);
                (loss, beta * slope)
            }
            DirectLoss::Robust => {
                let loss = (1.0 - epsilon) * softplus(-u) - epsilon * softplus(u);
                let slope = -(1.0 - epsilon) * sigmoid(-u) - epsilon * sigmoid(u);
                (loss / (1.0 - 2.0 * epsilon), beta * slope / (1.0 - 2.0 * epsilon))
            }
            DirectLoss::Ipo | DirectLoss::IpoPerToken => {
                let error = d - 0.5 / beta;
                (error * error, 2.0 * error)
            }
            DirectLoss::Hinge if u < 1.0 => (1.0 - u, -beta),
            // Also what is no number.
            DirectLoss::Hinge => (0.0 * u, 0.0 * u),
        }
    }
}

/// log π − log π_ref per answer.
pub fn log_ratios(policy: &[f64], reference: &[f64]) -> Vec<f64> {
    same_length(&[policy, reference]);
    policy.iter().zip(reference).map(|(policy, reference)| policy - reference).collect()
}

/// A term per pair of log-ratios, its slopes in log π of either answer. `lengths`: tokens of the chosen and of the
/// rejected answer, which only [`DirectLoss::IpoPerToken`] asks for.
pub fn direct_loss(
    loss: DirectLoss,
    chosen: &[f64],
    rejected: &[f64],
    lengths: &[(usize, usize)],
    beta: f64,
    label_smoothing: f64,
) -> SlopedPairs {
    same_length(&[chosen, rejected]);
    assert_eq!(chosen.len(), lengths.len(), "two lengths per pair");
    let mut out = SlopedPairs::default();
    for ((chosen, rejected), (chosen_length, rejected_length)) in chosen.iter().zip(rejected).zip(lengths) {
        let (per_chosen, per_rejected) = match loss {
            DirectLoss::IpoPerToken => (*chosen_length as f64, *rejected_length as f64),
            _ => (1.0, 1.0),
        };
        let (loss, slope) = loss.of(chosen / per_chosen - rejected / per_rejected, beta, label_smoothing);
        out.losses.push(loss);
        out.chosen.push(slope / per_chosen);
        out.rejected.push(-slope / per_rejected);
    }
    out
}

/// β·log-ratio: the reward that the policy is optimal for, up to a constant per prompt (Rafailov et al. 2023, eq. 5).
/// [`super::accuracy`] of their differences is the share of pairs that the policy has right.
pub fn implicit_rewards(log_ratios: &[f64], beta: f64) -> Vec<f64> {
    log_ratios.iter().map(|log_ratio| beta * log_ratio).collect()
}

// ------------------------------------------------------------------------------------------------------------- KTO

/// λ_D and λ_U.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KtoWeights {
    pub desirable: f64,
    pub undesirable: f64,
}

/// z₀, an estimate of KL(π ‖ π_ref): the mean log-ratio of answers to the prompts of others, never below 0 (Ethayarajh et
/// al. 2024, §4).
pub fn kto_reference_point(mismatched: &[f64]) -> f64 {
    let mean = super::mean(mismatched);
    // Not `max`, which would take NaN for 0.
    if mean < 0.0 { 0.0 } else { mean }
}

/// λ_D·(1 − σ(β·(log-ratio − z₀))) of a desirable answer, λ_U·(1 − σ(β·(z₀ − log-ratio))) of an undesirable one (Ethayarajh et
/// al. 2024, §4: λ − v). No slope goes through z₀.
pub fn kto_loss(log_ratios: &[f64], is_desirable: &[bool], beta: f64, z0: f64, weights: KtoWeights) -> Sloped {
    assert_eq!(log_ratios.len(), is_desirable.len(), "a label per answer");
    let mut out = Sloped::default();
    for (log_ratio, is_desirable) in log_ratios.iter().zip(is_desirable) {
        let (sign, weight) = if *is_desirable { (1.0, weights.desirable) } else { (-1.0, weights.undesirable) };
        let u = sign * beta * (log_ratio - z0);
        // 1 − σ(u) = σ(−u), which keeps its digits.
        out.losses.push(weight * sigmoid(-u));
        out.slopes.push(-sign * weight * beta * sigmoid(u) * sigmoid(-u));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, counts, group, number, row, slopes_down};
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
        assert_eq!(loss.rejected, loss.chosen.iter().map(|slope| -slope).collect::<Vec<_>>());
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
    fn the_slope_of_a_direct_loss_is_its_derivative() {
        use DirectLoss::{Hinge, Ipo, IpoPerToken, Robust, Sigmoid};
        for loss in [Sigmoid, Robust, Ipo, IpoPerToken, Hinge] {
            for (beta, smoothing) in [(0.1, 0.0), (0.5, 0.2)] {
                for log_ratio in [-12.0, -0.7, 1.3, 25.0] {
                    let at = |chosen, rejected| direct_loss(loss, &[chosen], &[rejected], &[(3, 7)], beta, smoothing);
                    slopes_down(|x| at(x, 0.4).losses[0], log_ratio, at(log_ratio, 0.4).chosen[0]);
                    slopes_down(|x| at(0.4, x).losses[0], log_ratio, at(0.4, log_ratio).rejected[0]);
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

    #[test]
    fn kto_is_the_golden_one() {
        let golden = group("kto");
        let [beta, z0] = ["beta", "kl_z0"].map(|name| number(&golden[name]));
        for (name, is_desirable) in [("desirable", true), ("undesirable", false)] {
            let log_ratios = row(&golden[format!("{name}_logratio")]);
            let loss =
                kto_loss(&log_ratios, &[is_desirable; 3], beta, z0, KtoWeights { desirable: 1.0, undesirable: 1.0 });
            close(&loss.losses, &row(&golden[format!("{name}_loss")]), 1e-15);
        }
    }

    #[test]
    fn the_slope_of_kto_is_its_derivative() {
        let weights = KtoWeights { desirable: 1.5, undesirable: 0.7 };
        for is_desirable in [true, false] {
            for log_ratio in [-30.0, -1.0, 0.3, 4.0] {
                let at = |x| kto_loss(&[x], &[is_desirable], 0.1, 0.3, weights);
                slopes_down(|x| at(x).losses[0], log_ratio, at(log_ratio).slopes[0]);
            }
        }
    }

    #[test]
    fn the_reference_point_of_kto_is_a_kl_and_never_negative() {
        close(&[kto_reference_point(&[1.0, -0.5, 0.4])], &[0.3], 1e-15);
        assert_eq!(kto_reference_point(&[-1.0, 0.5]), 0.0);
        assert!(kto_reference_point(&[-1.0, f64::NAN]).is_nan());
    }
}
