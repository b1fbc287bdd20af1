//! The end of an answer. One rule for every kind: an answer ends once, by `stop_token` where the stage names one, else by
//! the token with which the chat template ends it, else by the first end token of the model's configuration. A policy
//! stops where such a token stands, and a reward is read there.
//!
//! Only the end itself is looked at: the same token as a text inside an answer is part of the answer.

use crate::model;
use anyhow::{Context, Result};
use formats::config::Config;
use formats::tokenizer::{TokenAnswer, TokenDialogue, Tokenizer};
use std::ops::Range;

/// The tokens that end an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Ends {
    /// Every token by which the data or a template may have ended an answer already.
    known: Vec<u32>,
    /// The token at the end of every answer, in place of another one.
    named: Option<u32>,
    /// The token at the end of an answer that has none. `None`: answers are not complete, and get no end.
    default: Option<u32>,
}

impl Ends {
    /// The ends of this model. Without `ends`, answers are not complete: no token is put behind them.
    ///
    /// # Errors
    /// The model has no token that ends an answer.
    pub fn of(config: &Config, tokenizer: &Tokenizer, stop: Option<u32>, ends: bool) -> Result<Ends> {
        let own = model::stops(config, tokenizer, None)?;
        let default = match (ends, stop, config.eos.first().or(own.first())) {
            (false, ..) => None,
            (true, Some(_), _) => model::stops(config, tokenizer, stop)?.first().copied(),
            (true, None, Some(eos)) => Some(*eos),
            (true, None, None) => {
                return Err(anyhow::anyhow!("the model names no eos_token_id; set `stop_token`"))
                    .context("find the end token");
            }
        };
        let known = own.into_iter().chain(stop).collect();
        Ok(Ends { known, named: stop.filter(|_| ends), default })
    }

