//! `sft`: supervised fine-tuning of a LoRA adapter on prompts with answers; loss on the answer only: the last one of a
//! dialogue.

use crate::data::{self, Example, Prompt};
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Artifact, Dtype, LoraParameters};
use crate::rl;
use crate::stage::{self, Accepts, Call, Direction, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Schedule, Sequence};
use anyhow::{Context, Result};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

pub const KIND: Kind = Kind {
    name: "sft",
    version: 2,
    doc: "fine-tune a LoRA adapter on prompts with answers",
    ports: &[
        Port::one("model", Accepts::Model, "the model to start from"),
        Port::one("data", Accepts::Data, "prompts with answers: prompt/completion, messages, alpaca, sharegpt, …"),
    ],
    takes_any_port: false,
    gives: Gives::Model,
    metrics: &[
        Metric {
            name: "loss",
            direction: Direction::Lower,
            doc: "mean training loss since the last checkpoint, nats per completion token",
        },
        Metric {
            name: "heldout_loss",
            direction: Direction::Lower,
            doc: "mean loss on held-out prompts, nats per completion token",
        },
        Metric { name: "gap", direction: Direction::Lower, doc: "heldout_loss − loss: over-fitting shows here" },
        data::METRICS[0],
        data::METRICS[1],
        data::METRICS[2],
    ],
    means: &[],
    incumbent: Some("model"),
    draws: true,
    parse: stage::parse::<Sft>,
    defaults: stage::defaults::<Sft>,
    schema: stage::schema::<Sft>,
    parameter_docs: &[
        ("epochs", "passes over the training rows; may be a fraction"),
        ("batch", "rows per step"),
        ("lr", "learning rate"),
        ("schedule", "constant, linear or cosine, down to 0 at the last step"),
        ("max_tokens", "longest row, prompt and completion together; longer ones are cut and counted"),
        ("heldout", "share of the prompts kept for `heldout_loss`"),
        ("checkpoint_every", "steps between candidates; 0: only the last"),
        ("stop_token", "id put behind each completion; default: the model's eos token"),
        ("chat_template", "Jinja for dialogues, in the place of the model's own; stays with the model from here on"),
        ("dtype", "f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in"),
        ("lora.rank", "rank of the adapter"),
        ("lora.alpha", "the update is scaled by alpha/rank"),
    ],
    work: Work::Run(run),
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    pub epochs: f64,
    pub batch: usize,
    pub lr: f64,
    pub schedule: Schedule,
    pub max_tokens: usize,
    pub heldout: f64,
    pub checkpoint_every: u64,
    pub stop_token: Option<u32>,
    pub chat_template: Option<String>,
    pub dtype: Dtype,
    pub lora: LoraParameters,
}

impl Default for Sft {
    fn default() -> Sft {
        Sft {
            epochs: 1.0,
            batch: 32,
            lr: 1e-3,
            schedule: Schedule::Cosine,
            max_tokens: 256,
            heldout: 0.05,
            checkpoint_every: 0,
            stop_token: None,
            chat_template: None,
            dtype: Dtype::F32,
            lora: LoraParameters::default(),
        }
    }
}

impl Parameters for Sft {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[("batch", self.batch as u64), ("max_tokens", self.max_tokens as u64)]);
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs), ("lr", self.lr)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.lora.mistakes());
        mistakes
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Sft = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "sft", purpose };
    let artifact = Artifact::load(io.input("model")?, parameters.dtype, &device)?;
    let artifact = match &parameters.chat_template {
        Some(template) => artifact.with_chat_template(template)?,
        None => artifact,
    };
    let max_tokens = parameters.max_tokens.min(artifact.model.config.context);

    // 1. Rows as tokens, split by prompt: two answers to one prompt never lie on both sides.
    let mut sieve = io.sieve();
    let data = io.input("data")?;
    let examples = data::examples(data, &mut sieve)?;
    let end = Some(artifact.end(parameters.stop_token)?);
    let tokens = |example: &Example| {
        train::sequence(&artifact, (&example.prompt, &example.completion), end, max_tokens)
            .with_context(|| format!("{} of `data`", example.place))
    };
    let tokenized: Vec<Result<(Sequence, bool)>> = examples.par_iter().map(tokens).collect();
    let mut rows = Vec::with_capacity(examples.len());
    let mut by_prompt: BTreeMap<&Prompt, Vec<usize>> = BTreeMap::new();
    for (example, row) in examples.iter().zip(tokenized) {
        let Some((row, is_cut)) = sieve.take(row)? else { continue };
        sieve.truncated += u64::from(is_cut);
        by_prompt.entry(&example.prompt).or_default().push(rows.len());
        rows.push(row);
    }
    let groups: Vec<&Vec<usize>> = by_prompt.values().collect();
    let (training, heldout) = train::split(&draw("split").order(0, groups.len()), parameters.heldout)?;
    let training: Vec<usize> = training.iter().flat_map(|group| groups[*group].iter().copied()).collect();
    let heldout: Vec<&Sequence> =
        heldout.iter().flat_map(|group| groups[*group].iter().map(|row| &rows[*row])).collect();

    // 2. Training, from the incoming adapter or a new one.
    let start = artifact.start_adapter(&parameters.lora, draw("adapter"))?;
    let mut adam = Adam::new(start.tensors(), AdamSettings::default());
    let total = ((parameters.epochs * training.len() as f64 / parameters.batch as f64).ceil() as u64).max(1);
    let (first, mut losses) = train::resume(io, &mut adam)?.unwrap_or((0, Vec::new()));
    for step in first..total {
        let batch: Vec<&Sequence> =
            train::batch_of(draw("order"), step, parameters.batch, &training).map(|row| &rows[row]).collect();
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let (loss, norm, ()) = adam.step(rate, |tensors| {
            let adapter = start.with_tensors(tensors);
            let (log_probs, _) = train::completion_log_probs(&artifact.model, Some(&adapter), &batch, 1.0);
            Ok((log_probs.mean().neg(), ()))
        })?;
        losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let adapter = start.with_tensors(&adam.tensors);
            let heldout_loss = train::mean_loss(&artifact.model, Some(&adapter), &heldout, parameters.batch)?;
            let loss = rl::mean(&losses);
            artifact.save_with(&adapter, &io.candidate_dir(done)?)?;
            let metrics = [("loss", loss), ("heldout_loss", heldout_loss), ("gap", heldout_loss - loss)];
            io.candidate(done, &[&metrics[..], &sieve.metrics()].concat())?;
            losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &losses)?;
    }
    Ok(())
}
