//! The clauses behind a comparison: its margin, and the confidence that it asks for (how sure, over how many looks, of a
//! table that grows, by which assumption).

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// `by 0.02` or `by 5%`; never negative.
#[derive(Clone, Debug)]
pub struct Margin {
    pub amount: f64,
    pub is_percent: bool,
    /// The text as typed: `0.02` or `5%`.
    pub text: String,
    pub range: Range<usize>,
}

/// `with 95% confidence`, which is one-sided, `with 95% confidence over 4 looks up to 2000 items assuming bounds`.
#[derive(Clone, Debug)]
pub struct Confidence {
    pub percent: f64,
    /// The number as typed, without the `%`.
    pub text: String,
    /// The looks at the items that share the level; `None`: each has all of it.
    pub looks: Option<DeclaredLooks>,
    /// The growth of the table that is looked at; `None`: it is complete.
    pub growth: Option<DeclaredGrowth>,
    /// Whether every item is taken to lie within the bounds that its metric declares.
    pub assumes_bounds: bool,
    /// The range from `with` on.
    pub range: Range<usize>,
}

/// The growth of a table of items that is looked at again and again meanwhile: `up to 2000 items`, `up to items`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredGrowth {
    /// To this number of items at most.
    UpTo(u32),
    /// Without a maximum.
    Open,
}

/// The number of looks at one set of items that a rule declares: `over 4 looks`, `over looks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredLooks {
    /// As many as this, each with the same part of the level.
    Exactly(u32),
    /// Any number, each with less than the one before.
    Open,
}

impl DeclaredLooks {
    /// The part of the level that belongs to the look with this number, counted from 1.
    pub fn part(self, number: u32) -> f64 {
        match self {
            DeclaredLooks::Exactly(count) => 1.0 / f64::from(count.max(1)),
            DeclaredLooks::Open => 1.0 / (f64::from(number) * f64::from(number + 1)),
        }
    }
}

impl Confidence {
    /// `with 95% confidence over 4 looks`.
    pub fn phrase(&self) -> String {
        let looks = match self.looks {
            None => String::new(),
            Some(DeclaredLooks::Exactly(1)) => " over 1 look".to_owned(),
            Some(DeclaredLooks::Exactly(count)) => format!(" over {count} looks"),
            Some(DeclaredLooks::Open) => " over looks".to_owned(),
        };
        format!("with {}% confidence{looks}{}", self.text, self.form())
    }

    /// The words that make another form of it: ` up to 2000 items assuming bounds`.
    pub fn form(&self) -> String {
        let growth = match self.growth {
            None => String::new(),
            Some(DeclaredGrowth::UpTo(1)) => " up to 1 item".to_owned(),
            Some(DeclaredGrowth::UpTo(count)) => format!(" up to {count} items"),
            Some(DeclaredGrowth::Open) => " up to items".to_owned(),
        };
        growth + if self.assumes_bounds { " assuming bounds" } else { "" }
    }

    /// The chance of a false claim that this confidence allows.
    pub fn level(&self) -> f64 {
        1.0 - self.percent / 100.0
    }
}
