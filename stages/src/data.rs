//! Reading data files: rows out of JSON or JSONL, the first bad one named by file, line and field.
//! Knows nothing of tokens.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A row that asks for an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The field `id`, else the row's number from 1.
    pub id: String,
    pub prompt: String,
    /// The field `prompt_group`: prompts of one group (one dialogue, one template) are no independent evidence.
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub prompt: String,
    pub completion: String,
}

/// One prompt, its answers, and which is preferred to which: `(chosen, rejected)` as indices of `answers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    pub id: String,
    /// The field `prompt_group`, else the `id`.
    pub group: String,
    pub prompt: String,
    pub answers: Vec<String>,
    pub pairs: Vec<(usize, usize)>,
}

pub fn texts(path: &Path) -> Result<Vec<String>> {
    rows(path, |row, _| text(row, "text"))
}

pub fn prompts(path: &Path) -> Result<Vec<Prompt>> {
    let prompts =
        rows(path, |row, number| Ok(Prompt { id: id(row, number), prompt: text(row, "prompt")?, group: group(row)? }))?;
    let mut seen = BTreeMap::new();
    for (number, row) in prompts.iter().enumerate() {
        if let Some(first) = seen.insert(&row.id, number) {
            bail!("read {}: rows {} and {} have the same id `{}`", path.display(), first + 1, number + 1, row.id);
        }
    }
    Ok(prompts)
}

pub fn examples(path: &Path) -> Result<Vec<Example>> {
    rows(path, |row, _| Ok(Example { prompt: text(row, "prompt")?, completion: filled(row, "completion")? }))
}

/// Pairs `{prompt, chosen, rejected}` or rankings `{prompt, completion: [K], ranking: [K]}` (smaller is
/// better; ties make no pair). Rows of one prompt become one preference, so that no prompt lies on both sides of a
/// split and its pairs weigh together (Ouyang et al. 2022, §3.5). A prompt without any pair is left out.
pub fn preferences(path: &Path) -> Result<Vec<Preference>> {
    let mut all: Vec<Preference> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(path, preference)? {
        let place = *places.entry(row.prompt.clone()).or_insert_with(|| {
            all.push(Preference { answers: Vec::new(), pairs: Vec::new(), ..row.clone() });
            all.len() - 1
        });
        merge(&mut all[place], row);
    }
    all.retain(|row| !row.pairs.is_empty());
    if all.is_empty() {
        bail!("read {}: no row prefers one answer to another", path.display());
    }
    Ok(all)
}

/// Equal answers are one; a preference of an answer to itself says nothing.
fn merge(into: &mut Preference, row: Preference) {
    let mut place = |answer: &String| {
        into.answers.iter().position(|known| known == answer).unwrap_or_else(|| {
            into.answers.push(answer.clone());
            into.answers.len() - 1
        })
    };
    let places: Vec<usize> = row.answers.iter().map(&mut place).collect();
    let pairs = row.pairs.iter().map(|(better, worse)| (places[*better], places[*worse]));
    into.pairs.extend(pairs.filter(|(better, worse)| better != worse));
}

/// All that a port of a kind will ask of this file, asked before anything runs.
pub fn check(kind: &str, port: &str, path: &Path) -> Result<(), String> {
    let outcome = match (kind, port) {
        ("pretrain", "text") => texts(path).map(drop),
        ("sft", "data") => examples(path).map(drop),
        ("rm", _) => preferences(path).map(drop),
        (_, "prompts") => prompts(path).map(drop),
        _ => Ok(()),
    };
    outcome.map_err(|error| format!("{error:#}"))
}

/// Winners and losers of a ranking: smaller is better, ties make no pair.
pub fn ranking_pairs(ranking: &[i64]) -> Vec<(usize, usize)> {
    let indices = 0..ranking.len();
    indices
        .clone()
        .flat_map(|i| indices.clone().map(move |j| (i, j)))
        .filter(|(i, j)| i < j && ranking[*i] != ranking[*j])
        .map(|(i, j)| if ranking[i] < ranking[j] { (i, j) } else { (j, i) })
        .collect()
}

fn preference(row: &Value, number: usize) -> Result<Preference> {
    let (id, prompt) = (id(row, number), text(row, "prompt")?);
    let group = group(row)?.unwrap_or_else(|| id.clone());
    if row.get("ranking").is_none() {
        let answers = vec![filled(row, "chosen")?, filled(row, "rejected")?];
        return Ok(Preference { id, group, prompt, answers, pairs: vec![(0, 1)] });
    }
    let answers: Vec<String> = list(row, "completion", |value| value.as_str().map(str::to_owned), "texts")?;
    let ranking: Vec<i64> = list(row, "ranking", Value::as_i64, "whole numbers")?;
    if answers.len() != ranking.len() {
        bail!("`completion` has {} answers, `ranking` has {} ranks", answers.len(), ranking.len());
    }
    let pairs = ranking_pairs(&ranking);
    Ok(Preference { id, group, prompt, answers, pairs })
}

fn id(row: &Value, number: usize) -> String {
    match row.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(other) if !other.is_null() => other.to_string(),
        _ => number.to_string(),
    }
}

