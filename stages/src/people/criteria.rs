//! Criteria sheets: what people are asked to look at, on which scales, with an example for each anchor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A text in the languages of the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bilingual {
    /// in Japanese
    pub ja: String,
    /// in English
    pub en: String,
}

/// A criteria sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// the name of the sheet
    pub name: String,
    /// the question above the answers
    pub question: Bilingual,
    /// what is looked at, each with a scale
    pub criteria: Vec<Criterion>,
    /// digests of earlier sheets whose labels still count
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compatible_with: Vec<String>,
}

/// One question of a sheet, with its scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// the name of the rating
    pub name: String,
    /// what people are asked
    pub question: Bilingual,
    /// the lowest and the highest rating
    pub scale: [i64; 2],
    /// ratings in words
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub anchors: BTreeMap<i64, Anchor>,
}

/// A rating in words, with an example that deserves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// in Japanese
    pub ja: String,
    /// in English
    pub en: String,
    /// an answer that deserves it
    pub example: Bilingual,
}

/// The most steps of a scale.
const WIDEST: i64 = 100;

impl Sheet {
    /// The digest that labels are bound to: of what people read, so that neither comments of the file nor the list of
    /// compatible sheets change it.
    pub fn digest(&self) -> String {
        let read = Sheet { compatible_with: Vec::new(), ..self.clone() };
        let text = serde_json::to_string(&read).expect("a sheet holds texts and numbers alone");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// Mistakes, each with the path of the value that it is about.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        if self.criteria.is_empty() {
            mistakes.push(("criteria".to_owned(), "a sheet needs at least one criterion".to_owned()));
        }
        for (at, criterion) in self.criteria.iter().enumerate() {
            let [low, high] = criterion.scale;
            if !names.insert(&criterion.name) {
                mistakes.push((format!("criteria[{at}].name"), format!("there are two criteria `{}`", criterion.name)));
            }
            if low >= high || high - low > WIDEST {
                let message = format!("a scale goes from a number to a larger one, at most {WIDEST} above");
                mistakes.push((format!("criteria[{at}].scale"), message));
            }
            if let Some(odd) = criterion.anchors.keys().find(|rating| **rating < low || **rating > high) {
                mistakes.push((
                    format!("criteria[{at}].anchors.{odd}"),
                    format!("it is not on the scale from {low} to {high}"),
                ));
            }
        }
        mistakes
    }

    pub fn criterion(&self, name: &str) -> Option<&Criterion> {
        self.criteria.iter().find(|criterion| criterion.name == name)
    }
}
