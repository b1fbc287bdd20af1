//! Answers of a model to prompts: how a stage has them written, and the rows in which other actions read them.

pub mod drawn;

use crate::device;
use crate::generate::{self, Choice, Decoding};
use crate::io::{self, Io};
use crate::model::{Artifact, Expectation, Load, LoraParameters, Templating};
use crate::rl;
use crate::stage::{self, ParameterMistake, Parameters};
use crate::train::{self, Truncate};
use anyhow::{Context, Result};
use formats::data::{self, AnsweredQuestion, Question, RowFilter};
use formats::dialogue::Prompt;
use formats::dtype::Dtype;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file with a row for each prompt: the item that gates read, with the tokens that the other parts read.
pub const TABLE: &str = "answers.jsonl";

/// The way in which a model answers.
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
pub struct ModelAnswer {
    pub id: String,
    /// Whether its row had no `id`: then it is a number that no other file knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_numbered: bool,
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

/// A row of [`TABLE`] with what was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskedAnswer {
    #[serde(flatten)]
    pub answer: ModelAnswer,
    /// The prompt as its row has it, where that is a dialogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Prompt>,
}

impl AskedAnswer {
    pub fn of(answer: ModelAnswer, prompt: &Prompt) -> AskedAnswer {
        let asked = Some(prompt).filter(|prompt| matches!(prompt, Prompt::Chat(_))).cloned();
        AskedAnswer { answer, asked }
    }

    /// The question with this one answer.
    pub fn question(self) -> AnsweredQuestion {
        let prompt = self.prompt();
        let ModelAnswer { id, is_numbered, text, prompt_group: group, subset, .. } = self.answer;
        AnsweredQuestion { id, has_written_id: !is_numbered, group, subset, prompt, answers: vec![text], ranks: None }
    }

    /// The prompt as its row has it.
    pub fn prompt(&self) -> Prompt {
        self.asked.clone().unwrap_or_else(|| Prompt::Text(self.answer.prompt.clone()))
    }
}

/// The file with the digest of the tokenizer that the ids of the rows belong to.
const TOKENIZER: &str = "tokenizer.txt";
/// The file with the digest of the chat template through which prompts became ids; there is none without a template.
const TEMPLATE: &str = "template.txt";

pub fn tokenizer(directory: &Path) -> Result<String> {
    let path = directory.join(TOKENIZER);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Whether a model reads the very tokens of the answers in a directory as it would read their texts: its tokenizer and its
/// chat template are those of who wrote them.
///
/// # Errors
/// A file cannot be read, or the tokenizer fails.
pub fn reads_tokens(directory: &Path, reader: &Artifact) -> Result<bool> {
    let path = directory.join(TEMPLATE);
    let template =
        ::files::found(std::fs::read_to_string(&path)).with_context(|| format!("read {}", path.display()))?;
    Ok(reader.same_tokens_as(&tokenizer(directory)?).is_ok() && reader.tokenizer.template_digest() == template)
}

/// The rows of answers in a directory, with what they have beside an [`ModelAnswer`].
///
/// # Errors
/// There are none.
pub fn read<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    io::read_rows(&directory.join(TABLE))
}

/// A model with the prompts that it is asked.
pub struct Respondent {
    pub prompts: Vec<Question>,
    artifact: Artifact,
    /// The tokens of each prompt.
    ids: Vec<Vec<u32>>,
    stops: Vec<u32>,
    max_new: usize,
    at_once: usize,
}

/// Opens the model and the prompts of a stage, on the ports of these names.
///
/// # Errors
/// One of them cannot be read, or the device has no room for the work.
pub fn open(io: &mut Io, parameters: &Answers, filter: &mut RowFilter) -> Result<Respondent> {
    let device = device::of(io, parameters.dtype)?;
    let artifact = Artifact::open_resident(io.input("model")?, parameters.dtype, &device)?;
    let artifact = artifact.with_templating(&parameters.templating)?;
    let questions = data::prompts(io.data("prompts")?, filter)?;
    let stops = artifact.stops(parameters.stop_token)?;
    let Answers { max_new_tokens: max_new, batch: at_once, truncate, .. } = *parameters;
    let (prompts, ids) = train::prompts(&artifact, questions, max_new, truncate, filter)?;
    filter.take_remarks().into_iter().for_each(|remark| io.remark(remark));
    let tokens = ids.iter().map(Vec::len).max().unwrap_or(0);
    let load = Load { tokens, read: 1, decoded: (at_once.min(prompts.len()), tokens + max_new), ..Load::default() };
    let lora = &LoraParameters::default();
    artifact.expect(io, Expectation { lora, load, others: &[], lower: "`batch` or `max_new_tokens`" })?;
    Ok(Respondent { prompts, artifact, ids, stops, max_new, at_once })
}

impl Respondent {
    /// Answers to some of the prompts, by their numbers; none sees another.
    ///
    /// # Errors
    /// The logits are no numbers, or the device cannot be read.
    pub fn answers(&self, rows: &[usize], choice: Choice) -> Result<Vec<ModelAnswer>> {
        let Respondent { artifact, stops, max_new, at_once, .. } = self;
        let asked: Vec<&[u32]> = rows.iter().map(|row| self.ids[*row].as_slice()).collect();
        let decoding = Decoding { max_new: *max_new, stops, choice, at_once: *at_once };
        let answers = generate::answer(artifact.model(), artifact.adapter.as_ref(), &asked, decoding)?;
        let row = |(row, answer): (&usize, generate::Answer)| {
            let (prompt, prompt_ids) = (&self.prompts[*row], &self.ids[*row]);
            Ok(ModelAnswer {
                id: prompt.id.clone(),
                is_numbered: !prompt.has_written_id,
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
            })
        };
        rows.iter().zip(answers).map(row).collect()
    }

    /// Writes rows of answers, and the digest of the tokenizer that their ids belong to.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write<T: Serialize>(&self, directory: &Path, rows: &[T]) -> Result<()> {
        io::write_rows(&directory.join(TABLE), rows)?;
        let tokenizer = &self.artifact.tokenizer;
        std::fs::write(directory.join(TOKENIZER), tokenizer.digest()?).context("write the tokenizer's digest")?;
        let template = tokenizer.template_digest();
        template.map_or(Ok(()), |digest| {
            std::fs::write(directory.join(TEMPLATE), digest).context("write the template's digest")
        })
    }
}
