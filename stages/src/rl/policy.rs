//! The losses of policy and critic in PPO, and statistics of how far the policy has moved.

use super::{LossTerms, mean, same_length};
use serde::Serialize;

/// max(−A·ρ, −A·clip(ρ, 1 ± clip)) per token, ρ = e^(new − old) (Schulman et al. 2017, eq. 7); where A < 0, at most
/// −A·`dual_clip`, if given and above 1 (Ye et al. 2020, "Mastering Complex Control in MOBA Games"). Gradients are by
/// `new`. Within the clip, its ends included, both terms are the same, and the gradient is −A·ρ: −A where ρ is 1.
pub fn policy_loss(new: &[f64], old: &[f64], advantages: &[f64], clip: f64, dual_clip: Option<f64>) -> LossTerms {
    same_length(&[new, old, advantages]);
    let mut out = LossTerms::default();
    for ((new, old), advantage) in new.iter().zip(old).zip(advantages) {
        let (plain, clipped) = surrogates(new - old, *advantage, clip);
        // NaN fails these comparisons: it must not be replaced by the clipped, finite term.
        let (mut loss, mut gradient) = if clipped > plain { (clipped, 0.0) } else { (plain, plain) };
        if let Some(bound) = dual_clip.filter(|_| *advantage < 0.0).map(|ratio| -advantage * ratio)
            && loss > bound
        {
            (loss, gradient) = (bound, 0.0);
        }
        out.losses.push(loss);
        out.gradients.push(gradient);
    }
    out
}

/// −A·ρ, which is its own gradient by log ρ, and −A·clip(ρ).
fn surrogates(log_ratio: f64, advantage: f64, clip: f64) -> (f64, f64) {
    let ratio = log_ratio.exp();
    (-advantage * ratio, -advantage * ratio.clamp(1.0 - clip, 1.0 + clip))
}

/// ½·max((V − R)², (clip(V, V_old ± clip) − R)²) per token; ½(V − R)² without a clip. Gradients are by `new`. The clip
/// is from the code of Schulman et al. 2017, not from the paper.
pub fn value_loss(new: &[f64], old: &[f64], returns: &[f64], clip: Option<f64>) -> LossTerms {
    same_length(&[new, old, returns]);
    let mut out = LossTerms::default();
    for ((new, old), target) in new.iter().zip(old).zip(returns) {
        let error = new - target;
        // Within the clip this is V itself to the last bit, which V_old + clip(V − V_old) is not.
        let clipped = clip.map(|clip| new.max(old - clip).min(old + clip) - target);
        let (loss, gradient) = match clipped {
            Some(clipped) if clipped * clipped > error * error => (0.5 * clipped * clipped, 0.0),
            _ => (0.5 * error * error, error),
        };
        out.losses.push(loss);
        out.gradients.push(gradient);
    }
    out
}

/// The distance of a policy from the one that sampled the answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatioStatistics {
    /// Mean ½(log ρ)², nats: k2 of Schulman 2020.
    pub approx_kl: f64,
    /// Share of tokens whose gradient the clip sets to 0. A ratio beyond the clip on the side that the advantage pulls
    /// back from is not counted.
    pub clip_fraction: f64,
    pub mean: f64,
    pub max: f64,
    /// Largest |ρ − 1|: 0 before the first step unless sampling and training disagree.
    pub max_error: f64,
}

