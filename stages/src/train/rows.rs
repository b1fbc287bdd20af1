//! Rows of data as tokens of a model: prompts with room for an answer, and answers after their prompts. Also splits
//! rows into training and held-out ones.

use super::ends::Ends;
use super::truncate::Truncate;
use crate::draw::Draw;
use crate::model::Artifact;
use anyhow::{Context, Result, bail};
use formats::data::{Question, RowFilter};
use formats::dialogue::{Message, Prompt, USER};
use formats::tokenizer::TokenPrompt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Tokens of a prompt and its completion, which begins at `start`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub ids: Vec<u32>,
    pub start: usize,
    /// Parts after `start` that are not learned: what others say in a dialogue all of whose answers are. In order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Range<usize>>,
}

impl Sequence {
    pub fn new(ids: Vec<u32>, start: usize) -> Sequence {
        Sequence { ids, start, gaps: Vec::new() }
    }

    pub fn completion(&self) -> &[u32] {
        &self.ids[self.start..]
    }

    /// Places of the tokens that are learned.
    pub fn learned(&self) -> impl Iterator<Item = usize> {
        (self.start..self.ids.len()).filter(|at| !self.gaps.iter().any(|gap| gap.contains(at)))
    }
}

/// Turns prompts and answers into tokens of a model.
pub struct RowEncoder<'a> {
    pub artifact: &'a Artifact,
    pub ends: Ends,
    /// Longest row, in tokens; longer ones are cut or left out.
    pub max_tokens: usize,
    pub truncate: Truncate,
}

/// The outcome of a row, or of the answers to one prompt.
pub enum Fit<T> {
    /// Beside it, whether something of it was cut.
    Fits(T, bool),
    /// It is left out, for this reason.
    TooLong(String),
}

