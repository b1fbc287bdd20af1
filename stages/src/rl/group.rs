//! Advantages of several answers to one prompt, with the answers themselves as the baseline: no critic.

use super::{mean, standard_deviation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The baseline of an answer's reward. All tokens of the answer get the same advantage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GroupBaseline {
    /// r − mean of the *other* rewards: unbiased (Kool et al. 2019; Ahmadian et al. 2024, "Back to Basics").
    #[default]
    Rloo,
    /// (r − mean) / (sd + 1e-4), sd unbiased (Shao et al. 2024, "DeepSeekMath", §4.1.2; ε of TRL).
    Grpo,
    /// r − mean: without the division that makes prompts of nearly equal answers weigh most (Liu et al. 2025,
    /// "Understanding R1-Zero-Like Training", §3).
    DrGrpo,
}

/// Advantages from the rewards of all answers to one prompt. If all rewards are equal, or there is one answer only,
/// they are exactly 0.
pub fn group_advantages(baseline: GroupBaseline, rewards: &[f64]) -> Vec<f64> {
    // A mean of equal numbers may be off by the last bit, and ε would make that 1e-12.
    if rewards.windows(2).all(|two| two[0] == two[1]) {
        return vec![0.0; rewards.len()];
    }
    match baseline {
        GroupBaseline::Rloo => {
            // r − (Σ − r)/(k − 1) = (r − mean)·k/(k − 1).
            let k = rewards.len() as f64;
            centred(rewards).iter().map(|reward| reward * k / (k - 1.0)).collect()
        }
        GroupBaseline::Grpo => standardised(rewards, 1e-4),
        GroupBaseline::DrGrpo => centred(rewards),
    }
}

fn centred(rewards: &[f64]) -> Vec<f64> {
    let mean = mean(rewards);
    rewards.iter().map(|reward| reward - mean).collect()
}

fn standardised(rewards: &[f64], epsilon: f64) -> Vec<f64> {
    let spread = standard_deviation(rewards) + epsilon;
    centred(rewards).iter().map(|reward| reward / spread).collect()
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, number, row, rows};
    use super::*;

    const ALL: [GroupBaseline; 3] = [GroupBaseline::Rloo, GroupBaseline::Grpo, GroupBaseline::DrGrpo];

    #[test]
    fn rloo_is_the_published_one() {
        let golden = group("rloo");
        // A row for each of the k answers, a column for each prompt.
        let [rewards, expected] = ["rewards_k_by_prompt", "adv"].map(|name| rows(&golden[name]));
        let column = |rows: &[Vec<f64>], prompt: usize| rows.iter().map(|row| row[prompt]).collect::<Vec<_>>();
        let ours: Vec<Vec<f64>> =
            (0..3).map(|prompt| group_advantages(GroupBaseline::Rloo, &column(&rewards, prompt))).collect();
        for (prompt, ours) in ours.iter().enumerate() {
            close(ours, &column(&expected, prompt), 1e-14);
        }
        // The published indices count along the rows.
        let published = &golden["published"];
        close(&[ours[0][0], ours[1][2]], &[number(&published["adv[0]"]), number(&published["adv[7]"])], 1e-14);
    }

    #[test]
    fn grpo_is_the_golden_one() {
        let golden = group("grpo");
        let rewards = row(&golden["rewards"]);
        let ours = [mean(&rewards), standard_deviation(&rewards)];
        close(&ours, &[number(&golden["mean"]), number(&golden["std_unbiased"])], 1e-15);
        let [trl, dr] = [GroupBaseline::Grpo, GroupBaseline::DrGrpo].map(|by| group_advantages(by, &rewards));
        close(&trl, &row(&golden["adv_eps1e-4_unbiased (TRL)"]), 1e-14);
        close(&standardised(&rewards, 1e-6), &row(&golden["adv_eps1e-6_unbiased (verl)"]), 1e-14);
        close(&dr, &row(&golden["adv_dr_grpo"]), 1e-15);
    }

    #[test]
    fn equal_rewards_have_no_advantage_at_all() {
        let zeros = row(&group("grpo")["zero_std_group"]);
        // Eight times 0.1 is not 0.8, nor is their mean 0.1.
        assert_ne!(mean(&[0.1; 8]), 0.1);
        for baseline in ALL {
            assert_eq!(group_advantages(baseline, &[0.1; 8]), zeros);
            assert_eq!(group_advantages(baseline, &[5.0]), [0.0]);
            assert!(group_advantages(baseline, &[]).is_empty());
        }
    }

    #[test]
    fn a_reward_that_is_no_number_is_not_hidden() {
        for baseline in ALL {
            assert!(group_advantages(baseline, &[1.0, f64::NAN]).iter().all(|advantage| advantage.is_nan()));
        }
    }

    #[test]
    fn baselines_are_written_as_a_user_would() {
        let read = |text: &str| serde_json::from_str::<GroupBaseline>(text).unwrap();
        assert_eq!([r#""rloo""#, r#""grpo""#, r#""dr-grpo""#].map(read), ALL);
    }
}
