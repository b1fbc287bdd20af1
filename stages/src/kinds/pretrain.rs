//! `pretrain`: trains a small LLaMA from scratch on raw text, with a tokenizer that is trained before it or given.

use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{self, Decoder, Expectation, Load, LoraParameters, weights};
use crate::stage::{
    self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, TokenizerSource, Work,
};
use crate::tensor::from_values;
use crate::train::{
    self, Adam, AdamSettings, BatchLoss, Learner, Metrics, Passes, Rate, Schedule, Sequence, Team, TrainState,
    TrainSteps, Trainee,
};
use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use formats::config::{Config, Llama};
use formats::data::{self, DataRows, RowFilter};
use formats::directory::{ModelFiles, is_of_tokenizer};
use formats::dtype::Dtype;
use formats::layout::Sort;
use formats::tokenizer::{self, Tokenizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub const KIND: Kind = Kind {
    name: "pretrain",
    version: 4,
    doc: "train a tokenizer and a small LLaMA from scratch on raw text",
    ports: &[
        Port::one("text", Accepts::Data(DataRows::Texts), "rows with a field `text`, one document each"),
        Port::one(
            "tokenizer",
            Accepts::Tokenizer,
            "an existing tokenizer, or the model whose tokenizer is taken; default: one trained on `text`",
        )
        .instead_of("vocabulary")
        .optional(),
    ],
    gives: Gives::Model,
    tokenizer: TokenizerSource::New { unless: "tokenizer", data: "text", size: "vocabulary" },
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss of the last tenth of the steps, nats per token"),
        Metric::lower("heldout_loss", "mean loss on held-out documents, nats per token"),
        Metric::neutral("parameters", "trained numbers"),
        Metric::neutral("tokens", "tokens trained on"),
    ],
    draws: true,
    ..Kind::of::<Pretrain>(Work::Run(run))
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pretrain {
    /// size of the byte-level BPE vocabulary, special tokens included; not used with a `tokenizer`
    pub vocabulary: usize,
    /// transformer blocks
    pub layers: usize,
    /// model width (hidden_size)
    pub width: usize,
    /// attention heads; must divide `width` into an even size
    pub heads: usize,
    /// key/value heads; must divide `heads`
    pub kv_heads: usize,
    /// width of the gated MLP (intermediate_size)
    pub inner: usize,
    /// longest sequence of the model, in tokens
    pub context: usize,
    /// optimiser steps
    pub steps: u64,
    /// documents per step
    pub batch: usize,
    #[serde(flatten)]
    pub passes: Passes,
    /// peak learning rate: linear warm-up over a tenth of the steps, then a cosine to 0
    pub lr: f64,
    /// decoupled weight decay of AdamW; norms and biases keep their values
    pub weight_decay: f64,
    /// share of the documents held out for `heldout_loss`
    pub heldout: f64,
}

impl Default for Pretrain {
    fn default() -> Pretrain {
        Pretrain {
            vocabulary: 1024,
            layers: 4,
            width: 128,
            heads: 4,
            kv_heads: 4,
            inner: 352,
            context: 256,
            steps: 300,
            batch: 32,
            passes: Passes::default(),
            lr: 3e-3,
            weight_decay: 0.01,
            heldout: 0.05,
        }
    }
}

impl Parameters for Pretrain {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[
            ("layers", self.layers as u64),
            ("width", self.width as u64),
            ("heads", self.heads as u64),
            ("kv_heads", self.kv_heads as u64),
            ("inner", self.inner as u64),
            ("context", self.context as u64),
            ("steps", self.steps),
            ("batch", self.batch as u64),
        ]);
        mistakes.extend(self.passes.mistakes());
        mistakes.extend(stage::above_zero(&[("lr", self.lr)]));
        mistakes.extend(stage::not_negative(&[("weight_decay", self.weight_decay)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        if self.vocabulary < 260 {
            mistakes.push(ParameterMistake::new("vocabulary", "256 bytes and 3 special tokens need at least 260"));
        }
        if self.context == 1 {
            mistakes.push(ParameterMistake::new("context", "a token is predicted from one before it: at least 2"));
        }
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        if self.heads > 0 && !self.width.is_multiple_of(2 * self.heads) {
            conflicts.push(ParameterMistake::new(
                "heads",
                format!("{} heads do not divide width {} into an even size", self.heads, self.width),
            ));
        }
        if self.kv_heads > 0 && !self.heads.is_multiple_of(self.kv_heads) {
            conflicts.push(ParameterMistake::new(
                "kv_heads",
                format!("{} does not divide {} heads", self.kv_heads, self.heads),
            ));
        }
        conflicts
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Pretrain = call.parameters()?;
    let device = device::of(io, Dtype::F32)?;
    let draw = |purpose| call.draw(KIND.name, purpose);

    // 1. Take the tokenizer that is given, or train one on all texts, held-out ones included: it decides no metric. It is
    //    kept in the work directory until the model is ready; a resumed attempt makes it again, to the same bytes.
    let mut filter = RowFilter::new(io.may_skip());
    let data::Documents { texts, weights } = data::texts(io.data("text")?, &mut filter)?;
    let made = io.work().join("tokenizer");
    fs::create_dir_all(&made).with_context(|| format!("create {}", made.display()))?;
    match io.optional_input("tokenizer") {
        Some(given) => take_tokenizer(given, &made)?,
        None => tokenizer::train(&texts, parameters.vocabulary, parameters.context, &made)?,
    }
    let tokenizer = Tokenizer::load(&made)?;
    let eos = tokenizer.named("eos_token").context("find the end token: the tokenizer names no `eos_token`")?;

    // 2. Tokenise the documents, begun as prompts begin and cut to the context; all tokens are learned.
    let mut document = |(index, text): (usize, Vec<u32>)| {
        let mut ids = [tokenizer.front(), &text[..], &[eos]].concat();
        if ids.len() > parameters.context {
            filter.cut(&format!("document {}", index + 1));
        }
        ids.truncate(parameters.context);
        Sequence::new(ids, 1)
    };
    let documents: Vec<Sequence> = tokenizer.texts(&texts)?.into_iter().enumerate().map(&mut document).collect();
    let (training, heldout) = train::split(&draw("split").order(0, documents.len()), parameters.heldout)?;
    let training = train::by_weight(training, |document| weights[document], draw("weight"));

    // 3. Draw a LLaMA: N(0, 0.02²), projections back into the residual stream smaller by √(2·layers) (Radford et al. 2019, §2.3).
    let llama = Llama {
        vocabulary: tokenizer.rows(),
        width: parameters.width,
        inner: parameters.inner,
        layers: parameters.layers,
        heads: parameters.heads,
        kv_heads: parameters.kv_heads,
        context: parameters.context,
        is_tied: true,
        pad: tokenizer.named("pad_token"),
        bos: tokenizer.named("bos_token").unwrap_or(eos),
        eos,
    };
    let mut source = llama.source();
    source["bos_token_id"] = json!(tokenizer.named("bos_token"));
    let config = Config::of(source)?;

    // 4. Train: a linear warm-up over a tenth of the steps, then a cosine; the last tenth is reported.
    let tenth = (parameters.steps / 10).max(1);
    let steps = TrainSteps {
        size: train::batch_size(io, parameters.batch, training.len()),
        total: parameters.steps,
        rate: Rate { lr: parameters.lr, schedule: Schedule::Cosine },
        warm_up: tenth,
        checkpoint_every: 0,
        reported_from: parameters.steps - tenth,
        rows: training,
        order: draw("order"),
    };
    let at_once = parameters.passes.at_once(steps.size);
    let load = Load {
        rows: at_once,
        tokens: parameters.context,
        predicted: at_once * parameters.context,
        is_full: true,
        recomputes: parameters.passes.recompute,
        ..Load::default()
    };
    let (lora, lower) = (&LoraParameters::default(), &Passes::or_lower("`context` or `width`"));
    model::expect(io, &config, Dtype::F32, &Expectation { lora, load, others: &[], lower }, &device)?;
    let model = random(config, draw("weights"), &device)?;
    let settings =
        AdamSettings { beta2: 0.95, epsilon: 1e-8, weight_decay: parameters.weight_decay, ..AdamSettings::default() };
    let adam = Adam::of_weights(&model, settings);
    let beside = train::devices_beside(io, &device, Dtype::F32)?;
    let team = Team::of(Trainee::of_weights(&model), beside, Trainee::on)?;
    let learner = NewModel { parameters: &parameters, team, documents, heldout, made };
    train::learn(io, &steps, adam, &mut filter, &learner)
}

/// Copies a tokenizer, with the chat template beside it.
fn take_tokenizer(given: &Path, to: &Path) -> Result<()> {
    let model = ModelFiles::open(given)?;
    let from = model.path();
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if name.to_str().is_some_and(is_of_tokenizer) && files::is_file(&path)? {
            // The content alone: files of a store are read-only.
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            fs::write(to.join(name), bytes).with_context(|| format!("write {}", to.display()))?;
        }
    }
    Ok(())
}

struct NewModel<'a> {
    parameters: &'a Pretrain,
    team: Team<Trainee>,
    documents: Vec<Sequence>,
    /// Numbers of the documents to measure on.
    heldout: Vec<usize>,
    /// Directory of the new tokenizer.
    made: PathBuf,
}

impl NewModel<'_> {
    fn rows(&self, numbers: &[usize]) -> Vec<&Sequence> {
        numbers.iter().map(|row| &self.documents[*row]).collect()
    }
}

