//! `rm`: a reward model from preferences: a LoRA adapter and a scalar head on the frozen base, trained by
//! Bradley–Terry on all pairs of a prompt together (Ouyang et al. 2022, eq. 1).

use crate::data::{self, Preference, Sieve};
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Dtype, LoraParameters, Padding};
use crate::rl;
use crate::stage::{self, Accepts, Call, Direction, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Schedule};
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

pub const KIND: Kind = Kind {
    name: "rm",
    version: 3,
    doc: "train a reward model on preferences",
    ports: &[
        Port::one("model", Accepts::Model, "the model to start from; a reward model goes on with its head"),
        Port::one(
            "data",
            Accepts::Data,
            "preferences: pairs (`prompt`, `chosen`, `rejected`), rankings, ratings or labels",
        ),
        Port::one("heldout", Accepts::Data, "the same, to measure on; default: a share of `data`, split by prompt")
            .optional(),
    ],
    takes_any_port: false,
    gives: Gives::Reward,
    metrics: &[
        Metric {
            name: "accuracy",
            direction: Direction::Higher,
            doc: "share of held-out pairs whose chosen answer scores strictly higher",
        },
        Metric { name: "loss", direction: Direction::Lower, doc: "mean training loss since the last checkpoint" },
        Metric {
            name: "heldout_loss",
            direction: Direction::Lower,
            doc: "mean −log σ(Δ) over held-out pairs, Δ = score(chosen) − score(rejected)",
        },
        Metric {
            name: "margin",
            direction: Direction::Higher,
            doc: "mean difference of the final rewards, which `normalize` may have scaled",
        },
        Metric {
            name: "ece",
            direction: Direction::Lower,
            doc: "expected calibration error of σ(|Δ|) as the chance to be right, 10 bins",
        },
        Metric { name: "brier", direction: Direction::Lower, doc: "mean (1 − σ(Δ))²" },
        Metric {
            name: "length_correlation",
            direction: Direction::Neutral,
            doc: "correlation of score and answer length in tokens",
        },
        Metric { name: "pairs", direction: Direction::Neutral, doc: "held-out pairs" },
        data::METRICS[0],
        data::METRICS[1],
        data::METRICS[2],
    ],
    means: &[("accuracy", "correct"), ("heldout_loss", "loss"), ("margin", "margin"), ("brier", "brier")],
    incumbent: None,
    draws: true,
    parse: stage::parse::<Rm>,
    defaults: stage::defaults::<Rm>,
    schema: stage::schema::<Rm>,
    parameter_docs: &[
        ("epochs", "passes over the training prompts; may be a fraction"),
        ("batch", "prompts per step, each with all its answers"),
        ("lr", "learning rate"),
        ("schedule", "constant, linear or cosine, down to 0 at the last step"),
        ("max_tokens", "longest row, prompt and answer together; longer ones are cut"),
        ("heldout", "share of the prompts measured on, when nothing is connected to `heldout`"),
        ("checkpoint_every", "steps between candidates; 0: only the last"),
        ("normalize", "none, mean (rewards of the training answers get mean 0) or spread (and standard deviation 1)"),
        ("stop_token", "id put behind each answer; default: the model's eos token"),
        ("ends", "whether answers end by themselves: put the stop token behind them"),
        ("dtype", "f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in"),
        ("lora.rank", "rank of the adapter"),
        ("lora.alpha", "the update is scaled by alpha/rank"),
    ],
    work: Work::Run(run),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    None,
    Mean,
    Spread,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rm {
    pub epochs: f64,
    pub batch: usize,
    pub lr: f64,
    pub schedule: Schedule,
    pub max_tokens: usize,
    pub heldout: f64,
    pub checkpoint_every: u64,
    pub normalize: Normalize,
    pub stop_token: Option<u32>,
    pub ends: bool,
    pub dtype: Dtype,
    pub lora: LoraParameters,
}

impl Default for Rm {
    fn default() -> Rm {
        Rm {
            epochs: 1.0,
            batch: 16,
            lr: 1e-3,
            schedule: Schedule::Cosine,
            max_tokens: 256,
            heldout: 0.1,
            checkpoint_every: 0,
            normalize: Normalize::Mean,
            stop_token: None,
            ends: true,
            dtype: Dtype::F32,
            lora: LoraParameters::default(),
        }
    }
}

impl Parameters for Rm {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[("batch", self.batch as u64), ("max_tokens", self.max_tokens as u64)]);
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs), ("lr", self.lr)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.lora.mistakes());
        mistakes
    }
}

/// One prompt's answers as tokens, and the preferences among them.
struct Group {
    id: String,
    prompt: String,
    prompt_group: String,
    rows: Vec<Vec<u32>>,
    /// Where the answers begin in their rows.
    start: usize,
    pairs: Vec<(usize, usize)>,
}

