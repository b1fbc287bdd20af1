//! Items that a judge is asked about, the orders in which it sees them, and everything that it said.

use super::parameters::JudgeRanking;
use crate::io::Io;
use crate::judge::hearing::Hearing;
use crate::judge::prompt::Questioner;
use crate::judge::said::{self, SaidItem};
use crate::people::items::{Suggestions, items_of};
use crate::people::worklist::WorkItem;
use anyhow::{Context, Result, bail};
use formats::data::{self, RowFilter};
use std::collections::BTreeSet;

/// Everything that was said of the items, or how far it is until the budget was spent.
pub enum Heard<'a> {
    All {
        by: String,
        hearings: Vec<Hearing<'a>>,
        /// The first reply that cannot be read, as people are told it.
        first_lost: Option<String>,
    },
    Spent {
        done: usize,
        needed: usize,
    },
}

/// The error of a judge of whom more cannot be read than may be.
pub fn too_many_lost(parameters: &JudgeRanking, first: Option<String>, how_many: &str) -> String {
    let first = first.map_or_else(String::new, |first| format!("; the first, {first}"));
    format!(
        "rank answers: {how_many} no reply that can be read, and `max_unparsed` allows {:.1} % of the items{first}. Replies are kept, \
         and come again as they are; another `template`, `max_tokens` or `temperature` asks anew, and so does `--force` with the \
         name of the stage, for those that cannot be read",
        100.0 * parameters.max_unparsed
    )
}

/// # Errors
/// The rows cannot be read, or none has two answers.
pub fn items(parameters: &JudgeRanking, io: &Io, filter: &mut RowFilter) -> Result<Vec<WorkItem>> {
    let questions = data::answered(io.data("items")?, filter)?;
    let mut seen = BTreeSet::new();
    let items = questions.into_iter().flat_map(|question| items_of(question, parameters.form, &Suggestions::default()));
    let items: Vec<WorkItem> = items.filter(|item| seen.insert(item.digest.clone())).collect();
    if items.is_empty() {
        bail!("rank answers: no row has two answers");
    }
    Ok(items)
}

/// The judgements of people that the judge is held against, if there are any.
///
/// # Errors
/// They cannot be read, have another form, or are of other items.
pub fn people(parameters: &JudgeRanking, io: &Io, items: &[WorkItem]) -> Result<Option<Vec<SaidItem>>> {
    let Some(path) = io.optional_input("people") else { return Ok(None) };
    let mut said = said::read(path, Some(parameters.form)).context("compare the judge with people")?;
    if let Some(form) = said::form(&said).filter(|form| *form != parameters.form) {
        let (people, judge) = (form.name(), parameters.form.name());
        bail!(
            "compare the judge with people: they gave {people}, and the judge is to give {judge}; let both have one `form`"
        );
    }
    let digests: BTreeSet<&str> = items.iter().map(|item| item.digest.as_str()).collect();
    let is_shared = |said: &SaidItem| digests.contains(said.item.digest.as_str()) && said.spoken().next().is_some();
    if !said.iter().any(is_shared) {
        bail!(
            "compare the judge with people: they judged none of the {} items, and nobody was asked; `people` is to hold the same \
             prompts with the same answers, as a `label` above the same `items` does, or is left out",
            items.len()
        );
    }
    // What was picked for what it teaches tells nothing of how the judge does elsewhere.
    said.retain(|said| !said.is_picked);
    if !said.iter().any(is_shared) {
        bail!(
            "compare the judge with people: of these items they judged only such as `order: active` had picked for what they teach, \
             and these tell nothing of the others; nobody was asked. Have more labels, of which one in three is drawn at random"
        );
    }
    Ok(Some(said))
}

/// # Errors
/// The template is no Jinja.
pub fn questioner(parameters: &JudgeRanking) -> Result<Questioner<'_>> {
    let JudgeRanking { template, language, form, criteria, .. } = parameters;
    Questioner::new(template.as_deref(), *language, *form, criteria.as_ref()).context("read `template`")
}

/// The orders in which items are shown.
#[derive(Clone, Copy)]
pub struct Showing {
    pub both_orders: bool,
    /// The first of the items that are shown once.
    pub once_from: usize,
}

impl Showing {
    /// Whether the item at this place is shown in the reverse order, too; beside that it is not.
    pub fn sides(self, place: usize) -> &'static [bool] {
        if self.both_orders && place < self.once_from { &[false, true] } else { &[false] }
    }

    /// The orders of the item at this place: one that it draws, and its reverse.
    pub fn orders(self, place: usize, item: &WorkItem) -> Vec<Vec<usize>> {
        let order = item.drawn_order();
        let of_side = |is_reverse: &bool| match is_reverse {
            true => order.iter().rev().copied().collect(),
            false => order.clone(),
        };
        self.sides(place).iter().map(of_side).collect()
    }
}
