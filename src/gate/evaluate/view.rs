//! The view of a rule: the names in it, and the measurements of the artifacts behind them.

use super::super::items::{self, Items, PairResult};
use super::super::tree::{Expression, Leaves, Name, Other, RecordOrigin, Who};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The measurements of an artifact in one record: its own record, or that of a judge.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    pub metrics: BTreeMap<String, Option<f64>>,
    pub items: Option<Arc<Items>>,
}

/// An artifact with everything that was measured of it.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The name by which a choice among several tells it: `step 150`, `ppo_a`.
    pub called: String,
    pub own: Readings,
    /// The readings of each judge, in the order of the gate's list.
    pub judged: Vec<Readings>,
}

impl Subject {
    /// The measurements of it in one record; empty where there is none.
    pub fn readings(&self, origin: RecordOrigin) -> &Readings {
        static NOTHING: Readings = Readings { metrics: BTreeMap::new(), items: None };
        match origin {
            RecordOrigin::Own => &self.own,
            RecordOrigin::Judge(judge) => self.judged.get(judge).unwrap_or(&NOTHING),
        }
    }
}

/// The artifacts that a rule may name.
#[derive(Clone, Copy, Debug)]
pub struct Subjects<'a> {
    pub candidate: &'a Subject,
    pub incumbent: Option<&'a Subject>,
    pub stages: &'a BTreeMap<String, Subject>,
    /// The stages of a `for` that failed, each with the reason.
    pub failed: &'a BTreeMap<String, String>,
    /// The checkpoints of the candidate's stage, in step order, up to the candidate.
    pub checkpoints: &'a [(u64, Subject)],
    /// The number of checkpoints that were compared by each record before this one was chosen: the best of many is good
    /// by luck, too. A rule over items of another record must find the candidate's table of that record, too.
    pub chosen_among: &'a [(RecordOrigin, usize)],
    /// The terms of this look at the items; `None`: nobody counts, and rules that declare looks have the stake of the
    /// first.
    pub look: Option<&'a LookTerms>,
    /// The choice that the candidate came out of; `None` if it was not the best of several.
    pub rivals: Option<Rivals<'a>>,
}

/// The part of the level that rules may spend which declare their looks, and what a verdict says of the look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LookTerms {
    /// From 0, where the looks are spent, to 1.
    pub stake: f64,
    pub note: String,
    /// The numbers of items that a growing table had at the looks of the same claim before this one, rising.
    pub earlier: Vec<usize>,
}

/// The checkpoints that were compared, the chosen one among them, in step order.
#[derive(Clone, Copy, Debug)]
pub struct Rivals<'a> {
    pub best: &'a Expression,
    pub is_lower_better: bool,
    /// The number of standard errors that an earlier one may lie below the best.
    pub within: Option<f64>,
    pub candidates: &'a [(u64, Subject)],
}

impl<'a> Subjects<'a> {
    /// A candidate that was not chosen among others.
    pub fn of(
        candidate: &'a Subject,
        incumbent: Option<&'a Subject>,
        stages: &'a BTreeMap<String, Subject>,
    ) -> Subjects<'a> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let (checkpoints, chosen_among): (&[_], &[_]) = (&[], &[]);
        Subjects { candidate, incumbent, stages, failed: &NONE, checkpoints, chosen_among, look: None, rivals: None }
    }

    fn subject(&self, who: &Who) -> Option<&'a Subject> {
        match who {
            Who::Candidate => Some(self.candidate),
            Who::Incumbent => self.incumbent,
            Who::Stage(stage) => self.stages.get(stage),
        }
    }
}

/// Why there is no number.
#[derive(Clone, Debug, PartialEq)]
pub enum Gap {
    /// Something is missing or broken: an error of the rule.
    Error(String),
    /// Everything is there and says nothing either way, as a win rate does where no text changed: the rule is unsure.
    /// An error would end the run for a stage that only had no effect, and a pass or fail would claim evidence.
    Open(String),
}

impl Gap {
    pub fn reason(&self) -> &str {
        let (Gap::Error(reason) | Gap::Open(reason)) = self;
        reason
    }

    pub fn map(self, change: impl Fn(String) -> String) -> Gap {
        match self {
            Gap::Error(reason) => Gap::Error(change(reason)),
            Gap::Open(reason) => Gap::Open(change(reason)),
        }
    }
}

impl From<String> for Gap {
    fn from(reason: String) -> Gap {
        Gap::Error(reason)
    }
}

