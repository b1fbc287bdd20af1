//! Labels: what a person says of an item, and the lines in which it is kept.

use super::criteria::Sheet;
use super::form::Form;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A judgement of an item, by the form of the question. Answers are named by their places in the item, whatever the
/// order in which they were shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Judgement {
    Pair(PairChoice),
    /// The rank of each answer: smaller is better, equal ranks tie.
    Ranking(Vec<u32>),
    /// The ratings of each answer by criterion.
    Ratings(BTreeMap<String, Vec<i64>>),
    /// A better text in the place of an answer.
    Edit {
        answer: usize,
        text: String,
    },
    /// The person has seen the item and will not judge it.
    Skip,
}

/// The choice between the two answers of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairChoice {
    First,
    Tie,
    Second,
    BothBad,
}

/// A person's label of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The digest of the item.
    pub item: String,
    /// The digest of the criteria sheet; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub criteria: String,
    /// The pseudonym of the person.
    pub by: String,
    /// 0 when the person judges the item for the first time, 1 when it is shown to them once more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u32,
    /// The places of the item's answers in the order in which they were shown, from the left; empty where nobody knows, as of
    /// labels that another tool took.
    pub order: Vec<usize>,
    pub judgement: Judgement,
    /// The person's own choice, where a suggestion was shown after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_hint: Option<Judgement>,
    /// From when it was shown to when it was judged.
    pub seconds: f64,
    /// RFC 3339.
    pub at: String,
    /// The name that the page gave it: what is sent again under it is not written again.
    pub client: String,
    /// Free text of the person, which goes into no rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(round: &u32) -> bool {
    *round == 0
}

/// Another judgement in the place of an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// The client id of the label.
    pub of: String,
    pub by: String,
    pub judgement: Judgement,
    /// Whether the person had seen a suggestion: then the judgement before it is their own choice, and both are kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_hint: bool,
    pub at: String,
    pub client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A label taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The client id of the label.
    pub of: String,
    pub by: String,
    pub at: String,
    pub client: String,
}

/// A set of labels that counts: those in each file up to a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The digest of the worklist that it is about.
    pub worklist: String,
    /// The digest of the effective labels.
    pub set: String,
    /// By file, below the folder of all labels: the hash of the last line that counts.
    pub heads: BTreeMap<String, String>,
    pub by: String,
    pub at: String,
}

/// An entry of a label file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum LabelEntry {
    Label(Label),
    Correction(Correction),
    Withdrawal(Withdrawal),
    /// Enough labels were there: later ones change nothing.
    Close(Freeze),
    /// A person took later labels in.
    Adopt(Freeze),
}

impl LabelEntry {
    /// The client id, where a page sent it.
    pub fn client(&self) -> Option<&str> {
        match self {
            LabelEntry::Label(label) => Some(&label.client),
            LabelEntry::Correction(correction) => Some(&correction.client),
            LabelEntry::Withdrawal(withdrawal) => Some(&withdrawal.client),
            LabelEntry::Close(_) | LabelEntry::Adopt(_) => None,
        }
    }

    /// The client id of the label that it corrects or withdraws.
    pub fn amends(&self) -> Option<&str> {
        match self {
            LabelEntry::Correction(correction) => Some(&correction.of),
            LabelEntry::Withdrawal(withdrawal) => Some(&withdrawal.of),
            LabelEntry::Label(_) | LabelEntry::Close(_) | LabelEntry::Adopt(_) => None,
        }
    }

    /// The person who made it.
    pub fn by(&self) -> &str {
        match self {
            LabelEntry::Label(label) => &label.by,
            LabelEntry::Correction(correction) => &correction.by,
            LabelEntry::Withdrawal(withdrawal) => &withdrawal.by,
            LabelEntry::Close(freeze) | LabelEntry::Adopt(freeze) => &freeze.by,
        }
    }
}

