//! The answers to each prompt as people compared them, two at a time: how strong each is, and whether the comparisons hang together.

use super::aggregate::Comparisons;
use super::label::Label;
use super::worklist::{WorkItem, Worklist};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The answers to a prompt that were compared, each with its place among the comparisons.
struct ComparedAnswers<'a> {
    places: BTreeMap<&'a String, usize>,
    comparisons: Comparisons,
    /// Whether any of them prefers one answer.
    has_choice: bool,
}

/// The comparisons of every prompt, by its text.
fn by_prompt<'a>(
    worklist: &'a Worklist,
    by_item: &BTreeMap<usize, Vec<&Label>>,
) -> BTreeMap<String, ComparedAnswers<'a>> {
    let mut by_prompt: BTreeMap<String, Vec<(&WorkItem, &Vec<&Label>)>> = BTreeMap::new();
    for (place, labels) in by_item {
        let item = &worklist.items[*place];
        by_prompt.entry(item.prompt.to_string()).or_default().push((item, labels));
    }
    let compared = |items: Vec<(&'a WorkItem, &Vec<&Label>)>| {
        let mut places: BTreeMap<&String, usize> = BTreeMap::new();
        for answer in items.iter().flat_map(|(item, _)| &item.answers) {
            let next = places.len();
            places.entry(answer).or_insert(next);
        }
        let (mut comparisons, mut has_choice) = (Comparisons::new(places.len()), false);
        for (item, labels) in items {
            let [one, other] = [0, 1].map(|answer| places[&item.answers[answer]]);
            for ranks in labels.iter().filter_map(|label| label.judgement.ranks(None)).filter(|_| one != other) {
                has_choice |= ranks[0] != ranks[1];
                match ranks[0].total_cmp(&ranks[1]) {
                    Ordering::Less => comparisons.add_win(one, other),
                    Ordering::Greater => comparisons.add_win(other, one),
                    Ordering::Equal => comparisons.add_tie(one, other),
                }
            }
        }
        ComparedAnswers { places, comparisons, has_choice }
    };
    by_prompt.into_iter().map(|(prompt, items)| (prompt, compared(items))).collect()
}

/// The number of prompts whose comparisons of pairs fall apart: no chain of them leads from every answer to every other, so that
/// nothing says which of two answers in different parts is better.
pub fn disconnected(worklist: &Worklist, by_item: &BTreeMap<usize, Vec<&Label>>) -> usize {
    let compared = by_prompt(worklist, by_item);
    compared.values().filter(|answers| answers.comparisons.parts().len() > 1).count()
}

/// The strengths of the answers to each prompt, from all that was said of them.
pub struct Leads(BTreeMap<String, BTreeMap<String, f64>>);

impl Leads {
    pub fn of(worklist: &Worklist, by_item: &BTreeMap<usize, Vec<&Label>>) -> Leads {
        let strengths = |ComparedAnswers { places, comparisons, has_choice }: ComparedAnswers| {
            // Where all is tied, no row asks for a lead, and the weight of a tie would grow without end.
            let logs = if has_choice { comparisons.strengths(true).logs } else { vec![0.0; places.len()] };
            places.into_iter().map(|(answer, place)| (answer.clone(), logs[place])).collect()
        };
        Leads(by_prompt(worklist, by_item).into_iter().map(|(prompt, answers)| (prompt, strengths(answers))).collect())
    }

    /// The difference of the logarithms of the strengths of two answers that were compared.
    pub fn between(&self, item: &WorkItem, chosen: usize, rejected: usize) -> f64 {
        let of_prompt = self.0.get(&item.prompt.to_string());
        let of =
            |answer: usize| of_prompt.and_then(|known| known.get(&item.answers[answer])).copied().unwrap_or_default();
        of(chosen) - of(rejected)
    }
}
