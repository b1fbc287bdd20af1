//! Prompts: a text, or the turns of a dialogue.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A request for an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// The model gets it as it is.
    Text(String),
    /// The model gets it through its chat template.
    Chat(Vec<Message>),
}

/// One turn of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    pub content: String,
}

pub const SYSTEM: &str = "system";
pub const USER: &str = "user";
pub const ASSISTANT: &str = "assistant";

/// The text for people, by which prompts are also compared. A dialogue of a single question is that question.
impl fmt::Display for Prompt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prompt::Text(text) => formatter.write_str(text),
            Prompt::Chat(messages) => match &messages[..] {
                [message] if message.role == USER => formatter.write_str(&message.content),
                _ => {
                    let lines = messages.iter().map(|message| format!("{}: {}", message.role, message.content));
                    formatter.write_str(&lines.collect::<Vec<_>>().join("\n"))
                }
            },
        }
    }
}
