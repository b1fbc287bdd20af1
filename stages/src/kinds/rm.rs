//! `rm`: a reward model from preferences: a LoRA adapter and a scalar head on the frozen base, trained by
//! Bradley–Terry on all pairs of a prompt together (Ouyang et al. 2022, eq. 1).

use crate::data;
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::memory;
use crate::model::{Adapter, Artifact, Dtype, LoraParameters, Trained};
use crate::rl;
use crate::stage::{self, Accepts, Call, Direction, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Group, Pass, Schedule, Sequence, Valued};
use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub const KIND: Kind = Kind {
    name: "rm",
    version: 4,
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
        Metric {
            name: "accuracy_with_ties",
            direction: Direction::Higher,
            doc: "the same, where equal scores count one half",
        },
        Metric { name: "score_chosen", direction: Direction::Neutral, doc: "mean reward of the chosen answers" },
        Metric { name: "score_chosen_sd", direction: Direction::Neutral, doc: "its standard deviation" },
        Metric { name: "score_rejected", direction: Direction::Neutral, doc: "mean reward of the rejected answers" },
        Metric { name: "score_rejected_sd", direction: Direction::Neutral, doc: "its standard deviation" },
        Metric {
            name: "temperature",
            direction: Direction::Neutral,
            doc: "what Δ must be divided by for the lowest held-out loss: above 1 the model is too sure",
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
        ("micro_batch", train::MICRO_BATCH_DOC),
        ("recompute", train::RECOMPUTE_DOC),
        ("loss", "bradley-terry or hinge over pairs, or plackett-luce over whole rankings"),
        ("margin", "what a chosen answer should lead by; null: 0, and 1 for the hinge"),
        ("label_smoothing", "share of the pairs that are taken to be the wrong way round (bradley-terry)"),
        ("centring", "weight of (r_chosen + r_rejected)²: keeps rewards around 0 (Eisenstein et al. 2023); usual 0.01"),
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

/// What is learned from preferences; see [`rl::PairLoss`] and [`rl::plackett_luce`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RankingLoss {
    BradleyTerry,
    Hinge,
    PlackettLuce,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rm {
    pub epochs: f64,
    pub batch: usize,
    pub micro_batch: Option<usize>,
    pub recompute: bool,
    pub loss: RankingLoss,
    pub margin: Option<f64>,
    pub label_smoothing: f64,
    pub centring: f64,
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
            micro_batch: None,
            recompute: false,
            loss: RankingLoss::BradleyTerry,
            margin: None,
            label_smoothing: 0.0,
            centring: 0.0,
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
        let mut mistakes = stage::at_least_one(&[
            ("batch", self.batch as u64),
            ("micro_batch", self.micro_batch.unwrap_or(1) as u64),
            ("max_tokens", self.max_tokens as u64),
        ]);
        mistakes.extend(stage::not_negative(&[("centring", self.centring), ("margin", self.margin.unwrap_or(0.0))]));
        if !(0.0..0.5).contains(&self.label_smoothing) {
            mistakes
                .push(ParameterMistake::new("label_smoothing", "`label_smoothing` is at least 0 and below one half"));
        }
        if self.label_smoothing > 0.0 && self.loss != RankingLoss::BradleyTerry {
            mistakes.push(ParameterMistake::new("label_smoothing", "only `loss: bradley-terry` knows label smoothing"));
        }
        if self.margin.is_some() && self.loss == RankingLoss::PlackettLuce {
            mistakes.push(ParameterMistake::new("margin", "`loss: plackett-luce` knows no margin"));
        }
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs), ("lr", self.lr)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.lora.mistakes());
        mistakes
    }
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
    let end = parameters.ends.then(|| artifact.end(parameters.stop_token)).transpose()?;
    let mut sieve = io.sieve();
    let (groups, heldout) = train::groups_apart(
        &artifact,
        io,
        end,
        parameters.max_tokens,
        (draw("split"), parameters.heldout),
        &mut sieve,
    )?;
    if parameters.loss == RankingLoss::PlackettLuce {
        // Now, and not at the step that would first draw a bad one.
        groups.iter().try_for_each(|group| group.ranking().map(drop))?;
    }
    let training: Vec<usize> = (0..groups.len()).collect();

    // 2. Adapter and head: the incoming ones, or new.
    let start = artifact.start_adapter(&parameters.lora, draw("adapter"))?;
    let start = match start.head {
        Some(_) => start,
        None => start.with_head(&artifact.model.config, draw("head"), &device),
    };
    // Trained on the plain scale of the head; what it was normalised by is found anew for each candidate.
    let start = Adapter { offset: 0.0, spread: 1.0, ..start };
    let mut adam = Adam::new(start.tensors(), AdamSettings::default());
    let size = train::batch_size(parameters.batch, groups.len());
    let total = train::steps(parameters.epochs, groups.len(), size);
    let load = train::load_of_groups(&groups, parameters.micro_batch, size, parameters.recompute, false);
    let memory = memory::estimate(&artifact.model.config, &parameters.lora, parameters.dtype, load);
    io.expects(memory, "`micro_batch`, `max_tokens` or `lora.rank`")?;
    let (first, mut losses) = train::resume(io, &mut adam)?.unwrap_or((0, Vec::new()));
    let at_once = parameters.micro_batch.unwrap_or(MEASURED_ROWS);
    for step in first..total {
        // 3. All answers of a prompt go forward once.
        let batch: Vec<&Group> =
            train::batch_of(draw("order"), step, size, &training).map(|group| &groups[group]).collect();
        let adapter = start.with_tensors(&adam.tensors);
        let pass = Pass {
            model: &artifact.model,
            adapter: Some(&adapter),
            trained: Trained::Adapter,
            recomputes: parameters.recompute,
        };
        let (mut loss, mut gradients) = (0.0, Vec::new());
        for part in train::parts_of_groups(&batch, parameters.micro_batch) {
            let part: Vec<&Group> = part.iter().map(|group| batch[*group]).collect();
            let rows: Vec<&Sequence> = part.iter().flat_map(|group| &group.rows).collect();
            let more = train::learn_values(pass, &rows, Valued::Last, |scores| {
                let (of_part, slopes) = objective(&parameters, &part, scores, batch.len())?;
                loss += of_part;
                Ok(slopes)
            })?;
            train::add(&mut gradients, more);
        }
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let norm = adam.step(rate, loss, gradients, || train::named(batch.iter().map(|group| group.id.as_str())))?;
        losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let mut adapter = start.with_tensors(&adam.tensors);
            normalize(&artifact, &mut adapter, &groups, parameters.normalize, at_once)?;
            let of_training = [&[("loss", rl::mean(&losses))][..], &sieve.metrics()].concat();
            measure(io, &artifact, &adapter, &heldout, done, &of_training, at_once)?;
            losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &losses)?;
    }
    Ok(())
}

