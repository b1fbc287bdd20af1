//! Worklists: which items people are asked about, in which order, with hidden questions whose answer is known.

use super::criteria::Sheet;
use super::form::Form;
use super::identity::names_its_model;
use super::label::{EffectiveLabels, Judgement, Label};
use anyhow::{Context, Result};
use formats::dialogue::Prompt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

/// The questions of a worklist, apart from its items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Questionnaire {
    pub form: Form,
    /// The number of items that need a label.
    pub items: usize,
    /// The number of them that need one of a second person.
    pub overlapped: usize,
    /// The shares of what a person is shown that are gold, and that are shown to them once more.
    pub gold_share: f64,
    pub repeats: f64,
    pub seed: u64,
    /// Whether items were picked for what they teach: people are then measured on those that were drawn at random.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_active: bool,
    pub criteria: Option<Sheet>,
}

/// An item as people are asked about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkItem {
    /// The digest of prompt and answers, which labels are bound to.
    pub digest: String,
    /// The id of its row; of several items of one row with a number behind it.
    pub id: String,
    /// The id of its row itself, where the item was just made of it.
    #[serde(skip)]
    pub row: Option<String>,
    /// Whether that row was written with its id.
    #[serde(skip)]
    pub has_written_id: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub prompt: Prompt,
    /// In the order of their texts, which says nothing of who wrote them.
    pub answers: Vec<String>,
    /// Whether a second person is to judge it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_overlapped: bool,
    /// A question whose answer is known, which measures people and makes no row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_gold: bool,
    /// The ranks that are known of gold, or that its row had, the smaller the better; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Vec<f64>>,
    /// The place of the answer of the model that is reviewed; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<usize>,
    /// Ranks that are shown after a person's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Vec<f64>>,
    /// Whether an answer names the model that wrote it: then people judge the name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaks_identity: bool,
    /// The chance with which it is among those that were drawn at random, where others were picked for what they teach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
}

/// A worklist. Items come in the order in which they are asked, gold after them.
#[derive(Clone, Debug, PartialEq)]
pub struct Worklist {
    /// The digest under which its labels are kept.
    pub digest: String,
    pub asked: Questionnaire,
    pub items: Vec<WorkItem>,
    /// The places of gold.
    pub gold: Vec<usize>,
    places: HashMap<String, usize>,
}

/// The files of a worklist.
pub const QUESTIONNAIRE: &str = "questionnaire.json";
pub const ITEMS: &str = "questions.jsonl";

impl WorkItem {
    /// An item of which nothing is known but its texts; its id is its digest.
    pub fn of(prompt: Prompt, answers: Vec<String>) -> WorkItem {
        let digest = WorkItem::digest(&prompt, &answers);
        let leaks_identity = answers.iter().any(|answer| names_its_model(answer));
        WorkItem {
            id: digest.clone(),
            row: None,
            has_written_id: false,
            digest,
            group: None,
            prompt,
            answers,
            is_overlapped: false,
            is_gold: false,
            known: None,
            reviewed: None,
            suggestion: None,
            leaks_identity,
            propensity: None,
        }
    }

    /// The digest of a prompt and its answers, which come in the order of their texts.
    pub fn digest(prompt: &Prompt, answers: &[String]) -> String {
        let text = serde_json::to_string(&(prompt, answers)).expect("these are texts alone");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The id of its row, as files that know rows by it have it.
    pub fn row_id(&self) -> &str {
        self.row.as_deref().unwrap_or(&self.id)
    }

    /// Whether two of its answers are the same text, so that nothing can be better.
    pub fn has_equal_answers(&self) -> bool {
        // They come in the order of their texts.
        self.answers.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// A row of a table of items: the value of a metric, whose name is its subset. `by` tells rows about one item apart.
    pub fn metric_row(&self, metric: &str, by: &str, value: f64) -> Value {
        let mut row = Map::new();
        row.insert("id".to_owned(), json!(format!("{metric}/{}{by}", self.digest)));
        row.insert("prompt".to_owned(), json!(self.prompt.to_string()));
        if let Some(group) = &self.group {
            row.insert("prompt_group".to_owned(), json!(group));
        }
        row.insert("subset".to_owned(), json!(metric));
        row.insert(metric.to_owned(), json!(value));
        Value::Object(row)
    }

    /// The places of the answers in an order drawn by the item alone. Agreement by chance is counted in it: in that of the
    /// texts, the better answer may always come first.
    pub fn drawn_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.answers.len()).collect();
        order.sort_by_cached_key(|place| *blake3::hash(format!("{place} {}", self.digest).as_bytes()).as_bytes());
        order
    }
}

