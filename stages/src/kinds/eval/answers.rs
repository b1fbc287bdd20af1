//! `answers`: decodes greedy answers of one model to a set of prompts. The first part of an `eval`.

use crate::device;
use crate::generate::{self, Choice, Decoding};
use crate::io::{self, Io};
use crate::model::{Artifact, Expectation, Load, LoraParameters, Templating};
use crate::rl;
use crate::stage::{self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Truncate};
use anyhow::{Context, Result};
use formats::data::{self, DataRows, RowFilter};
use formats::dtype::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub const KIND: Kind = Kind {
    name: "answers",
    version: 8,
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

/// The file with a row for each prompt: the item that gates read, with the tokens that the other parts read.
pub const TABLE: &str = "answers.jsonl";

/// The parameters of an `eval` as a whole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Answers {
    /// longest answer
    pub max_new_tokens: usize,
    /// prompts answered at once; never changes a number's meaning
    pub batch: usize,
    /// what becomes of prompts that leave no room for an answer. end or drop: they are left out; start: they lose their
    /// beginning, dialogues their first turns after the system's text; middle: texts keep both ends
    pub truncate: Truncate,
    /// id that ends an answer; default: the model's eos tokens, and the one with which the chat template ends an answer
    pub stop_token: Option<u32>,
    #[serde(flatten)]
    pub templating: Templating,
    /// f32, f16 or bf16: what the matrices of the models are kept and multiplied in
    pub dtype: Dtype,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers {
            max_new_tokens: 48,
            batch: 64,
            truncate: Truncate::End,
            stop_token: None,
            templating: Templating::default(),
            dtype: Dtype::F32,
        }
    }
}

impl Parameters for Answers {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let counts = [("max_new_tokens", self.max_new_tokens as u64), ("batch", self.batch as u64)];
        [stage::at_least_one(&counts), self.templating.mistakes()].concat()
    }
}

/// The parameters of the parts that run models over the answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerReading {
    /// answers at once
    pub batch: usize,
    /// of the base's matrices
    pub dtype: Dtype,
}

impl Default for AnswerReading {
    fn default() -> AnswerReading {
        let Answers { batch, dtype, .. } = Answers::default();
        AnswerReading { batch, dtype }
    }
}

impl Parameters for AnswerReading {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// A row of [`TABLE`]. It holds the tokens, so that scoring does not depend on tokenising the text again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GreedyAnswer {
    pub id: String,
    pub prompt: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    pub prompt_ids: Vec<u32>,
    pub answer_ids: Vec<u32>,
    pub length: usize,
    pub ended: bool,
    pub distinct_2: f64,
    pub repetition: f64,
}

/// The file with the digest of the tokenizer that the ids of the rows belong to.
const TOKENIZER: &str = "tokenizer.txt";

pub fn tokenizer(directory: &Path) -> Result<String> {
    let path = directory.join(TOKENIZER);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

pub fn read(directory: &Path) -> Result<Vec<GreedyAnswer>> {
    let path = directory.join(TABLE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("read {}", path.display()))).collect()
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Answers = call.parameters()?;
    let device = device::of(io, parameters.dtype)?;
    let artifact = Artifact::open_resident(io.input("model")?, parameters.dtype, &device)?;
    let artifact = artifact.with_templating(&parameters.templating)?;
    let mut filter = RowFilter::new(io.may_skip());
    let questions = data::prompts(io.data("prompts")?, &mut filter)?;
    let stops = artifact.stops(parameters.stop_token)?;
    let Answers { max_new_tokens, truncate, .. } = parameters;
    let (prompts, ids) = train::prompts(&artifact, questions, max_new_tokens, truncate, &mut filter)?;
    filter.take_remarks().into_iter().for_each(|remark| io.remark(remark));
    let rows = parameters.batch.min(prompts.len());
    let tokens = ids.iter().map(Vec::len).max().unwrap_or(0);
    let load = Load { tokens, read: 1, decoded: (rows, tokens + parameters.max_new_tokens), ..Load::default() };
    let lora = &LoraParameters::default();
    artifact.expect(io, Expectation { lora, load, others: &[], lower: "`batch` or `max_new_tokens`" })?;
    let total = prompts.len() as u64;
    let mut rows: Vec<GreedyAnswer> = Vec::with_capacity(prompts.len());
    for (prompts, ids) in prompts.chunks(parameters.batch).zip(ids.chunks(parameters.batch)) {
        let batch: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let decoding = Decoding {
            max_new: parameters.max_new_tokens,
            stops: &stops,
            choice: Choice::Greedy,
            at_once: parameters.batch,
        };
        let answers = generate::answer(artifact.model(), artifact.adapter.as_ref(), &batch, decoding)?;
        for ((prompt, prompt_ids), answer) in prompts.iter().zip(ids).zip(answers) {
            rows.push(GreedyAnswer {
                id: prompt.id.clone(),
                prompt: prompt.prompt.to_string(),
                text: artifact.tokenizer.decode_answer(prompt_ids, &answer.ids)?,
                prompt_group: prompt.group.clone(),
                subset: prompt.subset.clone(),
                prompt_ids: prompt_ids.clone(),
                length: answer.ids.len(),
                ended: answer.has_ended,
                distinct_2: rl::distinct_pairs(&answer.ids),
                repetition: rl::repetition(&answer.ids),
                answer_ids: answer.ids,
            });
        }
        io.progress(rows.len() as u64, total, "answer", || "greedy answers".to_owned())?;
    }
    let mean = |number: fn(&GreedyAnswer) -> f64| rl::mean(&rows.iter().map(number).collect::<Vec<_>>());
    let directory = io.candidate_dir(0)?;
    io::write_rows(&directory.join(TABLE), &rows)?;
    std::fs::write(directory.join(TOKENIZER), artifact.tokenizer.digest()?).context("write the tokenizer's digest")?;
    let metrics = [
        ("length", mean(|row| row.length as f64)),
        ("eos_share", mean(|row| f64::from(u8::from(row.ended)))),
        ("distinct_2", mean(|row| row.distinct_2)),
        ("repetition", mean(|row| row.repetition)),
        ("same_answer_share", rl::same_answer_share(rows.iter().map(|row| (&row.prompt_ids, &row.text)))),
    ];
    io.candidate(0, &[&metrics[..], &filter.metrics()].concat())
}
