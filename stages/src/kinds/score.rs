//! `score`: a judge's number for each of the answers that are given: beside people's judgement of the same, as a measure of the
//! judge, or as a filter.

mod known;

use crate::answers::{self, AskedAnswer};
use crate::io::{self, Io};
use crate::reward::{self, GivenAnswer, OnPort, Reward};
use crate::rl;
use crate::stage::{self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use anyhow::{Result, bail};
use formats::data::{self, AnsweredQuestion, DataRows, RowFilter};
use formats::dialogue::Prompt;
use formats::dtype::Dtype;
use known::KnownScores;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const KIND: Kind = Kind {
    name: "score",
    version: 2,
    doc: "a judge's number for each answer that is given; measures the judge where the rows say which answers are better",
    ports: &[
        Port::one(
            "items",
            Accepts::Data(DataRows::Answers),
            "rows with answers: one, `answers: […]`, pairs, rankings, ratings, or good and bad ones",
        )
        .measured()
        .or("evaluation"),
        Port::one("evaluation", Accepts::ModelAnswers, "an evaluation: the answers of its model").or("items"),
        Port::one("judge", Accepts::Reward, "a reward: a model, whatever its tokenizer, a stage of kind `reward`, or a file that scores")
            .files_by(reward::check_file),
    ],
    gives: Gives::Any,
    reads_rows: true,
    metrics: &[
        Metric::neutral("mean_score", "mean of all scores"),
        Metric::neutral("score_sd", "their standard deviation"),
        Metric::higher(
            "accuracy",
            "share of rows whose every good answer scores above every bad one; a single good one that is as good as bad ones has \
             its share (RewardBench 2)",
        )
        .mean_of("correct")
        .of_unit(),
        Metric::higher(
            "pair_accuracy",
            "share of pairs of answers, one of which is known to be better, that the scores order so; equal ones half",
        )
        .mean_of("pairs")
        .of_unit(),
        Metric::higher(
            "ties_accuracy",
            "of rows with several good answers that are all right: share in which moreover the good ones lie closer together \
             than to the bad ones",
        ),
        Metric::higher(
            "ties_score",
            "the score of RewardBench 2 for its rows `ref:N` and `tied:N`, one prompt with one good answer and with several",
        ),
        Metric::higher(
            "subset_score",
            "mean over the subsets of their accuracy, of ties of their `ties_score`: the score of RewardBench 2",
        ),
        Metric::neutral("kept_share", "share of the answers that `above` keeps"),
    ],
    files: Some(files),
    ..Kind::of::<Scoring>(Work::Run(run))
};

/// The answers of each row with their scores.
const SCORES: &str = "scores.jsonl";
/// The numbers of each subset of the rows.
const SUBSETS: &str = "subsets.jsonl";
/// The answers that are kept, one a row.
const KEPT: &str = "kept.jsonl";

fn files(parameters: &Value) -> Vec<&'static str> {
    if parameters["above"].is_null() { vec![SCORES, SUBSETS] } else { vec![SCORES, SUBSETS, KEPT] }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scoring {
    /// keeps the answers that score above it as rows to learn from, `kept.jsonl`; null: keeps none apart
    pub above: Option<f64>,
    /// answers that are read at once
    pub batch: usize,
    /// f32, f16 or bf16: what the matrices of the judge are kept and multiplied in
    pub dtype: Dtype,
}

impl Default for Scoring {
    fn default() -> Scoring {
        Scoring { above: None, batch: 32, dtype: Dtype::F32 }
    }
}

impl Parameters for Scoring {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        stage::at_least_one(&[("batch", self.batch as u64)])
    }
}

/// A row with its scores.
#[derive(Serialize)]
struct ScoreOutput<'a> {
    id: &'a str,
    prompt: &'a Prompt,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_group: Option<&'a str>,
    completion: &'a [String],
    score: &'a [f64],
}

/// An answer that is kept.
#[derive(Serialize)]
struct KeptOutput<'a> {
    id: String,
    prompt: &'a Prompt,
    completion: &'a str,
    reward: f64,
}

/// The numbers of a row whose answers are known to differ.
#[derive(Serialize)]
struct KnownItem<'a> {
    id: &'a str,
    prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subset: Option<&'a str>,
    correct: f64,
    pairs: f64,
}

