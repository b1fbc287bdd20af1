//! The labels of one stage on their way from pages to the disk. A choice is answered when it is on the disk. Nothing that is given
//! out says who wrote an answer; a task is named by a hash that only this store can make.

use super::super::label::Floor;
use crate::chapter::labelling as pages;
use crate::chapter::labelling::owner::{LabelsOverview, RuleOutlook};
use crate::labels;
use crate::labels::book::{LabelBook, SaidLabel, is_pseudonym};
use crate::labels::writer::UnfitLabel;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use stages::people::form::Form;
use stages::people::label::{Correction, Judgement, LabelEntry, Withdrawal};
use stages::people::progress::LabelCount;
use stages::people::sitting::Task;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

/// The tasks that a page is given at once.
const AHEAD: usize = 8;

/// The time after which an item that somebody was shown, and did not judge, is shown to others.
const LEASE: Duration = Duration::from_mins(10);

/// The most times that an item is shown to one person.
const ROUNDS: u32 = 2;

/// The number of labels after which it is reckoned anew how many a rule needs, and to which that is rounded up: a number that
/// moved with every choice would tell what others said, or what the reward did.
const SETTLING_STEP: usize = 20;

/// The metrics with a number for each item; others need two people, or hidden questions, for theirs.
const OF_ITEMS: [&str; 2] = ["human_agreement", "human_win_rate"];

/// The labels of a stage on their way from pages to the disk.
pub struct Desk {
    pub book: LabelBook,
    /// The rules of its gate that more labels may settle.
    floors: Vec<Floor>,
    secret: [u8; 32],
    /// By item: who was shown it, and when.
    leases: BTreeMap<usize, (String, Instant)>,
    /// The tasks that were handed out, by their names.
    handed: HashMap<String, (usize, u32)>,
    /// The number of labels that would settle the rules, and the step of labels at which it was reckoned.
    settling: Option<(Option<usize>, usize)>,
}

/// A task as a page gets it.
#[derive(Serialize)]
pub struct GivenTask {
    task: String,
    order: Vec<usize>,
    prompt: String,
    answers: Vec<String>,
    /// The answers as they are, where they are edited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<String>,
    /// Whether a suggestion is shown after the choice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suggests: bool,
}

#[derive(Serialize)]
pub struct TaskBatch {
    done: usize,
    needed: usize,
    own: usize,
    /// The number of labels that would settle the rules of the gate, if people go on as they do.
    more: Option<usize>,
    tasks: Vec<GivenTask>,
}

/// A choice as a page sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelChoice {
    pub person: String,
    task: String,
    order: Vec<usize>,
    judgement: Judgement,
    seconds: f64,
    client: String,
    note: Option<String>,
}

/// A choice that was looked at again after a suggestion, and kept or changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondChoice {
    pub person: String,
    /// The client id of the first choice.
    of: String,
    order: Vec<usize>,
    judgement: Judgement,
    client: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undoing {
    pub person: String,
    of: String,
    client: String,
}

/// The ranks that are suggested, in the order in which the answers were shown: the smaller the better.
#[derive(Serialize)]
pub struct Suggestion {
    ranks: Vec<f64>,
}

/// A name that tells nothing of what it stands for, and that only this store can make.
pub fn short_name(secret: &[u8; 32], of: &str) -> String {
    blake3::keyed_hash(secret, of.as_bytes()).to_hex()[..24].to_owned()
}

impl Desk {
    pub fn new(book: LabelBook, floors: Vec<Floor>, secret: [u8; 32]) -> Desk {
        Desk { book, floors, secret, leases: BTreeMap::new(), handed: HashMap::new(), settling: None }
    }

    /// The next tasks of a person, which are theirs for a while.
    pub fn next(&mut self, person: &str, at: Instant) -> Result<TaskBatch> {
        check(person)?;
        self.book.refresh()?;
        self.leases.retain(|_, (_, since)| at.duration_since(*since) < LEASE);
        let of_others = self.leases.iter().filter(|(_, (by, _))| by != person);
        let taken: BTreeSet<usize> = of_others.map(|(item, _)| *item).collect();
        let next = self.book.next_tasks(person, &taken, AHEAD);
        let tasks = next.into_iter().map(|task| self.give(person, task, at)).collect();
        let LabelCount { done, needed } = self.book.count();
        let own = self.book.count_of(person);
        let more = self.settling();
        Ok(TaskBatch { done, needed, own, more, tasks })
    }

