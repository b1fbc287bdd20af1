//! `answers`: decodes greedy answers of one model to a set of prompts. The first part of an `eval`.

use crate::answers::{self, Answers, AskedAnswer};
use crate::generate::Choice;
use crate::io::Io;
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use anyhow::Result;
use formats::data::{DataRows, RowFilter};

pub const KIND: Kind = Kind {
    name: "answers",
    version: 9,
    doc: "greedy answers of one model",
    ports: &[
        Port::one("model", Accepts::Model, "who answers"),
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "rows with a `prompt`"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    reads_rows: true,
    metrics: &[
        Metric::neutral("length", "mean answer length, tokens").mean_of("length"),
        Metric::higher("eos_share", "share of answers that ended by themselves").mean_of("ended").of_unit(),
        Metric::higher(
            "distinct_2",
            "distinct token pairs over all token pairs of an answer, mean: repetition lowers it",
        )
        .mean_of("distinct_2")
        .of_unit(),
        Metric::lower("repetition", "share of the token pairs of an answer that repeat an earlier pair, mean")
            .mean_of("repetition")
            .of_unit(),
        Metric::lower("same_answer_share", "largest share of the prompts that got one and the same answer"),
    ],
    ..Kind::of::<Answers>(Work::Run(run))
};

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Answers = call.parameters()?;
    let mut filter = RowFilter::new(io.may_skip());
    let model = answers::open(io, &parameters, &mut filter)?;
    let places: Vec<usize> = (0..model.prompts.len()).collect();
    let mut rows = Vec::with_capacity(places.len());
    for now in places.chunks(parameters.batch) {
        rows.extend(model.answers(now, Choice::Greedy)?);
        io.progress(rows.len() as u64, places.len() as u64, "answer", || "greedy answers".to_owned())?;
    }
    let asked = model.prompts.iter().map(|question| &question.prompt).zip(&rows);
    let asked: Vec<AskedAnswer> = asked.map(|(prompt, answer)| AskedAnswer::of(answer.clone(), prompt)).collect();
    model.write(&io.candidate_dir(0)?, &asked)?;
    let mean = |number: fn(&answers::ModelAnswer) -> f64| rl::mean(&rows.iter().map(number).collect::<Vec<_>>());
    let metrics = [
        ("length", mean(|row| row.length as f64)),
        ("eos_share", mean(|row| f64::from(u8::from(row.ended)))),
        ("distinct_2", mean(|row| row.distinct_2)),
        ("repetition", mean(|row| row.repetition)),
        ("same_answer_share", rl::same_answer_share(rows.iter().map(|row| (&row.prompt_ids, &row.text)))),
    ];
    io.candidate(0, &[&metrics[..], &filter.metrics()].concat())
}
