//! Batched decoding with a key/value cache. Sampling happens on the host by inverse CDF over named draws,
//! so that every backend draws alike.

use crate::draw::Draw;
use crate::model::artifact::values_of;
use crate::model::{Adapter, Batch, Cache, Decoder, Padding};
use anyhow::{Result, bail};
use burn::tensor::{Int, Tensor, TensorData};

/// How the next token is chosen.
#[derive(Clone, Copy)]
pub enum Choice {
    /// The most likely token; ties go to the lower id.
    Greedy,
    /// From softmax(logits / temperature). Row r of the batch draws from `(step, first_row + r)`.
    Sample { temperature: f64, draw: Draw, step: u64, first_row: u64 },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Up to and with the stop token.
    pub ids: Vec<u32>,
    pub has_ended: bool,
}

/// Answers to `prompts` (all in one batch), each of at most `max_new` tokens.
pub fn answer(
    model: &Decoder,
    adapter: Option<&Adapter>,
    prompts: &[&[u32]],
    max_new: usize,
    stops: &[u32],
    choice: Choice,
) -> Result<Vec<Answer>> {
    let device = model.device();
    let width = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    if width + max_new > model.config.context {
        bail!(
            "decode: a prompt of {width} tokens and {max_new} new ones exceed the model's context of {}; lower `max_new_tokens`",
            model.config.context
        );
    }
    let mut cache = Cache::new(model.config.layers, width + max_new);
    let mut starts: Vec<usize> = prompts.iter().map(|prompt| width - prompt.len()).collect();
    let mut answers = vec![Answer { ids: Vec::new(), has_ended: false }; prompts.len()];
    // Rows of the cache that are still being written, by their number in `prompts`.
    let mut alive: Vec<usize> = (0..prompts.len()).collect();
    let batch = Batch::new(&model.config, prompts, Padding::Left, &device);
    let hidden = model.hidden(adapter, &batch, Some(&mut cache));
    let last: Vec<i32> = (1..=prompts.len()).map(|row| (row * width - 1) as i32).collect();
    let mut hidden = hidden.select(0, Tensor::<1, Int>::from_data(TensorData::new(last, [prompts.len()]), &device));
    for token in 0..max_new {
        let logits = values_of(model.logits(hidden))?;
        let mut next = Vec::with_capacity(alive.len());
        for (logits, row) in logits.chunks_exact(model.config.vocabulary).zip(&alive) {
            let answer = &mut answers[*row];
            // A finished row that is still in the batch is fed its last token again and read no more.
            if !answer.has_ended {
                let id = choose(logits, choice, *row as u64, token as u64)?;
                answer.ids.push(id);
                answer.has_ended = stops.contains(&id);
            }
            next.extend(answer.ids.last());
        }
        let going: Vec<usize> = (0..alive.len()).filter(|slot| !answers[alive[*slot]].has_ended).collect();
        if going.is_empty() || token + 1 == max_new {
            break;
        }
        // Finished rows are dropped once they are a third of the batch: fewer copies than dropping each at once.
        if going.len() * 3 <= alive.len() * 2 {
            cache.keep(&going, &device);
            let pick = |values: &[usize]| going.iter().map(|slot| values[*slot]).collect();
            (alive, starts) = (pick(&alive), pick(&starts));
            next = going.iter().map(|slot| next[*slot]).collect();
        }
        let batch = Batch::next(&model.config, &next, &starts, cache.len(), &device);
        hidden = model.hidden(adapter, &batch, Some(&mut cache));
    }
    Ok(answers)
}

fn choose(logits: &[f32], choice: Choice, row: u64, token: u64) -> Result<u32> {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > highest {
            (best, highest) = (id, *logit);
        }
    }
    if !highest.is_finite() {
        bail!("decode: the logits are not finite; the model has diverged (lower `lr`)");
    }
    let Choice::Sample { temperature, draw, step, first_row } = choice else { return Ok(best as u32) };
    let weights: Vec<f64> = logits.iter().map(|logit| (f64::from(logit - highest) / temperature).exp()).collect();
    let mut rest = draw.stream(step, ((first_row + row) << 32) | token).uniform() * weights.iter().sum::<f64>();
    for (id, weight) in weights.iter().enumerate() {
        rest -= weight;
        if rest < 0.0 {
            return Ok(id as u32);
        }
    }
    Ok(best as u32)
}
