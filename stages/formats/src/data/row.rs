//! The meaning of a row of any known format: the prompt, the completions that are known, and how good they are.

mod exports;
mod formats;
mod sets;
mod turns;
mod value;

pub use formats::{FORMATS, RowFormat};

use crate::dialogue::{ASSISTANT, Message, Prompt};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use turns::{dialogue, message, messages, user, with_system};
use value::{first_of, has, is_text, optional, text};

/// The name of the format of answers that nobody has compared yet.
pub const TO_COMPARE: &str = "answers to compare";

/// The completions of a row, and how they were judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Completions {
    None,
    One(String),
    Pair {
        chosen: String,
        rejected: String,
    },
    /// Two answers, and how many people preferred each.
    Voted {
        answers: [String; 2],
        votes: [usize; 2],
        /// The people who preferred neither.
        ties: usize,
    },
    /// Each with its rank: smaller is better, equal ranks tie.
    Ranked(Vec<(String, i64)>),
    /// Each with its rating: larger is better, equal ratings tie. The rows of one prompt share a scale.
    Rated(Vec<(String, f64)>),
    /// `true`: the answer was wanted.
    Labelled(String, bool),
}

impl Completions {
    /// The answers, in the order of the row.
    pub fn answers(&self) -> Vec<&String> {
        match self {
            Completions::None => Vec::new(),
            Completions::One(answer) | Completions::Labelled(answer, _) => vec![answer],
            Completions::Pair { chosen, rejected } => vec![chosen, rejected],
            Completions::Voted { answers, .. } => answers.iter().collect(),
            Completions::Ranked(ranked) => ranked.iter().map(|(answer, _)| answer).collect(),
            Completions::Rated(rated) => rated.iter().map(|(answer, _)| answer).collect(),
        }
    }

    /// Whether the row by itself prefers one answer to another.
    pub fn prefers(&self) -> bool {
        match self {
            Completions::None | Completions::One(_) | Completions::Labelled(..) => false,
            Completions::Pair { chosen, rejected } => chosen != rejected,
            Completions::Voted { answers: [first, second], votes, .. } => {
                first != second && votes.iter().any(|n| *n > 0)
            }
            Completions::Ranked(ranked) => {
                ranked.iter().any(|(answer, rank)| ranked.iter().any(|(other, than)| rank < than && answer != other))
            }
            Completions::Rated(rated) => {
                rated.iter().any(|(answer, value)| rated.iter().any(|(other, than)| value > than && answer != other))
            }
        }
    }

    fn answers_mut(&mut self) -> Vec<&mut String> {
        match self {
            Completions::None => Vec::new(),
            Completions::One(answer) | Completions::Labelled(answer, _) => vec![answer],
            Completions::Pair { chosen, rejected } => vec![chosen, rejected],
            Completions::Voted { answers, .. } => answers.iter_mut().collect(),
            Completions::Ranked(ranked) => ranked.iter_mut().map(|(answer, _)| answer).collect(),
            Completions::Rated(rated) => rated.iter_mut().map(|(answer, _)| answer).collect(),
        }
    }
}

/// A prompt, and its completions.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub prompt: Prompt,
    pub completions: Completions,
}

impl Content {
    /// Puts a text between a text prompt and its answers.
    pub fn joined(mut self, join: &str) -> Content {
        if matches!(self.prompt, Prompt::Text(_)) && !join.is_empty() {
            self.completions.answers_mut().into_iter().for_each(|answer| answer.insert_str(0, join));
        }
        self
    }
}

/// Fields that `columns` may name.
pub const FIELDS: [&str; 21] = [
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "messages",
    "conversations",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "text",
    "label",
    "rating",
    "ranking",
    "margin",
    "response1",
    "response2",
    "id",
    "prompt_group",
    "subset",
];

/// Fields that every row may have.
const COMMON: [&str; 3] = ["id", "prompt_group", "subset"];

/// The format of a row by the names of its fields; their values may still be wrong.
pub fn format(row: &Value) -> Option<&'static RowFormat> {
    let fields = row.as_object()?;
    let has_one = |format: &&RowFormat| fields.keys().any(|name| format.by.contains(&name.as_str()));
    FORMATS.iter().find(|format| has_one(format) && (format.is)(row))
}

/// The prompt of a row and its completions; a tree of a dialogue holds several.
///
/// # Errors
/// Names the field that is missing, holds the wrong thing, or has no place.
pub fn read(row: &Value) -> Result<Vec<Content>> {
    let Some(format) = format(row) else {
        bail!(
            "no field `prompt` (nor one of another known format: `messages`, `conversations`, `instruction`, \
             `chosen` and `rejected`); `columns` beside the source says what is read instead: `{{prompt: …}}`"
        );
    };
    let contents = (format.read)(row)?;
    refuse_unused(row, format, &contents)?;
    Ok(contents)
}