/// A line of the candidate's table `items`: one held-out pair.
#[derive(Serialize)]
struct Measured<'a> {
    id: String,
    prompt: &'a str,
    /// The pairs of one prompt share its answers: together they are one piece of evidence.
    prompt_group: &'a str,
    score_chosen: f64,
    score_rejected: f64,
    correct: bool,
    loss: f64,
    margin: f64,
    brier: f64,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Rm = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "rm", purpose };
    let artifact = Artifact::load(io.input("model")?, parameters.dtype, &device)?;

    // 1. Prompts with their answers as tokens; held-out prompts apart.
    let mut sieve = io.sieve();
    let mut groups = tokenized(&artifact, &parameters, ("data", io.input("data")?), &mut sieve)?;
    let heldout: Vec<Group> = match io.optional_input("heldout") {
        Some(path) => tokenized(&artifact, &parameters, ("heldout", path), &mut sieve)?,
        None => {
            let (_, held) = train::split(&draw("split").order(0, groups.len()), parameters.heldout)?;
            held.iter().rev().map(|group| groups.remove(*group)).collect()
        }
    };
    let training: Vec<usize> = (0..groups.len()).collect();

    // 2. Adapter and head: the incoming ones, or new.
    let start = artifact.start_adapter(&parameters.lora, draw("adapter"))?;
    let start = match start.head {
        Some(_) => start,
        None => start.with_head(&artifact.model.config, draw("head"), &device),
    };
    let mut adam = Adam::new(start.tensors(), AdamSettings::default());
    let total = ((parameters.epochs * groups.len() as f64 / parameters.batch as f64).ceil() as u64).max(1);
    let (first, mut losses) = train::resume(io, &mut adam)?.unwrap_or((0, Vec::new()));
    for step in first..total {
        // 3. All answers of a prompt go forward once; each prompt weighs the same, however many pairs it has.
        let batch: Vec<&Group> =
            train::batch_of(draw("order"), step, parameters.batch, &training).map(|group| &groups[group]).collect();
        let rows: Vec<&[u32]> = batch.iter().flat_map(|group| group.rows.iter().map(Vec::as_slice)).collect();
        let pairs = Pairs::of(&batch, &device);
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let (loss, norm, ()) = adam.step(rate, |tensors| {
            let scores = train::last_values(&artifact.model, &start.with_tensors(tensors), &rows, Padding::Right)?;
            let losses = rl::preference_loss(scores.clone().select(0, pairs.chosen), scores.select(0, pairs.rejected));
            Ok(((losses * pairs.weights).sum_dim(0), ()))
        })?;
        losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let mut adapter = start.with_tensors(&adam.tensors);
            normalize(&artifact, &mut adapter, &groups, parameters.normalize)?;
            let of_training = [&[("loss", rl::mean(&losses))][..], &sieve.metrics()].concat();
            measure(io, &artifact, &adapter, &heldout, done, &of_training)?;
            losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &losses)?;
    }
    Ok(())
}

fn tokenized(
    artifact: &Artifact,
    parameters: &Rm,
    (port, data): (&str, &Path),
    sieve: &mut Sieve,
) -> Result<Vec<Group>> {
    let end = parameters.ends.then(|| artifact.end(parameters.stop_token)).transpose()?;
    let max_tokens = parameters.max_tokens.min(artifact.model.config.context);
    let group = |preference: &Preference| -> Result<(Group, usize)> {
        let row = |answer: &String| {
            train::sequence(artifact, (&preference.prompt, answer), end, max_tokens)
                .with_context(|| format!("row `{}` of `{port}`", preference.id))
        };
        let rows = preference.answers.iter().map(row).collect::<Result<Vec<_>>>()?;
        let (start, cut) = (rows[0].0.start, rows.iter().filter(|(_, is_cut)| *is_cut).count());
        let rows = rows.into_iter().map(|(sequence, _)| sequence.ids).collect();
        let Preference { id, group, prompt, pairs, .. } = preference.clone();
        Ok((Group { id, prompt: prompt.to_string(), prompt_group: group, rows, start, pairs }, cut))
    };
    let preferences = data::preferences(data, sieve)?;
    let all: Vec<Result<(Group, usize)>> = preferences.par_iter().map(group).collect();
    let mut groups = Vec::with_capacity(all.len());
    for found in all {
        if let Some((group, cut)) = sieve.take(found)? {
            sieve.truncated += cut as u64;
            groups.push(group);
        }
    }
    if groups.is_empty() {
        bail!("read {}: every row was left out", data.display());
    }
    Ok(groups)
}

