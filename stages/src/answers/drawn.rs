//! Answers that are drawn: by which chances, and under which names, so that whoever draws one has the same.

use crate::draw::Draw;
use crate::generate::{Choice, DrawNames};
use crate::kernel::Keep;
use crate::stage::{self, ParameterMistake};
use formats::data::Question;
use formats::dialogue::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name under which answers are drawn.
pub const NAME: &str = "draws";

/// The times that an answer is drawn which has come before.
pub const TRIES: u64 = 4;

/// The chances of the next token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Chance {
    /// what logits are divided by: below 1 the likelier answers become likelier still
    pub temperature: f64,
    /// tokens that are drawn from, the likeliest; null: all
    pub top_k: Option<usize>,
    /// the fewest tokens that hold this probability together are drawn from; null: all
    pub top_p: Option<f64>,
}

impl Default for Chance {
    fn default() -> Chance {
        Chance { temperature: 1.0, top_k: Some(50), top_p: Some(0.95) }
    }
}

impl Chance {
    /// The tokens that are drawn under these names.
    pub fn choice<'a>(&self, draw: Draw, of: DrawNames<'a>) -> Choice<'a> {
        let Chance { temperature, top_k, top_p } = *self;
        Choice::Sample { temperature, keep: Keep { top_k, top_p }, draw, of }
    }

    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::above_zero(&[("temperature", self.temperature)]);
        mistakes.extend(stage::at_least_one(&[("top_k", self.top_k.unwrap_or(1) as u64)]));
        if self.top_p.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            mistakes.push(ParameterMistake::new("top_p", "`top_p` is a probability above 0"));
        }
        mistakes
    }
}

/// A name for each prompt, by its content; the same prompt once more has another one.
pub fn names(prompts: &[Question]) -> Vec<u64> {
    let mut times: BTreeMap<&Prompt, u64> = BTreeMap::new();
    let name = |question: &'_ Question, time: u64| {
        let text = serde_json::to_string(&(&question.prompt, time)).expect("a prompt is texts alone");
        let digest = blake3::hash(text.as_bytes());
        u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at]))
    };
    let mut names = Vec::with_capacity(prompts.len());
    for question in prompts {
        let time = times.entry(&question.prompt).or_default();
        names.push(name(question, *time));
        *time += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_the_same_name_wherever_its_row_stands() {
        let question = |id: &str, text: &str| Question {
            has_written_id: true,
            id: id.to_owned(),
            prompt: Prompt::Text(text.to_owned()),
            group: None,
            subset: None,
            weight: 1.0,
        };
        let one = names(&[question("1", "a"), question("2", "b"), question("3", "a")]);
        let other = names(&[question("1", "b"), question("2", "a"), question("3", "a")]);
        assert_eq!((one[0], one[1], one[2]), (other[1], other[0], other[2]));
        assert!(one[0] != one[2] && one[0] != one[1]);
    }
}
