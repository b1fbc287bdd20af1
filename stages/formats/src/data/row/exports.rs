//! Judgements of people as other tools export them.

use super::value::text;
use super::{Completions, Content, prompt};
use crate::dialogue::Prompt;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Beginnings of the names of fields that hold an answer.
const ANSWERS: [&str; 6] = ["response", "answer", "completion", "generation", "output", "text"];

/// The fields that a row of labelled answers mostly has.
pub const LABELLED: &[&str] = &[
    "prompt",
    "messages",
    "conversations",
    "question",
    "instruction",
    "input",
    "context",
    "system",
    "system_prompt",
    "history",
    "text",
    "label",
    "meta",
    "answer1",
    "answer2",
    "answer3",
    "answer4",
    "answer_1",
    "answer_2",
    "answer_3",
    "answer_4",
    "response1",
    "response2",
    "response3",
    "response4",
    "response_1",
    "response_2",
    "response_3",
    "response_4",
    "completion1",
    "completion2",
    "completion3",
    "completion4",
    "completion_1",
    "completion_2",
    "completion_3",
    "completion_4",
    "by",
    "seconds",
    "at",
];

/// The question among some fields, and the answers by the names of their fields.
fn question(fields: &Value) -> Result<(Prompt, Vec<(String, String)>)> {
    let is_answer = |name: &&String| ANSWERS.iter().any(|beginning| name.starts_with(beginning));
    let names = fields.as_object().into_iter().flatten().map(|(name, _)| name).filter(is_answer);
    let answers = names.map(|name| Ok((name.clone(), text(fields, name)?))).collect::<Result<Vec<_>>>()?;
    if answers.len() < 2 {
        bail!("the fields hold fewer than two answers (`response…`, `answer…`, `completion…`)");
    }
    Ok((prompt(fields)?, answers))
}

/// Argilla 2: every response of a person to a question about the answers.
pub fn argilla(row: &Value) -> Result<Vec<Content>> {
    let (prompt, answers) = question(&row["fields"])?;
    let mut contents = Vec::new();
    let responses = row["responses"].as_object().into_iter().flatten();
    for response in responses.filter_map(|(_, responses)| responses.as_array()).flatten() {
        let rank = |name: &str| match &response["value"] {
            Value::String(chosen) => Some(i64::from(name != chosen)),
            Value::Array(ranks) => ranks.iter().find(|rank| rank["value"] == *name)?["rank"].as_i64(),
            _ => None,
        };
        let ranked: Option<Vec<(String, i64)>> =
            answers.iter().map(|(name, answer)| Some((answer.clone(), rank(name)?))).collect();
        contents
            .extend(ranked.map(|ranked| Content { prompt: prompt.clone(), completions: Completions::Ranked(ranked) }));
    }
    if contents.is_empty() {
        bail!("no response says which answer is better");
    }
    Ok(contents)
}

/// Label Studio: every annotation of a pair. Those that were cancelled say nothing.
pub fn label_studio(row: &Value) -> Result<Vec<Content>> {
    let (prompt, answers) = question(&row["data"])?;
    if answers.len() != 2 {
        bail!("`data` has {} answers; a pair has two", answers.len());
    }
    let annotations = row["annotations"].as_array().context("field `annotations` is no list")?;
    let valid = annotations.iter().filter(|one| one["was_cancelled"] != Value::Bool(true));
    let results = valid.filter_map(|one| one["result"].as_array()).flatten();
    let said = results.filter_map(|result| {
        let value = &result["value"];
        value["selected"].as_str().or_else(|| value["choices"].get(0)?.as_str())
    });
    let contents: Vec<Content> = said.filter_map(|said| judged(&prompt, &answers, said)).collect();
    if contents.is_empty() {
        bail!("no annotation chooses `left` or `right`, nor a tie");
    }
    Ok(contents)
}

