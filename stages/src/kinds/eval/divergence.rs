//! `divergence`: measures how far a model has moved from a baseline, on its own answers. The third part of an `eval`.

use crate::answers::{self, AnswerReading, ModelAnswer};
use crate::device;
use crate::io::Io;
use crate::model::{Artifact, Expectation, Load, LoraParameters};
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use crate::train::{self, Sequence};
use anyhow::{Context, Result};
use serde::Serialize;

pub const KIND: Kind = Kind {
    name: "divergence",
    version: 4,
    doc: "how far a model has moved from a baseline, on its own answers",
    ports: &[
        Port::one("answers", Accepts::Any, "what `answers` gave for `model`"),
        Port::one("model", Accepts::Model, "who answered"),
        Port::one("baseline", Accepts::Model, "measured from"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    metrics: &[Metric::lower(
        "kl",
        "mean over answers of Σ KL(π ‖ π_baseline) of the next token at each place of them, nats: over the whole \
         vocabulary, so never below zero (needs `baseline`)",
    )
    .mean_of("kl")],
    ..Kind::of::<AnswerReading>(Work::Run(run))
};

pub const TABLE: &str = "divergence.jsonl";

/// A row of [`TABLE`].
#[derive(Serialize)]
struct DivergenceRow {
    id: String,
    kl: f64,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: AnswerReading = call.parameters()?;
    let device = device::of(io, parameters.dtype)?;
    let model = Artifact::open_resident(io.input("model")?, parameters.dtype, &device)?;
    let baseline = Artifact::open_resident_beside(io.input("baseline")?, &model)?;
    baseline.takes_tokens_of(&model).context("connect `baseline`")?;
    let answers: Vec<ModelAnswer> = answers::read(io.input("answers")?)?;
    let join =
        |row: &ModelAnswer| Sequence::new([row.prompt_ids.as_slice(), &row.answer_ids].concat(), row.prompt_ids.len());
    let rows: Vec<Sequence> = answers.iter().map(join).collect();
    let (at_once, tokens) = (parameters.batch.min(rows.len()), rows.iter().map(|row| row.ids.len()).max().unwrap_or(0));
    let load = Load { rows: at_once, tokens, predicted: at_once * tokens, read: 2, ..Load::default() };
    let (lora, others) = (&LoraParameters::default(), &[&baseline.base]);
    model.expect(io, Expectation { lora, load, others, lower: "`batch`" })?;
    let mut out = Vec::with_capacity(rows.len());
    for (rows, answers) in rows.chunks(parameters.batch).zip(answers.chunks(parameters.batch)) {
        let rows: Vec<&Sequence> = rows.iter().collect();
        let (ours, theirs) = (model.adapter.as_ref(), baseline.adapter.as_ref());
        let divergences = train::divergences(model.model(), ours, baseline.model(), theirs, &rows)?;
        let by_answer = rl::by_row(&divergences, rows.iter().map(|row| row.completion().len()));
        let row = |(answer, kl): (&ModelAnswer, &[f64])| DivergenceRow { id: answer.id.clone(), kl: kl.iter().sum() };
        out.extend(answers.iter().zip(by_answer).map(row));
    }
    let mean = rl::mean(&out.iter().map(|row| row.kl).collect::<Vec<_>>());
    crate::io::write_rows(&io.candidate_dir(0)?.join(TABLE), &out)?;
    io.candidate(0, &[("kl", mean)])
}
