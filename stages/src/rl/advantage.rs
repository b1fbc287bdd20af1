//! Rewards and advantages per token, from the score of an answer.

use super::{mean, same_length};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length of an answer up to and with its first stop token, and whether it has one. Later tokens are not part of it.
pub fn truncated(ids: &[u32], stops: &[u32]) -> (usize, bool) {
    match ids.iter().position(|id| stops.contains(id)) {
        Some(index) => (index + 1, true),
        None => (ids.len(), false),
    }
}

/// The score of an answer that did not end: the reward model was never trained on such answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingEos {
    /// The score stays.
    #[default]
    Scored,
    /// The score is this number (−1 in Huang et al. 2024, "The N+ implementation details of RLHF with PPO").
    Score(f64),
    /// The score is lowered by this number (`missing_eos_penalty` of TRL).
    Penalty(f64),
}

impl MissingEos {
    pub fn score(self, score: f64, has_ended: bool) -> f64 {
        match self {
            _ if has_ended => score,
            MissingEos::Scored => score,
            MissingEos::Score(fixed) => fixed,
            MissingEos::Penalty(penalty) => score - penalty,
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
    same_length(&[rewards, values]);
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

/// 1 − Var(R − V)/Var(R); 0 where the returns do not vary.
pub fn explained_variance(returns: &[f64], values: &[f64]) -> f64 {
    same_length(&[returns, values]);
    let variance = |xs: &[f64]| {
        let mean = mean(xs);
        xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64
    };
    let residual: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    let total = variance(returns);
    if total == 0.0 { 0.0 } else { 1.0 - variance(&residual) / total }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, counts, group, number, real, row, rows};
    use super::*;

    #[test]
    fn whitening_is_the_published_one() {
        let golden = group("whiten");
        for (name, keeps_mean) in [("unbiased_keep_mean", true), ("unbiased_zero_mean", false)] {
            let mut x = rows(&golden["x"]);
            whiten(&mut x, keeps_mean);
            close(&x.concat(), &rows(&golden[name]).concat(), 1e-12);
        }
        let mut x = real(&golden["x"], &golden["mask"]);
        whiten(&mut x, false);
        close(&x.concat(), &real(&golden["masked_unbiased_zero_mean"], &golden["mask"]).concat(), 1e-12);
    }

    /// The table that OpenAI's code gives divides by n: the same but for Bessel's factor.
    #[test]
    fn whitening_differs_from_the_biased_one_by_the_factor_of_bessel() {
        let golden = group("whiten");
        let mut x = rows(&golden["x"]);
        whiten(&mut x, false);
        let biased: Vec<f64> = x.concat().iter().map(|x| x * (9.0_f64 / 8.0).sqrt() + 1.6).collect();
        close(&biased, &rows(&golden["biased_keep_mean"]).concat(), 1e-7);
    }

    #[test]
    fn rewards_and_advantages_are_the_golden_ones() {
        let golden = group("kl_gae");
        let mask = &golden["mask"];
        let all = serde_json::json!([[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]]);
        let scores = row(&golden["score"]);
        let [beta, gamma, lambda] = ["beta", "gamma", "lambda"].map(|name| number(&golden[name]));
        // B has the score one token later where there is room: an answer that is one padded position longer.
        let cases =
            [(&golden["A_last_valid"], mask, "advantage"), (&golden["B_trl_plus1"], &all, "advantage_unmasked")];
        for (expected, tokens, name) in cases {
            let (kl, values) = (real(&golden["k1"], tokens), real(&golden["value"], tokens));
            let mut whitened = Vec::new();
            for (index, kl) in kl.iter().enumerate() {
                let rewards = token_rewards(kl, scores[index], beta);
                close(&rewards, &real(&expected["reward"], tokens)[index], 1e-15);
                let (advantages, returns) = advantages(&rewards, &values[index], gamma, lambda);
                close(&advantages, &real(&expected[name], tokens)[index], 1e-14);
                close(&returns, &real(&expected["return"], tokens)[index], 1e-14);
                let length = rows(mask)[index].iter().filter(|real| **real == 1.0).count();
                whitened.push(advantages[..length].to_vec());
            }
            whiten(&mut whitened, false);
            close(&whitened.concat(), &real(&expected["advantage_whitened"], mask).concat(), 1e-12);
        }
    }

    #[test]
    fn a_score_lies_on_the_last_token_alone() {
        assert_eq!(token_rewards(&[1.0, -1.0], 3.0, 0.5), [-0.5, 3.5]);
        assert!(token_rewards(&[], 3.0, 0.5).is_empty());
    }

    #[test]
    fn an_answer_ends_with_its_first_stop_token() {
        let golden = group("truncate_eos");
        let ids = |name: &str| counts(&golden[name]).into_iter().map(|id| id as u32).collect::<Vec<_>>();
        let [eos, pad] = ["eos", "pad"].map(|name| number(&golden[name]) as u32);
        let mut response = ids("response");
        let (length, has_ended) = truncated(&response, &[9, eos]);
        response[length..].fill(pad);
        assert_eq!((response, has_ended), (ids("truncated"), true));
        assert_eq!(length - 1, number(&golden["sequence_length_index"]) as usize);
        let endless = truncated(&ids("no_eos"), &[eos]);
        assert_eq!(endless, (number(&golden["no_eos_last"]) as usize + 1, false));
    }

    #[test]
    fn only_an_answer_that_did_not_end_loses_its_score() {
        let all = [MissingEos::Scored, MissingEos::Score(-1.0), MissingEos::Penalty(2.0)];
        assert_eq!(all.map(|rule| rule.score(0.5, true)), [0.5; 3]);
        assert_eq!(all.map(|rule| rule.score(0.5, false)), [0.5, -1.0, -1.5]);
    }
}
