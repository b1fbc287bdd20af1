//! Averages: the weights by which the loss terms of tokens become one loss.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// The average over the loss terms of tokens. It decides how much a token of a long answer weighs.
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

/// The weight of each token, answer after answer; `lengths` in tokens. An answer without tokens still counts as an
/// answer. Compute the weights for the whole batch before it is split, else the average changes.
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
    use super::super::{KlEstimate, MissingEos};
    use super::*;

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
}
