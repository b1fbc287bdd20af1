//! `answer_scores`: how a reward model scores the answers that people may be asked about. The first action of a `label` stage that has
//! one; the worklist begins with what it is unsure of.

use crate::device;
use crate::io::{self, Io};
use crate::model::{Artifact, Expectation, Load, LoraParameters};
use crate::people::worklist::WorkItem;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, AnswerEnd, Fit, Training};
use anyhow::{Context, Result};
use formats::data::{self, DataRows, RowFilter};
use formats::dtype::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub const KIND: Kind = Kind {
    name: "answer_scores",
    doc: "scores of the answers that people may be asked about",
    ports: &[
        Port::one("items", Accepts::Data(DataRows::Answers), "answers to judge"),
        Port::one("reward", Accepts::RewardModel, "what scores them"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    metrics: &[Metric::neutral("answers", "answers with a score")],
    ..Kind::of::<AnswerScoring>(Work::Run(run))
};

/// The way in which the model is run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerScoring {
    /// answers at once
    pub batch: usize,
    /// of the base's matrices
    pub dtype: Dtype,
}

impl Default for AnswerScoring {
    fn default() -> AnswerScoring {
        AnswerScoring { batch: 64, dtype: Dtype::F32 }
    }
}

impl Parameters for AnswerScoring {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// The file with a row for each answer.
const TABLE: &str = "scores.jsonl";

/// The score of an answer, which is named by the digest of its prompt and itself.
#[derive(Serialize, Deserialize)]
pub struct AnswerScore {
    pub digest: String,
    pub score: f64,
}

/// Reads what this action gave.
///
/// # Errors
/// It is not there, or something else.
pub fn read(directory: &Path) -> Result<Vec<AnswerScore>> {
    let path = directory.join(TABLE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("read {}", path.display()))).collect()
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: AnswerScoring = call.parameters()?;
    let reward = io.input("reward")?.to_owned();
    let device = device::of(io, parameters.dtype)?;
    let artifact = Artifact::open_resident(&reward, parameters.dtype, &device)?;
    let adapter = artifact
        .adapter
        .as_ref()
        .context("score answers: this model has no reward head; connect a stage of kind rm")?;
    let mut filter = RowFilter::new(io.may_skip());
    let questions = data::answered(io.data("items")?, &mut filter)?;
    // Answers are complete where the model has a token that says so.
    let training = Training { max_tokens: usize::MAX, ..Training::default() };
    let encoder = training
        .encoder(&artifact, AnswerEnd { ends: true })
        .or_else(|_| training.encoder(&artifact, AnswerEnd { ends: false }))?;
    let (mut digests, mut rows) = (Vec::new(), Vec::new());
    for question in &questions {
        let answers: Vec<&str> = question.answers.iter().map(String::as_str).collect();
        // What is too long for the model has no score, and nobody knows how sure it would be.
        let Fit::Fits(sequences, _) = encoder.sequences(&question.prompt, &answers)? else { continue };
        for (answer, sequence) in question.answers.iter().zip(sequences) {
            let Some(sequence) = sequence else { continue };
            digests.push(WorkItem::digest(&question.prompt, std::slice::from_ref(answer)));
            rows.push(sequence.ids);
        }
    }
    let ids: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let tokens = ids.iter().map(|row| row.len()).max().unwrap_or(0);
    let load = Load { rows: parameters.batch.min(ids.len()), tokens, read: 1, ..Load::default() };
    let lora = &LoraParameters::default();
    artifact.expect(io, Expectation { lora, load, others: &[], lower: "`batch`" })?;
    let scores = train::rewards(artifact.model(), adapter, &ids, parameters.batch)?;
    // On the scale of training, on which a difference is the logarithm of the odds.
    let score = |(digest, score): (String, f64)| AnswerScore { digest, score: score * adapter.spread };
    let table: Vec<AnswerScore> = digests.into_iter().zip(scores).map(score).collect();
    io::write_rows(&io.candidate_dir(0)?.join(TABLE), &table)?;
    io.candidate(0, &[("answers", table.len() as f64)])
}