/// Preferences of a batch as indices of its rows; the weights of all pairs add up to 1.
struct Pairs {
    chosen: Tensor<1, Int>,
    rejected: Tensor<1, Int>,
    weights: Tensor<1>,
}

impl Pairs {
    fn of(batch: &[&Group], device: &Device) -> Pairs {
        let (mut chosen, mut rejected, mut weights, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for group in batch {
            for (better, worse) in &group.pairs {
                chosen.push((first + better) as i32);
                rejected.push((first + worse) as i32);
                weights.push(1.0 / (batch.len() * group.pairs.len()) as f32);
            }
            first += group.rows.len();
        }
        let n = chosen.len();
        let ints = |values| Tensor::from_data(TensorData::new(values, [n]), device);
        Pairs {
            chosen: ints(chosen),
            rejected: ints(rejected),
            weights: Tensor::from_data(TensorData::new(weights, [n]), device),
        }
    }
}

/// Rows scored at once when measuring.
const MEASURED_ROWS: usize = 64;

/// Sets offset and spread so that rewards of the training answers have mean 0 (and standard deviation 1).
fn normalize(artifact: &Artifact, adapter: &mut Adapter, groups: &[Group], how: Normalize) -> Result<()> {
    (adapter.offset, adapter.spread) = (0.0, 1.0);
    if how == Normalize::None {
        return Ok(());
    }
    // A few hundred answers fix a mean to a few hundredths of their spread; taken evenly, since files may be sorted.
    let rows: Vec<&[u32]> = groups.iter().flat_map(|group| group.rows.iter().map(Vec::as_slice)).collect();
    let rows: Vec<&[u32]> = rows.iter().copied().step_by(rows.len().div_ceil(256)).collect();
    let rewards = train::rewards(&artifact.model, adapter, &rows, MEASURED_ROWS)?;
    adapter.offset = rl::mean(&rewards);
    if how == Normalize::Spread {
        let spread = rl::standard_deviation(&rewards);
        if spread <= 0.0 {
            bail!("normalize rewards: all training answers score the same; train longer, or set `normalize: mean`");
        }
        adapter.spread = spread;
    }
    Ok(())
}

/// Scores the held-out answers and hands over the candidate.
fn measure(
    io: &mut Io,
    artifact: &Artifact,
    adapter: &Adapter,
    heldout: &[Group],
    step: u64,
    of_training: &[(&str, f64)],
) -> Result<()> {
    let rows: Vec<&[u32]> = heldout.iter().flat_map(|group| group.rows.iter().map(Vec::as_slice)).collect();
    let scores = train::rewards(&artifact.model, adapter, &rows, MEASURED_ROWS)?;
    let lengths: Vec<f64> =
        heldout.iter().flat_map(|group| group.rows.iter().map(|row| (row.len() - group.start) as f64)).collect();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (mut table, mut confidence, mut first) = (Vec::new(), Vec::new(), 0);
    for group in heldout {
        for (number, (better, worse)) in group.pairs.iter().enumerate() {
            let (score_chosen, score_rejected) = (scores[first + better], scores[first + worse]);
            // Calibration is of the trained scale: σ(Δ) before the spread divides it.
            let (margin, raw) = (score_chosen - score_rejected, (score_chosen - score_rejected) * adapter.spread);
            confidence.push(sigmoid(raw.abs()));
            table.push(Measured {
                id: format!("{}/{}", group.id, number + 1),
                prompt: &group.prompt,
                prompt_group: &group.prompt_group,
                score_chosen,
                score_rejected,
                correct: raw > 0.0,
                // ln(1 + e^(−Δ)) without overflow.
                loss: (-raw).max(0.0) + (-raw.abs()).exp().ln_1p(),
                margin,
                brier: (1.0 - sigmoid(raw)).powi(2),
            });
        }
        first += group.rows.len();
    }
    let is_right: Vec<bool> = table.iter().map(|row| row.correct).collect();
    let mean = |number: fn(&Measured) -> f64| rl::mean(&table.iter().map(number).collect::<Vec<_>>());
    artifact.save_with(adapter, &io.candidate_dir(step)?)?;
    io.table(step, "items", &table)?;
    let measured = [
        ("accuracy", mean(|row| f64::from(u8::from(row.correct)))),
        ("heldout_loss", mean(|row| row.loss)),
        ("margin", mean(|row| row.margin)),
        ("ece", rl::calibration_error(&confidence, &is_right, 10)),
        ("brier", mean(|row| row.brier)),
        ("length_correlation", rl::correlation(&scores, &lengths)),
        ("pairs", table.len() as f64),
    ];
    io.candidate(step, &[&measured, of_training].concat())
}
