//! Labels as rows that other stages learn from. Up to two labels of an item stay rows of their own, which weigh together
//! as people divide; of more, one judgement is made.

use super::aggregate::{Comparisons, Votes, plackett_luce};
use super::compared::Leads;
use super::form::Form;
use super::label::{EffectiveLabels, Judgement, Label, PairChoice};
use super::worklist::{WorkItem, Worklist};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A file of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFile {
    pub name: &'static str,
    pub rows: Vec<Value>,
}

/// The file of everything that was said, item by item.
pub const PER_ITEM: &str = "by_item.jsonl";

/// The labels of an item from which one judgement is made.
const MANY: usize = 3;

/// The files that stages take, by the form.
pub fn names(form: Form) -> &'static [&'static str] {
    match form {
        Form::Pairs => &["pairs.jsonl", "kto.jsonl"],
        Form::Ranking => &["rankings.jsonl"],
        Form::Ratings => &["ratings.jsonl"],
        Form::Edit => &["edits.jsonl", "pairs.jsonl"],
    }
}

/// The weight of an item in the rows, and what they tell of the people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsPer {
    /// Each label, up to two of them: an item that two people judged has two rows. Rows say how many there were, and how far they
    /// agree.
    Label,
    /// Each opinion: people of one mind have one row, which says nothing of them, so that one more who says the same changes none.
    Opinion,
}

/// The fields of rows that tell how many spoke, and how far they agree.
const OF_PEOPLE: [&str; 4] = ["labels", "agree", "lead", "strengths"];

/// The rows of every file; gold and repeats make none.
pub fn rows(worklist: &Worklist, labels: &EffectiveLabels, per: RowsPer) -> Vec<OutputFile> {
    let form = worklist.asked.form;
    let mut by_item = worklist.judged(labels);
    if per == RowsPer::Opinion {
        by_item.values_mut().for_each(|labels| keep_opinion(form, labels));
    }
    let files: Vec<Vec<Value>> = match form {
        Form::Pairs => pairs(worklist, &by_item).into(),
        Form::Ranking => {
            vec![by_item.iter().flat_map(|(place, labels)| rankings(&worklist.items[*place], labels)).collect()]
        }
        Form::Ratings => {
            let rated = |(place, labels): (&usize, &Vec<&Label>)| ratings(worklist, *place, labels);
            vec![by_item.iter().filter_map(rated).collect()]
        }
        Form::Edit => edits(worklist, &by_item).into(),
    };
    let told = |mut row: Value| {
        if let (RowsPer::Opinion, Some(fields)) = (per, row.as_object_mut()) {
            fields.retain(|name, _| !OF_PEOPLE.contains(&name.as_str()));
        }
        row
    };
    let files = files.into_iter().map(|rows| rows.into_iter().map(told).collect());
    names(form).iter().zip(files).map(|(name, rows)| OutputFile { name, rows }).collect()
}

/// Keeps one of the labels of an item if all say the same. Pairs from which one judgement is made keep all: people are weighed by
/// everything that they said.
fn keep_opinion(form: Form, labels: &mut Vec<&Label>) {
    let ranks = |label: &Label| label.judgement.ranks(None).map(|ranks| dense(&ranks));
    let same = |label: &&Label| match form {
        Form::Ranking => ranks(label) == ranks(labels[0]),
        Form::Pairs | Form::Ratings | Form::Edit => label.judgement == labels[0].judgement,
    };
    let are_weighed = form == Form::Pairs && labels.len() >= MANY;
    if !are_weighed && labels.iter().all(same) {
        labels.truncate(1);
    }
}

/// Everything that was said, item by item.
pub fn per_item(worklist: &Worklist, labels: &EffectiveLabels) -> Vec<Value> {
    let row = |(place, labels): (usize, Vec<&Label>)| {
        let item = &worklist.items[place];
        let said: Vec<Value> = labels
            .iter()
            .map(|label| {
                json!({"by": label.by, "judgement": label.judgement, "order": label.order, "seconds": label.seconds,
                       "at": label.at})
            })
            .collect();
        let mut row = row(item);
        row["answers"] = json!(item.answers);
        if item.leaks_identity {
            row["leaks_identity"] = json!(true);
        }
        if !worklist.is_of_sample(place) {
            row["is_picked"] = json!(true);
        }
        row["labels"] = json!(said);
        row
    };
    worklist.judged(labels).into_iter().map(row).collect()
}