/// The answers among the fields of a row, by the names of their fields: those that end with a number or a letter.
fn labelled(row: &Value) -> Vec<(&String, &String)> {
    let is_answer = |name: &str| {
        let ends =
            ANSWERS.iter().filter_map(|beginning| name.strip_prefix(beginning)).map(|end| end.trim_start_matches('_'));
        ends.into_iter()
            .any(|end| !end.is_empty() && end.chars().count() <= 2 && end.chars().all(char::is_alphanumeric))
    };
    let fields = [Some(row), row.get("meta")].into_iter().flatten().filter_map(Value::as_object).flatten();
    let answers = fields.filter(|(name, _)| is_answer(name));
    let mut answers: Vec<(&String, &String)> = answers
        .filter_map(|(name, value)| match value {
            // The cells of a table where another row has more answers.
            Value::String(text) if !text.is_empty() => Some((name, text)),
            _ => None,
        })
        .collect();
    answers.sort_by_key(|(name, _)| (name.len(), *name));
    answers
}

/// Whether a row has a label and answers that it is about.
pub fn has_labelled_answers(row: &Value) -> bool {
    row.get("label").is_some_and(|label| label.is_string() || label.is_array()) && labelled(row).len() > 1
}

/// A table of labelled answers, or doccano, whose question is in `text`: every label is a judgement.
pub fn labelled_answers(row: &Value) -> Result<Vec<Content>> {
    let answers: Vec<(String, String)> =
        labelled(row).into_iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    let prompt = match super::value::first_of(row, &super::ASKING) {
        Some(_) => prompt(row)?,
        None => Prompt::Text(text(row, "text")?),
    };
    let labels: Vec<&Value> = match &row["label"] {
        Value::Array(labels) => labels.iter().collect(),
        label => vec![label],
    };
    let content = |label: &Value| {
        let said = label.as_str().unwrap_or_default();
        let found = judged(&prompt, &answers, said);
        let names = || answers.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        found.with_context(|| {
            format!(
                "field `label` is `{said}`, neither {}, `tie` nor an order of all: `{} > {}`",
                names(),
                answers[0].0,
                answers[1].0
            )
        })
    };
    if labels.is_empty() {
        bail!("field `label` is empty: nobody has judged it");
    }
    labels.into_iter().map(content).collect()
}