impl Worklist {
    pub fn new(digest: String, asked: Questionnaire, items: Vec<WorkItem>) -> Worklist {
        let places = items.iter().enumerate().map(|(place, item)| (item.digest.clone(), place)).collect();
        let gold = (0..items.len()).filter(|place| items[*place].is_gold).collect();
        Worklist { digest, asked, items, gold, places }
    }

    /// Reads the two files of a worklist, the items line by line.
    ///
    /// # Errors
    /// They are not what `worklist` writes.
    pub fn read(digest: String, questionnaire: &[u8], mut items: impl BufRead) -> Result<Worklist> {
        let asked = serde_json::from_slice(questionnaire).with_context(|| format!("read {QUESTIONNAIRE}"))?;
        let (mut all, mut line) = (Vec::new(), Vec::new());
        let mut read = || -> Result<bool> {
            line.clear();
            let is_more = items.read_until(b'\n', &mut line)? > 0;
            if !line.trim_ascii().is_empty() {
                all.push(serde_json::from_slice(&line)?);
            }
            Ok(is_more)
        };
        while read().with_context(|| format!("read {ITEMS}"))? {}
        Ok(Worklist::new(digest, asked, all))
    }

    /// Whether what people say of an item tells of all items.
    pub fn is_of_sample(&self, place: usize) -> bool {
        !self.asked.is_active || self.items[place].propensity.is_some()
    }

    /// The place of an item by its digest.
    pub fn place(&self, item: &str) -> Option<usize> {
        self.places.get(item).copied()
    }

    /// The digest of the criteria sheet; empty without one.
    pub fn criteria(&self) -> String {
        self.asked.criteria.as_ref().map_or_else(String::new, Sheet::digest)
    }

    /// Whether labels made by the criteria sheet of this digest count.
    pub fn takes_sheet(&self, digest: &str) -> bool {
        let sheet = self.asked.criteria.as_ref();
        digest == self.criteria()
            || sheet.is_some_and(|sheet| sheet.compatible_with.iter().any(|known| known == digest))
    }

    /// Whether a label belongs to this worklist: its item is here as it was, and it was made by these criteria or by
    /// compatible ones.
    pub fn takes(&self, label: &Label) -> bool {
        let Some(place) = self.place(&label.item) else { return false };
        let sheet = self.asked.criteria.as_ref();
        self.takes_sheet(&label.criteria)
            && label.judgement.check(self.asked.form, self.items[place].answers.len(), sheet).is_ok()
    }

    /// First judgements of items that are no gold, without those that were skipped, by the places of the items.
    pub fn judged<'a>(&self, labels: &'a EffectiveLabels) -> BTreeMap<usize, Vec<&'a Label>> {
        let mut by_item: BTreeMap<usize, Vec<&Label>> = BTreeMap::new();
        for label in labels.iter().filter(|label| label.round == 0 && label.judgement != Judgement::Skip) {
            if let Some(place) = self.place(&label.item).filter(|place| !self.items[*place].is_gold) {
                by_item.entry(place).or_default().push(label);
            }
        }
        by_item
    }

    /// The labels with their items.
    pub fn labelled<'a>(&'a self, labels: &'a EffectiveLabels) -> impl Iterator<Item = (usize, &'a Label)> {
        labels.iter().filter_map(|label| Some((self.place(&label.item)?, label)))
    }
}