/// Loss of a part of a batch and its slopes by the scores of the part's rows, group after group. Each prompt weighs the
/// same, however many pairs it has; `prompts` are in the whole batch.
fn objective(parameters: &Rm, groups: &[&Group], scores: &[f64], prompts: usize) -> Result<(f64, Vec<f64>)> {
    let (mut loss, mut slopes, mut first) = (0.0, vec![0.0; scores.len()], 0);
    for group in groups {
        let of_prompt = 1.0 / prompts as f64;
        let scores = &scores[first..first + group.rows.len()];
        let slopes = &mut slopes[first..first + group.rows.len()];
        first += group.rows.len();
        let (chosen, rejected) = group.sides(scores);
        let mut of_pairs = rl::centring_penalty(&chosen, &rejected).weighted(&vec![parameters.centring; chosen.len()]);
        let pair_loss = match parameters.loss {
            RankingLoss::BradleyTerry => Some(rl::PairLoss::BradleyTerry),
            RankingLoss::Hinge => Some(rl::PairLoss::Hinge),
            RankingLoss::PlackettLuce => None,
        };
        match pair_loss {
            Some(pair_loss) => {
                let margin = parameters.margin.unwrap_or(pair_loss.default_margin());
                let margins = vec![margin; chosen.len()];
                let pairs = rl::preference_loss(pair_loss, &chosen, &rejected, &margins, parameters.label_smoothing);
                of_pairs = pairs.plus(1.0, &of_pairs);
            }
            None => {
                let ranking = group.ranking()?;
                let ranked: Vec<f64> = ranking.iter().map(|row| scores[*row]).collect();
                let (now, gradient) = rl::plackett_luce(&ranked);
                loss += of_prompt * now;
                ranking.iter().zip(gradient).for_each(|(row, slope)| slopes[*row] += of_prompt * slope);
            }
        }
        let weight = of_prompt / group.pairs.len() as f64;
        loss += weight * of_pairs.losses.iter().sum::<f64>();
        group.spread(&of_pairs, weight, slopes);
    }
    Ok((loss, slopes))
}