impl RowEncoder<'_> {
    /// Tokenises one row.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn sequence(&self, prompt: &Prompt, completion: &str) -> Result<Fit<Sequence>> {
        let one = |mut rows: Vec<Option<Sequence>>| rows.pop().flatten().expect("the only answer fits, or none does");
        Ok(match self.sequences(prompt, &[completion])? {
            Fit::Fits(rows, cut) => Fit::Fits(one(rows), cut),
            Fit::TooLong(why) => Fit::TooLong(why),
        })
    }

    /// Tokenises a dialogue with its answer as the chat template writes both, to its last letter: so models that were trained
    /// elsewhere read it. One that is too long loses its first turns.
    ///
    /// # Errors
    /// There is no template, it refuses the dialogue, or the tokenizer fails.
    pub fn rendered(&self, messages: &[Message], answer: &str) -> Result<Fit<Vec<u32>>> {
        let tokenizer = &self.artifact.tokenizer;
        let (mut asked, mut is_cut) = (Prompt::Chat(messages.to_vec()), false);
        loop {
            let Prompt::Chat(messages) = &asked else { bail!("render a dialogue: it became a text") };
            let ids = tokenizer.rendered(messages, answer)?;
            known(self.artifact, ids.iter())?;
            if ids.len() <= self.max_tokens {
                return Ok(Fit::Fits(ids, is_cut));
            }
            let Some(shorter) = without_first_turn(&asked) else {
                return Ok(Fit::TooLong(format!(
                    "{} tokens are more than the {} that fit",
                    ids.len(),
                    self.max_tokens
                )));
            };
            (asked, is_cut) = (shorter, true);
        }
    }

    /// Tokenises the answers to one prompt, each behind the same tokens of it. An answer that is left out alone, because
    /// it is too long, is `None`.
    ///
    /// # Errors
    /// As [`RowEncoder::sequence`].
    pub fn sequences(&self, prompt: &Prompt, answers: &[&str]) -> Result<Fit<Vec<Option<Sequence>>>> {
        let tokenizer = &self.artifact.tokenizer;
        let (mut asked, mut tokens) = (prompt.clone(), tokenizer.prompt(prompt)?);
        if tokens.ids.is_empty() {
            bail!("tokenize: an empty prompt has no token to predict the answer from");
        }
        let all = |asked: &Prompt, tokens: &TokenPrompt| -> Result<Vec<Vec<u32>>> {
            let one = |answer: &&str| Ok(self.ends.ended(tokenizer.answer(asked, tokens, answer)?));
            answers.iter().map(one).collect()
        };
        let mut ended = all(&asked, &tokens)?;
        known(self.artifact, ended.iter().flatten().chain(&tokens.ids))?;
        let longest = |ended: &[Vec<u32>]| ended.iter().map(Vec::len).max().unwrap_or(0);
        let whole = tokens.ids.len();
        // 1. The prompt gives way, as far as it is to.
        if self.truncate.cuts_prompts() {
            while tokens.ids.len() + longest(&ended) > self.max_tokens
                && let Some(shorter) = without_first_turn(&asked)
            {
                tokens = tokenizer.prompt(&shorter)?;
                ended = all(&shorter, &tokens)?;
                asked = shorter;
            }
            if let Prompt::Text(_) = asked {
                let room = self.max_tokens.saturating_sub(longest(&ended));
                self.truncate.cut(&mut tokens.ids, tokenizer.front().len(), room);
            }
        }
        let start = tokens.ids.len();
        if start >= self.max_tokens {
            return Ok(Fit::TooLong(self.no_room(prompt, start)));
        }
        // 2. Answers are cut at their end, or left out.
        let is_shorter = start < whole;
        let (mut rows, mut is_cut) = (Vec::with_capacity(ended.len()), is_shorter);
        for answer in ended {
            let mut ids = [&tokens.ids[..], &answer].concat();
            let is_long = ids.len() > self.max_tokens;
            if is_long && self.truncate == Truncate::Drop {
                rows.push(None);
                continue;
            }
            ids.truncate(self.max_tokens);
            is_cut |= is_long;
            rows.push(Some(Sequence::new(ids, start)));
        }
        if rows.iter().all(Option::is_none) {
            let most = self.max_tokens;
            return Ok(Fit::TooLong(format!(
                "tokenize: it has more than {most} tokens, and `truncate: drop` leaves it out"
            )));
        }
        Ok(Fit::Fits(rows, is_cut))
    }

    /// Tokenises a dialogue whose answers are all learned.
    ///
    /// # Errors
    /// As [`RowEncoder::sequence`].
    pub fn dialogue(&self, messages: &[Message], answer: &str) -> Result<Fit<Sequence>> {
        let mut messages = messages.to_vec();
        let mut is_cut = false;
        loop {
            let mut found = self.artifact.tokenizer.dialogue(&messages, answer)?;
            let answers = self.ends.ended_dialogue(&mut found);
            known(self.artifact, &found.ids)?;
            let is_long = found.ids.len() > self.max_tokens;
            if is_long
                && self.truncate.cuts_prompts()
                && let Some(Prompt::Chat(shorter)) = without_first_turn(&Prompt::Chat(messages.clone()))
            {
                (messages, is_cut) = (shorter, true);
                continue;
            }
            let first = answers.first().map_or(usize::MAX, |answer| answer.start);
            if (is_long && self.truncate == Truncate::Drop) || first >= self.max_tokens {
                return Ok(Fit::TooLong(self.no_room(&Prompt::Chat(messages), found.ids.len())));
            }
            found.ids.truncate(self.max_tokens);
            let gaps = answers.windows(2).map(|two| two[0].end..two[1].start).filter(|gap| !gap.is_empty()).collect();
            let row = Sequence { ids: found.ids, start: first, gaps };
            return Ok(Fit::Fits(row, is_cut || is_long));
        }
    }

    fn no_room(&self, prompt: &Prompt, tokens: usize) -> String {
        let (room, remedy) = match self.max_tokens == self.artifact.config().context {
            true => ("the model's context of", "shorten it"),
            false => ("`max_tokens`", "raise that"),
        };
        format!(
            "the prompt has {tokens} tokens and leaves no room for an answer in {room} {}: {:?}; {remedy}, or take \
             `truncate: start`",
            self.max_tokens,
            beginning(prompt)
        )
    }
}

/// The first letters of a prompt.
fn beginning(prompt: &Prompt) -> String {
    let text = prompt.to_string();
    let mut shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A dialogue without the first question and the answers to it. The text of the system stays, and so does the last
/// question.
fn without_first_turn(prompt: &Prompt) -> Option<Prompt> {
    let Prompt::Chat(messages) = prompt else { return None };
    let is_question = |message: &Message| message.role == USER;
    let first = messages.iter().position(|message| message.role != "system")?;
    let next = first + 1 + messages[first + 1..].iter().position(is_question)?;
    Some(Prompt::Chat([&messages[..first], &messages[next..]].concat()))
}

/// Tokenises the rows of a port in parallel by `one`. Leaves out bad rows as far as the filter allows, and those that are
/// too long, and counts these and the rows that were cut. `place` names a row.
///
/// # Errors
/// More rows are bad than may be left out, or none is left.
pub fn tokenised<R: Sync, T: Send>(
    rows: Vec<R>,
    port: &str,
    filter: &mut RowFilter,
    place: impl Fn(&R) -> String + Sync + Send,
    one: impl Fn(&R) -> Result<Fit<T>> + Sync + Send,
) -> Result<Vec<(R, T)>> {
    let all = rows.par_iter().map(|row| one(row).with_context(|| format!("{} of `{port}`", place(row))));
    let all: Vec<Result<Fit<T>>> = all.collect();
    let mut out = Vec::with_capacity(rows.len());
    let mut first = None;
    for (row, fit) in rows.into_iter().zip(all) {
        match filter.take(fit)? {
            Some(Fit::Fits(tokens, is_cut)) => {
                if is_cut {
                    filter.cut(&place(&row));
                }
                out.push((row, tokens));
            }
            Some(Fit::TooLong(why)) => {
                let why = format!("{}: {why}", place(&row));
                filter.leave_out_long(&why);
                first.get_or_insert(why);
            }
            None => {}
        }
    }
    filter.end_file(format_args!("`{port}`"));
    if out.is_empty() {
        match first {
            Some(why) => bail!("read `{port}`: every row was left out; the first: {why}"),
            None => bail!("read `{port}`: every row was left out"),
        }
    }
    Ok(out)
}

/// Checks that the vocabulary of the model has all these tokens.
fn known<'a>(artifact: &Artifact, ids: impl IntoIterator<Item = &'a u32>) -> Result<()> {
    let vocabulary = artifact.config().vocabulary;
    match ids.into_iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => bail!(
            "tokenize: token {id} (`{}`) is beyond the {vocabulary} of the model; the tokenizer (or `stop_token`) is of \
             another one",
            artifact.tokenizer.token(*id)
        ),
        None => Ok(()),
    }
}