/// The judgement that a text is: the name, number or letter of the better answer, a side, a tie, or an order of all.
fn judged(prompt: &Prompt, answers: &[(String, String)], said: &str) -> Option<Content> {
    let place = |name: &str| {
        let name = name.trim().to_lowercase();
        let by_name = answers.iter().position(|(own, _)| own.to_lowercase() == name);
        let sides = || ["left", "right"].iter().position(|side| *side == name).filter(|_| answers.len() == 2);
        let letter = || match name.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a')),
            _ => None,
        };
        let number = || name.parse::<usize>().ok()?.checked_sub(1);
        by_name.or_else(sides).or_else(number).or_else(letter).filter(|place| *place < answers.len())
    };
    let is_tie = ["tie", "both", "both_bad", "both bad", "same", "equal", "引き分け", "同じ", "どちらも悪い"]
        .contains(&&*said.trim().to_lowercase());
    let mut ranks: Vec<Option<i64>> = vec![is_tie.then_some(1); answers.len()];
    if !is_tie {
        let groups: Vec<&str> = said.split('>').collect();
        for (rank, group) in groups.iter().enumerate() {
            for name in group.split('=') {
                let rank_of = &mut ranks[place(name)?];
                if rank_of.replace(rank as i64 + 1).is_some() {
                    return None;
                }
            }
        }
        // One name alone is better than all others.
        if groups.len() == 1 && !said.contains('=') {
            ranks.iter_mut().for_each(|rank| *rank = rank.or(Some(2)));
        }
    }
    let ranks: Vec<i64> = ranks.into_iter().collect::<Option<_>>()?;
    let completions = match (answers, &ranks[..]) {
        ([(_, one), (_, other)], [first, second]) if first != second => {
            let (chosen, rejected) = if first < second { (one, other) } else { (other, one) };
            Completions::Pair { chosen: chosen.clone(), rejected: rejected.clone() }
        }
        _ => Completions::Ranked(answers.iter().map(|(_, answer)| answer.clone()).zip(ranks).collect()),
    };
    Some(Content { prompt: prompt.clone(), completions })
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use serde_json::json;

    fn said(row: &Value) -> Vec<Completions> {
        read(row).unwrap().into_iter().map(|content| content.completions).collect()
    }

    #[test]
    fn every_response_of_argilla_is_a_judgement() {
        let fields = json!({"prompt": "p", "response1": "a", "response2": "b"});
        let chosen = json!({"id": "1", "fields": fields, "responses": {"better": [{"value": "response2", "user_id": "u"}, {"value": "response1", "user_id": "v"}]}});
        let ranked = |one, other| Completions::Ranked(vec![("a".to_owned(), one), ("b".to_owned(), other)]);
        assert_eq!(said(&chosen), [ranked(1, 0), ranked(0, 1)]);
        let ranks = json!([{"value": "response1", "rank": 2}, {"value": "response2", "rank": 1}]);
        let row = json!({"fields": fields, "responses": {"order": [{"value": ranks}]}});
        assert_eq!(said(&row), [ranked(2, 1)]);
        let silent = json!({"fields": fields, "responses": {}});
        assert_eq!(read(&silent).unwrap_err().to_string(), "no response says which answer is better");
    }

    #[test]
    fn every_annotation_of_label_studio_is_a_judgement() {
        let row = json!({
            "id": 1, "data": {"prompt": "p", "text1": "a", "text2": "b"},
            "annotations": [{"completed_by": 1, "result": [{"type": "pairwise", "value": {"selected": "right"}}]}]
        });
        let pair = Completions::Pair { chosen: "b".to_owned(), rejected: "a".to_owned() };
        assert_eq!(said(&row), std::slice::from_ref(&pair));
        let choice = |choice: &str, is_cancelled: bool| json!({"was_cancelled": is_cancelled, "result": [{"type": "choices", "value": {"choices": [choice]}}]});
        let more = json!({
            "id": 2, "data": row["data"], "annotations": [choice("left", true), choice("Tie", false), choice("right", false)]
        });
        let tie = Completions::Ranked(vec![("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(said(&more), [tie, pair]);
    }

    #[test]
    fn every_label_of_doccano_is_a_judgement_and_a_table_may_give_an_order() {
        let pair = |chosen: &str, rejected: &str| Completions::Pair {
            chosen: chosen.to_owned(),
            rejected: rejected.to_owned(),
        };
        let row =
            json!({"id": 7, "text": "p", "answer1": "a", "answer2": "b", "label": ["answer2", "A"], "Comments": []});
        assert_eq!(said(&row), [pair("b", "a"), pair("a", "b")]);
        assert_eq!(read(&row).unwrap()[0].prompt, Prompt::Text("p".to_owned()));
        let old = json!({"text": "p", "meta": {"response_a": "a", "response_b": "b"}, "label": ["response_b"]});
        assert_eq!(said(&old), [pair("b", "a")]);
        let ranked =
            |ranks: [i64; 3]| Completions::Ranked(["a", "b", "c"].map(str::to_owned).into_iter().zip(ranks).collect());
        let table =
            |label: &str| json!({"prompt": "p", "answer1": "a", "answer2": "b", "answer3": "c", "label": label});
        for (label, ranks) in [("answer2 > answer1 = answer3", [2, 1, 2]), ("引き分け", [1, 1, 1]), ("3", [2, 2, 1])]
        {
            assert_eq!(said(&table(label)), [ranked(ranks)], "{label}");
        }
        for label in ["answer4", "1 > 2", "1 > 1 > 2 > 3", "", "yes"] {
            let told = read(&table(label)).unwrap_err().to_string();
            assert!(told.starts_with(&format!("field `label` is `{label}`, neither `answer1`, ")), "{told}");
        }
        assert!(read(&json!({"text": "p", "answer1": "a", "answer2": "b", "label": []})).is_err());
    }
}