/// Rows scored at once when measuring.
const MEASURED_ROWS: usize = 64;

/// Sets offset and spread so that rewards of the training answers have mean 0 (and standard deviation 1).
fn normalize(
    artifact: &Artifact,
    adapter: &mut Adapter,
    groups: &[Group],
    how: Normalize,
    at_once: usize,
) -> Result<()> {
    (adapter.offset, adapter.spread) = (0.0, 1.0);
    if how == Normalize::None {
        return Ok(());
    }
    // A few hundred answers fix a mean to a few hundredths of their spread; taken evenly, since files may be sorted.
    let rows: Vec<&[u32]> = groups.iter().flat_map(|group| group.rows.iter().map(|row| row.ids.as_slice())).collect();
    let rows: Vec<&[u32]> = rows.iter().copied().step_by(rows.len().div_ceil(256)).collect();
    let rewards = train::rewards(&artifact.model, adapter, &rows, at_once)?;
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
    at_once: usize,
) -> Result<()> {
    let rows: Vec<&[u32]> = heldout.iter().flat_map(|group| group.rows.iter().map(|row| row.ids.as_slice())).collect();
    let scores = train::rewards(&artifact.model, adapter, &rows, at_once)?;
    let lengths: Vec<f64> =
        heldout.iter().flat_map(|group| group.rows.iter().map(|row| row.completion().len() as f64)).collect();
    let (mut table, mut deltas, mut first) = (Vec::new(), Vec::new(), 0);
    for group in heldout {
        for (number, (better, worse)) in group.pairs.iter().enumerate() {
            let (score_chosen, score_rejected) = (scores[first + better], scores[first + worse]);
            // Calibration is of the trained scale: σ(Δ) before the spread divides it.
            let (margin, raw) = (score_chosen - score_rejected, (score_chosen - score_rejected) * adapter.spread);
            deltas.push(raw);
            table.push(Measured {
                id: format!("{}/{}", group.id, number + 1),
                prompt: &group.prompt,
                prompt_group: &group.prompt_group,
                score_chosen,
                score_rejected,
                correct: raw > 0.0,
                loss: rl::softplus(-raw),
                margin,
                brier: (1.0 - rl::sigmoid(raw)).powi(2),
            });
        }
        first += group.rows.len();
    }
    let (confident, right): (Vec<f64>, Vec<f64>) = deltas.iter().map(|delta| rl::confidence(*delta)).unzip();
    let reliability = rl::reliability(&confident, &right, 10);
    let column = |number: fn(&Measured) -> f64| table.iter().map(number).collect::<Vec<f64>>();
    let (chosen, rejected) = (column(|row| row.score_chosen), column(|row| row.score_rejected));
    let accuracy = rl::accuracy(&deltas);
    artifact.save_with(adapter, &io.candidate_dir(step)?)?;
    io.table(step, "items", &table)?;
    io.table(step, "reliability", &reliability)?;
    let measured = [
        ("accuracy", accuracy.strict),
        ("accuracy_with_ties", accuracy.with_ties),
        ("heldout_loss", rl::mean(&column(|row| row.loss))),
        ("margin", rl::mean(&column(|row| row.margin))),
        ("score_chosen", rl::mean(&chosen)),
        ("score_chosen_sd", rl::standard_deviation(&chosen)),
        ("score_rejected", rl::mean(&rejected)),
        ("score_rejected_sd", rl::standard_deviation(&rejected)),
        ("ece", rl::calibration_error(&reliability)),
        ("brier", rl::mean(&column(|row| row.brier))),
        // None where every pair is right: no finite one is best.
        ("temperature", rl::temperature(&deltas).unwrap_or(f64::NAN)),
        ("length_correlation", rl::correlation(&scores, &lengths)),
        ("pairs", table.len() as f64),
    ];
    io.candidate(step, &[&measured, of_training].concat())
}