/// The fields that every row has.
fn row(item: &WorkItem) -> Value {
    let mut row = json!({"id": item.id, "prompt": item.prompt});
    if let Some(group) = &item.group {
        row["prompt_group"] = json!(group);
    }
    row
}

/// One judgement, and how it came about.
struct ItemJudgement<'a> {
    choice: PairChoice,
    labels: usize,
    /// The share of the labels that say so.
    agree: f64,
    by: &'a str,
}

/// The places of a choice among the values of a vote.
const CHOICES: [PairChoice; 3] = [PairChoice::First, PairChoice::Tie, PairChoice::Second];

fn place_of(choice: PairChoice) -> usize {
    match choice {
        PairChoice::First => 0,
        PairChoice::Tie | PairChoice::BothBad => 1,
        PairChoice::Second => 2,
    }
}

/// Chosen and rejected answers, and answers labelled one by one.
fn pairs(worklist: &Worklist, by_item: &BTreeMap<usize, Vec<&Label>>) -> [Vec<Value>; 2] {
    let choice = |label: &Label| match label.judgement {
        Judgement::Pair(choice) => Some(choice),
        _ => None,
    };
    let mut people: BTreeMap<&str, usize> = BTreeMap::new();
    for label in by_item.values().flatten() {
        let next = people.len();
        people.entry(&label.by).or_insert(next);
    }
    let many: Vec<(&usize, &Vec<&Label>)> = by_item.iter().filter(|(_, labels)| labels.len() >= MANY).collect();
    let votes = |labels: &Vec<&Label>| {
        labels.iter().filter_map(|label| Some((people[label.by.as_str()], place_of(choice(label)?)))).collect()
    };
    let votes = Votes { choices: CHOICES.len(), of: many.iter().map(|(_, labels)| votes(labels)).collect() };
    let consensus = votes.consensus();
    let likeliest: BTreeMap<usize, usize> = many
        .iter()
        .zip(&consensus.chances)
        .map(|((place, _), chances)| {
            let best = (0..CHOICES.len()).max_by(|one, other| chances[*one].total_cmp(&chances[*other])).unwrap_or(1);
            (**place, best)
        })
        .collect();
    let leads = Leads::of(worklist, by_item);
    let (mut pairs, mut single) = (Vec::new(), Vec::new());
    for (place, labels) in by_item {
        let item = &worklist.items[*place];
        let said: Vec<PairChoice> = labels.iter().filter_map(|label| choice(label)).collect();
        let share =
            |of: usize| said.iter().filter(|choice| place_of(**choice) == of).count() as f64 / said.len() as f64;
        let judged: Vec<ItemJudgement> = match likeliest.get(place) {
            Some(best) => {
                let all_bad = said.iter().filter(|choice| **choice == PairChoice::BothBad).count() * 2 > said.len();
                let choice = if all_bad { PairChoice::BothBad } else { CHOICES[*best] };
                vec![ItemJudgement { choice, labels: said.len(), agree: share(*best), by: "" }]
            }
            None => {
                let each = labels.iter().filter_map(|label| Some((choice(label)?, label.by.as_str())));
                each.map(|(choice, by)| ItemJudgement {
                    choice,
                    labels: said.len(),
                    agree: share(place_of(choice)),
                    by,
                })
                .collect()
            }
        };
        for ItemJudgement { choice, labels, agree, by } in judged {
            let of_one = |answer: usize, is_wanted: bool| {
                let mut row = row(item);
                row["id"] = json!(numbered(&format!("{}/{}", item.id, answer + 1), by, labels));
                row["completion"] = json!(item.answers[answer]);
                row["label"] = json!(is_wanted);
                row
            };
            let (chosen, rejected) = match choice {
                PairChoice::First => (0, 1),
                PairChoice::Second => (1, 0),
                PairChoice::BothBad => {
                    single.extend([of_one(0, false), of_one(1, false)]);
                    continue;
                }
                PairChoice::Tie => continue,
            };
            single.extend([of_one(chosen, true), of_one(rejected, false)]);
            let mut row = row(item);
            row["id"] = json!(numbered(&item.id, by, labels));
            row["chosen"] = json!(item.answers[chosen]);
            row["rejected"] = json!(item.answers[rejected]);
            row["labels"] = json!(labels);
            row["agree"] = json!(agree);
            row["lead"] = json!(leads.between(item, chosen, rejected));
            pairs.push(row);
        }
    }
    [pairs, single]
}