/// Fields that are parts of a question in one format or another.
const QUESTION: [&str; 9] =
    ["system", "system_prompt", "context", "input", "question", "instruction", "prompt", "history", "tools"];

/// Refuses a row with a part of its question that was not read and says something else than what was.
fn refuse_unused(row: &Value, format: &RowFormat, contents: &[Content]) -> Result<()> {
    for (field, value) in row.as_object().into_iter().flatten() {
        let Some(field) = QUESTION.iter().find(|known| **known == field.as_str()) else { continue };
        let is_empty = match value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let is_used = format.reads.contains(field) && !format.may_repeat.contains(field);
        if is_empty || is_used {
            continue;
        }
        if !contents.iter().any(|content| repeats(row, field, content)) {
            bail!(
                "field `{field}` belongs to the question, and rows of the format {} have no place for it; `columns` \
                 beside the source says what is read: `{{prompt: …}}`",
                format.name
            );
        }
    }
    Ok(())
}

/// Whether the texts of a field are in what was read.
fn repeats(row: &Value, field: &str, content: &Content) -> bool {
    let is_in = |text: &str| {
        let text = text.trim();
        match &content.prompt {
            Prompt::Text(prompt) => prompt.contains(text),
            Prompt::Chat(turns) => turns.iter().any(|turn| turn.content.contains(text)),
        }
    };
    match &row[field] {
        Value::String(text) => is_in(text),
        Value::Array(_) => messages(row, field).is_ok_and(|turns| turns.iter().all(|turn| is_in(&turn.content))),
        _ => false,
    }
}

/// The fields of the row that nobody reads; of turns as `messages[].name`.
pub fn unread(row: &Value) -> Vec<String> {
    let reads: &[&str] = format(row).map_or(&[], |format| format.reads);
    let mut unread = Vec::new();
    for (field, value) in row.as_object().into_iter().flatten() {
        if value.is_null() || COMMON.contains(&field.as_str()) {
            continue;
        }
        if !reads.contains(&field.as_str()) {
            unread.push(field.clone());
        } else if let (Value::Array(items), Some((_, known))) = (value, LISTS.iter().find(|(list, _)| list == field)) {
            let fields = items.iter().filter_map(Value::as_object).flatten();
            let fields = fields.filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null());
            unread.extend(fields.map(|(name, _)| format!("{field}[].{name}")));
        }
    }
    unread.sort_unstable();
    unread.dedup();
    unread
}

/// The fields of a turn.
const OF_TURNS: &[&str] = &["role", "content", "from", "value"];

/// Fields that may hold a list of objects, and the fields of these that are read.
const LISTS: [(&str, &[&str]); 7] = [
    ("prompt", OF_TURNS),
    ("messages", OF_TURNS),
    ("conversations", OF_TURNS),
    ("chosen", OF_TURNS),
    ("rejected", OF_TURNS),
    ("completions", &["response", "fine-grained_score", "overall_score"]),
    ("answers", &["answer", "rank"]),
];

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

/// Whether the row has a name of its own.
pub fn has_id(row: &Value) -> bool {
    row.get("id").is_some_and(|id| !id.is_null())
}

/// The field `prompt_group`: rows of one group are not independent of each other.
///
/// # Errors
/// The field `prompt_group` is neither a text nor a number.
pub fn group(row: &Value) -> Result<Option<String>> {
    label(row, "prompt_group")
}

/// A field by which rows belong together.
///
/// # Errors
/// It is neither a text nor a number.
pub fn label(row: &Value, field: &str) -> Result<Option<String>> {
    match row.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => bail!("field `{field}` is {}, neither a text nor a number", value::name(other)),
    }
}

/// The field `margin` of a pair: by how much the chosen answer is better.
///
/// # Errors
/// It holds no number.
pub fn margin(row: &Value) -> Result<Option<f64>> {
    first_of(row, &["margin"]).map(|field| value::number(row, field)).transpose()
}

/// Fields that ask, in the order in which they are looked for.
const ASKING: [&str; 6] = ["prompt", "messages", "conversations", "question", "instruction", "input"];

/// Fields that answer.
const ANSWERING: [&str; 4] = ["completion", "response", "output", "answer"];