/// Tokenises prompts, each with room for an answer of `max_new` tokens; returns the remaining questions and their tokens.
///
/// # Errors
/// The tokenizer refuses a prompt, and no more rows may be left out; or no prompt is left.
pub fn prompts(
    artifact: &Artifact,
    questions: Vec<Question>,
    max_new: usize,
    truncate: Truncate,
    filter: &mut RowFilter,
) -> Result<(Vec<Question>, Vec<Vec<u32>>)> {
    let context = artifact.config().context;
    let room = context.saturating_sub(max_new);
    let tokens = |row: &Question| {
        let mut prompt = row.prompt.clone();
        let mut ids = artifact.tokenizer.prompt(&prompt)?.ids;
        if ids.is_empty() {
            bail!("tokenize: the prompt has no tokens");
        }
        known(artifact, &ids)?;
        let whole = ids.len();
        if truncate.cuts_prompts() {
            while ids.len() > room
                && let Some(shorter) = without_first_turn(&prompt)
            {
                ids = artifact.tokenizer.prompt(&shorter)?.ids;
                prompt = shorter;
            }
            if let Prompt::Text(_) = prompt {
                truncate.cut(&mut ids, artifact.tokenizer.front().len(), room);
            }
        }
        if ids.len() > room {
            return Ok(Fit::TooLong(format!(
                "the prompt has {} tokens, which with `max_new_tokens` {max_new} exceed the model's context of {context}; \
                 shorten it, lower `max_new_tokens`, or take `truncate: start`",
                ids.len()
            )));
        }
        let is_cut = ids.len() < whole;
        Ok(Fit::Fits(ids, is_cut))
    };
    let place = |row: &Question| format!("row `{}`", row.id);
    Ok(tokenised(questions, "prompts", filter, place, tokens)?.into_iter().unzip())
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

/// The rows to train on, each as often as its weight says. Of the rows of a weight, such a share as its fraction is
/// drawn once more.
pub fn by_weight(rows: Vec<usize>, weight: impl Fn(usize) -> f64, draw: Draw) -> Vec<usize> {
    if rows.iter().all(|row| weight(*row) == 1.0) {
        return rows;
    }
    let mut alike: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for place in draw.order(0, rows.len()) {
        alike.entry(weight(rows[place]).to_bits()).or_default().push(rows[place]);
    }
    let mut all = Vec::new();
    for (weight, rows) in alike {
        let weight = f64::from_bits(weight);
        let more = (rows.len() as f64 * weight.fract()).round() as usize;
        let times = |place: usize| weight as usize + usize::from(place < more);
        all.extend(rows.iter().enumerate().flat_map(|(place, row)| std::iter::repeat_n(*row, times(place))));
    }
    all.sort_unstable();
    // A very small weight still leaves a row.
    if all.is_empty() { rows } else { all }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_trained_on_as_often_as_its_weight_says() {
        let draw = Draw { seed: 7, kind: "sft", purpose: "weight" };
        let rows: Vec<usize> = (10..30).collect();
        assert_eq!(by_weight(rows.clone(), |_| 1.0, draw), rows);
        // The first ten rows twice and a half, the others at a fifth.
        let weight = |row: usize| if row < 20 { 2.5 } else { 0.2 };
        let all = by_weight(rows.clone(), weight, draw);
        let times = |row: usize| all.iter().filter(|other| **other == row).count();
        assert!((10..20).all(|row| [2, 3].contains(&times(row))), "{all:?}");
        assert!((20..30).all(|row| times(row) <= 1), "{all:?}");
        assert_eq!((all.iter().filter(|row| **row < 20).count(), all.len()), (25, 27));
        assert_eq!(all, by_weight(rows.clone(), weight, draw));
        assert_ne!(all, by_weight(rows.clone(), weight, Draw { seed: 8, ..draw }));
        assert_eq!(by_weight(rows.clone(), |_| 1e-9, draw), rows, "something is left to train on");
    }
}
