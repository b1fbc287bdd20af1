//! Answers to score: as a stage has them, and as whoever is asked is told them.

use formats::dialogue::{ASSISTANT, Prompt};
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
    /// The prompt as a text, and with the answer: of a dialogue a line for each turn, with its role.
    pub prompt: String,
    pub query: String,
}

impl AskedAnswerLine {
    /// `has_id`: whether the id of the row is told, and so part of what is asked.
    pub fn new(answer: &GivenAnswer, has_id: bool) -> AskedAnswerLine {
        let GivenAnswer { id, prompt, text, .. } = answer;
        let mut row = json!({"prompt": prompt, "completion": text});
        if has_id {
            row["id"] = json!(id);
        }
        let of = blake3::hash(row.to_string().as_bytes()).to_hex().to_string();
        let (prompt, query) = match prompt {
            Prompt::Text(prompt) => (prompt.clone(), format!("{prompt}{text}")),
            Prompt::Chat(messages) => {
                let turns = messages.iter().map(|turn| format!("{}: {}\n", turn.role, turn.content));
                let turns: String = turns.collect();
                let query = format!("{turns}{ASSISTANT}: {text}");
                (turns.trim_end().to_owned(), query)
            }
        };
        AskedAnswerLine { of, row, prompt, query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dialogue::Message;

    #[test]
    fn an_answer_in_a_dialogue_is_told_as_that_of_the_assistant() {
        let turn = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
        let prompt = Prompt::Chat(vec![turn("system", "Be kind."), turn("user", "Why?")]);
        let given = |id| GivenAnswer { id, has_written_id: true, prompt: &prompt, text: "So." };
        let of = |id| AskedAnswerLine::new(&given(id), id == "2");
        assert_eq!(of("1").query, "system: Be kind.\nuser: Why?\nassistant: So.");
        assert_eq!(of("1").prompt, "system: Be kind.\nuser: Why?");
        assert_ne!(of("1").of, of("2").of);
        assert!(of("1").row.get("id").is_none());
    }
}
