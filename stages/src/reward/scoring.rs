//! Scores of a model's answers: the part that `eval` and `sample` have in common.

use super::{GivenAnswer, Reward, WeightedReward};
use crate::answers::{self, AnswerReading, AskedAnswer, ModelAnswer};
use crate::io::{self, Interruption, Io};
use crate::model::{Artifact, Load};
use crate::train;
use anyhow::{Context, Result, bail};
use formats::dialogue::Prompt;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub const TABLE: &str = "scores.jsonl";

/// A row of [`TABLE`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ScoreRow {
    pub id: String,
    pub prompt: String,
    pub text: String,
    /// `None` if the score is not a finite number.
    pub score: Option<f64>,
}

/// Scores what lies on the port `answers` by what lies on `reward`, writes the rows, and returns the scores.
///
/// # Errors
/// One of them cannot be read, or scores nothing.
pub fn write(io: &mut Io, parameters: &AnswerReading) -> Result<Vec<f64>> {
    let directory = io.input("answers")?.to_owned();
    let answers: Vec<AskedAnswer> = answers::read(&directory)?;
    let AnswerReading { batch, dtype } = *parameters;
    let rewards = super::open(io, "reward", super::resident(dtype))?;
    let prompts: Vec<Prompt> = answers.iter().map(AskedAnswer::prompt).collect();
    let texts: Vec<GivenAnswer> = answers
        .iter()
        .zip(&prompts)
        .map(|(AskedAnswer { answer, .. }, prompt)| GivenAnswer {
            id: &answer.id,
            has_written_id: !answer.is_numbered,
            prompt,
            text: &answer.text,
        })
        .collect();
    let mut scores = vec![0.0; answers.len()];
    for WeightedReward { weight, place, reward } in &rewards {
        if io.is_to_stop() {
            return Err(Interruption { step: None }.into());
        }
        let of_it = match reward {
            Reward::Model(artifact) if answers::reads_tokens(&directory, artifact)? => {
                by_tokens(io, artifact, &answers, batch)?
            }
            _ => {
                let scored = reward.scores(io, &texts, batch, |artifact, load| super::expect(io, artifact, load))?;
                let has_texts = prompts.iter().any(|prompt| matches!(prompt, Prompt::Text(_)));
                let said = reward.remarks(*place, scored.cut > 0, has_texts);
                said.into_iter().for_each(|said| io.remark(said));
                scored.scores
            }
        };
        scores.iter_mut().zip(of_it).for_each(|(sum, score)| *sum += weight * score);
    }
    let finite = |score: f64| score.is_finite().then_some(score);
    let rows: Vec<ScoreRow> = answers
        .into_iter()
        .zip(&scores)
        .map(|(AskedAnswer { answer, .. }, score)| {
            let ModelAnswer { id, prompt, text, .. } = answer;
            ScoreRow { id, prompt, text, score: finite(*score) }
        })
        .collect();
    io::write_rows(&io.candidate_dir(0)?.join(TABLE), &rows)?;
    Ok(scores)
}

/// The scores by a reward model that reads the very tokens of the answers.
fn by_tokens(io: &Io, artifact: &Artifact, answers: &[AskedAnswer], batch: usize) -> Result<Vec<f64>> {
    let adapter =
        artifact.adapter.as_ref().context("score answers: this model has no adapter; connect a stage of kind rm")?;
    let tokens = |row: &AskedAnswer| [row.answer.prompt_ids.as_slice(), &row.answer.answer_ids].concat();
    let rows: Vec<Vec<u32>> = answers.iter().map(tokens).collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let (last, places) = (rows.iter().flat_map(|row| *row).max(), artifact.config().vocabulary);
    if let Some(token) = last.filter(|token| places <= **token as usize) {
        bail!("score answers: they hold token {token}, and the embedding of the reward model has {places} rows");
    }
    let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    super::expect(io, artifact, Load { rows: batch.min(rows.len()), tokens, read: 1, ..Load::default() })?;
    train::rewards(artifact.model(), adapter, &rows, batch)
}

/// The rows that [`write`] wrote to a directory.
///
/// # Errors
/// There are none.
pub fn read(directory: &Path) -> Result<Vec<ScoreRow>> {
    io::read_rows(&directory.join(TABLE))
}
