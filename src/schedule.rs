//! What to do next. Pure: news go in, commands come out. Knows nothing of files, processes or the store.
//!
//! A stage whose needs have ended is *advanced*: from what is known it either asks for actions that are missing, or
//! it ends. It is advanced again when everything it asked for has arrived, so each stage is looked at a few times
//! however many others there are.

mod advance;
mod desk;
mod measure;
mod study;
mod verdict;
pub mod weigh;

use crate::action::{Action, Record};
use crate::canonical::Canonical;
use crate::event::{Decided, Event, Outcome, RuleVerdict, Table};
use crate::gate::Items;
use crate::plan::selection::{Role, Selection};
use crate::plan::{Plan, StageId};
use anyhow::Result;
use cache::{Content, Digest};
use desk::{Desk, Fact, Knowledge, Known, Missing, Need};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

pub enum Command {
    /// Find the record of this action, or make it; then tell the schedule.
    Obtain(Request),
    /// Read a per-item table; then tell the schedule.
    Read(Table),
    /// Find what the rules of a gate said of this evidence, if it was ever remembered; then tell the schedule.
    Recall(Digest),
    /// Nothing comes back.
    Remember(Digest, Vec<RuleVerdict>),
    Tell(Event),
}

/// An action and its hash, which takes longer than anything else that is done to it.
#[derive(Clone, Debug)]
pub struct Keyed {
    pub action: Canonical,
    pub key: Digest,
}

impl Keyed {
    pub fn of(action: &Action) -> Result<Keyed> {
        let action = action.written()?;
        Ok(Keyed { key: action.digest(), action })
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub stage: StageId,
    /// Which measurement of which model; `None` for the stage's own action.
    pub part: Option<String>,
    pub action: Keyed,
    /// Whose time-out and retries count: the eval stage for the parts of its measurement.
    pub limits_of: StageId,
}

pub enum News {
    Known {
        key: Digest,
        record: Arc<Record>,
        /// How long it took, if it was executed in this run.
        seconds: Option<f64>,
    },
    Failed {
        key: Digest,
        cause: String,
    },
    /// Nothing is executed in this run, and the store has no such record.
    WouldRun {
        key: Digest,
        because: Vec<String>,
    },
    /// It could be executed, but this run begins nothing more.
    LeftOut {
        key: Digest,
        because: String,
    },
    /// The rows, or why there are none to be had.
    Items(Table, Result<Arc<Items>, String>),
    Recalled(Digest, Option<Vec<RuleVerdict>>),
}

pub struct Schedule<'a> {
    plan: &'a Plan,
    selection: &'a Selection,
    /// Of every path that is an input.
    contents: &'a BTreeMap<PathBuf, Content>,
    /// What a person decided, by the question of the evidence.
    decisions: &'a BTreeMap<String, Decided>,
    knowledge: Knowledge,
    ends: Vec<Option<End>>,
    /// Who waits for what was asked for; the first one asked.
    waiting: HashMap<Need, Vec<StageId>>,
    /// How many answers a stage waits for.
    outstanding: Vec<usize>,
    /// How many stages it waits for.
    unmet: Vec<usize>,
    dependants: Vec<Vec<StageId>>,
    /// Which stage is on record as having used which action.
    told: HashSet<(StageId, Digest)>,
    /// The own action of a stage that waits for it: its inputs have ended, so that it stays what it is.
    own: HashMap<StageId, Keyed>,
}

/// How a stage ended, and what others may still take from it.
struct End {
    outcome: Outcome,
    /// What carries the stage's name; only of a stage that is done.
    artifact: Option<Artifact>,
    /// For pins: there also behind a closed gate.
    record: Option<Arc<Record>>,
    /// Models that this stage's gate put before an eval.
    put_before: Vec<study::Row>,
}

/// Content on its way through the pipeline, with what is known of its making.
#[derive(Clone, Debug)]
struct Artifact {
    content: Content,
    step: Option<u64>,
    /// Of the record it came from, whatever name it carries now. A path has none.
    metrics: BTreeMap<String, Option<f64>>,
    /// Of that record, too.
    table: Option<Table>,
    /// Who made it: `sft`, `rm_1@150`, or the last part of a path.
    label: String,
}

