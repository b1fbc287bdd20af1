//! The meaning of a row of any known format: the prompt, the completions that are known, and how good they are.

use crate::dialogue::{ASSISTANT, Message, Prompt, USER};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The completions of a row, and how they were judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Completions {
    None,
    One(String),
    Pair {
        chosen: String,
        rejected: String,
    },
    /// Each with its rank: smaller is better, equal ranks tie.
    Ranked(Vec<(String, i64)>),
    /// Each with its rating: larger is better, equal ratings tie. The rows of one prompt share a scale.
    Rated(Vec<(String, f64)>),
    /// `true`: the answer was wanted.
    Labelled(String, bool),
}

impl Completions {
    /// The answers, however they were judged.
    pub fn answers(self) -> Vec<String> {
        match self {
            Completions::None => Vec::new(),
            Completions::One(answer) | Completions::Labelled(answer, _) => vec![answer],
            Completions::Pair { chosen, rejected } => vec![chosen, rejected],
            Completions::Ranked(ranked) => ranked.into_iter().map(|(answer, _)| answer).collect(),
            Completions::Rated(rated) => rated.into_iter().map(|(answer, _)| answer).collect(),
        }
    }
}

/// The format of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Text,
    Prompt,
    Completion,
    Messages,
    Alpaca,
    ShareGpt,
    Pairs,
    Ranking,
    Rating,
    Kto,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Prompt => "prompts",
            Format::Completion => "prompt/completion",
            Format::Messages => "messages",
            Format::Alpaca => "alpaca",
            Format::ShareGpt => "sharegpt",
            Format::Pairs => "chosen/rejected",
            Format::Ranking => "rankings",
            Format::Rating => "ratings",
            Format::Kto => "KTO labels",
        }
    }
}

/// The first of several names of a field under which the row holds a value.
fn first_of(row: &Value, fields: &[&'static str]) -> Option<&'static str> {
    fields.iter().copied().find(|field| row.get(field).is_some_and(|value| !value.is_null()))
}

const RATINGS: [&str; 4] = ["rating", "ratings", "score", "scores"];

/// The format of a row by the names of its fields; their values may still be wrong.
pub fn format(row: &Value) -> Option<Format> {
    let has = |field: &str| row.get(field).is_some_and(|value| !value.is_null());
    let is_list = |field: &str| row.get(field).is_some_and(Value::is_array);
    Some(if has("chosen") || has("rejected") {
        Format::Pairs
    } else if has("ranking") {
        Format::Ranking
    } else if has("label") && (has("completion") || has("messages") || has("conversations")) {
        Format::Kto
    } else if has("completion") && first_of(row, &RATINGS).is_some_and(|of| is_list(of) == is_list("completion")) {
        Format::Rating
    } else if has("messages") {
        Format::Messages
    } else if has("conversations") {
        Format::ShareGpt
    } else if has("instruction") {
        Format::Alpaca
    } else if has("completion") {
        Format::Completion
    } else if has("prompt") {
        Format::Prompt
    } else if has("text") {
        Format::Text
    } else {
        return None;
    })
}

/// The prompt of a row, and its completions.
///
/// # Errors
/// Names the field that is missing or holds the wrong thing.
pub fn read(row: &Value) -> Result<(Prompt, Completions)> {
    let Some(format) = format(row) else {
        bail!(
            "no field `prompt` (nor one of another known format: `messages`, `conversations`, `instruction`, \
             `chosen` and `rejected`)"
        );
    };
    match format {
        Format::Text => bail!("no field `prompt`"),
        Format::Prompt => Ok((prompt(row)?, Completions::None)),
        Format::Completion => Ok((prompt(row)?, Completions::One(answer(row, "completion")?))),
        Format::Messages | Format::ShareGpt => {
            let (prompt, answer) = dialogue(row)?;
            Ok((prompt, answer.map_or(Completions::None, Completions::One)))
        }
        Format::Alpaca => {
            let mut messages = Vec::new();
            if let Some(system) = optional(row, "system")? {
                messages.push(Message { role: "system".to_owned(), content: system });
            }
            if row.get("history").is_some_and(|history| !history.is_null()) {
                let turn =
                    |value: &Value| Some([value.get(0)?.as_str()?.to_owned(), value.get(1)?.as_str()?.to_owned()]);
                for [asked, answered] in list(row, "history", turn, "pairs of texts")? {
                    messages.push(Message { role: USER.to_owned(), content: asked });
                    messages.push(Message { role: ASSISTANT.to_owned(), content: answered });
                }
            }
            let mut content = filled(row, "instruction")?;
            if let Some(input) = optional(row, "input")? {
                content = format!("{content}\n\n{input}");
            }
            messages.push(Message { role: USER.to_owned(), content });
            let answer = optional(row, "output")?.map_or(Completions::None, Completions::One);
            Ok((Prompt::Chat(messages), answer))
        }
        Format::Pairs => pair(row),
        Format::Ranking => {
            let prompt = prompt(row)?;
            let answers: Vec<String> = list(row, "completion", |value| value.as_str().map(str::to_owned), "texts")?;
            let ranks: Vec<i64> = list(row, "ranking", whole, "whole numbers")?;
            if answers.len() != ranks.len() {
                bail!("`completion` has {} answers, `ranking` has {} ranks", answers.len(), ranks.len());
            }
            Ok((prompt, Completions::Ranked(answers.into_iter().zip(ranks).collect())))
        }
        Format::Rating => {
            let prompt = prompt(row)?;
            let field = first_of(row, &RATINGS).expect("the format has one");
            if row["completion"].is_array() {
                let answers: Vec<String> = list(row, "completion", |value| value.as_str().map(str::to_owned), "texts")?;
                let ratings: Vec<f64> = list(row, field, Value::as_f64, "numbers")?;
                if answers.len() != ratings.len() {
                    bail!("`completion` has {} answers, `{field}` has {} ratings", answers.len(), ratings.len());
                }
                return Ok((prompt, Completions::Rated(answers.into_iter().zip(ratings).collect())));
            }
            Ok((prompt, Completions::Rated(vec![(answer(row, "completion")?, number(row, field)?)])))
        }
        Format::Kto => {
            let label = match &row["label"] {
                Value::Bool(label) => *label,
                Value::Number(label) if [0, 1].map(Some).contains(&whole(&row["label"])) => label.as_f64() == Some(1.0),
                other => bail!("field `label` is {}, neither true nor false", name(other)),
            };
            let (prompt, answer) = match first_of(row, &["completion"]) {
                Some(_) => (prompt(row)?, answer(row, "completion")?),
                None => {
                    let (prompt, answer) = dialogue(row)?;
                    (prompt, answer.context("the dialogue does not end with the assistant, whose answer is labelled")?)
                }
            };
            Ok((prompt, Completions::Labelled(answer, label)))
        }
    }
}

/// The document of a row of raw text.
///
/// # Errors
/// There is no field `text`, or it holds no text.
pub fn document(row: &Value) -> Result<String> {
    text(row, "text")
}

/// The field `id`, else the row's number.
pub fn id(row: &Value, number: usize) -> String {
    match row.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(other) if !other.is_null() => other.to_string(),
        _ => number.to_string(),
    }
}

/// The field `prompt_group`: rows of one group are not independent of each other.
///
/// # Errors
/// The field `prompt_group` is neither a text nor a number.
pub fn group(row: &Value) -> Result<Option<String>> {
    match row.get("prompt_group") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(group)) => Ok(Some(group.clone())),
        Some(Value::Number(group)) => Ok(Some(group.to_string())),
        Some(other) => bail!("field `prompt_group` is {}, neither a text nor a number", name(other)),
    }
}

