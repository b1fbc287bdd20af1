//! Review of an evaluation: people are asked about the answers that a model changed, without being told which is whose.

use super::worklist::WorkItem;
use crate::reward::scoring::ScoreRow;
use formats::dialogue::Prompt;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

/// The verdict of the reward on a changed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RewardVerdict {
    Win,
    Loss,
    Tie,
}

/// The items of an evaluation: the prompts on which the two models answered differently. Prompts that only one of them
/// answered are left out.
pub fn changed(model: Vec<ScoreRow>, baseline: Vec<ScoreRow>) -> Vec<WorkItem> {
    let mut others: HashMap<(String, String), ScoreRow> =
        baseline.into_iter().map(|row| ((row.id.clone(), row.prompt.clone()), row)).collect();
    let mut items = Vec::new();
    for row in model {
        let other = others.remove(&(row.id.clone(), row.prompt.clone()));
        let Some(other) = other.filter(|other| other.text != row.text) else { continue };
        let reviewed = usize::from(other.text < row.text);
        let scores = if reviewed == 0 { [row.score, other.score] } else { [other.score, row.score] };
        let answers = if reviewed == 0 { [row.text, other.text] } else { [other.text, row.text] };
        let known = match scores {
            [Some(one), Some(other)] if one != other => {
                Some([one, other].map(|score| if score == one.max(other) { 1.0 } else { 2.0 }).to_vec())
            }
            _ => None,
        };
        let item = WorkItem::of(Prompt::Text(row.prompt), answers.to_vec());
        items.push(WorkItem { id: row.id, known, reviewed: Some(reviewed), ..item });
    }
    items
}

/// The verdict of the reward on a reviewed item.
pub fn verdict(item: &WorkItem) -> Option<RewardVerdict> {
    let reviewed = item.reviewed?;
    let Some(known) = &item.known else { return Some(RewardVerdict::Tie) };
    Some(if known[reviewed] < known[1 - reviewed] { RewardVerdict::Win } else { RewardVerdict::Loss })
}

/// Orders reviewed items so that from the beginning there are as many wins of the reward as losses; ties come as often as
/// there are of all. Within a verdict the order stays. Which of two that come together is the win is drawn by the items, so that the
/// order tells nobody what the reward preferred.
pub fn balance(items: Vec<WorkItem>) -> Vec<WorkItem> {
    let all = items.len() as f64;
    let mut groups: BTreeMap<Option<RewardVerdict>, Vec<WorkItem>> = BTreeMap::new();
    items.into_iter().for_each(|item| groups.entry(verdict(&item)).or_default().push(item));
    let ties = groups.get(&Some(RewardVerdict::Tie)).map_or(0, Vec::len) as f64 / all;
    let place = |verdict: Option<RewardVerdict>, at: usize| match (verdict, at) {
        // Each verdict is there at once: a rate over all needs some of each.
        (_, 0) => 0.0,
        (Some(RewardVerdict::Tie), at) => at as f64 / ties,
        (_, at) => at as f64 * 2.0 / (1.0 - ties),
    };
    let drawn = |item: &WorkItem| *blake3::hash(format!("turn {}", item.digest).as_bytes()).as_bytes();
    let mut placed: Vec<(f64, [u8; 32], WorkItem)> = groups
        .into_iter()
        .flat_map(|(verdict, items)| {
            items.into_iter().enumerate().map(move |(at, item)| (place(verdict, at), drawn(&item), item))
        })
        .collect();
    placed.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    placed.into_iter().map(|(_, _, item)| item).collect()
}

/// The win of an answer over the other one, from 0 to 1.
pub fn win(ranks: &[f64], reviewed: usize) -> f64 {
    match ranks[reviewed].total_cmp(&ranks[1 - reviewed]) {
        Ordering::Less => 1.0,
        Ordering::Equal => 0.5,
        Ordering::Greater => 0.0,
    }
}

