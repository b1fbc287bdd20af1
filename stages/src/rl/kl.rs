//! The KL of a policy to its reference, as a part of the reward or of the loss, and the controller of its weight.

use super::{LossTerms, same_length};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The estimate of the KL in the reward or in the loss (Schulman 2020, "Approximating KL divergence").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimate {
    /// log π − log π_ref: unbiased, may be negative for one token.
    #[default]
    K1,
    /// ½(log π − log π_ref)².
    K2,
    /// e^(−d) − 1 + d with d = log π − log π_ref: unbiased and never negative.
    K3,
}

impl KlEstimate {
    pub fn of(self, log_prob: f64, reference: f64) -> f64 {
        let d = log_prob - reference;
        match self {
            KlEstimate::K1 => d,
            KlEstimate::K2 => 0.5 * d * d,
            KlEstimate::K3 => (-d).exp_m1() + d,
        }
    }

    /// d estimate / d log π, for a KL in the loss. There k1 has no effect: its gradient is the constant 1, and the mean
    /// of ∇log π over the policy's own samples is 0.
    pub fn gradient(self, log_prob: f64, reference: f64) -> f64 {
        let d = log_prob - reference;
        match self {
            KlEstimate::K1 => 1.0,
            KlEstimate::K2 => d,
            KlEstimate::K3 => -(-d).exp_m1(),
        }
    }
}

/// The KL as a loss (Shao et al. 2024, "DeepSeekMath", eq. 3 and 4, with k3): a term per token, not yet times β.
pub fn kl_loss(estimate: KlEstimate, new: &[f64], reference: &[f64]) -> LossTerms {
    same_length(&[new, reference]);
    let each = |of: &dyn Fn(f64, f64) -> f64| new.iter().zip(reference).map(|(p, q)| of(*p, *q)).collect();
    LossTerms { losses: each(&|p, q| estimate.of(p, q)), gradients: each(&|p, q| estimate.gradient(p, q)) }
}

/// β·(1 + clip(KL/target − 1, ±0.2)·n/horizon) (Ziegler et al. 2019, §2.2). KL and target are nats per answer.
pub fn adapted_beta(beta: f64, kl: f64, target: f64, horizon: f64, answers: usize) -> f64 {
    beta * (1.0 + (kl / target - 1.0).clamp(-0.2, 0.2) * answers as f64 / horizon)
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, is_gradient, number, rows};
    use super::*;

    const ESTIMATES: [(&str, KlEstimate); 3] = [("k1", KlEstimate::K1), ("k2", KlEstimate::K2), ("k3", KlEstimate::K3)];

    #[test]
    fn kl_estimates_are_the_golden_ones() {
        let golden = group("kl_gae");
        let [log_probs, references] = ["logprob", "ref_logprob"].map(|name| rows(&golden[name]).concat());
        for (name, estimate) in ESTIMATES {
            let loss = kl_loss(estimate, &log_probs, &references);
            close(&loss.losses, &rows(&golden[name]).concat(), 1e-15);
            for ((p, q), gradient) in log_probs.iter().zip(&references).zip(&loss.gradients) {
                is_gradient(|p| estimate.of(p, *q), *p, *gradient);
            }
        }
    }

    #[test]
    fn the_adaptive_kl_controller_follows_the_golden_sequence() {
        let golden = group("adaptive_kl");
        let mut beta = number(&golden["init"]);
        let [target, horizon, answers] = ["target", "horizon", "n_steps"].map(|name| number(&golden[name]));
        for step in golden["seq"].as_array().unwrap() {
            let adapted = adapted_beta(beta, number(&step["kl"]), target, horizon, answers as usize);
            close(&[adapted, adapted / beta], &[number(&step["kl_coef"]), number(&step["mult"])], 1e-15);
            beta = adapted;
        }
    }
}
