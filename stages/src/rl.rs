//! The sums of RLHF. Host functions take plain slices; the losses are tensor expressions with the same
//! formulas, held to the host's by the tests. Rows are answers, columns are response tokens; a mask is 1 on real tokens.

use burn::tensor::{Tensor, activation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which estimate of the KL enters the reward (Schulman 2020, "Approximating KL divergence").
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
            KlEstimate::K3 => (-d).exp() - 1.0 + d,
        }
    }
}

/// Rewards per token of one answer: −β·kl_t, plus the score on the last token (Ouyang et al. 2022, eq. 2).
pub fn token_rewards(kl: &[f64], score: f64, beta: f64) -> Vec<f64> {
    let mut rewards: Vec<f64> = kl.iter().map(|kl| -beta * kl).collect();
    if let Some(last) = rewards.last_mut() {
        *last += score;
    }
    rewards
}

/// Generalised advantage estimation of one answer (Schulman et al. 2016, eq. 16): `(advantages, returns)`.
/// The value after the last token is 0.
pub fn advantages(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> (Vec<f64>, Vec<f64>) {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = values[t];
        advantages[t] = next_advantage;
    }
    let returns = advantages.iter().zip(values).map(|(advantage, value)| advantage + value).collect();
    (advantages, returns)
}

/// (x − μ)·(σ² + 1e-8)^(−½) over all real tokens of a batch, with the unbiased variance; μ is added back
/// when `keeps_mean`.
pub fn whiten(rows: &mut [Vec<f64>], keeps_mean: bool) {
    let n = rows.iter().map(Vec::len).sum::<usize>() as f64;
    if n < 2.0 {
        return;
    }
    let mean = rows.iter().flatten().sum::<f64>() / n;
    let variance = rows.iter().flatten().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let back = if keeps_mean { mean } else { 0.0 };
    for x in rows.iter_mut().flatten() {
        *x = (*x - mean) / (variance + 1e-8).sqrt() + back;
    }
}

/// β·(1 + clip(KL/target − 1, ±0.2)·n/horizon) (Ziegler et al. 2019, §2.2).
pub fn adapted_beta(beta: f64, kl: f64, target: f64, horizon: f64, answers: usize) -> f64 {
    beta * (1.0 + (kl / target - 1.0).clamp(-0.2, 0.2) * answers as f64 / horizon)
}

/// 1 − Var(R − V)/Var(R); 0 where the returns do not vary.
pub fn explained_variance(returns: &[f64], values: &[f64]) -> f64 {
    let variance = |xs: &[f64]| {
        let mean = mean(xs);
        xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64
    };
    let residual: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    let total = variance(returns);
    if total == 0.0 { 0.0 } else { 1.0 - variance(&residual) / total }
}

pub fn mean(xs: &[f64]) -> f64 {
    if xs.is_empty() { f64::NAN } else { xs.iter().sum::<f64>() / xs.len() as f64 }
}

/// Unbiased; 0 for fewer than two numbers.
pub fn standard_deviation(xs: &[f64]) -> f64 {
    if xs.len() < 2 {
        return 0.0;
    }
    let mean = mean(xs);
    (xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (xs.len() - 1) as f64).sqrt()
}

