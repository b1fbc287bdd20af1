//! PPO and its relatives: rewards and advantages per token, what a policy and a critic lose by them, and how the terms
//! are averaged.

use super::{Sloped, mean, same_length};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Which estimate of the KL enters the reward or the loss (Schulman 2020, "Approximating KL divergence").
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

    /// d estimate / d log π, for a KL in the loss. There, k1 pulls nowhere: its slope is the constant 1, and the mean of
    /// ∇log π over the policy's own samples is 0.
    pub fn slope(self, log_prob: f64, reference: f64) -> f64 {
        let d = log_prob - reference;
        match self {
            KlEstimate::K1 => 1.0,
            KlEstimate::K2 => d,
            KlEstimate::K3 => -(-d).exp_m1(),
        }
    }
}

/// The KL as a loss (Shao et al. 2024, "DeepSeekMath", eq. 3 and 4, with k3): a term per token, not yet times β.
pub fn kl_loss(estimate: KlEstimate, new: &[f64], reference: &[f64]) -> Sloped {
    same_length(&[new, reference]);
    let each = |of: &dyn Fn(f64, f64) -> f64| new.iter().zip(reference).map(|(p, q)| of(*p, *q)).collect();
    Sloped { losses: each(&|p, q| estimate.of(p, q)), slopes: each(&|p, q| estimate.slope(p, q)) }
}

// ----------------------------------------------------------------------------------------- rewards and advantages

/// How much of an answer counts, its stop token included, and whether it has one. What follows the first stop token was
/// never said.
pub fn truncated(ids: &[u32], stops: &[u32]) -> (usize, bool) {
    match ids.iter().position(|id| stops.contains(id)) {
        Some(place) => (place + 1, true),
        None => (ids.len(), false),
    }
}

/// What becomes of the score of an answer that did not end: the reward model never saw such a one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingEos {
    /// It stays.
    #[default]
    Scored,
    /// It is this one (−1 in Huang et al. 2024, "The N+ implementation details of RLHF with PPO").
    Score(f64),
    /// It is so much less (`missing_eos_penalty` of TRL).
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

/// β·(1 + clip(KL/target − 1, ±0.2)·n/horizon) (Ziegler et al. 2019, §2.2). KL and target are nats per answer.
pub fn adapted_beta(beta: f64, kl: f64, target: f64, horizon: f64, answers: usize) -> f64 {
    beta * (1.0 + (kl / target - 1.0).clamp(-0.2, 0.2) * answers as f64 / horizon)
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

// --------------------------------------------------------------------------------------------------------- losses

/// max(−A·ρ, −A·clip(ρ, 1 ± clip)) per token, ρ = e^(new − old) (Schulman et al. 2017, eq. 7); where A < 0, at most
/// −A·`dual_clip`, if given and above 1 (Ye et al. 2020, "Mastering Complex Control in MOBA Games"). Slopes are in
/// `new`. Within the clip, its ends included, both terms are one, and its slope is −A·ρ: −A where ρ is 1.
pub fn policy_loss(new: &[f64], old: &[f64], advantages: &[f64], clip: f64, dual_clip: Option<f64>) -> Sloped {
    same_length(&[new, old, advantages]);
    let mut out = Sloped::default();
    for ((new, old), advantage) in new.iter().zip(old).zip(advantages) {
        let (plain, clipped) = surrogates(new - old, *advantage, clip);
        // Comparisons that NaN fails: it must not be taken for the clipped, finite term.
        let (mut loss, mut slope) = if clipped > plain { (clipped, 0.0) } else { (plain, plain) };
        if let Some(bound) = dual_clip.filter(|_| *advantage < 0.0).map(|ratio| -advantage * ratio)
            && loss > bound
        {
            (loss, slope) = (bound, 0.0);
        }
        out.losses.push(loss);
        out.slopes.push(slope);
    }
    out
}

/// −A·ρ, which is its own slope in log ρ, and −A·clip(ρ).
fn surrogates(log_ratio: f64, advantage: f64, clip: f64) -> (f64, f64) {
    let ratio = log_ratio.exp();
    (-advantage * ratio, -advantage * ratio.clamp(1.0 - clip, 1.0 + clip))
}

/// ½·max((V − R)², (clip(V, V_old ± clip) − R)²) per token; ½(V − R)² without a clip. Slopes are in `new`. The clip is
/// from the code of Schulman et al. 2017, not from the paper.
pub fn value_loss(new: &[f64], old: &[f64], returns: &[f64], clip: Option<f64>) -> Sloped {
    same_length(&[new, old, returns]);
    let mut out = Sloped::default();
    for ((new, old), target) in new.iter().zip(old).zip(returns) {
        let error = new - target;
        // Within the clip this is V itself to the last bit, which V_old + clip(V − V_old) is not.
        let clipped = clip.map(|clip| new.max(old - clip).min(old + clip) - target);
        let (loss, slope) = match clipped {
            Some(clipped) if clipped * clipped > error * error => (0.5 * clipped * clipped, 0.0),
            _ => (0.5 * error * error, error),
        };
        out.losses.push(loss);
        out.slopes.push(slope);
    }
    out
}

/// How far a policy has moved from the one that sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatioStatistics {
    /// Mean ½(log ρ)², nats: k2 of Schulman 2020.
    pub approx_kl: f64,
    /// Share of tokens whose slope the clip took away. A ratio beyond the clip on the side that the advantage speaks
    /// against is not among them.
    pub clip_fraction: f64,
    pub mean: f64,
    pub max: f64,
    /// Largest |ρ − 1|: 0 before the first step unless sampling and training disagree.
    pub max_error: f64,
}

