//! The parameters of `label`.

use crate::people::criteria::Sheet;
use crate::people::form::Form;
use crate::stage::{ParameterMistake, Parameters};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The order in which items are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ItemOrder {
    Sequence,
    Random,
    Active,
}

/// The thing to do with items of which an answer names its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeakChoice {
    Keep,
    LeaveOut,
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
    /// OPTIONS: as the rows come, shuffled, or first what the reward model on `reward` is least sure of, far from what is picked already; then
    /// one in three is drawn at random, and people are measured on those
    pub order: ItemOrder,
    /// share of what a person is shown that is gold, where there is any
    pub gold_share: f64,
    /// share of what a person is shown that they have judged before
    pub repeats: f64,
    /// items of which an answer names the model that wrote it, or its maker: OPTIONS. They are marked and counted either way
    pub leaks: LeakChoice,
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
            leaks: LeakChoice::Keep,
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
