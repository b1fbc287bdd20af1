//! Judges on this machine: whatever gives answers a number, or a language model by the odds that it gives to the letters of two answers.

use crate::io::Io;
use crate::model::{Artifact, Load};
use crate::reward::{self, OnPort, Reward, encoder};
use crate::train::{self, Ends, Fit, Sequence};
use anyhow::{Context, Result};
use formats::dialogue::{Message, Prompt, USER};
use formats::dtype::Dtype;
use rayon::prelude::*;

/// A judge on this machine.
pub enum LocalJudge {
    /// Whatever gives each answer a number.
    Scores(Reward),
    Language(Box<Artifact>),
}

/// Opens what lies on a port.
///
/// # Errors
/// It is no judge.
pub fn open(io: &mut Io, port: &str, dtype: Dtype) -> Result<LocalJudge> {
    let path = io.input(port)?.to_owned();
    let reward = Reward::open(io, &path, OnPort { port, nth: 0 }, reward::resident(dtype))?;
    Ok(match reward {
        Reward::Model(artifact) if artifact.adapter.as_ref().is_none_or(|adapter| adapter.head.is_none()) => {
            LocalJudge::Language(artifact)
        }
        reward => LocalJudge::Scores(reward),
    })
}

/// The chances that a language model gives to A rather than B as the next letter after each text; `None` of a text that is
/// longer than its context.
///
/// # Errors
/// The device has no room, or cannot be read.
pub fn odds(io: &Io, artifact: &Artifact, texts: &[String], batch: usize) -> Result<Vec<Option<f64>>> {
    let ends = Ends::of(artifact.config(), &artifact.tokenizer, None, false)?;
    let encoder = encoder(artifact, ends);
    let is_chat = artifact.tokenizer.chat_template().is_some();
    let letters = if is_chat { ["A", "B"] } else { [" A", " B"] };
    let one = |text: &String| -> Result<Option<Vec<Sequence>>> {
        let prompt = match is_chat {
            true => Prompt::Chat(vec![Message { role: USER.to_owned(), content: text.clone() }]),
            false => Prompt::Text(text.clone()),
        };
        Ok(match encoder.sequences(&prompt, &letters)? {
            Fit::Fits(rows, false) => rows.into_iter().collect(),
            Fit::Fits(_, true) | Fit::TooLong(_) => None,
        })
    };
    let rows: Vec<Option<Vec<Sequence>>> = texts.par_iter().map(one).collect::<Result<_>>()?;
    let flat: Vec<&Sequence> = rows.iter().flatten().flatten().collect();
    if flat.is_empty() {
        return Ok(vec![None; texts.len()]);
    }
    let (at_once, tokens) = (batch.min(flat.len()), flat.iter().map(|row| row.ids.len()).max().unwrap_or(0));
    reward::expect(io, artifact, Load { rows: at_once, tokens, predicted: 2 * at_once, read: 1, ..Load::default() })?;
    let mut log_probs = train::log_probs(artifact.model(), artifact.adapter.as_ref(), &flat, batch)?.into_iter();
    let mut next = || log_probs.next().context("there is one for each row");
    let chance = |row: Option<Vec<Sequence>>| {
        let odds = row.map(|_| -> Result<f64> { Ok(1.0 / (1.0 + (-(next()? - next()?)).exp())) });
        odds.transpose()
    };
    rows.into_iter().map(chance).collect()
}
