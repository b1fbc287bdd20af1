//! The rows of `scores.jsonl`: `{"id", "prompt", "text", "score"}`. Knows nothing of who reads them.

use crate::gate::Item;
use anyhow::{Context, Result};
use cache::{Content, Store};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Row {
    id: Option<Value>,
    prompt: String,
    text: String,
    /// `null` came out as no finite number.
    score: Option<f64>,
}

pub fn read(store: &Store, scores: &Content) -> Result<Vec<Item>> {
    let bytes = store.read(scores, "scores.jsonl")?;
    let text = String::from_utf8(bytes).context("read scores.jsonl")?;
    text.lines().enumerate().map(|(n, line)| item(n + 1, line)).collect()
}

/// A row without an `id` is known by its number.
fn item(number: usize, line: &str) -> Result<Item> {
    let row: Row = serde_json::from_str(line).with_context(|| format!("read scores.jsonl: line {number}"))?;
    let id = match row.id {
        None | Some(Value::Null) => number.to_string(),
        Some(Value::String(id)) => id,
        Some(other) => other.to_string(),
    };
    Ok(Item { id, prompt: row.prompt, text: row.text, score: row.score })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_id_or_else_by_its_number() {
        let id = |line: &str| item(7, line).unwrap().id;
        assert_eq!(id(r#"{"id":"a","prompt":"p","text":"t","score":1.5}"#), "a");
        assert_eq!(id(r#"{"id":3,"prompt":"p","text":"t","score":null}"#), "3");
        assert_eq!(id(r#"{"prompt":"p","text":"t","score":1}"#), "7");
        assert!(format!("{:#}", item(7, "{}").unwrap_err()).contains("line 7"));
    }
}
