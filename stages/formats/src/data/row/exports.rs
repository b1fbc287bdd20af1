//! Judgements of people as other tools export them.

use super::value::text;
use super::{Completions, Content, prompt};
use crate::dialogue::Prompt;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Beginnings of the names of fields that hold an answer.
const ANSWERS: [&str; 6] = ["response", "answer", "completion", "generation", "output", "text"];

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

/// Label Studio: every annotation of a pair.
pub fn label_studio(row: &Value) -> Result<Vec<Content>> {
    let (prompt, answers) = question(&row["data"])?;
    let [(_, left), (_, right)] = &answers[..] else { bail!("`data` has {} answers; a pair has two", answers.len()) };
    let annotations = row["annotations"].as_array().context("field `annotations` is no list")?;
    let results = annotations.iter().filter_map(|one| one["result"].as_array()).flatten();
    let completions = results.filter_map(|result| {
        let (chosen, rejected) = match result["value"]["selected"].as_str()? {
            "left" => (left, right),
            "right" => (right, left),
            _ => return None,
        };
        Some(Completions::Pair { chosen: chosen.clone(), rejected: rejected.clone() })
    });
    let contents: Vec<Content> =
        completions.map(|completions| Content { prompt: prompt.clone(), completions }).collect();
    if contents.is_empty() {
        bail!("no annotation chooses `left` or `right`");
    }
    Ok(contents)
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
        assert_eq!(said(&row), [pair]);
    }
}
