//! `samples`: the draws of all models put together, prompt by prompt.

use super::draws::{DrawRow, DrawSource};
use crate::answers::drawn::Chance;
use crate::answers::{self, Answers};
use crate::io::{self, Io};
use crate::reward::scoring::{self, ScoreRow};
use crate::rl;
use crate::stage::{self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use anyhow::{Result, bail};
use formats::dialogue::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub const KIND: Kind = Kind {
    name: "samples",
    doc: "the answers of all draws, prompt by prompt",
    ports: &[
        Port::one("draws", Accepts::Any, "what `draws` gave, model by model").many(),
        Port::one("scores", Accepts::Any, "their scores").many().optional(),
    ],
    gives: Gives::Any,
    computes: false,
    metrics: &[
        Metric::neutral("prompts", "prompts with an answer"),
        Metric::neutral("answers", "answers to them"),
        Metric::lower("empty_share", "share of the draws that are empty, which are left out"),
        Metric::higher("distinct_share", "share of the answers to a prompt that differ from each other, mean")
            .mean_of("distinct_share")
            .of_unit(),
        Metric::neutral("length", "mean answer length, tokens").mean_of("length"),
        Metric::higher("eos_share", "share of answers that ended by themselves").mean_of("eos_share").of_unit(),
        Metric::higher("mean_score", "mean score of the answers (needs `reward`)")
            .mean_of("mean_score")
            .needs("reward"),
        Metric::higher("best_score", "mean score of the best answer to each prompt (needs `reward`)")
            .mean_of("best_score")
            .needs("reward"),
    ],
    ..Kind::of::<Joining>(Work::Run(run))
};

/// The answers of each prompt, to be compared.
const ANSWERS: &str = "answers.jsonl";
/// The best answer to each prompt, to be learned.
const BEST: &str = "best.jsonl";

/// The answers that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepAnswers {
    #[default]
    All,
    Best,
}

/// The files that are written with these parameters.
pub fn files(parameters: &Value) -> Vec<&'static str> {
    let has_best = parameters["keep"] == json!(KeepAnswers::Best);
    if has_best { vec![ANSWERS, BEST] } else { vec![ANSWERS] }
}

/// The best answer is told by a reward.
pub fn unconnected(parameters: &Value, connected: &[&str]) -> Vec<ParameterMistake> {
    let lacks = parameters["keep"] == json!(KeepAnswers::Best) && !connected.contains(&"reward");
    let mistake = || ParameterMistake::new("keep", "`keep: best` needs a `reward` that tells which answer is best");
    lacks.then(mistake).into_iter().collect()
}

/// The parameters of a `sample` as a whole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SampleParameters {
    /// answers of each model to a prompt; raising it keeps those that are there
    pub k: u64,
    /// draws an answer that a model has given before up to three times more
    pub distinct: bool,
    /// all: `answers.jsonl`, for `label` and `rank`. best: beside it `best.jsonl`, the answer to each prompt that scores best
    /// under `reward`, for `sft`
    pub keep: KeepAnswers,
    #[serde(flatten)]
    pub chance: Chance,
    #[serde(flatten)]
    pub answers: Answers,
}

impl Default for SampleParameters {
    fn default() -> SampleParameters {
        let (chance, answers) = (Chance::default(), Answers::default());
        SampleParameters { k: 4, distinct: false, keep: KeepAnswers::All, chance, answers }
    }
}

impl Parameters for SampleParameters {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = [self.chance.mistakes(), self.answers.mistakes()].concat();
        mistakes.extend(stage::at_least_one(&[("k", self.k)]));
        if self.k > MOST {
            mistakes.push(ParameterMistake::new("k", format!("`k` is at most {MOST}")));
        }
        mistakes
    }
}

/// The most draws of a model: each is an action.
const MOST: u64 = 1024;

/// The parameters of the action.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Joining {
    /// whether the best answer is kept
    pub keep: KeepAnswers,
}

