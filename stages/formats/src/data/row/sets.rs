//! Rows of well-known data sets that have fields of their own.

use super::turns::{
    assistant, dialogue, helpsteer as helpsteer_turns, is_transcript, transcript, user, with_system, written,
};
use super::value::{filled, has, list, number, text, texts, whole, whole_of};
use super::{Completions, Content, one, prompt};
use crate::dialogue::{ASSISTANT, Message, Prompt};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Two transcripts: the turns that both begin with are the prompt. What follows is the answer, later turns among it as
/// they are written: people judged all of it.
pub fn transcripts(row: &Value) -> Result<Vec<Content>> {
    let [chosen, rejected] = ["chosen", "rejected"].map(|field| text(row, field).and_then(|text| transcript(&text)));
    let (chosen, rejected) = (chosen?, rejected?);
    let mut common = chosen.iter().zip(&rejected).take_while(|(one, other)| one == other).count();
    // Both may end with the same answer, and each is to have one.
    common = common.min(chosen.len() - 1).min(rejected.len() - 1);
    let answers = |turns: &[Message], at: usize| turns[at].role == ASSISTANT;
    while common > 0 && !(answers(&chosen, common) && answers(&rejected, common)) {
        common -= 1;
    }
    if common == 0 {
        bail!("`chosen` and `rejected` have no turn in common before an answer");
    }
    let [chosen_text, rejected_text] = [&chosen, &rejected].map(|turns| written(&turns[common..]));
    let completions = Completions::Pair { chosen: chosen_text, rejected: rejected_text };
    one(with_system(row, chosen[..common].to_vec())?, completions)
}

pub fn helpsteer(row: &Value) -> Result<Vec<Content>> {
    let turns = helpsteer_turns(&filled(row, "prompt")?);
    one(Prompt::Chat(turns), Completions::Rated(vec![(filled(row, "response")?, number(row, "helpfulness")?)]))
}

/// Two responses, and a number that is below 0 where the first one is better.
pub fn strength(row: &Value, turns: Vec<Message>, field: &str) -> Result<Vec<Content>> {
    let names = if has(row, "response1") { ["response1", "response2"] } else { ["response_1", "response_2"] };
    let strength = number(row, field)?;
    if strength == 0.0 {
        return tie(row, turns, names);
    }
    one_of_two(row, turns, names, usize::from(strength > 0.0))
}

/// Two answers, of which the one at this place is better.
pub fn one_of_two(row: &Value, turns: Vec<Message>, names: [&str; 2], better: usize) -> Result<Vec<Content>> {
    let (chosen, rejected) = (filled(row, names[better])?, filled(row, names[1 - better])?);
    one(Prompt::Chat(turns), Completions::Pair { chosen, rejected })
}

fn tie(row: &Value, turns: Vec<Message>, names: [&str; 2]) -> Result<Vec<Content>> {
    let [first, second] = names.map(|name| filled(row, name));
    one(Prompt::Chat(turns), Completions::Ranked(vec![(first?, 1), (second?, 1)]))
}

/// The fields of rows with votes.
pub const VOTED: &[&str] = &[
    "prompt",
    "question",
    "instruction",
    "input",
    "context",
    "system",
    "response1",
    "response2",
    "label_0",
    "label_1",
    "label_2",
    "label_3",
    "label_4",
    "annotator1",
    "annotator2",
    "annotator3",
    "annotator4",
    "annotator5",
];

/// The fields in which people voted.
pub fn votes_of(row: &Value) -> impl Iterator<Item = &str> {
    let is_vote = |name: &str| {
        let number = name.strip_prefix("label_").or_else(|| name.strip_prefix("annotator"));
        number.is_some_and(|number| matches!(number, "0" | "1" | "2" | "3" | "4" | "5"))
    };
    let fields = row.as_object().into_iter().flatten();
    fields.filter(move |(name, value)| !value.is_null() && is_vote(name)).map(|(name, _)| name.as_str())
}

pub fn votes(row: &Value) -> Result<Vec<Content>> {
    let mut votes = [0; 2];
    let mut ties = 0;
    for field in votes_of(row) {
        match whole(row, field)? {
            0 => ties += 1,
            1 => votes[0] += 1,
            2 => votes[1] += 1,
            other => bail!("field `{field}` is {other}, neither 1, 2 nor 0"),
        }
    }
    let [first, second] = ["response1", "response2"].map(|name| filled(row, name));
    one(prompt(row)?, Completions::Voted { answers: [first?, second?], votes, ties })
}

pub fn nectar(row: &Value) -> Result<Vec<Content>> {
    let asked = filled(row, "prompt")?;
    let mut turns = if is_transcript(&asked) { transcript(&asked)? } else { vec![user(asked)] };
    // The place of the answer.
    if turns.last().is_some_and(|last| last.role == ASSISTANT && last.content.trim().is_empty()) {
        turns.pop();
    }
    let answers = row["answers"].as_array().context("field `answers` is no list")?;
    let answer = |(index, answer): (usize, &Value)| -> Result<(String, i64)> {
        let read = || -> Result<(String, i64)> { Ok((text(answer, "answer")?, whole(answer, "rank")?)) };
        read().with_context(|| format!("field `answers`, answer {}", index + 1))
    };
    let ranked = answers.iter().enumerate().map(answer).collect::<Result<Vec<_>>>()?;
    one(Prompt::Chat(turns), Completions::Ranked(ranked))
}

