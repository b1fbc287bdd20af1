//! Items out of rows: what people and judges are asked about.

use super::form::Form;
use super::worklist::WorkItem;
use formats::data::AnsweredQuestion;
use formats::dialogue::Prompt;
use std::collections::{BTreeMap, HashMap};

/// Judgements by prompt and answer.
#[derive(Default)]
pub struct Suggestions(BTreeMap<Prompt, HashMap<String, f64>>);

impl Suggestions {
    pub fn of(questions: Vec<AnsweredQuestion>) -> Suggestions {
        let mut all: BTreeMap<Prompt, HashMap<String, f64>> = BTreeMap::new();
        for question in questions {
            let ranks = question.ranks.into_iter().flatten();
            all.entry(question.prompt).or_default().extend(question.answers.into_iter().zip(ranks));
        }
        Suggestions(all)
    }

    fn ranks(&self, prompt: &Prompt, answers: &[String]) -> Option<Vec<f64>> {
        let known = self.0.get(prompt)?;
        answers.iter().map(|answer| known.get(answer).copied()).collect()
    }
}

/// The items of a question: of pairs each pair of its answers, else all of them together. Answers come in the order of
/// their texts, so that an item is the same whoever gave them.
pub fn items_of(question: AnsweredQuestion, form: Form, suggested: &Suggestions) -> Vec<WorkItem> {
    let AnsweredQuestion { id, has_written_id, group, prompt, answers, ranks, .. } = question;
    let mut answers: Vec<(String, Option<f64>)> = match ranks {
        Some(ranks) => answers.into_iter().zip(ranks.into_iter().map(Some)).collect(),
        None => answers.into_iter().map(|answer| (answer, None)).collect(),
    };
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    let fewest = if matches!(form, Form::Edit | Form::Ratings) { 1 } else { 2 };
    let chosen: Vec<Vec<usize>> = match (form, answers.len()) {
        (_, count) if count < fewest => Vec::new(),
        (Form::Pairs, count) => {
            (0..count).flat_map(|one| (one + 1..count).map(move |other| vec![one, other])).collect()
        }
        (_, count) => vec![(0..count).collect()],
    };
    let of = chosen.len();
    let item = |(number, places): (usize, Vec<usize>)| {
        let texts: Vec<String> = places.iter().map(|place| answers[*place].0.clone()).collect();
        let known: Option<Vec<f64>> = places.iter().map(|place| answers[*place].1).collect();
        WorkItem {
            id: if of == 1 { id.clone() } else { format!("{id}/{}", number + 1) },
            row: Some(id.clone()),
            has_written_id,
            group: group.clone().or_else(|| (of > 1).then(|| id.clone())),
            suggestion: suggested.ranks(&prompt, &texts),
            known: known.filter(|ranks| ranks.iter().any(|rank| *rank != ranks[0])),
            ..WorkItem::of(prompt.clone(), texts)
        }
    };
    chosen.into_iter().enumerate().map(item).collect()
}