/// Pearson's; 0 where one side does not vary.
pub fn correlation(xs: &[f64], ys: &[f64]) -> f64 {
    let (mean_x, mean_y) = (mean(xs), mean(ys));
    let sum = |f: &dyn Fn(f64, f64) -> f64| xs.iter().zip(ys).map(|(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>();
    let (xx, yy) = (sum(&|x, _| x * x), sum(&|_, y| y * y));
    if xx == 0.0 || yy == 0.0 { 0.0 } else { sum(&|x, y| x * y) / (xx * yy).sqrt() }
}

/// Expected calibration error of probabilities `p` that an event was to happen, over equal bins (low, high] of
/// [0, 1] (Guo et al. 2017, eq. 3).
pub fn calibration_error(p: &[f64], happened: &[bool], bins: usize) -> f64 {
    let mut sums = vec![(0.0, 0.0); bins];
    for (p, happened) in p.iter().zip(happened) {
        let bin = &mut sums[((p * bins as f64).ceil() as usize).clamp(1, bins) - 1];
        bin.0 += p;
        bin.1 += f64::from(u8::from(*happened));
    }
    sums.iter().map(|(p, happened)| (p - happened).abs()).sum::<f64>() / p.len() as f64
}

// ---------------------------------------------------------------------------------------------------- losses

/// max(−A·ρ, −A·clip(ρ, 1 ± clip)) per token, ρ = e^(new − old) (Schulman et al. 2017, eq. 7). All `[n]`.
/// Also the ratio.
pub fn policy_loss(new: Tensor<1>, old: Tensor<1>, advantages: Tensor<1>, clip: f64) -> (Tensor<1>, Tensor<1>) {
    let ratio = (new - old).exp();
    let plain = ratio.clone() * advantages.clone();
    let clipped = ratio.clone().clamp(1.0 - clip, 1.0 + clip) * advantages;
    (plain.min_pair(clipped).neg(), ratio)
}

/// ½·max((V − R)², (clip(V, V_old ± clip) − R)²) per token, `[n]`.
pub fn value_loss(new: Tensor<1>, old: Tensor<1>, returns: Tensor<1>, clip: f64) -> Tensor<1> {
    let clipped = old.clone() + (new.clone() - old).clamp(-clip, clip);
    let plain = (new - returns.clone()).square();
    plain.max_pair((clipped - returns).square()).mul_scalar(0.5)
}

/// −log σ(Δ) per pair, `[n]` (Bradley & Terry 1952).
pub fn preference_loss(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    activation::log_sigmoid(chosen - rejected).neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::values_of;
    use burn::tensor::{Device, TensorData};
    use serde_json::Value;

    /// float64 vectors; `tests/golden/SOURCE.md` says where they come from.
    fn golden() -> Value {
        serde_json::from_str(include_str!("../tests/golden/rlhf-golden.json")).unwrap()
    }

    fn row(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn rows(value: &Value) -> Vec<Vec<f64>> {
        value.as_array().unwrap().iter().map(row).collect()
    }

    fn close(ours: &[f64], theirs: &[f64], tolerance: f64) {
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() <= tolerance, "{ours} is not {theirs}");
        }
    }

    /// The real tokens of a padded golden matrix.
    fn real(matrix: &Value, mask: &Value) -> Vec<Vec<f64>> {
        let keep = |(row, mask): (Vec<f64>, Vec<f64>)| {
            row.into_iter().zip(mask).filter(|(_, m)| *m == 1.0).map(|(x, _)| x).collect()
        };
        rows(matrix).into_iter().zip(rows(mask)).map(keep).collect()
    }

    fn tensor(values: &[f64]) -> Tensor<1> {
        let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), &Device::flex())
    }

    fn host(tensor: Tensor<1>) -> Vec<f64> {
        values_of(tensor).unwrap().into_iter().map(f64::from).collect()
    }

    #[test]
    fn whitening_is_the_published_one() {
        let golden = &golden()["whiten"];
        for (name, keeps_mean) in [("unbiased_keep_mean", true), ("unbiased_zero_mean", false)] {
            let mut x = rows(&golden["x"]);
            whiten(&mut x, keeps_mean);
            close(&x.concat(), &rows(&golden[name]).concat(), 1e-7);
        }
        let mut x = real(&golden["x"], &golden["mask"]);
        whiten(&mut x, false);
        close(&x.concat(), &real(&golden["masked_unbiased_zero_mean"], &golden["mask"]).concat(), 1e-7);
    }

    #[test]
    fn kl_rewards_and_advantages_are_the_golden_ones() {
        let golden = &golden()["kl_gae"];
        let mask = &golden["mask"];
        let [log_probs, references, values] = ["logprob", "ref_logprob", "value"].map(|name| real(&golden[name], mask));
        let scores = row(&golden["score"]);
        let kl = |estimate: KlEstimate| -> Vec<Vec<f64>> {
            let one = |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| estimate.of(*p, *q)).collect();
            log_probs.iter().zip(&references).map(one).collect()
        };
        for (name, estimate) in [("k1", KlEstimate::K1), ("k2", KlEstimate::K2), ("k3", KlEstimate::K3)] {
            close(&kl(estimate).concat(), &real(&golden[name], mask).concat(), 1e-12);
        }
        let expected = &golden["A_last_valid"];
        let mut all = Vec::new();
        for (index, kl) in kl(KlEstimate::K1).iter().enumerate() {
            let rewards = token_rewards(kl, scores[index], golden["beta"].as_f64().unwrap());
            close(&rewards, &real(&expected["reward"], mask)[index], 1e-12);
            let (advantages, returns) = advantages(&rewards, &values[index], 1.0, golden["lambda"].as_f64().unwrap());
            close(&advantages, &real(&expected["advantage"], mask)[index], 1e-12);
            close(&returns, &real(&expected["return"], mask)[index], 1e-12);
            all.push(advantages);
        }
        whiten(&mut all, false);
        close(&all.concat(), &real(&expected["advantage_whitened"], mask).concat(), 1e-7);
    }

    #[test]
    fn the_adaptive_kl_controller_follows_the_golden_sequence() {
        let golden = &golden()["adaptive_kl"];
        let number = |name: &str| golden[name].as_f64().unwrap();
        let mut beta = number("init");
        for step in golden["seq"].as_array().unwrap() {
            let kl = step["kl"].as_f64().unwrap();
            beta = adapted_beta(beta, kl, number("target"), number("horizon"), number("n_steps") as usize);
            close(&[beta], &[step["kl_coef"].as_f64().unwrap()], 1e-15);
        }
    }

    #[test]
    fn the_policy_loss_has_the_golden_value_and_gradient() {
        let golden = &golden()["ppo_policy"];
        let mask = &golden["mask"];
        let [old, new, adv] = ["old", "new", "adv"].map(|name| tensor(&real(&golden[name], mask).concat()));
        let new = new.autodiff().require_grad();
        let (loss, ratio) = policy_loss(new.clone(), old, adv, golden["clip"].as_f64().unwrap());
        close(&host(ratio), &real(&golden["ratio"], mask).concat(), 1e-6);
        let loss = loss.mean();
        let gradient = new.grad(&loss.backward()).unwrap();
        close(&host(loss), &[golden["loss"].as_f64().unwrap()], 1e-6);
        close(&host(gradient), &real(&golden["grad_new_logprob"], mask).concat(), 1e-6);
    }

    #[test]
    fn the_value_loss_has_the_golden_value_and_gradient() {
        let golden = &golden()["ppo_value"];
        let [old, new, returns] = ["old", "new", "return"].map(|name| tensor(&row(&golden[name])));
        let new = new.autodiff().require_grad();
        let loss = value_loss(new.clone(), old, returns, golden["clip"].as_f64().unwrap()).mean();
        let gradient = new.grad(&loss.backward()).unwrap();
        close(&host(loss), &[golden["loss_half_max"].as_f64().unwrap()], 1e-6);
        close(&host(gradient), &row(&golden["grad"]), 1e-6);
        let expected = golden["explained_var"].as_f64().unwrap();
        close(&[explained_variance(&row(&golden["return"]), &row(&golden["new"]))], &[expected], 1e-12);
    }

    #[test]
    fn the_preference_loss_has_the_golden_value_and_gradient() {
        let golden = &golden()["reward_model"];
        let chosen = tensor(&row(&golden["chosen"])).autodiff().require_grad();
        let loss = preference_loss(chosen.clone(), tensor(&row(&golden["rejected"]))).mean();
        let gradient = chosen.grad(&loss.backward()).unwrap();
        close(&host(loss), &[golden["bt_mean"].as_f64().unwrap()], 1e-6);
        close(&host(gradient), &row(&golden["grad_chosen"]), 1e-6);
    }

    #[test]
    fn calibration_is_the_golden_one() {
        let golden = &golden()["calibration"];
        let happened: Vec<bool> = row(&golden["y"]).iter().map(|y| *y == 1.0).collect();
        close(&[calibration_error(&row(&golden["p"]), &happened, 5)], &[golden["ece_5bins"].as_f64().unwrap()], 1e-12);
    }
}