/// Rows of one group are no independent evidence of each other.
fn group(row: &Value) -> Result<Option<String>> {
    match row.get("prompt_group") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(group)) => Ok(Some(group.clone())),
        Some(Value::Number(group)) => Ok(Some(group.to_string())),
        Some(other) => bail!("field `prompt_group` is {}, neither a text nor a number", name(other)),
    }
}

fn text(row: &Value, field: &str) -> Result<String> {
    match row.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => bail!("field `{field}` is {}, not a text", name(other)),
        None => bail!("no field `{field}`"),
    }
}

fn filled(row: &Value, field: &str) -> Result<String> {
    let text = text(row, field)?;
    if text.is_empty() {
        bail!("field `{field}` is empty");
    }
    Ok(text)
}

fn list<T>(row: &Value, field: &str, item: impl Fn(&Value) -> Option<T>, of: &str) -> Result<Vec<T>> {
    let Some(values) = row.get(field).and_then(Value::as_array) else {
        bail!("field `{field}` is no list of {of}");
    };
    values.iter().map(|value| item(value).with_context(|| format!("field `{field}` is no list of {of}"))).collect()
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads every row with `read(row, number)`; numbers count rows from 1.
fn rows<T>(path: &Path, read: impl Fn(&Value, usize) -> Result<T>) -> Result<Vec<T>> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let whole = String::from_utf8(bytes).with_context(|| format!("read {}: not UTF-8", path.display()))?;
    let whole = whole.trim_start_matches('\u{feff}');
    let mut out = Vec::new();
    if path.extension().is_some_and(|format| format == "json") {
        let values: Vec<Value> =
            serde_json::from_str(whole).with_context(|| format!("read {}: not a JSON list of rows", path.display()))?;
        for (index, value) in values.iter().enumerate() {
            out.push(read(value, index + 1).with_context(|| format!("read {}: row {}", path.display(), index + 1))?);
        }
    } else {
        for (index, line) in whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row = serde_json::from_str(line)
                .map_err(|error: serde_json::Error| anyhow::anyhow!("not JSON, at column {}", error.column()))
                .and_then(|value| read(&value, out.len() + 1));
            out.push(row.with_context(|| format!("read {}: line {}", path.display(), index + 1))?);
        }
    }
    if out.is_empty() {
        bail!("read {}: the file has no rows", path.display());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn refused(kind: &str, port: &str, text: &str, expected: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        fs::write(&path, text).unwrap();
        let message = check(kind, port, &path).unwrap_err();
        expected.assert_eq(&message.replace(&format!("{}/", dir.path().display()), ""));
    }

    #[test]
    fn the_first_bad_row_is_named_by_line_and_field() {
        let good = r#"{"prompt": "p", "completion": "c"}"#;
        refused(
            "sft",
            "data",
            &format!("{good}\n\n{{\"prompt\": 3}}\n"),
            expect!["read rows.jsonl: line 3: field `prompt` is a number, not a text"],
        );
        refused(
            "sft",
            "data",
            &format!("{good}\n{{\"prompt\": \"p\"}}\n"),
            expect!["read rows.jsonl: line 2: no field `completion`"],
        );
        refused(
            "sft",
            "data",
            &format!("{good}\n{{\"prompt\": \"p\",\n"),
            expect!["read rows.jsonl: line 2: not JSON, at column 15"],
        );
        refused(
            "rm",
            "data",
            r#"{"prompt": "p", "completion": ["a", "b"], "ranking": [1]}"#,
            expect!["read rows.jsonl: line 1: `completion` has 2 answers, `ranking` has 1 ranks"],
        );
        refused(
            "eval",
            "prompts",
            "{\"id\": 1, \"prompt\": \"a\"}\n{\"id\": 1, \"prompt\": \"b\"}",
            expect!["read rows.jsonl: rows 1 and 2 have the same id `1`"],
        );
    }

    #[test]
    fn an_empty_data_set_and_one_without_preferences_are_refused() {
        refused("ppo", "prompts", "\n", expect!["read rows.jsonl: the file has no rows"]);
        let tied = r#"{"prompt": "p", "completion": ["a", "b"], "ranking": [2, 2]}"#;
        refused("rm", "data", tied, expect!["read rows.jsonl: no row prefers one answer to another"]);
    }

    #[test]
    fn rows_of_one_prompt_are_one_preference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let rows = r#"{"prompt": "p", "chosen": "a", "rejected": "b"}
{"prompt": "q", "chosen": "x", "rejected": "y"}
{"prompt": "p", "chosen": "a", "rejected": "c"}
{"prompt": "p", "completion": ["c", "b", "b"], "ranking": [1, 2, 3]}
"#;
        fs::write(&path, rows).unwrap();
        let read = preferences(&path).unwrap();
        let shown: Vec<_> =
            read.iter().map(|row| (row.prompt.as_str(), row.answers.join(""), row.pairs.clone())).collect();
        let expected =
            [("p", "abc".to_owned(), vec![(0, 1), (0, 2), (2, 1), (2, 1)]), ("q", "xy".to_owned(), vec![(0, 1)])];
        assert_eq!(shown, expected);
    }

    /// golden/rlhf-golden.json, `ranking_to_pairs`.
    #[test]
    fn a_ranking_gives_its_pairs_and_drops_ties() {
        assert_eq!(ranking_pairs(&[2, 1, 3, 2]), [(1, 0), (0, 2), (1, 2), (1, 3), (3, 2)]);
    }
}