impl Label {
    /// Whether another tool took it: then nobody knows how it was shown, nor how long it took.
    pub fn is_imported(&self) -> bool {
        self.order.is_empty()
    }

    /// The choice before anything was suggested: this tells of people, and the judgement makes the rows.
    pub fn own_judgement(&self) -> &Judgement {
        self.before_hint.as_ref().unwrap_or(&self.judgement)
    }
}

impl Judgement {
    /// The judgement of answers that were shown in another order, as the judgement of the item. `order` has the places of
    /// the answers in the order in which they were shown; a judgement that does not fit stays as it is.
    #[must_use]
    pub fn of_shown(self, order: &[usize]) -> Judgement {
        fn back<T: Copy>(shown: &[T], order: &[usize]) -> Option<Vec<T>> {
            let of = |place: usize| shown.get(order.iter().position(|shown| *shown == place)?).copied();
            (shown.len() == order.len()).then(|| (0..order.len()).map(of).collect::<Option<Vec<T>>>())?
        }
        match self {
            Judgement::Pair(PairChoice::First) if order == [1, 0] => Judgement::Pair(PairChoice::Second),
            Judgement::Pair(PairChoice::Second) if order == [1, 0] => Judgement::Pair(PairChoice::First),
            Judgement::Ranking(ranks) => Judgement::Ranking(back(&ranks, order).unwrap_or(ranks)),
            Judgement::Ratings(by_criterion) => {
                let turn = |(name, ratings): (String, Vec<i64>)| {
                    let turned = back(&ratings, order).unwrap_or(ratings);
                    (name, turned)
                };
                Judgement::Ratings(by_criterion.into_iter().map(turn).collect())
            }
            Judgement::Edit { answer, text } => {
                Judgement::Edit { answer: order.get(answer).copied().unwrap_or(usize::MAX), text }
            }
            other => other,
        }
    }

    /// The ranks of the answers, the smaller the better, where the judgement compares them. Both bad is a tie.
    pub fn ranks(&self, sheet: Option<&Sheet>) -> Option<Vec<f64>> {
        match self {
            Judgement::Pair(PairChoice::First) => Some(vec![1.0, 2.0]),
            Judgement::Pair(PairChoice::Second) => Some(vec![2.0, 1.0]),
            Judgement::Pair(PairChoice::Tie | PairChoice::BothBad) => Some(vec![1.0, 1.0]),
            Judgement::Ranking(ranks) => Some(ranks.iter().map(|rank| f64::from(*rank)).collect()),
            Judgement::Ratings(_) => Some(self.ratings(sheet)?.into_iter().map(|rating| -rating).collect()),
            Judgement::Edit { .. } | Judgement::Skip => None,
        }
    }

    /// The mean rating of each answer, every criterion as a share of its scale.
    pub fn ratings(&self, sheet: Option<&Sheet>) -> Option<Vec<f64>> {
        let Judgement::Ratings(by_criterion) = self else { return None };
        let answers = by_criterion.values().next()?.len();
        let share = |name: &String, rating: i64| {
            let [low, high] = sheet.and_then(|sheet| sheet.criterion(name)).map_or([0, 1], |known| known.scale);
            (rating - low) as f64 / (high - low).max(1) as f64
        };
        let mean = |answer: usize| {
            let shares = by_criterion.iter().map(|(name, ratings)| ratings.get(answer).map(|one| share(name, *one)));
            Some(shares.sum::<Option<f64>>()? / by_criterion.len() as f64)
        };
        (0..answers).map(mean).collect()
    }

