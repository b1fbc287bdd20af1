//! `draws`: one answer of one model to each prompt. An answer is named by the prompt and the number of the draw, so that
//! neither the order of the rows nor how many are decoded together changes a text.

use crate::answers::drawn::{self, Chance, TRIES};
use crate::answers::{self, Answers, ModelAnswer, Respondent};
use crate::draw::Draw;
use crate::generate::DrawNames;
use crate::io::Io;
use crate::stage::{Accepts, Call, Gives, Kind, ParameterMistake, Parameters, Port, Work};
use anyhow::Result;
use formats::data::{DataRows, RowFilter};
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
    let names = drawn::names(&model.prompts);
    let sampler = Sampler { model: &model, chance: &chance, names: &names, draw: call.draw(drawn::NAME, "token") };
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
        let rows: Vec<u64> = places.iter().map(|place| self.names[*place]).collect();
        let of = DrawNames::Named { rows: &rows, number };
        self.model.answers(places, self.chance.choice(self.draw, of))
    }
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