    /// The tokens by which an answer is ended in rows.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.known.iter().copied().chain(self.default)
    }

    /// The answer with one end, and nothing behind it.
    pub fn ended(&self, answer: TokenAnswer) -> Vec<u32> {
        let TokenAnswer { mut ids, tail } = answer;
        let found = self.place(&ids, &tail);
        if self.default.is_none() && tail.is_empty() {
            return ids;
        }
        let end = found.map(|place| ids[place]);
        if let Some(place) = found {
            ids.truncate(place);
            while ids.last().is_some_and(|last| self.known.contains(last)) {
                ids.pop();
            }
        }
        if self.default.is_some() {
            ids.extend(self.named.or(end).or(self.default));
        }
        ids
    }

    /// Ends the last answer of a dialogue as [`Ends::ended`] does, and returns the places of what is learned of each one:
    /// the answer and its end. A template that marks its answers decides itself.
    pub fn ended_dialogue(&self, dialogue: &mut TokenDialogue) -> Vec<Range<usize>> {
        let Some(last) = dialogue.answers.last().cloned() else { return Vec::new() };
        if dialogue.is_marked {
            dialogue.ids.truncate(last.end);
            return dialogue.answers.clone();
        }
        let ids = dialogue.ids.split_off(last.start);
        let earlier = |answer: &Range<usize>| match self.place(&dialogue.ids[answer.clone()], &dialogue.tail) {
            Some(place) => answer.start..answer.start + place + 1,
            None => answer.clone(),
        };
        let mut answers: Vec<Range<usize>> = dialogue.answers.iter().rev().skip(1).rev().map(earlier).collect();
        dialogue.ids.extend(self.ended(TokenAnswer { ids, tail: dialogue.tail.clone() }));
        answers.push(last.start..dialogue.ids.len());
        answers
    }

    /// The place of the end that an answer has: the first end token in what the template puts after it, or else the last
    /// token of the answer itself.
    fn place(&self, ids: &[u32], tail: &[u32]) -> Option<usize> {
        let is_end = |id: &&u32| self.known.contains(id);
        let in_tail = tail.iter().filter(is_end).count();
        if in_tail == 0 {
            return ids.last().filter(|last| tail.is_empty() && self.known.contains(last)).map(|_| ids.len() - 1);
        }
        let ends = ids.iter().enumerate().filter(|(_, id)| is_end(id)).map(|(place, _)| place);
        ends.collect::<Vec<_>>().iter().rev().nth(in_tail - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 and 5 are end tokens of the configuration, 4 that of the template.
    fn ends(named: Option<u32>, are_complete: bool) -> Ends {
        let known = [5, 2, 4].into_iter().chain(named).collect();
        let default = are_complete.then_some(named.unwrap_or(5));
        Ends { known, named: named.filter(|_| are_complete), default }
    }

    fn ended(ends: &Ends, ids: &[u32], tail: &[u32]) -> Vec<u32> {
        ends.ended(TokenAnswer { ids: ids.to_vec(), tail: tail.to_vec() })
    }

    #[test]
    fn an_answer_ends_once_by_its_template() {
        let own = ends(None, true);
        // ANSWER <|im_end|> \n: what the template puts after the end is left out.
        assert_eq!(ended(&own, &[10, 11, 4, 13], &[4, 13]), [10, 11, 4]);
        assert_eq!(ended(&ends(Some(4), true), &[10, 11, 4, 13], &[4, 13]), [10, 11, 4]);
        assert_eq!(ended(&ends(Some(9), true), &[10, 11, 4, 13], &[4, 13]), [10, 11, 9], "`stop_token` in its place");
        assert_eq!(ended(&own, &[10, 2, 4, 13], &[4, 13]), [10, 4], "the answer was ended by hand as well");
        assert_eq!(ended(&own, &[10, 11, 13], &[13]), [10, 11, 13, 5], "the template ends it by no token");
        assert_eq!(ended(&own, &[10, 11, 4, 13, 5], &[4, 13, 5]), [10, 11, 4], "the first end counts");
    }

    #[test]
    fn an_end_token_inside_an_answer_is_part_of_it() {
        let own = ends(None, true);
        assert_eq!(ended(&own, &[10, 2, 11, 12, 2], &[2]), [10, 2, 11, 12, 2]);
        assert_eq!(ended(&own, &[10, 2, 11], &[]), [10, 2, 11, 5]);
        assert_eq!(ended(&own, &[2, 11], &[]), [2, 11, 5]);
    }

    #[test]
    fn a_text_that_has_its_end_gets_no_second_one() {
        assert_eq!(ended(&ends(None, true), &[10, 11, 2], &[]), [10, 11, 2]);
        assert_eq!(ended(&ends(None, true), &[10, 11, 2, 2], &[]), [10, 11, 2]);
        assert_eq!(ended(&ends(Some(9), true), &[10, 11, 2], &[]), [10, 11, 9]);
        assert_eq!(ended(&ends(None, true), &[10, 11], &[]), [10, 11, 5]);
    }

    #[test]
    fn answers_that_are_not_complete_get_no_end() {
        assert_eq!(ended(&ends(None, false), &[10, 11], &[]), [10, 11]);
        assert_eq!(ended(&ends(None, false), &[10, 11, 4, 13], &[4, 13]), [10, 11]);
        assert_eq!(ended(&ends(Some(9), false), &[10, 2, 11, 4, 13], &[4, 13]), [10, 2, 11]);
    }

    #[test]
    fn every_answer_of_a_dialogue_is_learned_with_its_end() {
        let ids = vec![1, 20, 10, 4, 13, 21, 11, 2, 12, 4, 13];
        let mut dialogue = TokenDialogue { ids, answers: vec![2..5, 6..11], is_marked: false, tail: vec![4, 13] };
        assert_eq!(ends(None, true).ended_dialogue(&mut dialogue), [2..4, 6..10]);
        assert_eq!(dialogue.ids, [1, 20, 10, 4, 13, 21, 11, 2, 12, 4]);
        let mut marked = TokenDialogue {
            ids: vec![1, 10, 4, 20, 11, 4, 13],
            answers: vec![1..2, 4..6],
            is_marked: true,
            tail: Vec::new(),
        };
        assert_eq!(ends(None, true).ended_dialogue(&mut marked), [1..2, 4..6]);
        assert_eq!(marked.ids, [1, 10, 4, 20, 11, 4]);
    }
}