impl<'a> KnownItem<'a> {
    fn of(known: &KnownScores<'a>) -> KnownItem<'a> {
        KnownItem {
            id: &known.row.id,
            prompt: known.row.prompt.to_string(),
            prompt_group: known.row.group.as_deref(),
            subset: known.row.subset.as_deref(),
            correct: known.correct(),
            pairs: known.pairs,
        }
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Scoring = call.parameters()?;
    let (questions, counts) = match io.optional_input("evaluation") {
        Some(evaluation) => (answers::read(evaluation)?.into_iter().map(AskedAnswer::question).collect(), Vec::new()),
        None => {
            let mut filter = RowFilter::new(io.may_skip());
            let questions = data::answered(io.data("items")?, &mut filter)?;
            filter.take_remarks().into_iter().for_each(|remark| io.remark(remark));
            (questions, filter.metrics().to_vec())
        }
    };
    let path = io.input("judge")?.to_owned();
    let judge = Reward::open(io, &path, OnPort { port: "judge", nth: 0 }, reward::resident(parameters.dtype))?;
    let answers: Vec<GivenAnswer> = questions
        .iter()
        .flat_map(|row| {
            let AnsweredQuestion { id, has_written_id, prompt, .. } = row;
            row.answers.iter().map(|text| GivenAnswer { id, has_written_id: *has_written_id, prompt, text })
        })
        .collect();
    let scored = judge.scores(io, &answers, parameters.batch, |artifact, load| reward::expect(io, artifact, load))?;
    if scored.cut > 0 {
        io.remark(format!("the prompts of {} answers were cut: the judge reads no longer texts", scored.cut));
    }
    if let Some(odd) = scored.scores.iter().position(|score| !score.is_finite()) {
        bail!("score answers: the score of an answer of row `{}` is no number", answers[odd].id);
    }
    let by_row: Vec<&[f64]> = rl::by_row(&scored.scores, questions.iter().map(|row| row.answers.len())).collect();
    let rows: Vec<ScoreOutput> = questions
        .iter()
        .zip(&by_row)
        .map(|(row, score)| ScoreOutput {
            id: &row.id,
            prompt: &row.prompt,
            prompt_group: row.group.as_deref(),
            completion: &row.answers,
            score,
        })
        .collect();
    let directory = io.candidate_dir(0)?;
    io::write_rows(&directory.join(SCORES), &rows)?;
    let mut metrics = vec![
        ("mean_score".to_owned(), rl::mean(&scored.scores)),
        ("score_sd".to_owned(), rl::standard_deviation(&scored.scores)),
    ];
    if let Some(above) = parameters.above {
        let kept: Vec<KeptOutput> =
            questions.iter().zip(&by_row).flat_map(|(row, scores)| kept(row, scores, above)).collect();
        metrics.push(("kept_share".to_owned(), kept.len() as f64 / answers.len() as f64));
        if kept.is_empty() {
            let highest = scored.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            io.remark(format!("`{KEPT}` is empty: no answer scores above {above}, and the highest score is {highest}"));
        }
        io::write_rows(&directory.join(KEPT), &kept)?;
    }
    let known: Vec<KnownScores> =
        questions.iter().zip(&by_row).filter_map(|(row, scores)| KnownScores::of(row, scores)).collect();
    let subsets = known::by_subset(&known);
    io::write_rows(&directory.join(SUBSETS), &subsets)?;
    metrics.extend(known::metrics(&known, &subsets).into_iter().map(|(name, value)| (name.to_owned(), value)));
    let items: Vec<KnownItem> = known.iter().map(KnownItem::of).collect();
    io.table(0, "items", &items)?;
    metrics.extend(counts.into_iter().map(|(name, value)| (name.to_owned(), value)));
    io.candidate_with(0, metrics.into_iter().map(|(name, value)| (name, Some(value))).collect())
}

fn kept<'a>(row: &'a AnsweredQuestion, scores: &'a [f64], above: f64) -> impl Iterator<Item = KeptOutput<'a>> {
    let many = row.answers.len() > 1;
    let one = move |(place, score): (usize, &f64)| KeptOutput {
        id: if many { format!("{}/{}", row.id, place + 1) } else { row.id.clone() },
        prompt: &row.prompt,
        completion: &row.answers[place],
        reward: *score,
    };
    scores.iter().enumerate().filter(move |(_, score)| **score > above).map(one)
}