/// The question of a row: a text, or a dialogue up to its last question; with all that goes with it. A field `prompt`
/// with nothing beside it goes to the model as it is; a question or an instruction is the turn of a user.
fn prompt(row: &Value) -> Result<Prompt> {
    let Some(field) = first_of(row, &ASKING) else { bail!("no field `prompt`") };
    if ["messages", "conversations"].contains(&field) {
        return with_system(row, dialogue(row, field)?.0);
    }
    if row[field].is_array() {
        return with_system(row, messages(row, field)?);
    }
    let mut content = if field == "prompt" { text(row, field)? } else { value::filled(row, field)? };
    for more in ["context", "input"] {
        if let (true, Some(more)) = (more != field, optional(row, more)?) {
            content = format!("{content}\n\n{more}");
        }
    }
    let has_turns = ["system", "system_prompt", "history"].iter().any(|field| match &row[field] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(turns) => !turns.is_empty(),
        _ => true,
    });
    if field == "prompt" && !has_turns {
        return Ok(Prompt::Text(content));
    }
    let mut turns = history(row)?;
    turns.push(user(content));
    with_system(row, turns)
}

/// Earlier turns as pairs of a question and its answer.
fn history(row: &Value) -> Result<Vec<Message>> {
    if !has(row, "history") {
        return Ok(Vec::new());
    }
    let turn = |value: &Value| Some([value.get(0)?.as_str()?.to_owned(), value.get(1)?.as_str()?.to_owned()]);
    let turns = value::list(row, "history", turn, "pairs of texts")?;
    Ok(turns.into_iter().flat_map(|[asked, answered]| [user(asked), turns::assistant(answered)]).collect())
}

/// A question with the one answer of the row, or with none.
fn question_and_answer(row: &Value) -> Result<Vec<Content>> {
    let completions = match first_of(row, &ANSWERING) {
        Some("completion") => Completions::One(answer(row, "completion")?),
        Some(field) => optional(row, field)?.map_or(Completions::None, Completions::One),
        None => Completions::None,
    };
    one(prompt(row)?, completions)
}

fn one(prompt: Prompt, completions: Completions) -> Result<Vec<Content>> {
    Ok(vec![Content { prompt, completions }])
}

fn answered_by_text(row: &Value) -> bool {
    has(row, "completion") || ANSWERING.iter().any(|field| is_text(row, field))
}

/// A dialogue with its last answer, if it ends with one.
fn conversation(row: &Value) -> Result<Vec<Content>> {
    let field = first_of(row, &["messages", "conversations"]).context("no field `messages`")?;
    let (turns, answer) = dialogue(row, field)?;
    one(with_system(row, turns)?, answer.map_or(Completions::None, Completions::One))
}

/// A chosen and a rejected answer. If both are whole dialogues, the turns they share are the prompt.
fn pair(row: &Value) -> Result<Vec<Content>> {
    let both = ["chosen", "rejected"];
    let are_lists = both.iter().all(|field| row.get(field).is_some_and(Value::is_array));
    let are_dialogues = are_lists && row[both[0]].as_array().is_some_and(|turns| turns.len() > 1);
    if first_of(row, &ASKING).is_some() && !are_dialogues {
        let prompt = prompt(row)?;
        let [chosen, rejected] = both.map(|field| answer(row, field));
        return one(prompt, Completions::Pair { chosen: chosen?, rejected: rejected? });
    }
    if !are_lists {
        bail!("no field `prompt`");
    }
    let [chosen, rejected] = both.map(|field| messages(row, field).map(|turns| Whole { field, turns }));
    let (prompt, completions) = parted(chosen?, rejected?)?;
    one(with_system(row, prompt)?, completions)
}

/// A whole dialogue in one field.
struct Whole<'a> {
    field: &'a str,
    turns: Vec<Message>,
}

/// Two dialogues as the turns that both have before their last ones, which answer.
fn parted(chosen: Whole, rejected: Whole) -> Result<(Vec<Message>, Completions)> {
    let [chosen, rejected] = [chosen, rejected].map(|Whole { field, mut turns }| -> Result<(Vec<Message>, String)> {
        let last = turns.pop().filter(|last| last.role == ASSISTANT && !last.content.trim().is_empty());
        let last = last.with_context(|| format!("field `{field}` does not end with an answer of the assistant"))?;
        Ok((turns, last.content))
    });
    let ((prompt, chosen), (other, rejected)) = (chosen?, rejected?);
    if prompt != other {
        bail!("`chosen` and `rejected` answer different dialogues: all but their last turn has to be the same");
    }
    if prompt.is_empty() {
        bail!("no field `prompt`");
    }
    Ok((prompt, Completions::Pair { chosen, rejected }))
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
    if content.trim().is_empty() {
        bail!("field `{field}` is empty");
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