/// The id of a row, where an item has several.
fn numbered(id: &str, by: &str, labels: usize) -> String {
    if labels > 1 && !by.is_empty() { format!("{id}/{by}") } else { id.to_owned() }
}

/// The rankings of one item; the choice between two answers is one, too.
pub fn rankings(item: &WorkItem, labels: &[&Label]) -> Vec<Value> {
    let said: Vec<(&str, Vec<f64>)> =
        labels.iter().filter_map(|label| Some((label.by.as_str(), label.judgement.ranks(None)?))).collect();
    let agree = |ranks: &[f64]| {
        let distances = said.iter().map(|(_, other)| super::agreement::kendall_distance(ranks, other));
        1.0 - distances.sum::<f64>() / said.len() as f64
    };
    let ranking = |ranks: &[f64], by: &str| {
        let mut row = row(item);
        row["id"] = json!(numbered(&item.id, by, said.len()));
        row["completion"] = json!(item.answers);
        row["ranking"] = json!(dense(ranks));
        row["labels"] = json!(said.len());
        row["agree"] = json!(agree(ranks));
        row
    };
    if said.len() < MANY {
        return said.iter().map(|(by, ranks)| ranking(ranks, by)).collect();
    }
    let strengths = strengths(item.answers.len(), &said);
    let ranks: Vec<f64> = strengths.iter().map(|strength| -(strength / 1e-6).round() * 1e-6).collect();
    let mut row = ranking(&ranks, "");
    row["strengths"] = json!(strengths);
    vec![row]
}

/// By Plackett–Luce, or with ties by Bradley–Terry over all pairs.
fn strengths(answers: usize, said: &[(&str, Vec<f64>)]) -> Vec<f64> {
    let is_tied = |ranks: &Vec<f64>| dense(ranks).iter().max().is_some_and(|most| *most < ranks.len());
    if said.iter().any(|(_, ranks)| is_tied(ranks)) {
        let mut comparisons = Comparisons::new(answers);
        said.iter().for_each(|(_, ranks)| comparisons.add_ranking(ranks));
        return comparisons.strengths(true).logs;
    }
    let order = |ranks: &Vec<f64>| {
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        order.sort_by(|one, other| ranks[*one].total_cmp(&ranks[*other]));
        order
    };
    plackett_luce(answers, &said.iter().map(|(_, ranks)| order(ranks)).collect::<Vec<_>>(), true)
}

/// Ranks from 1 without gaps.
fn dense(ranks: &[f64]) -> Vec<usize> {
    let mut sorted = ranks.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    ranks.iter().map(|rank| 1 + sorted.iter().take_while(|other| *other < rank).count()).collect()
}

fn ratings(worklist: &Worklist, place: usize, labels: &[&Label]) -> Option<Value> {
    let (item, sheet) = (&worklist.items[place], worklist.asked.criteria.as_ref());
    let said: Vec<Vec<f64>> = labels.iter().filter_map(|label| label.judgement.ratings(sheet)).collect();
    if said.is_empty() {
        return None;
    }
    let count = said.len() as f64;
    let mean = |answer: usize| said.iter().map(|ratings| ratings[answer]).sum::<f64>() / count;
    let mut by_criterion: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for label in labels {
        let Judgement::Ratings(ratings) = &label.judgement else { continue };
        for (name, ratings) in ratings {
            let sums = by_criterion.entry(name).or_insert_with(|| vec![0.0; ratings.len()]);
            sums.iter_mut().zip(ratings).for_each(|(sum, rating)| *sum += *rating as f64 / count);
        }
    }
    let mut row = row(item);
    row["completion"] = json!(item.answers);
    row["rating"] = json!((0..item.answers.len()).map(mean).collect::<Vec<_>>());
    row["criteria"] = json!(by_criterion);
    row["labels"] = json!(said.len());
    Some(row)
}

