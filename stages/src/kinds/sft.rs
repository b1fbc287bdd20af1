//! `sft`: supervised fine-tuning of a LoRA adapter, or of all weights, on prompts with answers: of a dialogue on the last.

use crate::data::{self, Example};
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Artifact, Dtype, Load, LoraParameters, Trained, weights};
use crate::rl;
use crate::stage::{self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Pass, Schedule, Sequence};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub const KIND: Kind = Kind {
    name: "sft",
    version: 3,
    doc: "fine-tune a LoRA adapter, or all weights, on prompts with answers",
    ports: &[
        Port::one("model", Accepts::Model, "the model to start from"),
        Port::one("data", Accepts::Data, "prompts with answers: prompt/completion, messages, alpaca, sharegpt, …"),
    ],
    gives: Gives::Model,
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss since the last checkpoint, nats per completion token"),
        Metric::lower("heldout_loss", "mean loss on held-out prompts, nats per completion token"),
        Metric::lower("gap", "heldout_loss − loss: over-fitting shows here"),
    ],
    incumbent: Some("model"),
    draws: true,
    ..Kind::of::<Sft>(Work::Run(run))
};

/// Which weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Train {
    Lora,
    Full,
}

/// Which tokens are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    Completion,
    All,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    /// passes over the training rows; may be a fraction
    pub epochs: f64,
    /// rows per step
    pub batch: usize,
    /// rows that go through the model together; null: the whole batch. Fewer take less memory
    pub micro_batch: Option<usize>,
    /// run each block again on the way back instead of remembering it: less memory, a third more time, the same bytes
    pub recompute: bool,
    /// lora: an adapter over the frozen base; full: all weights, which are then written anew
    pub train: Train,
    /// completion: its tokens alone; all: those of the prompt, too
    pub loss_on: LossOn,
    /// learning rate
    pub lr: f64,
    /// constant, or linear or cosine from `lr` at the first step down to 0 behind the last
    pub schedule: Schedule,
    /// longest row, prompt and completion together; longer ones are cut and counted
    pub max_tokens: usize,
    /// share of the prompts kept for `heldout_loss`
    pub heldout: f64,
    /// steps between candidates; 0: only the last
    pub checkpoint_every: u64,
    /// id put behind each completion; default: the model's eos token
    pub stop_token: Option<u32>,
    /// Jinja for dialogues, in the place of the model's own; stays with the model from here on
    pub chat_template: Option<String>,
    /// f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in
    pub dtype: Dtype,
    pub adam: AdamSettings,
    pub lora: LoraParameters,
}

impl Default for Sft {
    fn default() -> Sft {
        Sft {
            epochs: 1.0,
            batch: 32,
            micro_batch: None,
            recompute: false,
            train: Train::Lora,
            loss_on: LossOn::Completion,
            lr: 1e-3,
            schedule: Schedule::Cosine,
            adam: AdamSettings::default(),
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
        let mut mistakes = stage::at_least_one(&[
            ("batch", self.batch as u64),
            ("micro_batch", self.micro_batch.unwrap_or(1) as u64),
            ("max_tokens", self.max_tokens as u64),
        ]);
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs), ("lr", self.lr)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.adam.mistakes());
        mistakes.extend(self.lora.mistakes());
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        if self.train == Train::Full && self.dtype != Dtype::F32 {
            conflicts.push(ParameterMistake::new("dtype", "`train: full` moves the weights themselves, in f32 only"));
        }
        if self.train == Train::Full && self.lora != LoraParameters::default() {
            conflicts.push(ParameterMistake::new("lora", "`lora` has an effect only with `train: lora`"));
        }
        conflicts
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
    let (mut rows, mut places, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
    for (example, row) in examples.iter().zip(tokenized) {
        let Some((mut row, is_cut)) = sieve.take(row)? else { continue };
        if parameters.loss_on == LossOn::All {
            row.start = 1;
        }
        sieve.truncated += u64::from(is_cut);
        prompts.push(&example.prompt);
        rows.push(row);
        places.push(example.place.to_string());
    }
    if rows.is_empty() {
        bail!("read {}: every row was left out", data.display());
    }
    let (training, heldout) = train::split_by_prompt(prompts.into_iter(), draw("split"), parameters.heldout)?;
    let heldout: Vec<&Sequence> = heldout.into_iter().map(|row| &rows[row]).collect();

    // 2. Training, from the incoming adapter or a new one, or of the weights themselves.
    let start = match parameters.train {
        Train::Lora => Some(artifact.start_adapter(&parameters.lora, draw("adapter"))?),
        Train::Full if artifact.adapter.is_some() => bail!(
            "start from the incoming model: it has an adapter, and `train: full` trains weights; `pipeline export STAGE \
             --merge` makes one model of both, or take `train: lora`"
        ),
        Train::Full => None,
    };
    let tensors = match &start {
        Some(start) => start.tensors(),
        None => weights::tensors(&artifact.model),
    };
    let mut adam = Adam::new(tensors, parameters.adam);
    // What the trained tensors make of the model.
    let with = |adam: &Adam| match &start {
        Some(start) => (artifact.model.clone(), Some(start.with_tensors(&adam.tensors))),
        None => (weights::with_tensors(&artifact.model, &adam.tensors), None),
    };
    let size = train::batch_size(io, parameters.batch, training.len());
    let total = train::steps(parameters.epochs, training.len(), size);
    let rows_at_once = parameters.micro_batch.unwrap_or(size).min(size);
    let load = Load {
        rows: rows_at_once,
        tokens: rows.iter().map(|row| row.ids.len()).max().unwrap_or(0),
        predicted: rows_at_once * max_tokens,
        trained: usize::from(start.is_some()),
        is_full: start.is_none(),
        recomputes: parameters.recompute,
        ..Load::default()
    };
    io.expects(
        artifact.memory(&parameters.lora, load),
        "`micro_batch` (null is the whole batch), `max_tokens` or `lora.rank`",
    )?;
    let (first, mut losses) = train::resume(io, &mut adam)?.unwrap_or((0, Vec::new()));
    for step in first..total {
        let numbers: Vec<usize> = train::batch_of(draw("order"), step, size, &training).collect();
        let batch: Vec<&Sequence> = numbers.iter().map(|row| &rows[*row]).collect();
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let (model, adapter) = with(&adam);
        let trained = if adapter.is_some() { Trained::Adapter } else { Trained::Weights };
        let pass = Pass { model: &model, adapter: adapter.as_ref(), trained, recomputes: parameters.recompute };
        let (loss, gradients) = train::likelihood(pass, &batch, parameters.micro_batch)?;
        let norm =
            adam.step(rate, loss, gradients, || train::named(numbers.iter().map(|row| places[*row].as_str())))?;
        losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let (model, adapter) = with(&adam);
            let heldout_loss = train::mean_loss(
                &model,
                adapter.as_ref(),
                &heldout,
                parameters.micro_batch.unwrap_or(parameters.batch),
            )?;
            let loss = rl::mean(&losses);
            match &adapter {
                Some(adapter) => artifact.save_with(adapter, &io.candidate_dir(done)?)?,
                None => artifact.save_weights(&model, &io.candidate_dir(done)?)?,
            }
            let metrics = [("loss", loss), ("heldout_loss", heldout_loss), ("gap", heldout_loss - loss)];
            io.candidate(done, &[&metrics[..], &sieve.metrics()].concat())?;
            losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &losses)?;
    }
    Ok(())
}