pub fn ultrafeedback(row: &Value) -> Result<Vec<Content>> {
    let completions = row["completions"].as_array().context("field `completions` is no list")?;
    let mut scores = ["fine-grained_score", "overall_score"].into_iter();
    let score = scores.find(|score| completions.iter().all(|completion| has(completion, score)));
    let score = score.context("field `completions`: not every answer has a `fine-grained_score` or `overall_score`")?;
    let rated = completions.iter().map(|completion| Ok((text(completion, "response")?, number(completion, score)?)));
    let rated: Vec<(String, f64)> = rated.collect::<Result<_>>().context("field `completions`")?;
    one(Prompt::Chat(vec![user(filled(row, "instruction")?)]), Completions::Rated(rated))
}

/// Answers with a rank each.
pub fn rankings(row: &Value) -> Result<Vec<Content>> {
    let prompt = prompt(row)?;
    let answers = texts(row, "completion")?;
    let ranks: Vec<i64> = list(row, "ranking", whole_of, "whole numbers")?;
    if answers.len() != ranks.len() {
        bail!("`completion` has {} answers, `ranking` has {} ranks", answers.len(), ranks.len());
    }
    one(prompt, Completions::Ranked(answers.into_iter().zip(ranks).collect()))
}

/// Whether both sides are lists of texts.
pub fn is_good_and_bad(row: &Value) -> bool {
    let is_text_list = |field: &str| {
        let list = row.get(field).and_then(Value::as_array);
        list.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string))
    };
    is_text_list("chosen") && is_text_list("rejected")
}

/// Good answers before bad ones; those of a side tie.
pub fn good_and_bad(row: &Value) -> Result<Vec<Content>> {
    let [good, bad] = ["chosen", "rejected"].map(|field| texts(row, field));
    let ranked = good?.into_iter().map(|text| (text, 1)).chain(bad?.into_iter().map(|text| (text, 2)));
    one(prompt(row)?, Completions::Ranked(ranked.collect()))
}

pub fn arena(row: &Value) -> Result<Vec<Content>> {
    let (prompt, first) = dialogue(row, "conversation_a")?;
    let (other, second) = dialogue(row, "conversation_b")?;
    if prompt != other {
        bail!("`conversation_a` and `conversation_b` differ before their last answers");
    }
    let (Some(first), Some(second)) = (first, second) else {
        bail!("a conversation does not end with an answer of the assistant");
    };
    let completions = match text(row, "winner")?.as_str() {
        "model_a" => Completions::Pair { chosen: first, rejected: second },
        "model_b" => Completions::Pair { chosen: second, rejected: first },
        tie if tie.starts_with("tie") || tie.starts_with("both") => Completions::Ranked(vec![(first, 1), (second, 1)]),
        other => bail!("field `winner` is `{other}`, neither `model_a`, `model_b` nor a tie"),
    };
    one(Prompt::Chat(prompt), completions)
}

/// A tree of messages as its questions, each with the replies to it.
pub fn trees(row: &Value) -> Result<Vec<Content>> {
    let mut contents = Vec::new();
    grow(&row["prompt"], Vec::new(), &mut contents)?;
    if contents.is_empty() {
        bail!("the tree holds no question with an answer");
    }
    Ok(contents)
}

/// Adds the questions of a message and of all below it.
fn grow(node: &Value, mut before: Vec<Message>, contents: &mut Vec<Content>) -> Result<()> {
    let content = text(node, "text")?;
    let is_reply = text(node, "role")? == "assistant";
    before.push(if is_reply { assistant(content) } else { user(content) });
    let replies = node.get("replies").and_then(Value::as_array).into_iter().flatten();
    let replies: Vec<&Value> = replies.filter(|reply| reply.get("deleted") != Some(&Value::Bool(true))).collect();
    if !is_reply && !replies.is_empty() {
        let rank = |reply: &Value| reply.get("rank").and_then(whole_of);
        let answers = replies.iter().map(|reply| text(reply, "text")).collect::<Result<Vec<_>>>()?;
        let ranks: Option<Vec<i64>> = replies.iter().map(|reply| rank(reply)).collect();
        let completions = match ranks {
            Some(ranks) if ranks.len() > 1 => Completions::Ranked(answers.into_iter().zip(ranks).collect()),
            // Replies that nobody ranked: the first one.
            _ => Completions::One(answers.into_iter().next().context("there is one")?),
        };
        contents.push(Content { prompt: Prompt::Chat(before.clone()), completions });
    }
    replies.into_iter().try_for_each(|reply| grow(reply, before.clone(), contents))
}
