//! The names in a rule: the measurements that it reads, by artifact and record, in one flat list.

use super::super::functions::{Function, OfAnswers};
use stages::stage::{Bounds, Direction};
use std::ops::Range;

/// The artifact that a name is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Candidate,
    Incumbent,
    Stage(String),
}

/// The record that a number is read from: the artifact's own, or that of a judge, by its index in the gate's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordOrigin {
    Own,
    Judge(usize),
}

/// The part of a name that says which record it is read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Qualifier {
    /// `self.m`
    Own,
    /// `judge.m`
    Judge,
    /// `eval.m`, `eval.sft.m`, `eval.win_rate(…)`: that judge.
    By(String),
}

/// The meaning of a name, as the check found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    pub origin: RecordOrigin,
    pub direction: Direction,
    /// The field of the per-item table that the metric is the mean of, where there is one.
    pub field: Option<String>,
    /// The declared bounds of that field.
    pub bounds: Option<Bounds>,
    /// The subset of the items that have this field, where others lack it.
    pub subset: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Name {
    pub who: Who,
    /// The range of the word that says who; empty for the candidate.
    pub who_range: Range<usize>,
    pub qualifier: Option<Qualifier>,
    /// A metric, or a field of the per-item table.
    pub metric: String,
    pub is_field: bool,
    /// The subset of the items that alone counts.
    pub subset: Option<String>,
    /// The range of the whole name.
    pub range: Range<usize>,
    pub metric_range: Range<usize>,
    /// Set for the second name of `m improves over x` and `delta(m, x)`: it is read from the same origin as the first
    /// name, whose index this is.
    pub like: Option<usize>,
    /// Set for the name of one stage of a `for`: the family that it stands for, an index into [`Leaves::families`].
    pub family: Option<usize>,
    /// `None` until it is checked.
    pub meaning: Option<Meaning>,
}

/// The metric of all stages of a `for`.
#[derive(Clone, Debug)]
pub struct FamilyName {
    /// As typed, with the family in the place of a stage.
    pub typed: Name,
    /// The names that it stands for, as indices into [`Leaves::names`]; empty until it is checked.
    pub members: Vec<usize>,
}

impl Name {
    /// The name as it is written in a rule.
    pub fn label(&self) -> String {
        let qualifier = match &self.qualifier {
            None => String::new(),
            Some(Qualifier::Own) => "self.".to_owned(),
            Some(Qualifier::Judge) => "judge.".to_owned(),
            Some(Qualifier::By(judge)) => format!("{judge}."),
        };
        match &self.who {
            Who::Candidate => format!("{qualifier}{}", self.metric),
            Who::Incumbent => format!("{qualifier}incumbent.{}", self.metric),
            Who::Stage(stage) => format!("{qualifier}{stage}.{}", self.metric),
        }
    }
}

/// An artifact whose items are paired with the candidate's.
#[derive(Clone, Debug)]
pub struct Other {
    pub who: Who,
    pub range: Range<usize>,
    /// The judge that is named before the function, and its range.
    pub qualifier: Option<(Qualifier, Range<usize>)>,
    pub function: &'static Function,
    pub of: &'static OfAnswers,
    /// The judge whose items are compared; `None` until it is checked.
    pub judge: Option<usize>,
}

impl Other {
    /// The text before the function: nothing, `judge.` or `eval.`.
    pub fn by(&self) -> String {
        match &self.qualifier {
            None | Some((Qualifier::Own, _)) => String::new(),
            Some((Qualifier::Judge, _)) => "judge.".to_owned(),
            Some((Qualifier::By(judge), _)) => format!("{judge}."),
        }
    }
    pub fn label(&self) -> &str {
        match &self.who {
            Who::Candidate => "self",
            Who::Incumbent => "incumbent",
            Who::Stage(stage) => stage,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Leaves {
    pub names: Vec<Name>,
    pub others: Vec<Other>,
    pub families: Vec<FamilyName>,
}

impl Leaves {
    pub fn artifacts(&self) -> impl Iterator<Item = (&Who, &Range<usize>)> {
        let names = self.names.iter().map(|name| (&name.who, &name.who_range));
        names.chain(self.others.iter().map(|other| (&other.who, &other.range)))
    }
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.metric.as_str())
    }
    pub fn stages(&self) -> Vec<(&str, Range<usize>)> {
        let mut stages: Vec<(&str, Range<usize>)> = self
            .artifacts()
            .filter_map(|(who, range)| match who {
                Who::Stage(stage) => Some((stage.as_str(), range.clone())),
                Who::Candidate | Who::Incumbent => None,
            })
            .collect();
        stages.sort_by_key(|(_, range)| range.start);
        stages
    }
    pub fn judged(&self) -> Vec<(Who, usize)> {
        let judge_of = |name: &Name| match name.meaning.as_ref()?.origin {
            RecordOrigin::Judge(judge) => Some((name.who.clone(), judge)),
            RecordOrigin::Own => None,
        };
        sorted(self.names.iter().filter_map(judge_of).chain(self.compared()).collect())
    }
    /// The artifacts whose tables of items are read: always for functions over items, and for metrics only with
    /// `of_metrics`, that is where the rule asks for confidence.
    pub fn tables(&self, of_metrics: bool) -> Vec<(Who, RecordOrigin)> {
        let table_of = |name: &Name| {
            let meaning = name.meaning.as_ref()?;
            let is_asked = name.is_field || (of_metrics && meaning.field.is_some() && name.family.is_none());
            is_asked.then(|| (name.who.clone(), meaning.origin))
        };
        let compared = self.compared().map(|(who, judge)| (who, RecordOrigin::Judge(judge)));
        sorted(self.names.iter().filter_map(table_of).chain(compared).collect())
    }
    /// Both sides of every comparison of answers, with its judge.
    fn compared(&self) -> impl Iterator<Item = (Who, usize)> {
        let sides = |other: &Other| {
            let judge = other.judge?;
            Some([(Who::Candidate, judge), (other.who.clone(), judge)])
        };
        self.others.iter().filter_map(sides).flatten()
    }
    /// The records that numbers of the candidate are read from.
    pub fn origins(&self) -> Vec<RecordOrigin> {
        let own = self.names.iter().filter(|name| name.who == Who::Candidate);
        let names = own.filter_map(|name| Some(name.meaning.as_ref()?.origin));
        sorted(names.chain(self.compared().map(|(_, judge)| RecordOrigin::Judge(judge))).collect())
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all.dedup();
    all
}
