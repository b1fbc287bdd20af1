//! Replies of a judge about items in one order and another, and the one judgement that it makes of each. Pure.

use crate::people::aggregate::Comparisons;
use crate::people::agreement::kendall_distance;
use crate::people::label::{Judgement, PairChoice};
use crate::people::likeness::dense_ranks;
use crate::people::worklist::WorkItem;
use crate::rl;
use serde::Serialize;

/// A reply of a judge about an item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgeReply {
    /// The places of the answers in the order in which they were shown: what was shown, not what came out. Empty where each was
    /// looked at by itself.
    pub order: Vec<usize>,
    /// The number of the sample of one and the same question.
    pub sample: u32,
    /// The judgement of the item, whatever the order; `None` if it could not be read.
    pub judgement: Option<Judgement>,
    /// The chance that the judge gives to what is shown first, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// When an endpoint replied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The model that the server says it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The text that it wrote, where that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// Everything that a judge said of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Hearing<'a> {
    pub item: &'a WorkItem,
    pub replies: Vec<JudgeReply>,
}

impl Hearing<'_> {
    /// The orders in which it was shown, with what was said of each.
    fn by_order(&self) -> Vec<Vec<&JudgeReply>> {
        let mut orders: Vec<Vec<&JudgeReply>> = Vec::new();
        for reply in &self.replies {
            match orders.iter_mut().find(|known| known[0].order == reply.order) {
                Some(known) => known.push(reply),
                None => orders.push(vec![reply]),
            }
        }
        orders
    }

    /// The judgement in each order: that of most samples, of two choices that were made as often a tie. `None` if a reply
    /// could not be read.
    fn verdicts(&self) -> Option<Vec<Judgement>> {
        let of_order = |replies: &Vec<&JudgeReply>| {
            let said: Vec<&Judgement> = replies.iter().map(|reply| reply.judgement.as_ref()).collect::<Option<_>>()?;
            match said[0] {
                Judgement::Pair(_) => {
                    let count =
                        |choice: PairChoice| said.iter().filter(|one| ***one == Judgement::Pair(choice)).count();
                    let [first, second, tie] = [PairChoice::First, PairChoice::Second, PairChoice::Tie].map(count);
                    let choice = match first.cmp(&second) {
                        std::cmp::Ordering::Greater if first > tie => PairChoice::First,
                        std::cmp::Ordering::Less if second > tie => PairChoice::Second,
                        _ => PairChoice::Tie,
                    };
                    Some(Judgement::Pair(choice))
                }
                Judgement::Ranking(_) => merged(&said),
                other => Some(other.clone()),
            }
        };
        self.by_order().iter().map(of_order).collect()
    }

    /// One judgement: where two orders differ, a pair is a tie; rankings are put together by their strengths.
    pub fn judgement(&self) -> Option<Judgement> {
        let verdicts = self.verdicts()?;
        let first = verdicts.first()?;
        match first {
            Judgement::Pair(_) if verdicts.iter().any(|verdict| verdict != first) => {
                Some(Judgement::Pair(PairChoice::Tie))
            }
            Judgement::Ranking(_) => merged(&verdicts.iter().collect::<Vec<_>>()),
            _ => Some(first.clone()),
        }
    }

    /// The likeness of what was said in two orders: 1 or 0 of a pair, 1 − Kendall's distance of a ranking. `None` if it was
    /// shown in one order alone.
    pub fn consistency(&self) -> Option<f64> {
        let verdicts = self.verdicts()?;
        match &verdicts[..] {
            [Judgement::Ranking(one), Judgement::Ranking(other), ..] => {
                let ranks = |ranks: &[u32]| ranks.iter().map(|rank| f64::from(*rank)).collect::<Vec<_>>();
                Some(1.0 - kendall_distance(&ranks(one), &ranks(other)))
            }
            [one @ Judgement::Pair(_), others @ ..] if !others.is_empty() => {
                Some(f64::from(u8::from(others.iter().all(|other| other == one))))
            }
            _ => None,
        }
    }

    /// The share of its choices that fell on what was shown first.
    pub fn first_share(&self) -> Option<f64> {
        let of = |reply: &JudgeReply| {
            let ranks =
                reply.judgement.as_ref()?.ranks(None).filter(|ranks| ranks.len() == 2 && ranks[0] != ranks[1])?;
            let chosen = usize::from(ranks[1] < ranks[0]);
            Some(f64::from(u8::from(*reply.order.first()? == chosen)))
        };
        mean(&self.replies.iter().filter_map(of).collect::<Vec<_>>())
    }

    /// Whether the longer of two answers was chosen, by the one judgement.
    pub fn longer(&self) -> Option<f64> {
        let ranks = self.judgement()?.ranks(None).filter(|ranks| ranks.len() == 2 && ranks[0] != ranks[1])?;
        let chosen = usize::from(ranks[1] < ranks[0]);
        let [chosen, other] = [chosen, 1 - chosen].map(|place| self.item.answers[place].chars().count());
        (chosen != other).then(|| f64::from(u8::from(chosen > other)))
    }

    /// The chance that it gives to the first of two answers, over the orders; of samples, the share that chose it.
    pub fn first_chance(&self) -> Option<f64> {
        let of = |reply: &JudgeReply| {
            let shown_first = *reply.order.first()? == 0;
            let chance = |first: f64| if shown_first { first } else { 1.0 - first };
            reply.first.map(chance)
        };
        let told: Vec<f64> = self.replies.iter().filter_map(of).collect();
        let has_samples = self.replies.iter().any(|reply| reply.sample > 0);
        let chosen = |reply: &JudgeReply| match reply.judgement {
            Some(Judgement::Pair(PairChoice::First)) => Some(1.0),
            Some(Judgement::Pair(PairChoice::Second)) => Some(0.0),
            Some(Judgement::Pair(PairChoice::Tie | PairChoice::BothBad)) => Some(0.5),
            _ => None,
        };
        mean(&told)
            .or_else(|| mean(&self.replies.iter().filter(|_| has_samples).filter_map(chosen).collect::<Vec<_>>()))
    }

    /// The share of the pairs of samples of one question that say the same, of those that could be read.
    pub fn repeat_stability(&self) -> Option<f64> {
        let of_order = |replies: Vec<&JudgeReply>| {
            let replies: Vec<&JudgeReply> = replies.into_iter().filter(|reply| reply.judgement.is_some()).collect();
            let pairs = (0..replies.len()).flat_map(|one| (one + 1..replies.len()).map(move |other| (one, other)));
            pairs.map(|(one, other)| f64::from(u8::from(replies[one].judgement == replies[other].judgement))).collect()
        };
        mean(&self.by_order().into_iter().flat_map(|replies| -> Vec<f64> { of_order(replies) }).collect::<Vec<_>>())
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| rl::mean(values))
}

