//! A few answers of every candidate of a policy to the same prompts, in its curve: a person sees what the numbers mean.

use super::rows::Sequence;
use crate::curve::{CandidateSamples, SampleAnswer};
use crate::generate::{self, Choice, Decoding};
use crate::io::Io;
use crate::model::{Adapter, Artifact, Decoder};
use anyhow::Result;

/// The number of prompts.
const PROMPTS: usize = 4;

/// Tokens of the longest answer: enough to see what a policy does, little beside a training.
const TOKENS: usize = 48;

/// The prompts, as tokens, that every candidate answers.
pub struct Samples<'a> {
    artifact: &'a Artifact,
    prompts: Vec<Vec<u32>>,
}

impl<'a> Samples<'a> {
    /// Takes the first prompts that differ and leave room for an answer.
    pub fn of_prompts<'p>(artifact: &'a Artifact, prompts: impl IntoIterator<Item = &'p [u32]>) -> Samples<'a> {
        let room = artifact.config().context.saturating_sub(TOKENS);
        let mut taken: Vec<Vec<u32>> = Vec::new();
        for prompt in prompts {
            if taken.len() == PROMPTS {
                break;
            }
            if (1..=room).contains(&prompt.len()) && !taken.iter().any(|known| known == prompt) {
                taken.push(prompt.to_vec());
            }
        }
        Samples { artifact, prompts: taken }
    }

    /// Takes the prompts of rows that hold an answer, too.
    pub fn of_rows<'p>(artifact: &'a Artifact, rows: impl IntoIterator<Item = &'p Sequence>) -> Samples<'a> {
        Samples::of_prompts(artifact, rows.into_iter().map(|row| &row.ids[..row.start]))
    }

    /// Writes the greedy answers of a candidate to the curve. They are for people, and no metric: where they cannot be made,
    /// the training goes on without them, and the log says why.
    ///
    /// # Errors
    /// The curve cannot be written.
    pub fn write(&self, io: &mut Io, step: u64, model: &Decoder, adapter: Option<&Adapter>) -> Result<()> {
        if self.prompts.is_empty() {
            return Ok(());
        }
        match self.answers(model, adapter) {
            Ok(samples) => io.curve(&CandidateSamples { step, samples }),
            Err(error) => {
                tracing::warn!("no samples of step {step}: {error:#}");
                Ok(())
            }
        }
    }

    fn answers(&self, model: &Decoder, adapter: Option<&Adapter>) -> Result<Vec<SampleAnswer>> {
        let prompts: Vec<&[u32]> = self.prompts.iter().map(Vec::as_slice).collect();
        let stops = self.artifact.stops(None)?;
        let decoding = Decoding { max_new: TOKENS, stops: &stops, choice: Choice::Greedy, at_once: PROMPTS };
        let answers = generate::answer(model, adapter, &prompts, decoding)?;
        let tokenizer = &self.artifact.tokenizer;
        let sample = |(prompt, answer): (&&[u32], generate::Answer)| {
            Ok(SampleAnswer {
                prompt: tokenizer.decode(prompt)?,
                answer: tokenizer.decode_answer(prompt, &answer.ids)?,
                ended: answer.has_ended,
            })
        };
        prompts.iter().zip(answers).map(sample).collect()
    }
}