impl Learner for NewModel<'_> {
    fn gradients(&self, tensors: &[Tensor<2>], batch: &[usize], state: &mut TrainState) -> Result<BatchLoss> {
        let passes = &self.parameters.passes;
        let rows = self.rows(batch);
        let tokens = train::learned_tokens(&rows);
        let (loss, gradients) = self.team.learn(tensors, rows.len(), passes, |pass, shard| {
            train::likelihood(pass, &rows[shard], passes.micro_batch, tokens)
        })?;
        state.tokens += rows.iter().map(|row| row.completion().len() as u64).sum::<u64>();
        Ok(BatchLoss { loss, gradients, columns: vec![("tokens", json!(state.tokens))] })
    }

    fn name(&self, row: usize) -> String {
        row.to_string()
    }

    fn candidate(&self, io: &mut Io, tensors: &[Tensor<2>], step: u64, state: &TrainState) -> Result<Metrics> {
        let (model, _) = self.team.own().with(tensors);
        let at_once = self.parameters.passes.micro_batch.unwrap_or(self.parameters.batch);
        let heldout_loss = train::mean_loss(&model, None, &self.rows(&self.heldout), at_once)?;
        let directory = io.candidate_dir(step)?.join("model");
        fs::rename(&self.made, &directory).with_context(|| format!("create {}", directory.display()))?;
        weights::save(&model, &BTreeMap::new(), Dtype::F32, &directory)?;
        let size: usize = tensors.iter().map(|tensor| tensor.dims().iter().product::<usize>()).sum();
        Ok(vec![
            ("loss", state.loss()),
            ("heldout_loss", heldout_loss),
            ("parameters", size as f64),
            ("tokens", state.tokens as f64),
        ])
    }
}

fn random(config: Config, draw: Draw, device: &Device) -> Result<Decoder> {
    let residual = 0.02 / (2.0 * config.layers as f64).sqrt();
    let mut number = 0;
    weights::build(config, |weight| {
        number += 1;
        let [rows, columns] = weight.shape;
        let sd = match weight.sort {
            Sort::Norm => return Ok(Tensor::ones(weight.shape, device)),
            Sort::Bias => return Ok(Tensor::zeros(weight.shape, device)),
            Sort::Projection { is_back: true } => residual,
            Sort::Projection { is_back: false } | Sort::Embedding => 0.02,
        };
        let mut stream = draw.stream(0, number);
        let values: Vec<f32> = (0..rows * columns).map(|_| (stream.normal() * sd) as f32).collect();
        Ok(from_values(values, [rows, columns], device))
    })
}