/// NaN of no tokens.
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

// ------------------------------------------------------------------------------------------------------- averages

/// How the terms of tokens become one loss. It decides how much a token of a long answer weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// Mean over all tokens: each weighs the same (Ziegler et al. 2019; the "token-level loss" of Yu et al. 2025, "DAPO",
    /// §3.3).
    #[default]
    Tokens,
    /// Mean over the tokens of an answer, then over answers: a token of a long answer weighs less (Shao et al. 2024,
    /// "DeepSeekMath", eq. 3).
    Answers,
    /// Sum over the tokens of an answer, then the mean over answers: the gradient of the expected reward of an answer
    /// (Ahmadian et al. 2024, "Back to Basics").
    AnswerSums,
    /// Sum over the tokens of an answer divided by this constant, say the longest answer allowed, then the mean over
    /// answers: as `answer-sums`, of the size of a mean per token (Liu et al. 2025, "Understanding R1-Zero-Like
    /// Training", §3: Dr. GRPO).
    Constant(NonZeroU32),
}

/// The weight of each token, answer after answer; `lengths` in tokens. An answer without tokens is still an answer.
/// Take the weights of a whole batch before it is cut into pieces, else the average is another one.
pub fn token_weights(lengths: &[usize], average: Average) -> Vec<f64> {
    let (answers, tokens) = (lengths.len() as f64, lengths.iter().sum::<usize>() as f64);
    let weight = |length: usize| match average {
        Average::Tokens => 1.0 / tokens,
        Average::Answers => 1.0 / (answers * length as f64),
        Average::AnswerSums => 1.0 / answers,
        Average::Constant(constant) => 1.0 / (answers * f64::from(constant.get())),
    };
    lengths.iter().flat_map(|length| std::iter::repeat_n(weight(*length), *length)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, counts, group, number, real, row, rows, slopes_down};
    use super::*;

    const ESTIMATES: [(&str, KlEstimate); 3] = [("k1", KlEstimate::K1), ("k2", KlEstimate::K2), ("k3", KlEstimate::K3)];

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
    fn kl_estimates_are_the_golden_ones() {
        let golden = group("kl_gae");
        let [log_probs, references] = ["logprob", "ref_logprob"].map(|name| rows(&golden[name]).concat());
        for (name, estimate) in ESTIMATES {
            let loss = kl_loss(estimate, &log_probs, &references);
            close(&loss.losses, &rows(&golden[name]).concat(), 1e-15);
            for ((p, q), slope) in log_probs.iter().zip(&references).zip(&loss.slopes) {
                slopes_down(|p| estimate.of(p, *q), *p, *slope);
            }
        }
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
        close(&loss.slopes, &real(&golden["grad_new_logprob"], &golden["mask"]).concat(), 1e-15);
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
    fn an_answer_without_tokens_still_counts_among_the_answers() {
        assert_eq!(token_weights(&[2, 0, 1], Average::Answers), [1.0 / 6.0, 1.0 / 6.0, 1.0 / 3.0]);
        assert_eq!(token_weights(&[2, 0, 1], Average::AnswerSums), [1.0 / 3.0; 3]);
        assert_eq!(token_weights(&[2, 0, 1], Average::Tokens), [1.0 / 3.0; 3]);
    }

    #[test]
    fn averages_and_penalties_are_written_as_a_user_would() {
        let average = |text: &str| serde_json::from_str::<Average>(text).unwrap();
        assert_eq!(average(r#""answer-sums""#), Average::AnswerSums);
        assert_eq!(average(r#"{"constant": 3}"#), Average::Constant(NonZeroU32::new(3).unwrap()));
        assert!(serde_json::from_str::<Average>(r#"{"constant": 0}"#).is_err());
        let missing = |text: &str| serde_json::from_str::<MissingEos>(text).unwrap();
        assert_eq!(missing(r#""scored""#), MissingEos::Scored);
        assert_eq!(missing(r#"{"score": -1}"#), MissingEos::Score(-1.0));
        assert_eq!(missing(r#"{"penalty": 1}"#), MissingEos::Penalty(1.0));
        assert_eq!(serde_json::from_str::<KlEstimate>(r#""k3""#).unwrap(), KlEstimate::K3);
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
        assert_eq!(loss.slopes, [-2.0, 1.0, 0.0]);
    }

    #[test]
    fn at_ratio_1_the_policy_loss_has_the_gradient_of_reinforce() {
        let golden = group("reinforce_eq_ppo_at_ratio1");
        let logits = row(&golden["logits"]);
        let action = golden["action"].as_u64().unwrap() as usize;
        let normaliser = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        let log_prob = logits[action] - normaliser;
        let slope = policy_loss(&[log_prob], &[log_prob], &[number(&golden["adv"])], 0.2, None).slopes[0];
        // d log π(action) / d logits = 1[action] − π; the objective is the loss turned round.
        let hit = |index| f64::from(u8::from(index == action));
        let of_logit = |(index, x): (usize, &f64)| -slope * (hit(index) - (x - normaliser).exp());
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
        let one = |loss: f64, slope: f64| Sloped { losses: vec![loss], slopes: vec![slope] };
        assert_eq!(loss(advantage, None), one(plain, plain));
        assert_eq!(loss(advantage, Some(3.0)), one(bounded, 0.0));
        // A good token is bounded by the clip already; a bad one within the bound is left alone.
        assert_eq!(loss(1.0, Some(3.0)), one(-1.2, 0.0));
        assert_eq!(loss(advantage, Some(8.0)), one(plain, plain));
    }

    #[test]
    fn the_slope_of_the_policy_loss_is_its_derivative() {
        for new in [-2.3, -1.9, -1.1, -0.9, -0.4, 0.5] {
            for advantage in [-1.7, 0.6] {
                for dual_clip in [None, Some(2.0)] {
                    let loss = |new| policy_loss(&[new], &[-1.0], &[advantage], 0.2, dual_clip);
                    slopes_down(|new| loss(new).losses[0], new, loss(new).slopes[0]);
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
        close(&loss.slopes, &row(&golden["grad"]), 1e-15);
        let clipped = loss.slopes.iter().filter(|slope| **slope == 0.0).count();
        close(&[clipped as f64 / 4.0], &[number(&golden["clipfrac"])], 0.0);
        close(&[explained_variance(&returns, &new)], &[number(&golden["explained_var"])], 1e-15);
    }

    #[test]
    fn the_slope_of_the_value_loss_is_its_derivative() {
        for new in [-0.7, 0.15, 0.35, 0.9] {
            for clip in [None, Some(0.2)] {
                let loss = |new| value_loss(&[new], &[0.2], &[0.5], clip);
                slopes_down(|new| loss(new).losses[0], new, loss(new).slopes[0]);
            }
        }
        // Old + (new − old) is farther from the return than new here; the slope must not be lost to that.
        let (new, old) = (-0.08_f64, -0.26);
        assert!((old + (new - old)).abs() > new.abs());
        assert_eq!(value_loss(&[new], &[old], &[0.0], Some(0.2)).slopes, [new]);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(!policy_loss(&[bad], &[0.0], &[-1.0], 0.2, None).losses[0].is_finite());
        }
        assert!(policy_loss(&[f64::NAN], &[0.0], &[1.0], 0.2, Some(3.0)).slopes[0].is_nan());
        assert!(value_loss(&[f64::NAN], &[0.0], &[1.0], Some(0.2)).slopes[0].is_nan());
        assert!(value_loss(&[0.0], &[0.0], &[f64::NAN], Some(0.2)).losses[0].is_nan());
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
