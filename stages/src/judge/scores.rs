//! Scores of answers by a reward model that reads their tokens, or by a file.

use super::files;
use crate::answers::{self, AnswerReading, ModelAnswer};
use crate::device;
use crate::io::{self, Io};
use crate::model::{Artifact, Expectation, Load, LoraParameters};
use crate::train;
use anyhow::{Context, Result, bail};
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
/// One of them cannot be read, or they have different tokens.
pub fn write(io: &mut Io, parameters: &AnswerReading) -> Result<Vec<f64>> {
    let answers: Vec<ModelAnswer> = answers::read(io.input("answers")?)?;
    let reward = io.input("reward")?.to_owned();
    let scores = if ::files::is_directory(&reward)? {
        let device = device::of(io, parameters.dtype)?;
        let artifact = Artifact::open_resident(&reward, parameters.dtype, &device)?;
        artifact.same_tokens_as(&answers::tokenizer(io.input("answers")?)?)?;
        let adapter = artifact
            .adapter
            .as_ref()
            .context("score answers: this model has no adapter; connect a stage of kind rm")?;
        let rows: Vec<Vec<u32>> =
            answers.iter().map(|row| [row.prompt_ids.as_slice(), &row.answer_ids].concat()).collect();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let (last, places) = (rows.iter().flat_map(|row| *row).max(), artifact.config().vocabulary);
        if let Some(token) = last.filter(|token| places <= **token as usize) {
            bail!("score answers: they hold token {token}, and the embedding of the reward model has {places} rows");
        }
        let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let load = Load { rows: parameters.batch.min(rows.len()), tokens, read: 1, ..Load::default() };
        let lora = &LoraParameters::default();
        artifact.expect(io, Expectation { lora, load, others: &[], lower: "`batch`" })?;
        train::rewards(artifact.model(), adapter, &rows, parameters.batch)?
    } else {
        let file = files::read(&reward)?;
        answers.iter().map(|row| file.score(&row.id, &row.prompt, &row.text)).collect::<Result<Vec<f64>>>()?
    };
    let finite = |score: f64| score.is_finite().then_some(score);
    let rows: Vec<ScoreRow> = answers
        .into_iter()
        .zip(&scores)
        .map(|(row, score)| ScoreRow { id: row.id, prompt: row.prompt, text: row.text, score: finite(*score) })
        .collect();
    io::write_rows(&io.candidate_dir(0)?.join(TABLE), &rows)?;
    Ok(scores)
}

/// The rows that [`write`] wrote to a directory.
///
/// # Errors
/// There are none.
pub fn read(directory: &Path) -> Result<Vec<ScoreRow>> {
    io::read_rows(&directory.join(TABLE))
}

/// Checks a file as the reward.
///
/// # Errors
/// It scores no answers.
pub fn check(path: &Path) -> Result<()> {
    files::read(path).map(drop)
}
