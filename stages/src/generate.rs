//! Batched decoding with a key/value cache. Draws are named by row and token and made on the host, so that every
//! backend draws alike.

use crate::draw::Draw;
use crate::kernel::{self, Draws, Keep, Sampling};
use crate::model::{Adapter, Decoder, Padding};
use crate::model::{predict, sizes, weights};
use crate::rl;
use crate::tensor::{from_ids, ids_of};
use anyhow::{Result, bail};
use burn::tensor::{Int, Tensor};
use std::ops::Range;

/// The parameters of decoding.
#[derive(Clone, Copy)]
pub struct Decoding<'a> {
    /// The longest answer, in tokens.
    pub max_new: usize,
    /// Tokens that end an answer.
    pub stops: &'a [u32],
    pub choice: Choice<'a>,
    /// Number of prompts of similar length that are decoded together.
    pub at_once: usize,
}

/// The choice of the next token.
#[derive(Clone, Copy)]
pub enum Choice<'a> {
    /// The most likely token; ties go to the lower id.
    Greedy,
    /// A draw from softmax(logits / temperature), of what `keep` leaves.
    Sample { temperature: f64, keep: Keep, draw: Draw, of: DrawNames<'a> },
}

/// Names of the draws of rows.
#[derive(Clone, Copy)]
pub enum DrawNames<'a> {
    /// Row r draws from `(step, first_row + r)`.
    Counted { step: u64, first_row: u64 },
    /// Row r draws from `(rows[r], number)`, whatever rows are beside it.
    Named { rows: &'a [u64], number: u64 },
}

impl DrawNames<'_> {
    fn uniform(self, draw: Draw, row: usize, token: usize) -> f64 {
        let (step, row) = match self {
            DrawNames::Counted { step, first_row } => (step, first_row + row as u64),
            DrawNames::Named { rows, number } => (rows[row], number),
        };
        draw.stream(step, (row << 32) | token as u64).uniform()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The stop token included.
    pub ids: Vec<u32>,
    pub has_ended: bool,
}