    fn give(&mut self, person: &str, shown: Task, at: Instant) -> GivenTask {
        let suggests = self.book.suggestion(&shown).is_some();
        let Task { item, round, order } = shown;
        self.leases.insert(item, (person.to_owned(), at));
        let task = self.name(person, item, round);
        self.handed.insert(task.clone(), (item, round));
        let shown = &self.book.worklist.items[item];
        let texts: Vec<String> = order.iter().map(|place| shown.answers[*place].clone()).collect();
        let answers = texts.iter().map(|text| pages::answer(text)).collect();
        let texts = if self.book.worklist.asked.form == Form::Edit { texts } else { Vec::new() };
        GivenTask { task, order, prompt: pages::prompt(&shown.prompt), answers, texts, suggests }
    }

    /// The number of labels that would settle the rules, about.
    fn settling(&mut self) -> Option<usize> {
        let step = self.book.labels().len() / SETTLING_STEP;
        if self.settling.is_none_or(|(_, known)| known != step) {
            let of_items = self.floors.iter().filter(|(_, metric, _)| OF_ITEMS.contains(&metric.as_str()));
            let more = of_items.filter_map(|(_, metric, bound)| self.book.outlook(metric, *bound)?.more);
            let more = more.max().filter(|more| *more > 0).map(|more| more.next_multiple_of(SETTLING_STEP));
            self.settling = Some((more, step));
        }
        self.settling.and_then(|(more, _)| more)
    }

    /// The name of a task. It holds the criteria sheet, so that a page with an old one makes no labels by another.
    fn name(&self, person: &str, item: usize, round: u32) -> String {
        let (item, criteria) = (&self.book.worklist.items[item].digest, self.book.worklist.criteria());
        short_name(&self.secret, &format!("{person}\n{item}\n{round}\n{criteria}"))
    }

    /// The task of a name: one that was handed out, by this process or by one before it.
    fn task(&self, person: &str, name: &str) -> Option<(usize, u32)> {
        let is_theirs = |(item, round): &(usize, u32)| self.name(person, *item, *round) == name;
        self.handed.get(name).copied().filter(is_theirs).or_else(|| {
            let rounds =
                (0..self.book.worklist.items.len()).flat_map(|item| (0..ROUNDS).map(move |round| (item, round)));
            rounds.into_iter().find(is_theirs)
        })
    }

    /// Takes a choice. What is suggested to the person comes after it is on the disk.
    pub fn take(&mut self, choice: LabelChoice) -> Result<Option<Suggestion>> {
        let LabelChoice { person, task, order, judgement, seconds, client, note } = choice;
        check(&person)?;
        let Some((item, round)) = self.task(&person, &task) else {
            return Err(UnfitLabel("there is no such task in the worklist".to_owned()).into());
        };
        let shown = Task { item, round, order };
        let ranks = self.book.suggestion(&shown).filter(|_| judgement != Judgement::Skip);
        let said = SaidLabel { by: person, judgement, seconds, client, note };
        let label = self.book.label(shown, said);
        self.write(LabelEntry::Label(label))?;
        self.leases.remove(&item);
        Ok(ranks.map(|ranks| Suggestion { ranks }))
    }

    /// Takes what a person says once they have seen the suggestion.
    pub fn take_second(&mut self, SecondChoice { person, of, order, judgement, client }: SecondChoice) -> Result<()> {
        let judgement = judgement.of_shown(&order);
        let (at, note) = (labels::now(), None);
        self.write(LabelEntry::Correction(Correction { of, by: person, judgement, after_hint: true, at, client, note }))
    }

    pub fn undo(&mut self, Undoing { person, of, client }: Undoing) -> Result<()> {
        self.write(LabelEntry::Withdrawal(Withdrawal { of, by: person, at: labels::now(), client }))
    }

    fn write(&mut self, entry: LabelEntry) -> Result<()> {
        check(entry.by())?;
        self.book.refresh()?;
        let written = self.book.write(entry).map(drop);
        written.map_err(|error| if error.is::<UnfitLabel>() { error } else { error.context(NotWritten) })
    }

    /// The state of the stage, for those who asked for the labels.
    pub fn overview(&mut self) -> Result<LabelsOverview> {
        self.book.refresh()?;
        let rules = self.floors.iter().filter_map(|(rule, metric, bound)| {
            Some(RuleOutlook {
                rule: rule.clone(),
                metric: metric.clone(),
                outlook: self.book.outlook(metric, *bound)?,
            })
        });
        let agreement = self.book.outlook("agreement", 0.0).map(|outlook| (outlook.share, outlook.items));
        Ok(LabelsOverview { rules: rules.collect(), agreement, progress: self.book.progress()? })
    }
}

fn check(person: &str) -> Result<(), UnfitLabel> {
    if is_pseudonym(person) { Ok(()) } else { Err(UnfitLabel(format!("`{person}` is no pseudonym"))) }
}

/// The context of an error that has kept a label off the disk.
#[derive(Clone, Copy, Debug)]
pub struct NotWritten;

impl fmt::Display for NotWritten {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("take a label")
    }
}
