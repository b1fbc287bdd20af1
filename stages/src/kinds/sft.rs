//! `sft`: supervised fine-tuning of a LoRA adapter, or of all weights, on prompts with answers. In a dialogue, the last
//! answer is learned, or all of them.

use crate::device;
use crate::io::Io;
use crate::model::{Artifact, Demand, Load, LoraParameters};
use crate::stage::{Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, TokenizerSource, Work};
use crate::train::{
    self, Adam, AnswerEnd, BatchLoss, Fit, Learner, Metrics, RowEncoder, Samples, Sequence, Team, TrainState,
    TrainSteps, Trainee, Training,
};
use anyhow::{Result, bail};
use burn::tensor::Tensor;
use formats::data::{self, DataRows, DataSource, Example, RowFilter};
use formats::dialogue::Prompt;
use formats::dtype::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KIND: Kind = Kind {
    name: "sft",
    version: 5,
    doc: "fine-tune a LoRA adapter, or all weights, on prompts with answers",
    ports: &[
        Port::one("model", Accepts::Model, "the model to start from"),
        Port::one(
            "data",
            Accepts::Data(DataRows::Examples),
            "prompts with answers: prompt/completion, messages, alpaca, sharegpt, …",
        ),
        Port::heldout(DataRows::Examples),
    ],
    gives: Gives::Model,
    tokenizer: TokenizerSource::Port("model"),
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss since the last checkpoint, nats per completion token"),
        Metric::lower("heldout_loss", "mean loss on held-out prompts, nats per completion token"),
        Metric::lower("gap", "heldout_loss − loss: over-fitting shows here"),
    ],
    incumbent: Some("model"),
    draws: true,
    memory: Some(memory),
    ..Kind::of::<Sft>(Work::Run(run))
};

/// The weights that are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Train {
    Lora,
    Full,
}

/// The answers of a dialogue that are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    Last,
    All,
}

/// The tokens that are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    Completion,
    All,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sft {
    #[serde(flatten)]
    pub training: Training,
    /// lora: an adapter on the frozen base; full: all weights, which each candidate then holds
    #[schemars(extend("printed-after" = "shards"))]
    pub train: Train,
    /// completion: only its tokens are learned; all: those of the prompt, too
    pub loss_on: LossOn,
    /// last: of a dialogue, the last answer is learned; all: each answer, as the template marks them or adds them
    pub learn: Learn,
}

impl Default for Sft {
    fn default() -> Sft {
        Sft {
            training: Training { batch: 32, heldout: 0.05, ..Training::default() },
            train: Train::Lora,
            loss_on: LossOn::Completion,
            learn: Learn::Last,
        }
    }
}

impl Parameters for Sft {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        self.training.mistakes()
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        let tuning = &self.training.tuning;
        if self.train == Train::Full && tuning.dtype != Dtype::F32 {
            conflicts.push(ParameterMistake::new("dtype", "`train: full` moves the weights themselves, in f32 only"));
        }
        if self.train == Train::Full && tuning.lora != LoraParameters::default() {
            conflicts.push(ParameterMistake::new("lora", "`lora` has an effect only with `train: lora`"));
        }
        if self.learn == Learn::All && self.loss_on == LossOn::All {
            conflicts
                .push(ParameterMistake::new("learn", "`learn: all` has an effect only with `loss_on: completion`"));
        }
        conflicts
    }
}