/// Edited answers to learn, and each as chosen before the one that it was made of.
fn edits(worklist: &Worklist, by_item: &BTreeMap<usize, Vec<&Label>>) -> [Vec<Value>; 2] {
    let (mut examples, mut pairs) = (Vec::new(), Vec::new());
    for (place, labels) in by_item {
        let item = &worklist.items[*place];
        for label in labels {
            let Judgement::Edit { answer, text } = &label.judgement else { continue };
            let mut example = row(item);
            example["id"] = json!(numbered(&item.id, &label.by, labels.len()));
            let mut pair = example.clone();
            example["completion"] = json!(text);
            example["edited_from"] = json!(item.answers[*answer]);
            examples.push(example);
            if *text != item.answers[*answer] {
                pair["chosen"] = json!(text);
                pair["rejected"] = json!(item.answers[*answer]);
                pairs.push(pair);
            }
        }
    }
    [examples, pairs]
}

#[cfg(test)]
mod tests {
    use super::super::worklist::Questionnaire;
    use super::*;
    use formats::dialogue::Prompt;

    /// The rows of one item of which these people said this.
    fn told(form: Form, said: &[(&str, Judgement)]) -> Vec<OutputFile> {
        let answers = if form == Form::Pairs { 2 } else { 7 };
        let answers = (0..answers).map(|number| format!("answer {number}")).collect();
        let item = WorkItem::of(Prompt::Text("p".to_owned()), answers);
        let mut labels = EffectiveLabels::default();
        for (by, judgement) in said {
            labels.add(Label {
                item: item.digest.clone(),
                criteria: String::new(),
                by: (*by).to_owned(),
                round: 0,
                order: Vec::new(),
                judgement: judgement.clone(),
                before_hint: None,
                seconds: 0.0,
                at: String::new(),
                client: (*by).to_owned(),
                note: None,
            });
        }
        let asked = Questionnaire {
            form,
            items: 1,
            overlapped: 0,
            gold_share: 0.0,
            repeats: 0.0,
            seed: 0,
            criteria: None,
            is_active: false,
        };
        rows(&Worklist::new(String::new(), asked, vec![item]), &labels, RowsPer::Opinion)
    }

    #[test]
    fn one_more_of_the_same_mind_changes_no_bit_of_the_rows_of_opinions() {
        let rating = |values: [i64; 7]| Judgement::Ratings([("kind".to_owned(), values.to_vec())].into());
        let edit = |text: &str| Judgement::Edit { answer: 0, text: text.to_owned() };
        for (form, one, other) in [
            (Form::Pairs, Judgement::Pair(PairChoice::First), Judgement::Pair(PairChoice::Second)),
            (
                Form::Ranking,
                Judgement::Ranking(vec![1, 2, 3, 4, 5, 6, 6]),
                Judgement::Ranking(vec![6, 2, 3, 4, 5, 1, 6]),
            ),
            (Form::Ratings, rating([1, 2, 3, 4, 5, 6, 7]), rating([7, 1, 1, 1, 1, 1, 1])),
            (Form::Edit, edit("better"), edit("worse")),
        ] {
            let people = ["ann", "ben", "cho", "dai", "eve"];
            let alone = told(form, &[(people[0], one.clone())]);
            assert!(alone.iter().all(|file| !file.rows.is_empty()), "{form:?}");
            for count in 2..=people.len() {
                let all: Vec<_> = people[..count].iter().map(|by| (*by, one.clone())).collect();
                assert_eq!(told(form, &all), alone, "{form:?}: {count}");
            }
            let divided = told(form, &[(people[0], one.clone()), (people[1], other)]);
            assert_ne!(divided, alone, "{form:?}");
        }
    }
}
