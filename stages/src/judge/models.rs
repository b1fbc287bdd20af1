//! Judges on this machine: a file that scores, a reward model that reads answers as texts with its own tokenizer and template,
//! or a language model by the odds that it gives to the letters of two answers.

use super::files::{self, FileReward};
use crate::device;
use crate::io::Io;
use crate::model::{Artifact, Expectation, Load, LoraParameters};
use crate::train::{self, Ends, Fit, RowEncoder, Sequence, Truncate};
use anyhow::{Context, Result, bail};
use formats::dialogue::{Message, Prompt, USER};
use formats::dtype::Dtype;
use rayon::prelude::*;

/// A judge on this machine.
pub enum LocalJudge {
    File(FileReward),
    Reward(Box<Artifact>),
    Language(Box<Artifact>),
}

/// An answer to score.
#[derive(Clone, Copy)]
pub struct GivenAnswer<'a> {
    pub id: &'a str,
    pub prompt: &'a Prompt,
    pub text: &'a str,
}

/// Opens what lies on a port.
///
/// # Errors
/// It is no judge.
pub fn open(io: &mut Io, port: &str, dtype: Dtype) -> Result<LocalJudge> {
    let path = io.input(port)?.to_owned();
    if !::files::is_directory(&path)? {
        return Ok(LocalJudge::File(files::read(&path)?));
    }
    let device = device::of(io, dtype)?;
    let artifact = Box::new(Artifact::open_resident(&path, dtype, &device)?);
    let has_head = artifact.adapter.as_ref().is_some_and(|adapter| adapter.head.is_some());
    Ok(if has_head { LocalJudge::Reward(artifact) } else { LocalJudge::Language(artifact) })
}

impl LocalJudge {
    /// Scores of answers, each as a text: the judge may have another tokenizer than whoever wrote it. Beside them the number
    /// of those whose prompts were cut, since the judge reads no longer texts.
    ///
    /// # Errors
    /// It scores nothing, or one of the answers has no room in its context.
    pub fn scores(&self, io: &Io, answers: &[GivenAnswer], batch: usize) -> Result<TextScores> {
        match self {
            LocalJudge::File(file) => {
                let score = |answer: &GivenAnswer| file.score(answer.id, &answer.prompt.to_string(), answer.text);
                Ok(TextScores { scores: answers.iter().map(score).collect::<Result<_>>()?, cut: 0 })
            }
            LocalJudge::Reward(artifact) => {
                let ends = Ends::of(artifact.config(), &artifact.tokenizer, None, true)?;
                let known: Vec<String> = ends.tokens().map(|end| artifact.tokenizer.token(end)).collect();
                let encoder = encoder(artifact, ends);
                let one = |answer: &GivenAnswer| {
                    let text = artifact.tokenizer.plain(without_end(answer.text, &known))?;
                    match encoder.sequence(answer.prompt, &text)? {
                        Fit::Fits(row, is_cut) => Ok((row.ids, is_cut)),
                        Fit::TooLong(why) => bail!("row `{}`: {why}", answer.id),
                    }
                };
                let rows: Vec<(Vec<u32>, bool)> = answers.par_iter().map(one).collect::<Result<_>>()?;
                let cut = rows.iter().filter(|(_, is_cut)| *is_cut).count();
                let rows: Vec<&[u32]> = rows.iter().map(|(ids, _)| ids.as_slice()).collect();
                let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
                expect(io, artifact, Load { rows: batch.min(rows.len()), tokens, read: 1, ..Load::default() })?;
                let adapter = artifact.adapter.as_ref().context("a reward model has a head")?;
                Ok(TextScores { scores: train::rewards(artifact.model(), adapter, &rows, batch)?, cut })
            }
            LocalJudge::Language(_) => {
                bail!("score answers: a language model gives no scores; connect a reward model, or compare by `rank`")
            }
        }
    }
}

/// The answer without the end that its row may hold: whoever reads it puts one there.
fn without_end<'a>(answer: &'a str, ends: &[String]) -> &'a str {
    ends.iter().find_map(|end| answer.strip_suffix(end.as_str())).unwrap_or(answer)
}

/// Scores, and the number of answers whose prompts were cut.
pub struct TextScores {
    pub scores: Vec<f64>,
    pub cut: usize,
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
    expect(io, artifact, Load { rows: at_once, tokens, predicted: 2 * at_once, read: 1, ..Load::default() })?;
    let mut log_probs = train::log_probs(artifact.model(), artifact.adapter.as_ref(), &flat, batch)?.into_iter();
    let mut next = || log_probs.next().context("there is one for each row");
    let chance = |row: Option<Vec<Sequence>>| {
        let odds = row.map(|_| -> Result<f64> { Ok(1.0 / (1.0 + (-(next()? - next()?)).exp())) });
        odds.transpose()
    };
    rows.into_iter().map(chance).collect()
}

fn encoder(artifact: &Artifact, ends: Ends) -> RowEncoder<'_> {
    RowEncoder { artifact, ends, max_tokens: artifact.config().context, truncate: Truncate::Start }
}

fn expect(io: &Io, artifact: &Artifact, load: Load) -> Result<()> {
    let lora = &LoraParameters::default();
    artifact.expect(io, Expectation { lora, load, others: &[], lower: "`batch`" })
}
