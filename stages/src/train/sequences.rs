//! Rows of data as tokens of a model: prompts that leave room for an answer, and answers behind their prompts. Knows no
//! tensor.

use crate::data::{Prompt, Question, Sieve};
use crate::model::Artifact;
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Prompt and completion as tokens; those from `start` on are the completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub ids: Vec<u32>,
    pub start: usize,
}

impl Sequence {
    pub fn completion(&self) -> &[u32] {
        &self.ids[self.start..]
    }
}

/// Tokenises one row; `end` is put behind the completion, unless a chat template has ended it by one of `stops` already:
/// that is then the end, and what the template puts behind it is left out. Cuts the row to `max_tokens` and says whether
/// it did.
///
/// # Errors
/// The tokenizer refuses it, or the prompt leaves no room for an answer.
pub fn sequence(
    artifact: &Artifact,
    (prompt, completion): (&Prompt, &str),
    end: Option<u32>,
    max_tokens: usize,
) -> Result<(Sequence, bool)> {
    let mut ids = artifact.tokenizer.prompt(prompt)?;
    let start = ids.len();
    if start == 0 {
        bail!("tokenize: an empty prompt has no token to predict the answer from");
    }
    let mut answer = artifact.tokenizer.completion(prompt, completion)?;
    let mut end = end;
    if let Prompt::Chat(_) = prompt
        && let Some(place) = answer.iter().position(|id| artifact.model.config.eos.contains(id))
    {
        end = end.map(|_| answer[place]);
        answer.truncate(place);
    }
    ids.extend(answer);
    ids.extend(end);
    known(artifact, &ids)?;
    let is_cut = ids.len() > max_tokens;
    ids.truncate(max_tokens);
    if start >= ids.len() {
        let text = prompt.to_string();
        let mut shown: String = text.chars().take(40).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let (room, remedy) = match max_tokens == artifact.model.config.context {
            true => ("the model's context of", "shorten it"),
            false => ("`max_tokens`", "raise that"),
        };
        bail!(
            "tokenize: the prompt has {start} tokens and leaves no room for an answer in {room} {max_tokens}: {shown:?}; \
             {remedy}, or let `--skip-bad-rows N` leave such rows out"
        );
    }
    Ok((Sequence { ids, start }, is_cut))
}

/// That the model has all these tokens.
fn known(artifact: &Artifact, ids: &[u32]) -> Result<()> {
    let vocabulary = artifact.model.config.vocabulary;
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => bail!(
            "tokenize: token {id} (`{}`) is beyond the {vocabulary} of the model; the tokenizer (or `stop_token`) is of \
             another one",
            artifact.tokenizer.token(*id)
        ),
        None => Ok(()),
    }
}

/// Prompts as tokens, each with room for an answer, and the questions that are left with them.
///
/// # Errors
/// The first that has no room is named, when no more may be left out.
pub fn prompts(
    artifact: &Artifact,
    questions: Vec<Question>,
    max_new: usize,
    sieve: &mut Sieve,
) -> Result<(Vec<Question>, Vec<Vec<u32>>)> {
    let context = artifact.model.config.context;
    let tokens = |row: &Question| {
        let ids =
            artifact.tokenizer.prompt(&row.prompt).with_context(|| format!("tokenize prompts: row `{}`", row.id))?;
        if ids.is_empty() {
            bail!("tokenize prompts: row `{}` has no tokens", row.id);
        }
        known(artifact, &ids).with_context(|| format!("tokenize prompts: row `{}`", row.id))?;
        if ids.len() + max_new > context {
            bail!(
                "tokenize prompts: row `{}` has {} tokens, which with `max_new_tokens` {max_new} exceed the model's \
                 context of {context}; shorten it, lower `max_new_tokens`, or let `--skip-bad-rows N` leave such rows out",
                row.id,
                ids.len()
            );
        }
        Ok(ids)
    };
    let all: Vec<Result<Vec<u32>>> = questions.par_iter().map(tokens).collect();
    let mut out = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for (question, ids) in questions.into_iter().zip(all) {
        if let Some(ids) = sieve.take(ids)? {
            out.0.push(question);
            out.1.push(ids);
        }
    }
    if out.0.is_empty() {
        bail!("tokenize prompts: every row was left out");
    }
    Ok(out)
}