/// The field `margin` of a pair: by how much the chosen answer is better.
///
/// # Errors
/// It holds no number.
pub fn margin(row: &Value) -> Result<Option<f64>> {
    first_of(row, &["margin"]).map(|field| number(row, field)).transpose()
}

/// The field `prompt`, else a dialogue up to its last question.
fn prompt(row: &Value) -> Result<Prompt> {
    match first_of(row, &["prompt", "messages", "conversations", "instruction"]) {
        Some("prompt") => match &row["prompt"] {
            Value::Array(_) => Ok(Prompt::Chat(messages(row, "prompt")?)),
            _ => Ok(Prompt::Text(text(row, "prompt")?)),
        },
        Some("messages" | "conversations") => Ok(dialogue(row)?.0),
        Some(_) => {
            let alone: serde_json::Map<String, Value> = ["system", "history", "instruction", "input"]
                .into_iter()
                .filter_map(|field| Some((field.to_owned(), row.get(field)?.clone())))
                .collect();
            Ok(read(&Value::Object(alone))?.0)
        }
        None => bail!("no field `prompt`"),
    }
}

/// A dialogue as the turns before the answer, and the answer: the last turn, if it is the assistant's.
fn dialogue(row: &Value) -> Result<(Prompt, Option<String>)> {
    let field = first_of(row, &["messages", "conversations"]).context("no field `messages`")?;
    let mut messages = messages(row, field)?;
    if let Some(content) = optional(row, "system")? {
        messages.insert(0, Message { role: "system".to_owned(), content });
    }
    let last = messages.pop().expect("an empty list was refused");
    if last.role != ASSISTANT {
        messages.push(last);
        return Ok((Prompt::Chat(messages), None));
    }
    if messages.is_empty() {
        bail!("field `{field}` holds an answer and no question");
    }
    if last.content.is_empty() {
        bail!("field `{field}` ends with an empty answer");
    }
    Ok((Prompt::Chat(messages), Some(last.content)))
}

