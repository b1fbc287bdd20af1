//! Labels as other tools read them: rows of one form in that of another, and a table.

use super::form::Form;
use super::label::{EffectiveLabels, Judgement, Label, PairChoice};
use super::rows::{self, OutputFile, RowsPer, rankings};
use super::worklist::Worklist;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rankings, also of pairs: the only rows that keep their ties. `None` of forms that compare nothing.
pub fn ranking_rows(worklist: &Worklist, labels: &EffectiveLabels) -> Option<Vec<Value>> {
    let of_item = |(place, labels): (usize, Vec<&Label>)| rankings(&worklist.items[place], &labels);
    matches!(worklist.asked.form, Form::Pairs | Form::Ranking)
        .then(|| worklist.judged(labels).into_iter().flat_map(of_item).collect())
}

/// Chosen and rejected answers; of a ranking each pair that is no tie.
pub fn pair_rows(worklist: &Worklist, labels: &EffectiveLabels) -> Option<Vec<Value>> {
    if worklist.asked.form != Form::Ranking {
        return file(worklist, labels, "pairs.jsonl");
    }
    let pairs = |row: Value| {
        let ranks: Vec<i64> = row["ranking"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        let mut pairs = Vec::new();
        for better in 0..ranks.len() {
            for worse in (0..ranks.len()).filter(|worse| ranks[better] < ranks[*worse]) {
                let mut pair = row.clone();
                if let Some(fields) = pair.as_object_mut() {
                    fields.retain(|name, _| matches!(name.as_str(), "prompt" | "prompt_group" | "labels" | "agree"));
                }
                let id = row["id"].as_str().unwrap_or_default();
                pair["id"] = json!(format!("{id}/{}-{}", better + 1, worse + 1));
                (pair["chosen"], pair["rejected"]) =
                    (row["completion"][better].clone(), row["completion"][worse].clone());
                pairs.push(pair);
            }
        }
        pairs
    };
    Some(ranking_rows(worklist, labels)?.into_iter().flat_map(pairs).collect())
}

/// Answers labelled one by one.
pub fn kto_rows(worklist: &Worklist, labels: &EffectiveLabels) -> Option<Vec<Value>> {
    file(worklist, labels, "kto.jsonl")
}

/// The rows of a file that the form has.
fn file(worklist: &Worklist, labels: &EffectiveLabels, name: &str) -> Option<Vec<Value>> {
    rows::rows(worklist, labels, RowsPer::Label)
        .into_iter()
        .find(|file| file.name == name)
        .map(|OutputFile { rows, .. }| rows)
}

/// A table with a line for each label. Its columns are those of the form `labelled answers` of data, so that it can be read again.
pub fn table(worklist: &Worklist, labels: &EffectiveLabels) -> Vec<Vec<String>> {
    let judged = worklist.judged(labels);
    let most = judged.keys().map(|place| worklist.items[*place].answers.len()).max().unwrap_or(0);
    let criteria = worklist.asked.criteria.iter().filter(|_| worklist.asked.form == Form::Ratings);
    let criteria: Vec<&str> =
        criteria.flat_map(|sheet| &sheet.criteria).map(|criterion| criterion.name.as_str()).collect();
    let mut head: Vec<String> = vec!["id".to_owned(), "prompt".to_owned()];
    head.extend((1..=most).map(|number| format!("answer{number}")));
    match worklist.asked.form {
        Form::Pairs | Form::Ranking => head.push("label".to_owned()),
        Form::Ratings => {
            head.extend(criteria.iter().flat_map(|name| (1..=most).map(move |number| format!("{name} {number}"))));
        }
        Form::Edit => head.extend(["edited".to_owned(), "text".to_owned()]),
    }
    head.extend(["by", "seconds", "at"].map(str::to_owned));
    let mut lines = vec![head];
    for (place, labels) in &judged {
        let item = &worklist.items[*place];
        for label in labels {
            let mut line = vec![item.id.clone(), item.prompt.to_string()];
            let answer = |at: usize| item.answers.get(at).cloned().unwrap_or_default();
            line.extend((0..most).map(answer));
            line.extend(cells(&label.judgement, &criteria, most));
            line.extend([label.by.clone(), format!("{:.1}", label.seconds), label.at.clone()]);
            lines.push(line);
        }
    }
    lines
}

fn cells(judgement: &Judgement, criteria: &[&str], most: usize) -> Vec<String> {
    match judgement {
        Judgement::Pair(choice) => vec![
            match choice {
                PairChoice::First => "answer1",
                PairChoice::Second => "answer2",
                PairChoice::Tie => "tie",
                PairChoice::BothBad => "both_bad",
            }
            .to_owned(),
        ],
        Judgement::Ranking(ranks) => {
            let mut groups: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            for (at, rank) in ranks.iter().enumerate() {
                groups.entry(*rank).or_default().push(format!("answer{}", at + 1));
            }
            vec![groups.into_values().map(|group| group.join(" = ")).collect::<Vec<_>>().join(" > ")]
        }
        Judgement::Ratings(ratings) => {
            let rating = |name: &&str, at: usize| {
                ratings.get(*name).and_then(|of| of.get(at)).map_or(String::new(), ToString::to_string)
            };
            criteria.iter().flat_map(|name| (0..most).map(move |at| rating(name, at))).collect()
        }
        Judgement::Edit { answer, text } => vec![format!("answer{}", answer + 1), text.clone()],
        Judgement::Skip => Vec::new(),
    }
}