/// All numbers are NaN if there are no tokens.
pub fn ratio_statistics(new: &[f64], old: &[f64], advantages: &[f64], clip: f64) -> RatioStatistics {
    same_length(&[new, old, advantages]);
    let log_ratios: Vec<f64> = new.iter().zip(old).map(|(new, old)| new - old).collect();
    let ratios: Vec<f64> = log_ratios.iter().map(|d| d.exp()).collect();
    let is_clipped = |(log_ratio, advantage): (&f64, &f64)| {
        let (plain, clipped) = surrogates(*log_ratio, *advantage, clip);
        f64::from(u8::from(clipped > plain))
    };
    let largest = |xs: &mut dyn Iterator<Item = f64>| xs.fold(f64::NAN, f64::max);
    RatioStatistics {
        approx_kl: mean(&log_ratios.iter().map(|d| 0.5 * d * d).collect::<Vec<_>>()),
        clip_fraction: mean(&log_ratios.iter().zip(advantages).map(is_clipped).collect::<Vec<_>>()),
        mean: mean(&ratios),
        max: largest(&mut ratios.iter().copied()),
        max_error: largest(&mut ratios.iter().map(|ratio| (ratio - 1.0).abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, is_gradient, number, real, row};
    use super::super::{Average, KlEstimate, explained_variance, kl_loss, token_weights};
    use super::*;
    use std::num::NonZeroU32;

    /// New and old log-probabilities and advantages of the golden answers, and the answers' lengths.
    fn tokens() -> ([Vec<f64>; 3], Vec<usize>) {
        let golden = group("ppo_policy");
        let rows = ["new", "old", "adv"].map(|name| real(&golden[name], &golden["mask"]));
        let lengths = rows[0].iter().map(Vec::len).collect();
        (rows.map(|rows| rows.concat()), lengths)
    }

    #[test]
    fn the_policy_loss_has_the_golden_value_and_gradient() {
        let golden = group("ppo_policy");
        let ([new, old, advantages], lengths) = tokens();
        let loss = policy_loss(&new, &old, &advantages, number(&golden["clip"]), None)
            .weighted(&token_weights(&lengths, Average::Tokens));
        close(&[loss.losses.iter().sum()], &[number(&golden["loss"])], 1e-15);
        close(&loss.gradients, &real(&golden["grad_new_logprob"], &golden["mask"]).concat(), 1e-15);
    }

    #[test]
    fn the_averages_of_a_loss_are_the_golden_ones() {
        let golden = group("ppo_policy");
        let ([new, old, advantages], lengths) = tokens();
        let loss = policy_loss(&new, &old, &advantages, number(&golden["clip"]), None);
        let cases = [
            ("loss", Average::Tokens),
            ("seq_mean_token_mean", Average::Answers),
            ("seq_mean_token_sum", Average::AnswerSums),
            ("dr_grpo_const_L3", Average::Constant(NonZeroU32::new(3).unwrap())),
        ];
        for (name, average) in cases {
            let weighted = loss.clone().weighted(&token_weights(&lengths, average));
            close(&[weighted.losses.iter().sum()], &[number(&golden[name])], 1e-15);
        }
    }

    #[test]
    fn ratio_statistics_are_the_golden_ones() {
        let golden = group("ppo_policy");
        let ([new, old, advantages], _) = tokens();
        let ratios = real(&golden["ratio"], &golden["mask"]).concat();
        let ours = ratio_statistics(&new, &old, &advantages, number(&golden["clip"]));
        let ours = [ours.approx_kl, ours.clip_fraction, ours.mean, ours.max, ours.max_error];
        let expected = [
            number(&golden["approxkl_k2_masked"]),
            number(&golden["clipfrac"]),
            mean(&ratios),
            1.4918246976412701,
            0.4918246976412701,
        ];
        close(&ours, &expected, 1e-15);
        // The other two estimates of KL(old ‖ new), from samples of the old policy.
        for (name, estimate) in [("approxkl_k1_masked", KlEstimate::K1), ("approxkl_k3_masked", KlEstimate::K3)] {
            close(&[mean(&kl_loss(estimate, &old, &new).losses)], &[number(&golden[name])], 1e-15);
        }
    }

    #[test]
    fn nothing_has_moved_before_the_first_step() {
        let log_probs = [-0.1, -7.3, -1e-9];
        let still = ratio_statistics(&log_probs, &log_probs, &[2.0, -1.0, 0.0], 0.2);
        assert_eq!(still, RatioStatistics { approx_kl: 0.0, clip_fraction: 0.0, mean: 1.0, max: 1.0, max_error: 0.0 });
        let loss = policy_loss(&log_probs, &log_probs, &[2.0, -1.0, 0.0], 0.2, Some(3.0));
        assert_eq!(loss.gradients, [-2.0, 1.0, 0.0]);
    }

    #[test]
    fn at_ratio_1_the_policy_loss_has_the_gradient_of_reinforce() {
        let golden = group("reinforce_eq_ppo_at_ratio1");
        let logits = row(&golden["logits"]);
        let action = golden["action"].as_u64().unwrap() as usize;
        let normaliser = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        let log_prob = logits[action] - normaliser;
        let gradient = policy_loss(&[log_prob], &[log_prob], &[number(&golden["adv"])], 0.2, None).gradients[0];
        // d log π(action) / d logits = 1[action] − π; the objective is the loss turned round.
        let hit = |index| f64::from(u8::from(index == action));
        let of_logit = |(index, x): (usize, &f64)| -gradient * (hit(index) - (x - normaliser).exp());
        let gradient: Vec<f64> = logits.iter().enumerate().map(of_logit).collect();
        close(&gradient, &row(&golden["grad_of_objective"]), 1e-15);
        close(&gradient, &row(&golden["published"]), 5e-5);
    }

    #[test]
    fn the_dual_clip_bounds_what_a_bad_token_can_cost() {
        let golden = group("ppo_policy")["dual_clip_c3_on_extreme"].clone();
        let [ratio, advantage, plain, bounded] =
            ["ratio", "adv", "ppo_loss", "dual_clip_loss"].map(|name| number(&golden[name]));
        let loss = |advantage, dual_clip| policy_loss(&[ratio.ln()], &[0.0], &[advantage], 0.2, dual_clip);
        let one = |loss: f64, gradient: f64| LossTerms { losses: vec![loss], gradients: vec![gradient] };
        assert_eq!(loss(advantage, None), one(plain, plain));
        assert_eq!(loss(advantage, Some(3.0)), one(bounded, 0.0));
        // A good token is bounded by the clip already; a bad one within the bound is left alone.
        assert_eq!(loss(1.0, Some(3.0)), one(-1.2, 0.0));
        assert_eq!(loss(advantage, Some(8.0)), one(plain, plain));
    }

    #[test]
    fn the_gradient_of_the_policy_loss_is_its_derivative() {
        for new in [-2.3, -1.9, -1.1, -0.9, -0.4, 0.5] {
            for advantage in [-1.7, 0.6] {
                for dual_clip in [None, Some(2.0)] {
                    let loss = |new| policy_loss(&[new], &[-1.0], &[advantage], 0.2, dual_clip);
                    is_gradient(|new| loss(new).losses[0], new, loss(new).gradients[0]);
                }
            }
        }
    }

    #[test]
    fn the_value_loss_has_the_golden_value_and_gradient() {
        let golden = group("ppo_value");
        let [old, new, returns] = ["old", "new", "return"].map(|name| row(&golden[name]));
        let loss = value_loss(&new, &old, &returns, Some(number(&golden["clip"]))).weighted(&[0.25; 4]);
        close(&[loss.losses.iter().sum()], &[number(&golden["loss_half_max"])], 1e-15);
        close(&loss.gradients, &row(&golden["grad"]), 1e-15);
        let clipped = loss.gradients.iter().filter(|gradient| **gradient == 0.0).count();
        close(&[clipped as f64 / 4.0], &[number(&golden["clipfrac"])], 0.0);
        close(&[explained_variance(&returns, &new)], &[number(&golden["explained_var"])], 1e-15);
    }

    #[test]
    fn the_gradient_of_the_value_loss_is_its_derivative() {
        for new in [-0.7, 0.15, 0.35, 0.9] {
            for clip in [None, Some(0.2)] {
                let loss = |new| value_loss(&[new], &[0.2], &[0.5], clip);
                is_gradient(|new| loss(new).losses[0], new, loss(new).gradients[0]);
            }
        }
        // Old + (new − old) is farther from the return than new here; the gradient must not be lost to that.
        let (new, old) = (-0.08_f64, -0.26);
        assert!((old + (new - old)).abs() > new.abs());
        assert_eq!(value_loss(&[new], &[old], &[0.0], Some(0.2)).gradients, [new]);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(!policy_loss(&[bad], &[0.0], &[-1.0], 0.2, None).losses[0].is_finite());
        }
        assert!(policy_loss(&[f64::NAN], &[0.0], &[1.0], 0.2, Some(3.0)).gradients[0].is_nan());
        assert!(value_loss(&[f64::NAN], &[0.0], &[1.0], Some(0.2)).gradients[0].is_nan());
        assert!(value_loss(&[0.0], &[0.0], &[f64::NAN], Some(0.2)).losses[0].is_nan());
    }
}