/// A chosen and a rejected answer. If both are whole dialogues, the turns they share are the prompt.
fn pair(row: &Value) -> Result<(Prompt, Completions)> {
    let both = ["chosen", "rejected"];
    let prompt_field = first_of(row, &["prompt", "messages", "conversations", "instruction"]);
    let are_lists = both.iter().all(|field| row.get(field).is_some_and(Value::is_array));
    if prompt_field.is_some() && !(are_lists && row[both[0]].as_array().is_some_and(|turns| turns.len() > 1)) {
        let prompt = prompt(row)?;
        let [chosen, rejected] = both.map(|field| answer(row, field));
        return Ok((prompt, Completions::Pair { chosen: chosen?, rejected: rejected? }));
    }
    if !are_lists {
        bail!("no field `prompt`");
    }
    let [chosen, rejected] = both.map(|field| -> Result<(Vec<Message>, String)> {
        let mut turns = messages(row, field)?;
        let last = turns.pop().filter(|last| last.role == ASSISTANT && !last.content.is_empty());
        Ok((
            turns,
            last.with_context(|| format!("field `{field}` does not end with an answer of the assistant"))?.content,
        ))
    });
    let ((prompt, chosen), (other, rejected)) = (chosen?, rejected?);
    if prompt != other {
        bail!("`chosen` and `rejected` answer different dialogues: all but their last turn has to be the same");
    }
    if prompt.is_empty() {
        bail!("no field `prompt`");
    }
    Ok((Prompt::Chat(prompt), Completions::Pair { chosen, rejected }))
}

/// An answer as text, as one turn, or as a list of one turn.
fn answer(row: &Value, field: &str) -> Result<String> {
    let content = match row.get(field) {
        Some(Value::Array(_)) => match &messages(row, field)?[..] {
            [one] => one.content.clone(),
            more => bail!("field `{field}` has {} turns; one answer is expected", more.len()),
        },
        Some(turn @ Value::Object(_)) => message(turn).with_context(|| format!("field `{field}`"))?.content,
        _ => text(row, field)?,
    };
    if content.is_empty() {
        bail!("field `{field}` is empty");
    }
    Ok(content)
}

fn messages(row: &Value, field: &str) -> Result<Vec<Message>> {
    let Some(turns) = row.get(field).and_then(Value::as_array) else {
        bail!("field `{field}` is no list of turns");
    };
    if turns.is_empty() {
        bail!("field `{field}` is an empty list");
    }
    let read = |(index, turn)| message(turn).with_context(|| format!("field `{field}`, turn {}", index + 1));
    turns.iter().enumerate().map(read).collect()
}

/// `{role, content}`, or `{from, value}` as ShareGPT has it.
fn message(turn: &Value) -> Result<Message> {
    let role = first_of(turn, &["role", "from"]).context("no field `role`")?;
    let content = match first_of(turn, &["content", "value"]) {
        Some(content) => content,
        None if turn.get("tool_calls").is_some() => bail!("calls of tools are not supported, only text"),
        None => bail!("no field `content`"),
    };
    let role = match text(turn, role)?.as_str() {
        "human" => USER.to_owned(),
        "gpt" => ASSISTANT.to_owned(),
        "observation" => "tool".to_owned(),
        other => other.to_owned(),
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
    Ok(Message { role, content })
}

fn text(row: &Value, field: &str) -> Result<String> {
    match row.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => bail!("field `{field}` is {}, not a text", name(other)),
        None => bail!("no field `{field}`"),
    }
}

fn number(row: &Value, field: &str) -> Result<f64> {
    row[field].as_f64().with_context(|| format!("field `{field}` is {}, not a number", name(&row[field])))
}

fn filled(row: &Value, field: &str) -> Result<String> {
    let text = text(row, field)?;
    if text.is_empty() {
        bail!("field `{field}` is empty");
    }
    Ok(text)
}

/// A text that may be missing, null or empty.
fn optional(row: &Value, field: &str) -> Result<Option<String>> {
    match row.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => Ok(Some(text(row, field)?).filter(|text| !text.is_empty())),
    }
}

fn list<T>(row: &Value, field: &str, item: impl Fn(&Value) -> Option<T>, of: &str) -> Result<Vec<T>> {
    let Some(values) = row.get(field).and_then(Value::as_array) else {
        bail!("field `{field}` is no list of {of}");
    };
    values.iter().map(|value| item(value).with_context(|| format!("field `{field}` is no list of {of}"))).collect()
}

/// A whole number; tables often store one as a fraction.
fn whole(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e9).map(|n| n as i64))
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
