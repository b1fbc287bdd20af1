//! Dialogues in rows: lists of turns, and transcripts that are one text.

use super::value::{first_of, optional, text};
use crate::dialogue::{ASSISTANT, Message, Prompt, SYSTEM, USER};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Roles under the names that data sets have for them, and the name that templates know.
const ROLES: [(&str, &str); 16] = [
    ("system", SYSTEM),
    ("developer", "developer"),
    ("user", USER),
    ("human", USER),
    ("prompter", USER),
    ("assistant", ASSISTANT),
    ("gpt", ASSISTANT),
    ("chatgpt", ASSISTANT),
    ("bing", ASSISTANT),
    ("bard", ASSISTANT),
    ("model", ASSISTANT),
    ("tool", "tool"),
    ("observation", "tool"),
    ("ipython", "ipython"),
    ("function", "function"),
    ("environment", "environment"),
];

pub fn user(content: String) -> Message {
    Message { role: USER.to_owned(), content }
}

pub fn assistant(content: String) -> Message {
    Message { role: ASSISTANT.to_owned(), content }
}

/// The turns of a field: a list, or the same as a text of JSON, as tables hold it.
pub fn messages(row: &Value, field: &str) -> Result<Vec<Message>> {
    let written: Option<Value> =
        row.get(field).and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    let Some(turns) = written.as_ref().or(row.get(field)).and_then(Value::as_array) else {
        bail!("field `{field}` is no list of turns");
    };
    if turns.is_empty() {
        bail!("field `{field}` is an empty list");
    }
    let read = |(index, turn)| message(turn).with_context(|| format!("field `{field}`, turn {}", index + 1));
    turns.iter().enumerate().map(read).collect()
}

/// `{role, content}`, or `{from, value}` as ShareGPT has it.
pub fn message(turn: &Value) -> Result<Message> {
    let role = first_of(turn, &["role", "from"]).context("no field `role`")?;
    let is_call =
        |field: &str| turn.get(field).is_some_and(|calls| calls.as_array().is_none_or(|calls| !calls.is_empty()));
    if super::value::has(turn, "tool_calls") && is_call("tool_calls") || super::value::has(turn, "function_call") {
        bail!("calls of tools are not supported, only text");
    }
    let content = first_of(turn, &["content", "value"]).context("no field `content`")?;
    let name = text(turn, role)?;
    let Some((_, role)) = ROLES.iter().find(|(known, _)| *known == name) else {
        bail!("`{name}` is no role; there are `system`, `user`, `assistant`, `tool`, and other names for them");
    };
    let content = match &turn[content] {
        // Parts of a message, as multimodal models have them.
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part.get("type").and_then(Value::as_str) {
                Some("text") | None => text(part, "text"),
                Some(other) => bail!("a part of type `{other}` is not supported, only `text`"),
            })
            .collect::<Result<String>>()?,
        _ => text(turn, content)?,
    };
    Ok(Message { role: (*role).to_owned(), content })
}

/// A dialogue as the turns before the answer, and the answer: the last turn, if it is the assistant's.
pub fn dialogue(row: &Value, field: &str) -> Result<(Vec<Message>, Option<String>)> {
    let mut turns = messages(row, field)?;
    let last = turns.pop().expect("an empty list was refused");
    if last.role != ASSISTANT {
        turns.push(last);
        return Ok((turns, None));
    }
    if turns.is_empty() {
        bail!("field `{field}` holds an answer and no question");
    }
    if last.content.is_empty() {
        bail!("field `{field}` ends with an empty answer");
    }
    Ok((turns, Some(last.content)))
}

/// Puts the system text of the row before its turns.
pub fn with_system(row: &Value, mut turns: Vec<Message>) -> Result<Prompt> {
    for field in ["system", "system_prompt"] {
        let Some(content) = optional(row, field)? else { continue };
        match turns.first() {
            Some(first) if first.role == SYSTEM && first.content.trim() == content.trim() => {}
            Some(first) if first.role == SYSTEM => {
                bail!("field `{field}` is another system text than that of the dialogue")
            }
            _ => turns.insert(0, Message { role: SYSTEM.to_owned(), content }),
        }
    }
    Ok(Prompt::Chat(turns))
}

/// The marks of the turns of a transcript as Anthropic writes it.
const MARKS: [(&str, &str); 2] = [("\n\nHuman:", USER), ("\n\nAssistant:", ASSISTANT)];

pub fn is_transcript(text: &str) -> bool {
    MARKS.iter().any(|(mark, _)| text.starts_with(mark) || text.starts_with(mark.trim_start()))
}

/// The turns of `\n\nHuman: … \n\nAssistant: …`, each without the space after its mark.
///
/// # Errors
/// The text does not begin with a mark.
pub fn transcript(text: &str) -> Result<Vec<Message>> {
    if !is_transcript(text) {
        bail!("the transcript does not begin with `Human:` or `Assistant:`");
    }
    // The first mark may lack its empty line.
    let text = format!("\n\n{}", text.trim_start());
    let mut turns = Vec::new();
    let mut rest = &text[..];
    while let Some((mark, role)) = MARKS.iter().find(|(mark, _)| rest.starts_with(mark)) {
        rest = &rest[mark.len()..];
        let end = MARKS.iter().filter_map(|(mark, _)| rest.find(mark)).min().unwrap_or(rest.len());
        let content = &rest[..end];
        let content = content.strip_prefix(' ').unwrap_or(content).to_owned();
        turns.push(Message { role: (*role).to_owned(), content });
        rest = &rest[end..];
    }
    Ok(turns)
}

/// An answer and the turns after it, each behind its mark, as [`transcript`] reads them.
pub fn written(turns: &[Message]) -> String {
    let mark = |role: &str| MARKS.iter().find(|(_, known)| *known == role).map_or("", |(mark, _)| mark);
    let Some((first, rest)) = turns.split_first() else { return String::new() };
    let rest = rest.iter().map(|turn| format!("{} {}", mark(&turn.role), turn.content));
    first.content.clone() + &rest.collect::<String>()
}

/// The turns of a prompt of HelpSteer 2: the first is the user's, the others begin with a line `<extra_id_1>User` or
/// `<extra_id_1>Assistant`.
pub fn helpsteer(text: &str) -> Vec<Message> {
    let mut pieces = text.split("<extra_id_1>");
    let first = pieces.next().unwrap_or_default();
    let mut turns = vec![user(without_break(first).to_owned())];
    for piece in pieces {
        let (role, content) = piece.split_once('\n').unwrap_or((piece, ""));
        let content = without_break(content).to_owned();
        turns.push(if role.trim() == "Assistant" { assistant(content) } else { user(content) });
    }
    // The place of the answer.
    if turns.last().is_some_and(|last| last.role == ASSISTANT && last.content.is_empty()) {
        turns.pop();
    }
    turns
}

fn without_break(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}
