//! `label`: people compare, rank, rate or edit answers. It has two actions: which items they are asked about, and what
//! their labels make of these. Between the two the runner waits for people.

pub mod labels;
pub mod worklist;

use crate::people::criteria::Sheet;
use crate::people::worklist::Form;
use crate::stage::{Accepts, Gives, Kind, ParameterMistake, Parameters, Port, TwoActions, Work};
use formats::data::DataRows;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KIND: Kind = Kind {
    name: "label",
    doc: "people compare, rank, rate or edit answers: `pipeline label` asks them, and the stage waits until they have",
    ports: &[
        Port::one(
            "items",
            Accepts::Data(DataRows::Answers),
            "rows with a `prompt` and `answers: […]`; preferences, rankings and ratings are items, too, and rows with one \
             answer to the same prompt are one item",
        ),
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
        Port::one("reward", Accepts::Reward, "what scores the answers, for `order: active`").optional(),
    ],
    gives: Gives::Any,
    metrics: labels::METRICS,
    draws: true,
    computes: false,
    ..Kind::of::<Labelling>(Work::Ask(&ACTIONS))
};

/// Which items, and what became of them.
const ACTIONS: TwoActions = TwoActions { worklist: &worklist::KIND, labels: &labels::KIND };

/// The order in which items are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ItemOrder {
    Sequence,
    Random,
    Active,
}

/// The labels that are needed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Need {
    /// items that need a label; null: all
    pub items: Option<u64>,
    /// share of them that a second person labels as well, which is what agreement is measured on
    pub overlap: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Labelling {
    /// what people do: OPTIONS. One form serves training and review: rankings and ratings of the same answers disagree
    pub form: Form,
    pub need: Need,
    /// OPTIONS: as the rows come, shuffled, or first those that `reward` is least sure of
    pub order: ItemOrder,
    /// share of what a person is shown that is gold, where there is any
    pub gold_share: f64,
    /// share of what a person is shown that they have judged before
    pub repeats: f64,
    /// the criteria sheet in the file itself, in the place of the input
    pub criteria: Option<Sheet>,
}

impl Default for Labelling {
    fn default() -> Labelling {
        Labelling {
            form: Form::Pairs,
            need: Need::default(),
            order: ItemOrder::Random,
            gold_share: 0.05,
            repeats: 0.05,
            criteria: None,
        }
    }
}

impl Parameters for Labelling {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let shares = [
            ("need.overlap", self.need.overlap, 1.0),
            ("gold_share", self.gold_share, 0.5),
            ("repeats", self.repeats, 0.5),
        ];
        let mut mistakes: Vec<ParameterMistake> = shares
            .into_iter()
            .filter(|(_, share, most)| !(0.0..=*most).contains(share))
            .map(|(name, _, most)| ParameterMistake::new(name, format!("it must lie between 0 and {most}")))
            .collect();
        if self.need.items == Some(0) {
            mistakes.push(ParameterMistake::new("need.items", "it must be at least 1"));
        }
        if let Some(sheet) = &self.criteria {
            mistakes.extend(
                sheet
                    .mistakes()
                    .into_iter()
                    .map(|(path, message)| ParameterMistake::new(&format!("criteria.{path}"), message)),
            );
        }
        mistakes
    }
}