/// Answers to `prompts`, in their order.
///
/// # Errors
/// A prompt leaves no room in the context, the logits are no numbers, or the device cannot be read.
pub fn answer(
    model: &Decoder,
    adapter: Option<&Adapter>,
    prompts: &[&[u32]],
    decoding: Decoding,
) -> Result<Vec<Answer>> {
    let width = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    if width + decoding.max_new > model.config.context {
        bail!(
            "decode: a prompt of {width} tokens and {} new ones exceed the model's context of {}; lower `max_new_tokens`",
            decoding.max_new,
            model.config.context
        );
    }
    // A row that grew past it while it is decoded would turn in another way than when it is learned from.
    let longest = width + decoding.max_new;
    let mut bounds = model.config.ropes.iter().filter_map(|rope| rope.long.as_ref()).map(|long| long.beyond);
    if let Some(beyond) = bounds.find(|beyond| longest > *beyond && prompts.iter().any(|row| row.len() <= *beyond)) {
        bail!(
            "decode: rows of up to {longest} tokens go past {beyond}, where the positions of this model change (`longrope`), \
             and some begin before it; lower `max_new_tokens`, or take prompts of one side"
        );
    }
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|row| prompts[*row].len());
    let mut answers: Vec<Option<Answer>> = vec![None; prompts.len()];
    // Rows do not see each other: fewer at once give the same answers.
    let device = model.device();
    let fit = sizes::rows_decoded_at_once(&model.config, weights::bytes(model), width, longest, &device);
    let at_once = decoding.at_once.min(fit);
    for rows in order.chunks(at_once.max(1)) {
        let now = decode(model, adapter, prompts, rows, decoding)?;
        rows.iter().zip(now).for_each(|(row, answer)| answers[*row] = Some(answer));
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Answers to the prompts that `rows` names, decoded together.
fn decode(
    model: &Decoder,
    adapter: Option<&Adapter>,
    prompts: &[&[u32]],
    rows: &[usize],
    decoding: Decoding,
) -> Result<Vec<Answer>> {
    let device = model.device();
    let kernel = kernel::of(&device);
    let picked: Vec<&[u32]> = rows.iter().map(|row| prompts[*row]).collect();
    let width = picked.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let mut cache = model.cache(width + decoding.max_new);
    let batch = model.batch(&picked, Padding::of_prompts(&device));
    let ends: Vec<usize> = batch.spans.iter().map(|span| span.last()).collect();
    let mut hidden = predict::at(&model.hidden(adapter, &batch, Some(&mut cache)), &ends);
    let mut open = OpenAnswers::new(rows.len());
    let mut unread: Vec<Tensor<1, Int>> = Vec::new();
    let mut draws = Draws::Host(Vec::new());
    for token in 0..decoding.max_new {
        // Those of all tokens up to the next read are made, and sent, at once.
        if unread.is_empty() && !matches!(decoding.choice, Choice::Greedy) {
            let last = decoding.max_new.min(token + kernel.tokens_between_reads());
            draws = kernel.draws(open.draws(decoding.choice, rows, token..last), &device);
        }
        let sampling = match decoding.choice {
            Choice::Greedy => None,
            Choice::Sample { temperature, keep, .. } => {
                Some(Sampling { temperature, keep, draws: &draws, token: unread.len() })
            }
        };
        let mut next = kernel.choose(model.logits(hidden), sampling);
        unread.push(next.clone());
        let is_last = token + 1 == decoding.max_new;
        if unread.len() == kernel.tokens_between_reads() || is_last {
            open.add(&read(std::mem::take(&mut unread))?, model.config.vocabulary, decoding.stops)?;
            let going = open.going();
            if going.is_empty() || is_last {
                break;
            }
            // Finished rows are dropped once they are a third of the batch: fewer copies than dropping each at once.
            if going.len() * 3 <= open.alive.len() * 2 {
                cache.keep(&going);
                open.keep(&going);
                let slots: Vec<u32> = going.iter().map(|slot| *slot as u32).collect();
                next = next.select(0, from_ids(&slots, &device));
            }
        }
        let batch = model.next(&mut cache, next);
        hidden = model.hidden(adapter, &batch, Some(&mut cache));
    }
    Ok(open.answers)
}

/// The answers of a batch while they grow.
struct OpenAnswers {
    answers: Vec<Answer>,
    /// The rows that the cache still holds, by their index in `answers`.
    alive: Vec<usize>,
}

impl OpenAnswers {
    fn new(rows: usize) -> OpenAnswers {
        OpenAnswers { answers: vec![Answer { ids: Vec::new(), has_ended: false }; rows], alive: (0..rows).collect() }
    }

    /// One draw for each row in the cache, token by token.
    fn draws(&self, choice: Choice, rows: &[usize], tokens: Range<usize>) -> Vec<f64> {
        let Choice::Sample { draw, of, .. } = choice else { return Vec::new() };
        let one = |token: usize, at: usize| of.uniform(draw, rows[at], token);
        tokens.flat_map(|token| self.alive.iter().map(move |at| one(token, *at))).collect()
    }

    /// Adds tokens, one of each row in the cache after the other. A finished row that is still in the cache takes no
    /// more.
    fn add(&mut self, ids: &[u32], vocabulary: usize, stops: &[u32]) -> Result<()> {
        for ids in ids.chunks_exact(self.alive.len()) {
            for (at, id) in self.alive.iter().zip(ids) {
                if *id as usize >= vocabulary {
                    bail!("decode: the logits are not finite; the model has diverged (lower `lr`)");
                }
                let answer = &mut self.answers[*at];
                if !answer.has_ended {
                    answer.ids.push(*id);
                    answer.has_ended = rl::truncated(&[*id], stops).1;
                }
            }
        }
        Ok(())
    }

    /// The rows of the cache whose answers have not ended.
    fn going(&self) -> Vec<usize> {
        (0..self.alive.len()).filter(|slot| !self.answers[self.alive[*slot]].has_ended).collect()
    }

    fn keep(&mut self, slots: &[usize]) {
        self.alive = slots.iter().map(|slot| self.alive[*slot]).collect();
    }
}

/// Reads the ids chosen on a device: one token of all rows after the other.
fn read(ids: Vec<Tensor<1, Int>>) -> Result<Vec<u32>> {
    let ids = ids_of(Tensor::cat(ids, 0))?;
    // A negative number is no token: it becomes one beyond every vocabulary.
    Ok(ids.into_iter().map(|id| u32::try_from(id).unwrap_or(u32::MAX)).collect())
}