    /// Checks it against an item of this many answers.
    ///
    /// # Errors
    /// It is of another form, or says nothing of this item.
    pub fn check(&self, form: Form, answers: usize, sheet: Option<&Sheet>) -> Result<(), String> {
        match (form, self) {
            (_, Judgement::Skip) => Ok(()),
            (Form::Pairs, Judgement::Pair(_)) if answers == 2 => Ok(()),
            (Form::Ranking, Judgement::Ranking(ranks)) if ranks.len() == answers => Ok(()),
            (Form::Ranking, Judgement::Ranking(ranks)) => Err(format!("{} ranks for {answers} answers", ranks.len())),
            (Form::Edit, Judgement::Edit { answer, text }) if *answer < answers && !text.trim().is_empty() => Ok(()),
            (Form::Edit, Judgement::Edit { answer, .. }) if *answer >= answers => {
                Err(format!("there is no answer {}", answer + 1))
            }
            (Form::Edit, Judgement::Edit { .. }) => Err("the edited answer is empty".to_owned()),
            (Form::Ratings, Judgement::Ratings(by_criterion)) => check_ratings(by_criterion, answers, sheet),
            _ => Err(format!("these are no {}", form.name())),
        }
    }
}

fn check_ratings(
    by_criterion: &BTreeMap<String, Vec<i64>>,
    answers: usize,
    sheet: Option<&Sheet>,
) -> Result<(), String> {
    let Some(sheet) = sheet else { return Err("ratings need a criteria sheet".to_owned()) };
    for criterion in &sheet.criteria {
        let name = &criterion.name;
        let Some(ratings) = by_criterion.get(name) else { return Err(format!("no rating by `{name}`")) };
        if ratings.len() != answers {
            return Err(format!("{} ratings by `{name}` for {answers} answers", ratings.len()));
        }
        let [low, high] = criterion.scale;
        if let Some(odd) = ratings.iter().find(|rating| **rating < low || **rating > high) {
            return Err(format!("the rating {odd} by `{name}` is not on the scale from {low} to {high}"));
        }
    }
    match by_criterion.keys().find(|name| sheet.criterion(name).is_none()) {
        None => Ok(()),
        Some(odd) => Err(format!("the sheet has no criterion `{odd}`")),
    }
}

/// The labels that count, each once, in the order of item, person and round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EffectiveLabels(BTreeMap<(String, String, u32), Label>);

impl EffectiveLabels {
    /// Keeps the later one of two labels of a person on one item.
    pub fn add(&mut self, label: Label) {
        let key = (label.item.clone(), label.by.clone(), label.round);
        let is_older = |known: &Label| (&known.at, &known.client) > (&label.at, &label.client);
        if !self.0.get(&key).is_some_and(is_older) {
            self.0.insert(key, label);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.values()
    }

    /// The labels of one item, by person and round.
    pub fn of_item(&self, item: &str) -> impl Iterator<Item = &Label> {
        let from = (item.to_owned(), String::new(), 0);
        self.0.range(from..).take_while(move |((of, ..), _)| of == item).map(|(_, label)| label)
    }

    /// Takes out all labels of one item.
    pub fn remove_item(&mut self, item: &str) -> Vec<Label> {
        let keys: Vec<_> = self.of_item(item).map(|label| (item.to_owned(), label.by.clone(), label.round)).collect();
        keys.iter().filter_map(|key| self.0.remove(key)).collect()
    }

    pub fn of(&self, item: &str, by: &str, round: u32) -> Option<&Label> {
        self.0.get(&(item.to_owned(), by.to_owned(), round))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels as lines of JSON: what the action reads. What only the person and the page need is left out: notes
    /// and client ids.
    pub fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for label in self.iter() {
            let bare = Label { client: String::new(), note: None, ..label.clone() };
            serde_json::to_writer(&mut lines, &bare).expect("a label holds texts and numbers alone");
            lines.push(b'\n');
        }
        lines
    }

    /// The digest of the set: the same set in other files or another order has the same one.
    pub fn digest(&self) -> String {
        blake3::hash(&self.lines()).to_hex().to_string()
    }

    /// # Errors
    /// A line is no label.
    pub fn read(lines: &str) -> anyhow::Result<EffectiveLabels> {
        let mut labels = EffectiveLabels::default();
        for line in lines.lines() {
            labels.add(serde_json::from_str(line)?);
        }
        Ok(labels)
    }
}