fn memory(context: usize) -> Demand {
    let Training { batch, max_tokens, tuning, .. } = Sft::default().training;
    let tokens = max_tokens.min(context);
    let load = Load { rows: batch, tokens, predicted: batch * tokens, trained: 1, ..Load::default() };
    Demand { of: format!("{batch} rows of {tokens} tokens"), lora: tuning.lora, load }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Sft = call.parameters()?;
    let Sft { training, .. } = &parameters;
    let device = device::of(io, training.tuning.dtype)?;
    let draw = |purpose| call.draw(KIND.name, purpose);
    let artifact = train::model(io, "model", &training.tuning, &training.templating, &device)?;

    // 1. Tokenise the rows; hold out those of the port, else some prompts, so that two answers to one prompt are on the
    // same side.
    let mut filter = RowFilter::new(io.may_skip());
    let encoder = training.encoder(&artifact, AnswerEnd::default())?;
    let mut examples = read(&encoder, &parameters, "data", io.data("data")?, &mut filter)?;
    let (rows, heldout) = match io.optional_data("heldout") {
        Some(files) => {
            let first = examples.len();
            examples.extend(read(&encoder, &parameters, "heldout", files, &mut filter)?);
            ((0..first).collect(), (first..examples.len()).collect())
        }
        None => {
            let prompts = examples.iter().map(|(example, _)| &example.prompt);
            train::split_by_prompt(prompts, draw("split"), training.heldout)?
        }
    };
    let rows = train::by_weight(rows, |row| examples[row].0.weight, draw("weight"));

    // 2. Train the incoming adapter, a new one, or the weights themselves.
    if parameters.train == Train::Full && artifact.adapter.is_some() {
        bail!(
            "start from the incoming model: it has an adapter, and `train: full` trains weights; `pipeline export STAGE \
             --merge` makes one model of both, or take `train: lora`"
        );
    }
    let steps = TrainSteps::of(io, training, rows, draw("order"));
    let at_once = training.passes.at_once(steps.size);
    let load = Load {
        rows: at_once,
        tokens: examples.iter().map(|(_, row)| row.ids.len()).max().unwrap_or(0),
        predicted: at_once * encoder.max_tokens,
        trained: usize::from(parameters.train == Train::Lora),
        is_full: parameters.train == Train::Full,
        ..Load::default()
    };
    training.expect(io, &artifact, load, &[])?;
    let start = match parameters.train {
        Train::Lora => Some(artifact.start_adapter(&training.tuning.lora, draw("adapter"))?),
        Train::Full => None,
    };
    let adam = match &start {
        Some(start) => Adam::of_adapters([start], training.tuning.adam),
        None => Adam::of_weights(artifact.model(), training.tuning.adam),
    };
    let trained = match &start {
        Some(start) => Trainee::of_adapter(artifact.model(), start),
        None => Trainee::of_weights(artifact.model()),
    };
    let team = Team::of(trained, train::devices_beside(io, &device, training.tuning.dtype)?, Trainee::on)?;
    let learner = FineTuning { training, artifact: &artifact, team, examples, heldout };
    train::learn(io, &steps, adam, &mut filter, &learner)
}

/// The rows of a port, tokenised, with the tokens to learn.
fn read(
    encoder: &RowEncoder,
    parameters: &Sft,
    port: &str,
    files: &[DataSource],
    filter: &mut RowFilter,
) -> Result<Vec<(Example, Sequence)>> {
    let examples = data::examples(files, filter)?;
    let one = |example: &Example| -> Result<Fit<Sequence>> {
        let fit = match (&example.prompt, parameters.learn) {
            (Prompt::Chat(messages), Learn::All) => encoder.dialogue(messages, &example.completion),
            _ => encoder.sequence(&example.prompt, &example.completion),
        };
        Ok(match fit? {
            Fit::Fits(row, cut) if parameters.loss_on == LossOn::All => Fit::Fits(Sequence { start: 1, ..row }, cut),
            fit => fit,
        })
    };
    train::tokenised(examples, port, filter, |example| example.place.to_string(), one)
}

struct FineTuning<'a> {
    training: &'a Training,
    artifact: &'a Artifact,
    team: Team<Trainee>,
    examples: Vec<(Example, Sequence)>,
    /// Numbers of the rows to measure on.
    heldout: Vec<usize>,
}

impl FineTuning<'_> {
    fn rows(&self, numbers: &[usize]) -> Vec<&Sequence> {
        numbers.iter().map(|row| &self.examples[*row].1).collect()
    }
}

impl Learner for FineTuning<'_> {
    fn gradients(&self, tensors: &[Tensor<2>], batch: &[usize], _: &mut TrainState) -> Result<BatchLoss> {
        let passes = &self.training.passes;
        let rows = self.rows(batch);
        let tokens = train::learned_tokens(&rows);
        let (loss, gradients) = self.team.learn(tensors, rows.len(), passes, |pass, shard| {
            train::likelihood(pass, &rows[shard], passes.micro_batch, tokens)
        })?;
        Ok(BatchLoss { loss, gradients, columns: Vec::new() })
    }

    fn name(&self, row: usize) -> String {
        self.examples[row].0.place.to_string()
    }

    fn candidate(&self, io: &mut Io, tensors: &[Tensor<2>], step: u64, state: &TrainState) -> Result<Metrics> {
        let (model, adapter) = self.team.own().with(tensors);
        let at_once = self.training.passes.micro_batch.unwrap_or(self.training.batch);
        let heldout_loss = train::mean_loss(&model, adapter.as_ref(), &self.rows(&self.heldout), at_once)?;
        let loss = state.loss();
        match &adapter {
            Some(adapter) => self.artifact.save_with(adapter, &io.candidate_dir(step)?)?,
            None => self.artifact.save_weights(&model, &io.candidate_dir(step)?)?,
        }
        Samples::of_rows(self.artifact, self.rows(&self.heldout)).write(io, step, &model, adapter.as_ref())?;
        Ok(vec![("loss", loss), ("heldout_loss", heldout_loss), ("gap", heldout_loss - loss)])
    }
}
