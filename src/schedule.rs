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
use crate::event::{Decided, Event, Outcome, RuleVerdict, Table};
use crate::gate::Items;
use crate::plan::{Plan, StageId};
use cache::{Content, Digest};
use desk::{Desk, Fact, Knowledge, Known, Missing, Need};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
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

#[derive(Clone, Debug)]
pub struct Request {
    pub stage: StageId,
    /// Which measurement of which model; `None` for the stage's own action.
    pub part: Option<String>,
    pub action: Action,
    pub key: Digest,
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
    /// The rows, or why there are none to be had.
    Items(Table, Result<Arc<Items>, String>),
    Recalled(Digest, Option<Vec<RuleVerdict>>),
}

pub struct Schedule<'a> {
    plan: &'a Plan,
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
        contents: &'a BTreeMap<PathBuf, Content>,
        decisions: &'a BTreeMap<String, Decided>,
    ) -> Schedule<'a> {
        let mut dependants = vec![Vec::new(); plan.stages.len()];
        let mut unmet = vec![0; plan.stages.len()];
        for (id, stage) in plan.stages.iter().enumerate() {
            let needs: HashSet<StageId> = stage.needs.iter().chain(&stage.after).copied().collect();
            unmet[id] = needs.len();
            for need in needs {
                dependants[need].push(id);
            }
        }
        // Sets have no order of their own; commands must.
        dependants.iter_mut().for_each(|stages| stages.sort_unstable());
        Schedule {
            plan,
            contents,
            decisions,
            knowledge: Knowledge::default(),
            ends: plan.stages.iter().map(|_| None).collect(),
            waiting: HashMap::new(),
            outstanding: vec![0; plan.stages.len()],
            unmet,
            dependants,
            told: HashSet::new(),
        }
    }

    /// What can be done before anything is known.
    pub fn begin(&mut self) -> Vec<Command> {
        self.advance((0..self.plan.stages.len()).filter(|id| self.unmet[*id] == 0).collect())
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

    /// Stages that have not ended, in the order of the plan.
    pub fn unfinished(&self) -> impl Iterator<Item = StageId> {
        (0..self.ends.len()).filter(|id| self.ends[*id].is_none())
    }

    fn advance(&mut self, mut ready: VecDeque<StageId>) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(id) = ready.pop_front() {
            let mut desk = Desk::new(self.plan, (self.contents, self.decisions), &self.knowledge, &self.ends, id);
            let (events, end) = advance::advance(&mut desk);
            let Desk { found, missing, learned, .. } = desk;
            let stage = &self.plan.stages[id].name;
            for (key, part, action) in found {
                if self.told.insert((id, key)) {
                    let hit = Event::Hit { stage: stage.clone(), part, key: key.to_string(), action };
                    commands.push(Command::Tell(hit));
                }
            }
            let Some(end) = end else {
                for missing in missing {
                    self.outstanding[id] += 1;
                    let waiting = self.waiting.entry(missing.need()).or_default();
                    waiting.push(id);
                    if waiting.len() > 1 {
                        continue;
                    }
                    commands.push(match missing {
                        Missing::Action(request) => {
                            self.told.insert((id, request.key));
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
