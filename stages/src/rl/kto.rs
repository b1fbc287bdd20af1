//! KTO: the loss of labelled answers, a function of their log-ratios and of an estimate of the KL.

use super::{LossTerms, sigmoid};

/// λ_D and λ_U: the weights of desirable and undesirable answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KtoWeights {
    pub desirable: f64,
    pub undesirable: f64,
}

/// z₀, an estimate of KL(π ‖ π_ref): the mean log-ratio of answers to the prompts of others, never below 0 (Ethayarajh
/// et al. 2024, §4).
pub fn kto_reference_point(mismatched: &[f64]) -> f64 {
    let mean = super::mean(mismatched);
    // Not `max`, which would take NaN for 0.
    if mean < 0.0 { 0.0 } else { mean }
}

/// λ_D·(1 − σ(β·(log-ratio − z₀))) of a desirable answer, λ_U·(1 − σ(β·(z₀ − log-ratio))) of an undesirable one
/// (Ethayarajh et al. 2024, §4: λ − v). z₀ counts as a constant.
pub fn kto_loss(log_ratios: &[f64], is_desirable: &[bool], beta: f64, z0: f64, weights: KtoWeights) -> LossTerms {
    assert_eq!(log_ratios.len(), is_desirable.len(), "a label per answer");
    let mut out = LossTerms::default();
    for (log_ratio, is_desirable) in log_ratios.iter().zip(is_desirable) {
        let (sign, weight) = if *is_desirable { (1.0, weights.desirable) } else { (-1.0, weights.undesirable) };
        let u = sign * beta * (log_ratio - z0);
        // 1 − σ(u) = σ(−u), which keeps its digits.
        out.losses.push(weight * sigmoid(-u));
        out.gradients.push(-sign * weight * beta * sigmoid(u) * sigmoid(-u));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, is_gradient, number, row};
    use super::*;

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
    fn the_gradient_of_kto_is_its_derivative() {
        let weights = KtoWeights { desirable: 1.5, undesirable: 0.7 };
        for is_desirable in [true, false] {
            for log_ratio in [-30.0, -1.0, 0.3, 4.0] {
                let at = |x| kto_loss(&[x], &[is_desirable], 0.1, 0.3, weights);
                is_gradient(|x| at(x).losses[0], log_ratio, at(log_ratio).gradients[0]);
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
