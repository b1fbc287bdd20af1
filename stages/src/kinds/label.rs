//! `label`: people compare, rank, rate or edit answers. It has two actions: which items they are asked about, and what
//! their labels make of these. Between the two the runner waits for people.

pub mod labels;
mod parameters;
pub mod scores;
pub mod worklist;

use crate::people::form::Form;
use crate::people::rows;
use crate::stage::{Accepts, AskingActions, Gives, Kind, Port, Work};
use formats::data::DataRows;
use parameters::Labelling;
use serde::Deserialize;
use serde_json::Value;

pub const KIND: Kind = Kind {
    name: "label",
    doc: "people compare, rank, rate or edit answers: `pipeline label` asks them, and the stage waits until they have",
    ports: &[
        Port::one(
            "items",
            Accepts::Data(DataRows::Answers),
            "rows with a `prompt` and `answers: […]`; preferences, rankings and ratings are items, too, and rows with one \
             answer to the same prompt are one item",
        )
        .or("review"),
        Port::one(
            "review",
            Accepts::Evaluation,
            "an evaluation: people compare the answers that its model changed with those of its baseline, and wins and losses \
             of the reward come in turns",
        )
        .or("items"),
        Port::one("criteria", Accepts::Criteria, "a criteria sheet (.yaml): what to look at; ratings need one")
            .instead_of("criteria")
            .optional(),
        Port::one(
            "gold",
            Accepts::Data(DataRows::Answers),
            "items whose judgement is known, which are shown among the others and measure people",
        )
        .optional(),
        Port::one(
            "suggest",
            Accepts::Data(DataRows::Answers),
            "judgements of the same answers, shown after a person's own choice, which they may then keep or change",
        )
        .optional(),
        Port::one("reward", Accepts::RewardModel, "a reward model: with `order: active`, what it is least sure of is asked first").optional(),
    ],
    gives: Gives::Any,
    metrics: labels::METRICS,
    draws: true,
    computes: false,
    files: Some(files),
    ..Kind::of::<Labelling>(Work::Ask(&ACTIONS))
};

/// The files of the labels, by their form.
fn files(parameters: &Value) -> Vec<&'static str> {
    let form = Form::deserialize(&parameters["form"]).unwrap_or(Form::Pairs);
    [rows::names(form), &[rows::PER_ITEM]].concat()
}

/// The scores by which items are picked, the choice of items, and what became of them.
const ACTIONS: AskingActions =
    AskingActions { scored_by: "reward", scores: &scores::KIND, worklist: &worklist::KIND, labels: &labels::KIND };