/// A field of one artifact's table of items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldKey {
    pub who: Who,
    pub origin: RecordOrigin,
    pub field: String,
    /// The subset of the items that alone counts.
    pub subset: Option<String>,
}

/// The names of one rule and the artifacts that they may mean.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub leaves: &'a Leaves,
    pub subjects: &'a Subjects<'a>,
}

impl<'a> View<'a> {
    pub fn name(self, index: usize) -> &'a Name {
        &self.leaves.names[index]
    }

    pub fn other(self, index: usize) -> &'a Other {
        &self.leaves.others[index]
    }

    /// The number of checkpoints that the candidate is the best of, as far as the rule can see their luck: 1 if it was not
    /// chosen, or by other items. Items are the same if they were measured in one record, whatever the fields, or if
    /// tables of two records share prompts or ids: another judge of the same answers sees the same luck.
    pub fn chosen_among(self) -> usize {
        let origins = self.leaves.origins();
        let table = |origin: RecordOrigin| self.subjects.candidate.readings(origin).items.as_deref();
        let is_seen = |by: RecordOrigin| {
            origins.iter().any(|origin| {
                let tables = table(*origin).zip(table(by));
                *origin == by || tables.is_some_and(|(mine, theirs)| items::overlap(mine, theirs))
            })
        };
        let among = self.subjects.chosen_among.iter().filter(|(by, _)| is_seen(*by)).map(|(_, count)| *count);
        among.max().unwrap_or(1).max(1)
    }

    /// The metric that was measured under this name.
    pub fn metric(self, name: &Name) -> Result<f64, String> {
        let label = name.label();
        let Some(meaning) = &name.meaning else {
            return Err(format!("`{label}` was not checked"));
        };
        let subject = self.subjects.subject(&name.who).ok_or_else(|| format!("`{label}` was not measured"))?;
        match subject.readings(meaning.origin).metrics.get(&name.metric) {
            None => Err(format!("`{label}` was not measured")),
            Some(None) => Err(format!("`{label}` is null: it came out as no finite number")),
            Some(Some(value)) => Ok(*value),
        }
    }

    /// The field of the items behind a name, if there is one.
    pub fn field(self, name: &Name) -> Option<FieldKey> {
        let meaning = name.meaning.as_ref()?;
        let (who, subset) = (name.who.clone(), name.subset.clone().or_else(|| meaning.subset.clone()));
        Some(FieldKey { who, origin: meaning.origin, field: meaning.field.clone()?, subset })
    }

    /// The items whose field is meant.
    pub fn table(self, key: &FieldKey) -> Result<Cow<'a, Items>, Gap> {
        let items = self.items(&key.who, key.origin)?;
        Ok(match &key.subset {
            None => Cow::Borrowed(items),
            Some(subset) => Cow::Owned(items.of_subset(subset)?),
        })
    }

    /// The table of items of an artifact.
    pub fn items(self, who: &Who, origin: RecordOrigin) -> Result<&'a Items, Gap> {
        let name = match who {
            Who::Candidate => "the candidate",
            Who::Incumbent => "`incumbent`",
            Who::Stage(stage) => &format!("`{stage}`"),
        };
        let items = self.subjects.subject(who).and_then(|subject| subject.readings(origin).items.as_deref());
        let items = items.ok_or_else(|| Gap::Error(format!("{name} has no table of items")))?;
        match &items.fault {
            Some(fault) => Err(Gap::Error(format!("the items of {name}: {fault}"))),
            None => Ok(items),
        }
    }

    /// The candidate's answers.
    pub fn answers(self, other: &Other) -> Result<&'a Items, Gap> {
        self.items(&Who::Candidate, judge(other)?)
    }

    /// The results of these answers against those of the other artifact, in the order of the candidate's rows.
    pub fn pair_results(self, other: &Other) -> Result<Vec<PairResult>, Gap> {
        let (mine, theirs) = (self.answers(other)?, self.items(&other.who, judge(other)?)?);
        Ok(items::pair_results(mine, theirs, other.of.asks_scores)?)
    }

    /// The points of each of these pairs.
    pub fn points(self, other: &Other) -> Result<Vec<f64>, Gap> {
        Ok(self.pair_results(other)?.into_iter().map(other.of.points).collect())
    }
}

fn judge(other: &Other) -> Result<RecordOrigin, Gap> {
    let judge = other.judge.ok_or_else(|| Gap::Error(format!("`{}` was not checked", other.label())))?;
    Ok(RecordOrigin::Judge(judge))
}
