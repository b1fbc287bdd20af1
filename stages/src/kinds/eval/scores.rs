//! `scores`: scores answers by a reward model or by a file. The second part of an `eval`.

use super::answers::{self, AnswerReading};
use super::files;
use crate::device;
use crate::io::{self, Io};
use crate::model::{Artifact, Expectation, Load, LoraParameters};
use crate::rl;
use crate::scored::{ScoreRow, TABLE};
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use crate::train;
use anyhow::{Context, Result, bail};
use std::path::Path;

pub const KIND: Kind = Kind {
    name: "scores",
    version: 3,
    doc: "scores of answers under one reward",
    ports: &[
        Port::one("answers", Accepts::Any, "what `answers` gave"),
        Port::one("reward", Accepts::Reward, "what scores them"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    metrics: &[
        Metric::higher("mean_score", "mean score of the greedy answers under the first reward").mean_of("score"),
        Metric::neutral("score_sd", "their standard deviation"),
    ],
    ..Kind::of::<AnswerReading>(Work::Run(run))
};

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: AnswerReading = call.parameters()?;
    let answers = answers::read(io.input("answers")?)?;
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
        answers.iter().map(|answer| file.score(answer)).collect::<Result<Vec<f64>>>()?
    };
    let finite = |score: f64| score.is_finite().then_some(score);
    let rows: Vec<ScoreRow> = answers
        .into_iter()
        .zip(&scores)
        .map(|(row, score)| ScoreRow { id: row.id, prompt: row.prompt, text: row.text, score: finite(*score) })
        .collect();
    io::write_rows(&io.candidate_dir(0)?.join(TABLE), &rows)?;
    io.candidate(0, &[("mean_score", rl::mean(&scores)), ("score_sd", rl::standard_deviation(&scores))])
}

/// Checks a file as the reward.
///
/// # Errors
/// It scores no answers.
pub fn check(path: &Path) -> Result<()> {
    files::read(path).map(drop)
}
