//! Rows of data as tokens of a model: prompts with room for an answer, and answers after their prompts. Also splits
//! rows into training and held-out ones.

use crate::draw::Draw;
use crate::model::Artifact;
use anyhow::{Context, Result, bail};
use formats::data::{Question, RowFilter};
use formats::dialogue::Prompt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Tokens of a prompt and its completion, which begins at `start`.
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

/// Turns prompts and answers into tokens of a model.
pub struct RowEncoder<'a> {
    pub artifact: &'a Artifact,
    /// Put after each answer. If a chat template has already ended the answer with a stop token of the model, that
    /// token is the end, and whatever the template puts after it is left out.
    pub end: Option<u32>,
    /// Longest row, in tokens; longer ones are cut.
    pub max_tokens: usize,
}

impl RowEncoder<'_> {
    /// Tokenises one row, and tells whether it was cut.
    ///
    /// # Errors
    /// The tokenizer refuses the text, or the prompt leaves no room for an answer.
    pub fn sequence(&self, prompt: &Prompt, completion: &str) -> Result<(Sequence, bool)> {
        let RowEncoder { artifact, mut end, max_tokens } = *self;
        let mut ids = artifact.tokenizer.prompt(prompt)?;
        let start = ids.len();
        if start == 0 {
            bail!("tokenize: an empty prompt has no token to predict the answer from");
        }
        let mut answer = artifact.tokenizer.completion(prompt, completion)?;
        if let Prompt::Chat(_) = prompt
            && let Some(index) = answer.iter().position(|id| artifact.model.config.eos.contains(id))
        {
            end = end.map(|_| answer[index]);
            answer.truncate(index);
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
}

/// Tokenises rows in parallel by `one`, which also returns how many answers it cut. Leaves out bad rows as far as the
/// filter allows, and counts the cut answers. `task` is named in errors.
///
/// # Errors
/// More rows are bad than may be left out, or all of them are.
pub fn tokenised<R: Sync, T: Send>(
    rows: Vec<R>,
    task: impl Display,
    filter: &mut RowFilter,
    one: impl Fn(&R) -> Result<(T, usize)> + Sync + Send,
) -> Result<Vec<(R, T)>> {
    let all: Vec<Result<(T, usize)>> = rows.par_iter().map(one).collect();
    let mut out = Vec::with_capacity(rows.len());
    for (row, tokens) in rows.into_iter().zip(all) {
        if let Some((tokens, cut)) = filter.take(tokens)? {
            filter.truncated += cut as u64;
            out.push((row, tokens));
        }
    }
    if out.is_empty() {
        bail!("{task}: every row was left out");
    }
    Ok(out)
}

/// Checks that the vocabulary of the model has all these tokens.
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

/// Tokenises prompts, each with room for an answer; returns the remaining questions and their tokens.
///
/// # Errors
/// A prompt has no room for an answer, and no more rows may be left out.
pub fn prompts(
    artifact: &Artifact,
    questions: Vec<Question>,
    max_new: usize,
    filter: &mut RowFilter,
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
        Ok((ids, 0))
    };
    Ok(tokenised(questions, "tokenize prompts", filter, tokens)?.into_iter().unzip())
}

/// Splits rows by prompt, so that no prompt is on both sides; returns the numbers of the training and of the held-out
/// rows.
///
/// # Errors
/// As [`split`].
pub fn split_by_prompt<'a>(
    prompts: impl Iterator<Item = &'a Prompt>,
    draw: Draw,
    share: f64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut groups: BTreeMap<&Prompt, Vec<usize>> = BTreeMap::new();
    prompts.enumerate().for_each(|(row, prompt)| groups.entry(prompt).or_default().push(row));
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let (training, heldout) = split(&draw.order(0, groups.len()), share)?;
    let rows = |side: Vec<usize>| side.iter().flat_map(|group| groups[*group].iter().copied()).collect();
    Ok((rows(training), rows(heldout)))
}

/// Splits rows (or groups of rows) in drawn order into training and held-out ones; at least one of each.
pub fn split(order: &[usize], share: f64) -> Result<(Vec<usize>, Vec<usize>)> {
    if order.len() < 2 {
        bail!(
            "hold out rows to measure on: there is only one prompt or document, and it is needed for training; add rows, or \
             connect `heldout` where the kind has that port"
        );
    }
    let held = ((order.len() as f64 * share).round() as usize).clamp(1, order.len() - 1);
    let (heldout, training) = order.split_at(held);
    let (mut training, mut heldout) = (training.to_vec(), heldout.to_vec());
    training.sort_unstable();
    heldout.sort_unstable();
    Ok((training, heldout))
}
