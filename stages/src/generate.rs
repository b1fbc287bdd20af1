//! Batched decoding with a key/value cache. Draws are named by row and token and made on the host, so that every backend
//! draws alike; where reading the logits would stop a device after each token, it picks the token itself.

mod device;
mod host;

use crate::draw::Draw;
use crate::model::artifact::values_of;
use crate::model::host::is_host;
use crate::model::predict;
use crate::model::{Adapter, Batch, Cache, Decoder, Padding};
use crate::rl;
use anyhow::{Result, bail};
use burn::tensor::{Int, Tensor};

/// The rule that chooses the next token.
#[derive(Clone, Copy)]
pub enum Choice {
    /// The most likely token; ties go to the lower id.
    Greedy,
    /// From softmax(logits / temperature), of what `keep` leaves. Row r draws from `(step, first_row + r)`.
    Sample { temperature: f64, keep: Keep, draw: Draw, step: u64, first_row: u64 },
}

/// The most likely tokens that are sampled from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keep {
    /// This many (Fan et al. 2018, section 5.4).
    pub top_k: Option<usize>,
    /// The fewest that together hold this probability (Holtzman et al. 2020, eq. 2).
    pub top_p: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Up to and with the stop token.
    pub ids: Vec<u32>,
    pub has_ended: bool,
}

/// Tokens a device chooses before the host looks for ends.
const BETWEEN_LOOKS: usize = 8;

/// Answers `prompts` with at most `max_new` tokens each, `at_once` prompts of similar length at a time.
///
/// # Errors
/// A prompt leaves no room in the context, the logits are no numbers, or the device cannot be read.
pub fn answer(
    model: &Decoder,
    adapter: Option<&Adapter>,
    prompts: &[&[u32]],
    max_new: usize,
    stops: &[u32],
    choice: Choice,
    at_once: usize,
) -> Result<Vec<Answer>> {
    let width = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    if width + max_new > model.config.context {
        bail!(
            "decode: a prompt of {width} tokens and {max_new} new ones exceed the model's context of {}; lower `max_new_tokens`",
            model.config.context
        );
    }
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|row| prompts[*row].len());
    let mut answers: Vec<Option<Answer>> = vec![None; prompts.len()];
    for rows in order.chunks(at_once.max(1)) {
        let now = decode(model, adapter, prompts, rows, max_new, stops, choice)?;
        rows.iter().zip(now).for_each(|(row, answer)| answers[*row] = Some(answer));
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Decodes the prompts with these numbers together.
fn decode(
    model: &Decoder,
    adapter: Option<&Adapter>,
    prompts: &[&[u32]],
    rows: &[usize],
    max_new: usize,
    stops: &[u32],
    choice: Choice,
) -> Result<Vec<Answer>> {
    let device = model.device();
    let picked: Vec<&[u32]> = rows.iter().map(|row| prompts[*row]).collect();
    let width = picked.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let mut cache = Cache::new(model.config.layers, width + max_new);
    let batch = Batch::new(&model.config, &picked, Padding::of_prompts(&device), &device);
    let ends: Vec<usize> = batch.spans.iter().map(|span| span.last()).collect();
    let mut hidden = predict::at(&model.hidden(adapter, &batch, Some(&mut cache)), &ends);
    let mut answers = vec![Answer { ids: Vec::new(), has_ended: false }; rows.len()];
    // Rows of the cache that are still being written, by their place in `answers`.
    let mut alive: Vec<usize> = (0..rows.len()).collect();
    let between = if is_host(&device) { 1 } else { BETWEEN_LOOKS };
    let mut unread: Vec<Tensor<1, Int>> = Vec::new();
    for token in 0..max_new {
        let draws: Vec<f64> = match choice {
            Choice::Greedy => Vec::new(),
            Choice::Sample { draw, step, first_row, .. } => {
                let one =
                    |at: &usize| draw.stream(step, ((first_row + rows[*at] as u64) << 32) | token as u64).uniform();
                alive.iter().map(one).collect()
            }
        };
        let logits = model.logits(hidden);
        let mut next = match is_host(&device) {
            true => {
                let ids = host::choose(&values_of(logits)?, model.config.vocabulary, choice, &draws)?;
                Batch::upload(&ids, &device)
            }
            false => device::choose(logits, choice, &draws, &device),
        };
        unread.push(next.clone());
        let is_last = token + 1 == max_new;
        if unread.len() == between || is_last {
            let ids = read(std::mem::take(&mut unread))?;
            for ids in ids.chunks_exact(alive.len()) {
                for (at, id) in alive.iter().zip(ids) {
                    if *id as usize >= model.config.vocabulary {
                        bail!("decode: the logits are not finite; the model has diverged (lower `lr`)");
                    }
                    // A finished row that is still in the batch is read no more.
                    if !answers[*at].has_ended {
                        answers[*at].ids.push(*id);
                        answers[*at].has_ended = rl::truncated(&[*id], stops).1;
                    }
                }
            }
            let going: Vec<usize> = (0..alive.len()).filter(|slot| !answers[alive[*slot]].has_ended).collect();
            if going.is_empty() || is_last {
                break;
            }
            // Finished rows are dropped once they are a third of the batch: fewer copies than dropping each at once.
            if going.len() * 3 <= alive.len() * 2 {
                cache.keep(&going, &device);
                alive = going.iter().map(|slot| alive[*slot]).collect();
                next =
                    next.select(0, Batch::upload(&going.iter().map(|slot| *slot as u32).collect::<Vec<_>>(), &device));
            }
        }
        let batch = cache.next(&model.config, next);
        hidden = model.hidden(adapter, &batch, Some(&mut cache));
    }
    Ok(answers)
}

/// Reads the ids chosen on a device: one token of all rows after the other.
fn read(ids: Vec<Tensor<1, Int>>) -> Result<Vec<u32>> {
    let ids = Tensor::cat(ids, 0).try_into_vec_as::<i32>();
    let ids = ids.map_err(|error| anyhow::anyhow!("read tokens from the device: {error}"))?;
    // A number that is no token becomes one beyond every vocabulary.
    Ok(ids.into_iter().map(|id| u32::try_from(id).unwrap_or(u32::MAX)).collect())
}
