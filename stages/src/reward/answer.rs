//! Answers to score: as a stage has them, and as whoever is asked is told them.

use formats::dialogue::Prompt;
use serde_json::{Value, json};

/// An answer to score.
#[derive(Clone, Copy)]
pub struct GivenAnswer<'a> {
    pub id: &'a str,
    /// Whether its row was written with this id. A number that was made up matches none of another file.
    pub has_written_id: bool,
    pub prompt: &'a Prompt,
    pub text: &'a str,
}

/// An answer to score, as it is told.
pub struct AskedAnswerLine {
    /// The hash of it.
    pub of: String,
    /// `{id, prompt, completion}`.
    pub row: Value,
    /// The prompt and the answer as texts.
    pub prompt: String,
    pub text: String,
}

impl AskedAnswerLine {
    pub fn new(answer: &GivenAnswer) -> AskedAnswerLine {
        let GivenAnswer { id, prompt, text, .. } = answer;
        let row = json!({"id": id, "prompt": prompt, "completion": text});
        let of = blake3::hash(row.to_string().as_bytes()).to_hex().to_string();
        AskedAnswerLine { of, row, prompt: prompt.to_string(), text: (*text).to_owned() }
    }
}