impl Parameters for Joining {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// A prompt with the answers to it.
#[derive(Serialize)]
struct SampleRow {
    id: String,
    prompt: Prompt,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subset: Option<String>,
    answers: Vec<String>,
    source: Vec<DrawSource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scores: Vec<Option<f64>>,
    /// Those that are empty among them.
    #[serde(skip)]
    draws: usize,
    #[serde(skip)]
    lengths: Vec<f64>,
    #[serde(skip)]
    ends: Vec<f64>,
}

/// The best answer to a prompt.
#[derive(Serialize)]
struct BestRow<'a> {
    id: &'a str,
    prompt: &'a Prompt,
    completion: &'a str,
    reward: f64,
    source: &'a DrawSource,
}

/// The numbers of a prompt.
#[derive(Serialize)]
struct SampleItem<'a> {
    id: &'a str,
    prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subset: Option<&'a str>,
    distinct_share: f64,
    length: f64,
    eos_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_score: Option<f64>,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let Joining { keep } = call.parameters()?;
    let mut rows = joined(io)?;
    let empty_share = empty_share(&rows);
    rows.retain(|row| !row.answers.is_empty());
    if rows.is_empty() {
        bail!("put draws together: every answer is empty");
    }
    let items: Vec<SampleItem> = rows.iter().map(SampleItem::of).collect();
    let directory = io.candidate_dir(0)?;
    io::write_rows(&directory.join(ANSWERS), &rows)?;
    if keep == KeepAnswers::Best {
        let best: Vec<BestRow> = rows.iter().filter_map(BestRow::of).collect();
        if best.is_empty() {
            bail!("keep the best answers: none has a score that is a number");
        }
        io::write_rows(&directory.join(BEST), &best)?;
    }
    io.table(0, "items", &items)?;
    let mean = |number: fn(&SampleItem) -> Option<f64>| {
        let known: Vec<f64> = items.iter().filter_map(number).collect();
        (!known.is_empty()).then(|| rl::mean(&known))
    };
    let metrics = [
        ("prompts", Some(rows.len() as f64)),
        ("answers", Some(rows.iter().map(|row| row.answers.len()).sum::<usize>() as f64)),
        ("empty_share", Some(empty_share)),
        ("distinct_share", mean(|item| Some(item.distinct_share))),
        ("length", mean(|item| Some(item.length))),
        ("eos_share", mean(|item| Some(item.eos_share))),
        ("mean_score", mean(|item| item.mean_score)),
        ("best_score", mean(|item| item.best_score)),
    ];
    for (best_of, score) in best_of(&rows) {
        io.curve(&json!({"step": best_of, "best_of_n": score}))?;
    }
    let known = metrics.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Some(value?))));
    io.candidate_with(0, known.collect())
}

/// The rows of all draws, in the order of the first one.
fn joined(io: &Io) -> Result<Vec<SampleRow>> {
    let mut rows: Vec<SampleRow> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut scores = io.optional_data("scores").into_iter().flatten().flat_map(|source| &source.files);
    for directory in io.data("draws")?.iter().flat_map(|source| &source.files) {
        let draws = answers::read::<DrawRow>(directory)?;
        let scored: Option<Vec<ScoreRow>> = scores.next().map(|path| scoring::read(path)).transpose()?;
        if scored.as_ref().is_some_and(|scored| scored.len() != draws.len()) {
            bail!("join draws: there are {} answers and another number of scores", draws.len());
        }
        for (number, DrawRow { answer, asked, source }) in draws.into_iter().enumerate() {
            let place = *places.entry(answer.id.clone()).or_insert_with(|| {
                rows.push(SampleRow {
                    id: answer.id,
                    prompt: asked,
                    prompt_group: answer.prompt_group,
                    subset: answer.subset,
                    answers: Vec::new(),
                    source: Vec::new(),
                    scores: Vec::new(),
                    lengths: Vec::new(),
                    ends: Vec::new(),
                    draws: 0,
                });
                rows.len() - 1
            });
            let row = &mut rows[place];
            row.draws += 1;
            // There is nothing to compare, and no row of data may hold it.
            if answer.text.trim().is_empty() {
                continue;
            }
            row.answers.push(answer.text);
            row.source.push(source);
            row.scores.extend(scored.as_ref().map(|scored| scored[number].score));
            row.lengths.push(answer.length as f64);
            row.ends.push(f64::from(u8::from(answer.ended)));
        }
    }
    Ok(rows)
}