/// The weights of judged items in a rate over all reviewed ones: what was picked by the verdict of the reward counts for as
/// much as there is of it. `None` while a verdict that occurs has no judged item. Source: the stratified mean, Cochran,
/// Sampling Techniques (1977), §5.3.
pub fn weights(all: &[WorkItem], judged: &[usize]) -> Option<Vec<f64>> {
    let mut counts: BTreeMap<RewardVerdict, [usize; 2]> = BTreeMap::new();
    all.iter().filter(|item| !item.is_gold).filter_map(verdict).for_each(|of| counts.entry(of).or_default()[0] += 1);
    let verdicts: Vec<RewardVerdict> = judged.iter().filter_map(|at| verdict(&all[*at])).collect();
    verdicts.iter().for_each(|of| counts.entry(*of).or_default()[1] += 1);
    let whole: usize = counts.values().map(|[there, _]| there).sum();
    let is_complete = counts.values().all(|[_, judged]| *judged > 0) && verdicts.len() == judged.len();
    let weight = |of: &RewardVerdict| {
        let [there, judged_of] = counts[of];
        (there as f64 / whole as f64) / (judged_of as f64 / judged.len() as f64)
    };
    is_complete.then(|| verdicts.iter().map(weight).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: usize, text: &str, score: f64) -> ScoreRow {
        ScoreRow { id: id.to_string(), prompt: format!("p{id}"), text: text.to_owned(), score: Some(score) }
    }

    /// 30 wins of the reward, 6 losses, 4 ties, and ten answers that are as they were.
    fn items() -> Vec<WorkItem> {
        let score = |id: usize| {
            if id < 30 {
                1.0
            } else if id < 36 {
                -1.0
            } else {
                0.0
            }
        };
        let text = |id: usize| if id < 40 { "new" } else { "old" };
        let model = (0..50).map(|id| row(id, text(id), score(id))).collect();
        changed(model, (0..50).map(|id| row(id, "old", 0.0)).collect())
    }

    #[test]
    fn the_answers_that_changed_are_asked_about_and_the_reward_is_known_but_not_shown() {
        let items = items();
        assert_eq!(items.len(), 40);
        assert_eq!(items[0].answers, ["new", "old"]);
        assert_eq!((items[0].reviewed, &items[0].known), (Some(0), &Some(vec![1.0, 2.0])));
        let count = |of: RewardVerdict| items.iter().filter(|item| verdict(item) == Some(of)).count();
        assert_eq!([RewardVerdict::Win, RewardVerdict::Loss, RewardVerdict::Tie].map(count), [30, 6, 4]);
        let of_another =
            changed(vec![row(1, "a", 0.0)], vec![ScoreRow { prompt: "other".to_owned(), ..row(1, "b", 0.0) }]);
        assert_eq!(of_another, []);
    }

    #[test]
    fn wins_and_losses_of_the_reward_come_in_turns_until_one_of_them_ends() {
        let order: Vec<RewardVerdict> = balance(items()).iter().filter_map(verdict).collect();
        let count = |of: RewardVerdict| order[..13].iter().filter(|verdict| **verdict == of).count();
        assert_eq!([RewardVerdict::Win, RewardVerdict::Loss, RewardVerdict::Tie].map(count), [6, 5, 2]);
        assert_eq!(order.len(), 40);
        let untied: Vec<&RewardVerdict> = order.iter().filter(|verdict| **verdict != RewardVerdict::Tie).collect();
        let wins_first = untied[..12].chunks(2).filter(|pair| *pair[0] == RewardVerdict::Win).count();
        assert!((1..=5).contains(&wins_first), "the order tells which is which: {order:?}");
    }

    #[test]
    fn a_rate_of_balanced_items_is_that_of_all() {
        let items = balance(items());
        // People follow the reward: of all changed answers 30 are better, 6 worse, 4 alike.
        let value = |at: &usize| match verdict(&items[*at]) {
            Some(RewardVerdict::Win) => 1.0,
            Some(RewardVerdict::Loss) => 0.0,
            _ => 0.5,
        };
        let judged: Vec<usize> = (0..12).collect();
        let weights = weights(&items, &judged).unwrap();
        let rate = judged.iter().zip(&weights).map(|(at, weight)| value(at) * weight).sum::<f64>() / 12.0;
        assert!((rate - 32.0 / 40.0).abs() < 1e-12, "{rate}");
        assert_eq!(super::weights(&items, &[0]), None);
    }
}
