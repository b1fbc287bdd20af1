//! `draws`: one answer of one model to each prompt. An answer is named by the prompt and the number of the draw, so that
//! neither the order of the rows nor how many are decoded together changes a text.

use crate::answers::{self, Answers, ModelAnswer, Respondent};
use crate::draw::Draw;
use crate::generate::{Choice, DrawNames};
use crate::io::Io;
use crate::kernel::Keep;
use crate::stage::{self, Accepts, Call, Gives, Kind, ParameterMistake, Parameters, Port, Work};
use anyhow::Result;
use formats::data::{DataRows, Question, RowFilter};
use formats::dialogue::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub const KIND: Kind = Kind {
    name: "draws",
    version: 2,
    doc: "one drawn answer of one model to each prompt",
    ports: &[
        Port::one("model", Accepts::Model, "who answers"),
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "rows with a `prompt`"),
        Port::one("before", Accepts::Any, "earlier draws, whose answers are not to come again").many().optional(),
    ],
    gives: Gives::Any,
    shares_worker: true,
    reads_rows: true,
    draws: true,
    ..Kind::of::<Drawing>(Work::Run(run))
};

/// The times that an answer is drawn which has come before.
pub const TRIES: u64 = 4;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Drawing {
    /// the number of the draw, from 0
    pub draw: u64,
    #[serde(flatten)]
    pub chance: Chance,
    #[serde(flatten)]
    pub answers: Answers,
}

/// The chances of the next token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Chance {
    /// what logits are divided by: below 1 the likelier answers become likelier still
    pub temperature: f64,
    /// tokens that are drawn from, the likeliest; null: all
    pub top_k: Option<usize>,
    /// the fewest tokens that hold this probability together are drawn from; null: all
    pub top_p: Option<f64>,
}

impl Default for Chance {
    fn default() -> Chance {
        Chance { temperature: 1.0, top_k: Some(50), top_p: Some(0.95) }
    }
}

impl Chance {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::above_zero(&[("temperature", self.temperature)]);
        mistakes.extend(stage::at_least_one(&[("top_k", self.top_k.unwrap_or(1) as u64)]));
        if self.top_p.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            mistakes.push(ParameterMistake::new("top_p", "`top_p` is a probability above 0"));
        }
        mistakes
    }
}

impl Parameters for Drawing {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        [self.chance.mistakes(), self.answers.mistakes()].concat()
    }
}

/// A drawn answer, with the prompt as its row has it, and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrawRow {
    #[serde(flatten)]
    pub answer: ModelAnswer,
    pub asked: Prompt,
    pub source: DrawSource,
}

/// The model and the draw that an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawSource {
    /// The content of the model.
    pub model: String,
    pub draw: u64,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let Drawing { draw: number, chance, answers } = call.parameters()?;
    let mut filter = RowFilter::new(io.may_skip());
    let before = earlier(io)?;
    let model = answers::open(io, &answers, &mut filter)?;
    let source = DrawSource { model: io.identity("model")?, draw: number };
    let names = names(&model.prompts);
    let sampler = Sampler { model: &model, chance: &chance, names: &names, draw: call.draw(KIND.name, "token") };
    let total = model.prompts.len();
    let mut rows: Vec<ModelAnswer> = Vec::with_capacity(total);
    let places: Vec<usize> = (0..total).collect();
    for now in places.chunks(answers.batch) {
        rows.extend(sampler.draw(now, number * TRIES)?);
        io.progress(rows.len() as u64, total as u64, "answer", || format!("draw {}", number + 1))?;
    }
    for again in 1..TRIES {
        let known =
            |place: &usize| before.get(&rows[*place].id).is_some_and(|known| known.contains(&rows[*place].text));
        let wanted: Vec<usize> = (0..total).filter(known).collect();
        for now in wanted.chunks(answers.batch) {
            let answers = sampler.draw(now, number * TRIES + again)?;
            now.iter().zip(answers).for_each(|(place, answer)| rows[*place] = answer);
        }
    }
    let asked = model.prompts.iter().map(|question| question.prompt.clone());
    let rows: Vec<DrawRow> =
        rows.into_iter().zip(asked).map(|(answer, asked)| DrawRow { answer, asked, source: source.clone() }).collect();
    model.write(&io.candidate_dir(0)?, &rows)?;
    io.candidate(0, &filter.metrics())
}

/// A model, and the names of the draws of its prompts.
struct Sampler<'a> {
    model: &'a Respondent,
    chance: &'a Chance,
    names: &'a [u64],
    draw: Draw,
}

impl Sampler<'_> {
    fn draw(&self, places: &[usize], number: u64) -> Result<Vec<ModelAnswer>> {
        let Chance { temperature, top_k, top_p } = *self.chance;
        let rows: Vec<u64> = places.iter().map(|place| self.names[*place]).collect();
        let of = DrawNames::Named { rows: &rows, number };
        self.model.answers(places, Choice::Sample { temperature, keep: Keep { top_k, top_p }, draw: self.draw, of })
    }
}

/// A name for each prompt, by its content; the same prompt once more has another one.
pub fn names(prompts: &[Question]) -> Vec<u64> {
    let mut times: BTreeMap<&Prompt, u64> = BTreeMap::new();
    let name = |question: &'_ Question, time: u64| {
        let text = serde_json::to_string(&(&question.prompt, time)).expect("a prompt is texts alone");
        let digest = blake3::hash(text.as_bytes());
        u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at]))
    };
    let mut names = Vec::with_capacity(prompts.len());
    for question in prompts {
        let time = times.entry(&question.prompt).or_default();
        names.push(name(question, *time));
        *time += 1;
    }
    names
}

/// The texts of earlier draws, by the id of the prompt.
fn earlier(io: &Io) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut before: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for directory in io.optional_data("before").into_iter().flatten().flat_map(|source| &source.files) {
        for row in answers::read::<ModelAnswer>(directory)? {
            before.entry(row.id).or_default().insert(row.text);
        }
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_the_same_name_wherever_its_row_stands() {
        let question = |id: &str, text: &str| Question {
            id: id.to_owned(),
            prompt: Prompt::Text(text.to_owned()),
            group: None,
            subset: None,
            weight: 1.0,
        };
        let one = names(&[question("1", "a"), question("2", "b"), question("3", "a")]);
        let other = names(&[question("1", "b"), question("2", "a"), question("3", "a")]);
        assert_eq!((one[0], one[1], one[2]), (other[1], other[0], other[2]));
        assert!(one[0] != one[2] && one[0] != one[1]);
    }
}