/// Several rankings as one, by Bradley–Terry over all pairs; answers that are as strong tie. Plackett–Luce would put the
/// middle of two opposite orders first.
fn merged(rankings: &[&Judgement]) -> Option<Judgement> {
    if let [one] = rankings {
        return Some((*one).clone());
    }
    let ranks: Vec<Vec<f64>> = rankings.iter().map(|judgement| judgement.ranks(None)).collect::<Option<_>>()?;
    let mut comparisons = Comparisons::new(ranks.first()?.len());
    ranks.iter().for_each(|ranks| comparisons.add_ranking(ranks));
    let strengths = comparisons.strengths(true).logs;
    Some(Judgement::Ranking(ranked(&strengths.iter().map(|one| (one / 1e-6).round()).collect::<Vec<_>>())))
}

/// Ranks from 1 without gaps, the largest number first.
pub fn ranked(values: &[f64]) -> Vec<u32> {
    dense_ranks(&values.iter().map(|value| -value).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dialogue::Prompt;

    fn reply(order: &[usize], judgement: Judgement) -> JudgeReply {
        JudgeReply {
            order: order.to_vec(),
            sample: 0,
            judgement: Some(judgement),
            first: None,
            at: None,
            model: None,
            raw: None,
        }
    }

    fn item(answers: &[&str]) -> WorkItem {
        WorkItem::of(Prompt::Text("p".to_owned()), answers.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn a_judge_that_always_says_a_makes_a_tie_of_every_pair() {
        let item = item(&["long answer", "short"]);
        let said = |order: &[usize]| reply(order, Judgement::Pair(PairChoice::First).of_shown(order));
        let hearing = Hearing { item: &item, replies: vec![said(&[0, 1]), said(&[1, 0])] };
        assert_eq!(hearing.judgement(), Some(Judgement::Pair(PairChoice::Tie)));
        assert_eq!((hearing.consistency(), hearing.first_share(), hearing.longer()), (Some(0.0), Some(1.0), None));
    }

    #[test]
    fn a_judge_that_looks_at_the_answers_is_the_same_in_both_orders() {
        let item = item(&["long answer", "short"]);
        let said = |order: &[usize]| reply(order, Judgement::Pair(PairChoice::First));
        let hearing = Hearing { item: &item, replies: vec![said(&[0, 1]), said(&[1, 0])] };
        assert_eq!(hearing.judgement(), Some(Judgement::Pair(PairChoice::First)));
        assert_eq!((hearing.consistency(), hearing.first_share(), hearing.longer()), (Some(1.0), Some(0.5), Some(1.0)));
    }

    #[test]
    fn a_reply_that_cannot_be_read_leaves_the_item_without_a_judgement() {
        let item = item(&["a", "b"]);
        let mut replies = vec![reply(&[0, 1], Judgement::Pair(PairChoice::First)); 2];
        replies[1] = JudgeReply { order: vec![1, 0], judgement: None, ..replies[1].clone() };
        assert_eq!(Hearing { item: &item, replies }.judgement(), None);
    }

    #[test]
    fn two_orders_of_a_list_are_put_together_and_their_distance_is_told() {
        let item = item(&["a", "b", "c"]);
        let lists = |one: [u32; 3], other: [u32; 3]| {
            let replies = vec![
                reply(&[0, 1, 2], Judgement::Ranking(one.to_vec())),
                reply(&[2, 0, 1], Judgement::Ranking(other.to_vec())),
            ];
            let hearing = Hearing { item: &item, replies };
            (hearing.judgement().unwrap(), hearing.consistency().unwrap())
        };
        assert_eq!(lists([1, 2, 3], [1, 2, 3]), (Judgement::Ranking(vec![1, 2, 3]), 1.0));
        assert_eq!(lists([1, 2, 3], [3, 2, 1]), (Judgement::Ranking(vec![1, 1, 1]), 0.0));
        let (judgement, consistency) = lists([1, 2, 3], [1, 3, 2]);
        assert_eq!(judgement, Judgement::Ranking(vec![1, 2, 2]));
        assert!((consistency - 2.0 / 3.0).abs() < 1e-12);
    }
}
