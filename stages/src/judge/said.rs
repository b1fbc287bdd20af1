//! Judgements of items, read back: from what `label` and `rank` write item by item, or from rows that judge their answers.

use crate::io;
use crate::people::form::Form;
use crate::people::items::{Suggestions, items_of};
use crate::people::label::{Judgement, Label};
use crate::people::likeness::of_ranks;
use crate::people::rows::PER_ITEM;
use crate::people::worklist::WorkItem;
use anyhow::{Context, Result, bail};
use formats::data::{self, AnsweredQuestion, RowFilter};
use formats::dialogue::Prompt;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// An item with all that was said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SaidItem {
    pub item: WorkItem,
    pub labels: Vec<Label>,
    /// Whether it was picked for what it teaches: then it tells nothing of all items.
    pub is_picked: bool,
}

/// A row of what `label` and `rank` write item by item.
#[derive(Deserialize)]
struct PerItemRow {
    id: String,
    prompt: Prompt,
    #[serde(default)]
    prompt_group: Option<String>,
    answers: Vec<String>,
    #[serde(default)]
    is_picked: bool,
    labels: Vec<PerItemLabel>,
}

#[derive(Deserialize)]
struct PerItemLabel {
    by: String,
    judgement: Judgement,
    #[serde(default)]
    order: Vec<usize>,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    at: String,
}

/// The name of whoever made rows that do not say it.
const NOBODY: &str = "rows";

/// Reads what lies at a path: the output of a stage, its file, or rows that judge answers, as judgements of `form`; without one, as
/// lists where a row has more than two answers, else as pairs.
///
/// # Errors
/// It is neither.
pub fn read(path: &Path, form: Option<Form>) -> Result<Vec<SaidItem>> {
    let file = if files::is_directory(path)? { path.join(PER_ITEM) } else { path.to_owned() };
    if is_per_item(&file)? {
        let rows: Vec<PerItemRow> = io::read_rows(&file)?;
        return Ok(rows.into_iter().map(SaidItem::of_row).collect());
    }
    let questions = data::answered(&[file.clone().into()], &mut RowFilter::default())?;
    let is_list = |row: &AnsweredQuestion| row.answers.len() > 2 && row.ranks.is_some();
    let form = form.unwrap_or(if questions.iter().any(is_list) { Form::Ranking } else { Form::Pairs });
    let items = questions.into_iter().flat_map(|question| items_of(question, form, &Suggestions::default()));
    let said: Vec<SaidItem> = items.filter_map(|item| SaidItem::of_known(item, form)).collect();
    if said.is_empty() {
        bail!("read {}: no row says which answer is better", file.display());
    }
    Ok(joined(said))
}

/// The form that judgements at a path have whoever reads them; `None` of rows that judge their answers, which are pairs or lists as
/// one likes, and where nobody spoke.
///
/// # Errors
/// As [`read`].
pub fn stated_form(path: &Path) -> Result<Option<Form>> {
    let said = read(path, None)?;
    let is_stated = files::is_directory(path)? || is_per_item(path)?;
    Ok(form(&said).filter(|_| is_stated))
}

fn is_per_item(file: &Path) -> Result<bool> {
    let first: Option<Value> = first_row(file)?;
    Ok(first.is_some_and(|row| row["labels"].is_array() && row["answers"].is_array()))
}

/// Several rows about one item are those of several people, of whom they say no more: each is a label of its own.
fn joined(said: Vec<SaidItem>) -> Vec<SaidItem> {
    let (mut joined, mut places): (Vec<SaidItem>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    for one in said {
        let place = *places.entry(one.item.digest.clone()).or_insert(joined.len());
        match joined.get_mut(place) {
            None => joined.push(one),
            Some(known) => {
                let number = known.labels.len() + 1;
                known.labels.extend(
                    one.labels.into_iter().map(|label| Label { by: format!("{}/{number}", label.by), ..label }),
                );
            }
        }
    }
    joined
}

fn first_row(file: &Path) -> Result<Option<Value>> {
    let text = files::read(file, u64::MAX).with_context(|| format!("read {}", file.display()))?;
    let line = text.split(|byte| *byte == b'\n').find(|line| !line.is_empty());
    Ok(line.and_then(|line| serde_json::from_slice(line).ok()))
}

/// The form of what was said, by the first judgement.
pub fn form(said: &[SaidItem]) -> Option<Form> {
    let judged = said.iter().flat_map(|said| &said.labels).map(|label| &label.judgement);
    judged.into_iter().find_map(|judgement| match judgement {
        Judgement::Pair(_) => Some(Form::Pairs),
        Judgement::Ranking(_) => Some(Form::Ranking),
        Judgement::Ratings(_) => Some(Form::Ratings),
        Judgement::Edit { .. } => Some(Form::Edit),
        Judgement::Skip => None,
    })
}

impl SaidItem {
    fn of_row(row: PerItemRow) -> SaidItem {
        let PerItemRow { id, prompt, prompt_group, answers, is_picked, labels } = row;
        let item = WorkItem { id, group: prompt_group, ..WorkItem::of(prompt, answers) };
        let label = |label: PerItemLabel| SaidItem::label(&item, label);
        SaidItem { labels: labels.into_iter().map(label).collect(), item, is_picked }
    }

    fn label(item: &WorkItem, said: PerItemLabel) -> Label {
        let PerItemLabel { by, judgement, order, seconds, at } = said;
        Label {
            item: item.digest.clone(),
            criteria: String::new(),
            by,
            round: 0,
            order,
            judgement,
            before_hint: None,
            seconds,
            at,
            client: String::new(),
            note: None,
        }
    }

    /// An item whose row says how its answers compare.
    fn of_known(item: WorkItem, form: Form) -> Option<SaidItem> {
        let ranks = item.known.clone()?;
        if !matches!(form, Form::Pairs | Form::Ranking) {
            return None;
        }
        Some(SaidItem::labelled(item, of_ranks(form, &ranks)))
    }

    /// An item of which nobody who says a name has said this.
    pub fn labelled(item: WorkItem, judgement: Judgement) -> SaidItem {
        let said =
            PerItemLabel { by: NOBODY.to_owned(), judgement, order: Vec::new(), seconds: 0.0, at: String::new() };
        let label = SaidItem::label(&item, said);
        SaidItem { item, labels: vec![label], is_picked: false }
    }

    /// The labels that are no skip.
    pub fn spoken(&self) -> impl Iterator<Item = &Label> {
        self.labels.iter().filter(|label| label.judgement != Judgement::Skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_several_people_about_one_item_are_labels_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        let row = |chosen: &str, rejected: &str| {
            format!("{{\"prompt\": \"p\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
        };
        let file = place.path().join("pairs.jsonl");
        std::fs::write(&file, row("a", "b") + &row("a", "b") + &row("b", "a")).unwrap();
        let said = read(&file, None).unwrap();
        let by: Vec<&str> = said[0].labels.iter().map(|label| label.by.as_str()).collect();
        assert_eq!((said.len(), by), (1, vec!["rows", "rows/2", "rows/3"]));
        assert_ne!(said[0].labels[0].judgement, said[0].labels[2].judgement);
    }
}
