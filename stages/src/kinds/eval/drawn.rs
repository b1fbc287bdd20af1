//! The curve of best-of-n of an `eval`: answers that are drawn, as by `sample`, and the mean score of the best of n of them.
//! Its two parts are left out unless `best_of` is given.

use crate::answers::drawn::{self, Chance};
use crate::answers::{self, AnswerReading, Answers, AskedAnswer};
use crate::generate::DrawNames;
use crate::io::{self, Io};
use crate::reward::scoring;
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use anyhow::Result;
use formats::data::{DataRows, RowFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub const DRAWS: Kind = Kind {
    name: "drawn_answers",
    doc: "drawn answers of one model, several to each prompt",
    ports: &[
        Port::one("model", Accepts::Model, "who answers"),
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "rows with a `prompt`"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    reads_rows: true,
    draws: true,
    ..Kind::of::<EvalParameters>(Work::Run(draw))
};

pub const SCORES: Kind = Kind {
    name: "drawn_scores",
    doc: "mean scores of the best of n drawn answers under one reward",
    ports: &[
        Port::one("answers", Accepts::Any, "what `drawn_answers` gave"),
        Port::one("reward", Accepts::Reward, "what scores them"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    metrics: &[
        of("best_of_1", "mean score of the drawn answers (needs `best_of`)"),
        of("best_of_2", "mean score of the best of two drawn answers, over every choice of two"),
        of("best_of_4", "the same of four"),
        of("best_of_8", "of eight"),
        of("best_of_16", "of sixteen"),
        of("best_of_32", "of 32"),
        of("best_of_64", "of 64"),
    ],
    ..Kind::of::<BestOfReading>(Work::Run(score))
};

/// The sizes that may be asked for, each with its metric.
pub const SIZES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

const fn of(name: &'static str, doc: &'static str) -> Metric {
    Metric::higher(name, doc).mean_of(name)
}

/// The number of draws of each prompt.
pub const DRAWN_TABLE: &str = "drawn.jsonl";
/// The mean scores of the best of n of each prompt.
pub const BEST_TABLE: &str = "best.jsonl";

/// The parameters of an `eval` as a whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EvalParameters {
    /// beside greedy answers, draws as many as the largest of these to each prompt: the mean score of the best of n, `best_of_4`;
    /// powers of two up to 64. `temperature`, `top_k` and `top_p` are those of the draws
    pub best_of: Vec<u64>,
    #[serde(flatten)]
    pub chance: Chance,
    #[serde(flatten)]
    pub answers: Answers,
}

impl Parameters for EvalParameters {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = [self.chance.mistakes(), self.answers.mistakes()].concat();
        if self.best_of.iter().any(|size| !SIZES.contains(size)) {
            let message = format!("`best_of` has sizes of {}", SIZES.map(|size| size.to_string()).join(", "));
            mistakes.push(ParameterMistake::new("best_of", message));
        }
        mistakes
    }
}

/// The parameters of the scores.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BestOfReading {
    /// the sizes of which the best is scored
    pub best_of: Vec<u64>,
    #[serde(flatten)]
    pub reading: AnswerReading,
}

impl Parameters for BestOfReading {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// A draw is named as in a `sample`, so that with its seed both have the same texts.
fn draw(call: &Call, io: &mut Io) -> Result<()> {
    let EvalParameters { best_of, chance, answers } = call.parameters()?;
    let mut filter = RowFilter::new(io.may_skip());
    let model = answers::open(io, &answers, &mut filter)?;
    let names = drawn::names(&model.prompts);
    let times = best_of.iter().copied().max().unwrap_or(1);
    let places: Vec<usize> = (0..model.prompts.len()).collect();
    let (draw, total) = (call.draw(drawn::NAME, "token"), places.len() as u64 * times);
    let mut rows: Vec<AskedAnswer> = Vec::new();
    for number in 0..times {
        for now in places.chunks(answers.batch) {
            let named: Vec<u64> = now.iter().map(|place| names[*place]).collect();
            let of = DrawNames::Named { rows: &named, number: number * drawn::TRIES };
            let asked = now.iter().map(|place| &model.prompts[*place].prompt);
            let answers = model.answers(now, chance.choice(draw, of))?.into_iter().zip(asked);
            rows.extend(answers.map(|(answer, prompt)| AskedAnswer::of(answer, prompt)));
            io.progress(rows.len() as u64, total, "answer", || format!("draw {}", number + 1))?;
        }
    }
    let directory = io.candidate_dir(0)?;
    model.write(&directory, &rows)?;
    let drawn = |row: &AskedAnswer| json!({"id": row.answer.id, "prompt": row.answer.prompt, "drawn": times});
    io::write_rows(&directory.join(DRAWN_TABLE), &rows[..places.len()].iter().map(drawn).collect::<Vec<Value>>())?;
    io.candidate(0, &[])
}

fn score(call: &Call, io: &mut Io) -> Result<()> {
    let BestOfReading { best_of, reading } = call.parameters()?;
    scoring::write(io, &reading)?;
    let directory = io.candidate_dir(0)?;
    let mut order: Vec<(String, String)> = Vec::new();
    let mut by_prompt: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in scoring::read(&directory)? {
        let scores = by_prompt.entry(row.id.clone()).or_insert_with(|| {
            order.push((row.id, row.prompt));
            Vec::new()
        });
        scores.extend(row.score);
    }
    let mut metrics = Vec::new();
    let mut items: Vec<Map<String, Value>> = order
        .iter()
        .map(|(id, prompt)| {
            [("id", json!(id)), ("prompt", json!(prompt))]
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect()
        })
        .collect();
    for size in SIZES.into_iter().filter(|size| best_of.contains(size)) {
        let name = format!("best_of_{size}");
        // A score that is no number counts as none of the draws: what is left may be too few.
        let best: Vec<Option<f64>> = order.iter().map(|(id, _)| rl::best_of_n(&by_prompt[id], size as usize)).collect();
        items.iter_mut().zip(&best).for_each(|(item, best)| drop(item.insert(name.clone(), json!(best))));
        let known: Option<Vec<f64>> = best.into_iter().collect();
        let mean = known.map(|known| rl::mean(&known));
        io.curve(&json!({"step": size, "best_of_n": mean}))?;
        metrics.push((name, mean));
    }
    io::write_rows(&directory.join(BEST_TABLE), &items)?;
    io.candidate_with(0, metrics.into_iter().collect())
}