/// The share of the draws that are empty.
fn empty_share(rows: &[SampleRow]) -> f64 {
    let draws: usize = rows.iter().map(|row| row.draws).sum();
    let answers: usize = rows.iter().map(|row| row.answers.len()).sum();
    (draws - answers) as f64 / draws.max(1) as f64
}

impl SampleRow {
    fn known_scores(&self) -> Vec<f64> {
        self.scores.iter().flatten().copied().collect()
    }

    /// The place of the best answer; the first of several that score alike.
    fn best(&self) -> Option<(usize, f64)> {
        let scored = self.scores.iter().enumerate().filter_map(|(place, score)| Some((place, (*score)?)));
        scored.reduce(|best, other| if other.1 > best.1 { other } else { best })
    }
}

impl<'a> BestRow<'a> {
    fn of(row: &'a SampleRow) -> Option<BestRow<'a>> {
        let (place, reward) = row.best()?;
        let (completion, source) = (&row.answers[place], &row.source[place]);
        Some(BestRow { id: &row.id, prompt: &row.prompt, completion, reward, source })
    }
}

impl<'a> SampleItem<'a> {
    fn of(row: &'a SampleRow) -> SampleItem<'a> {
        let different: BTreeSet<&String> = row.answers.iter().collect();
        let scores = row.known_scores();
        SampleItem {
            id: &row.id,
            prompt: row.prompt.to_string(),
            prompt_group: row.prompt_group.as_deref(),
            subset: row.subset.as_deref(),
            distinct_share: different.len() as f64 / row.answers.len() as f64,
            length: rl::mean(&row.lengths),
            eos_share: rl::mean(&row.ends),
            mean_score: (!scores.is_empty()).then(|| rl::mean(&scores)),
            best_score: row.best().map(|(_, score)| score),
        }
    }
}

/// The mean score of the best of n answers, for each n that all prompts have.
fn best_of(rows: &[SampleRow]) -> Vec<(usize, f64)> {
    let scores: Vec<Vec<f64>> = rows.iter().map(SampleRow::known_scores).collect();
    let most = scores.iter().map(Vec::len).min().unwrap_or(0);
    let of = |n: usize| rl::mean(&scores.iter().filter_map(|row| rl::best_of_n(row, n)).collect::<Vec<_>>());
    (1..=most).map(|n| (n, of(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scores: &[f64]) -> SampleRow {
        let source = |draw: usize| DrawSource { model: "tree:0".to_owned(), draw: draw as u64 };
        SampleRow {
            id: "1".to_owned(),
            prompt: Prompt::Text("p".to_owned()),
            prompt_group: None,
            subset: None,
            answers: scores.iter().map(f64::to_string).collect(),
            source: (0..scores.len()).map(source).collect(),
            scores: scores.iter().copied().map(Some).collect(),
            lengths: vec![1.0; scores.len()],
            ends: vec![1.0; scores.len()],
            draws: scores.len(),
        }
    }

    #[test]
    fn the_first_of_equal_answers_is_the_best_and_its_source_is_kept() {
        let row = row(&[1.0, 4.0, 4.0]);
        let best = BestRow::of(&row).unwrap();
        assert_eq!((best.completion, best.reward, best.source.draw), ("4", 4.0, 1));
        assert!((SampleItem::of(&row).distinct_share - 2.0 / 3.0).abs() < 1e-12);
    }
}