impl<'a> Schedule<'a> {
    pub fn new(
        plan: &'a Plan,
        selection: &'a Selection,
        contents: &'a BTreeMap<PathBuf, Content>,
        decisions: &'a BTreeMap<String, Decided>,
    ) -> Schedule<'a> {
        let mut dependants = vec![Vec::new(); plan.stages.len()];
        let mut unmet = vec![0; plan.stages.len()];
        for (id, stage) in plan.stages.iter().enumerate().filter(|(id, _)| selection.role(*id) != Role::Leave) {
            let is_awaited = |need: &&StageId| selection.role(**need) != Role::Leave;
            let needs: BTreeSet<StageId> = stage.needs.iter().chain(&stage.after).filter(is_awaited).copied().collect();
            unmet[id] = needs.len();
            for need in needs {
                dependants[need].push(id);
            }
        }
        Schedule {
            plan,
            selection,
            contents,
            decisions,
            knowledge: Knowledge::default(),
            ends: plan.stages.iter().map(|_| None).collect(),
            waiting: HashMap::new(),
            outstanding: vec![0; plan.stages.len()],
            unmet,
            dependants,
            told: HashSet::new(),
            own: HashMap::new(),
        }
    }

    /// What can be done before anything is known.
    pub fn begin(&mut self) -> Vec<Command> {
        self.advance(self.unfinished().filter(|id| self.unmet[*id] == 0).collect())
    }

    pub fn news(&mut self, news: News) -> Vec<Command> {
        let knowledge = &mut self.knowledge;
        let need = match news {
            News::Known { key, record, seconds } => {
                let by = self.waiting.get(&Need::Action(key)).and_then(|stages| stages.first()).copied();
                knowledge.actions.insert(key, Fact::Known(Known { record, executed: by.zip(seconds) }));
                Need::Action(key)
            }
            News::Failed { key, cause } => {
                knowledge.actions.insert(key, Fact::Failed(cause));
                Need::Action(key)
            }
            News::WouldRun { key, because } => {
                knowledge.actions.insert(key, Fact::WouldRun(because));
                Need::Action(key)
            }
            News::LeftOut { key, because } => {
                knowledge.actions.insert(key, Fact::LeftOut(because));
                Need::Action(key)
            }
            News::Items(table, items) => {
                knowledge.tables.insert(table.clone(), items);
                Need::Table(table)
            }
            News::Recalled(key, rules) => {
                knowledge.memories.insert(key, rules);
                Need::Memory(key)
            }
        };
        let mut ready = VecDeque::new();
        for id in self.waiting.remove(&need).unwrap_or_default() {
            self.outstanding[id] -= 1;
            if self.outstanding[id] == 0 {
                ready.push_back(id);
            }
        }
        self.advance(ready)
    }

    /// Stages of this run that have not ended, in the order of the plan.
    pub fn unfinished(&self) -> impl Iterator<Item = StageId> {
        (0..self.ends.len()).filter(|id| self.ends[*id].is_none() && self.selection.role(*id) != Role::Leave)
    }

    fn advance(&mut self, mut ready: VecDeque<StageId>) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(id) = ready.pop_front() {
            let own = self.own.remove(&id);
            let given = (self.contents, self.decisions);
            let mut desk = Desk::new(self.plan, given, &self.knowledge, &self.ends, id, own);
            let (events, end) = advance::advance(&mut desk);
            let Desk { found, missing, learned, own, .. } = desk;
            let stage = &self.plan.stages[id].name;
            for (action, part) in found {
                if self.told.insert((id, action.key)) {
                    let (key, action) = (action.key.to_string(), action.action);
                    let hit = Event::Hit { stage: stage.clone(), part, key, action };
                    commands.push(Command::Tell(hit));
                }
            }
            let Some(end) = end else {
                self.own.extend(own.map(|own| (id, own)));
                for missing in missing {
                    self.outstanding[id] += 1;
                    let waiting = self.waiting.entry(missing.need()).or_default();
                    waiting.push(id);
                    if waiting.len() > 1 {
                        continue;
                    }
                    commands.push(match missing {
                        Missing::Action(request) => {
                            self.told.insert((id, request.action.key));
                            Command::Obtain(request)
                        }
                        Missing::Table(table) => Command::Read(table),
                        Missing::Memory(key) => Command::Recall(key),
                    });
                }
                continue;
            };
            commands.extend(learned.map(|(key, rules)| Command::Remember(key, rules)));
            commands.extend(events.into_iter().map(Command::Tell));
            commands.push(Command::Tell(Event::Ended { stage: stage.clone(), outcome: end.outcome.clone() }));
            self.ends[id] = Some(end);
            for dependant in &self.dependants[id] {
                self.unmet[*dependant] -= 1;
                if self.unmet[*dependant] == 0 {
                    ready.push_back(*dependant);
                }
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests;
