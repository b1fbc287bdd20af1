//! Criteria sheets: what people are asked to look at, on which scales, with an example for each anchor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A text in the languages of the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bilingual {
    pub ja: String,
    pub en: String,
}

/// A criteria sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    pub name: String,
    /// the question above the answers
    pub question: Bilingual,
    pub criteria: Vec<Criterion>,
    /// digests of earlier sheets whose labels still count
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compatible_with: Vec<String>,
}

/// One question of a sheet, with its scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    pub name: String,
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
    pub ja: String,
    pub en: String,
    pub example: Bilingual,
}

impl Sheet {
    /// The digest that labels are bound to: of what people read, so that neither comments of the file nor the list of
    /// compatible sheets change it.
    pub fn digest(&self) -> String {
        let read = Sheet { compatible_with: Vec::new(), ..self.clone() };
        let text = serde_json::to_string(&read).expect("a sheet holds texts and numbers alone");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    pub fn criterion(&self, name: &str) -> Option<&Criterion> {
        self.criteria.iter().find(|criterion| criterion.name == name)
    }
}
