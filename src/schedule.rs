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

use crate::action::{Action, Record};
use crate::event::{Event, Outcome};
use crate::gate::Item;
use crate::plan::{Plan, StageId};
use cache::{Content, Digest};
use desk::{Desk, Fact, Known};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

pub enum Command {
    /// Find the record of this action, or make it; then tell the schedule.
    Obtain(Request),
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
        /// The rows of `scores.jsonl`, of a `scores` action.
        items: Option<Arc<Vec<Item>>>,
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
}

pub struct Schedule<'a> {
    plan: &'a Plan,
    /// Of every path that is an input.
    contents: &'a BTreeMap<PathBuf, Content>,
    facts: HashMap<Digest, Fact>,
    ends: Vec<Option<End>>,
    /// Who waits for an action that was asked for; the first one asked.
    waiting: HashMap<Digest, Vec<StageId>>,
    /// How many actions a stage waits for.
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
    /// Who made it: `sft`, `rm_1@150`, or the last part of a path.
    label: String,
}

impl<'a> Schedule<'a> {
    pub fn new(plan: &'a Plan, contents: &'a BTreeMap<PathBuf, Content>) -> Schedule<'a> {
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
            facts: HashMap::new(),
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
        let (key, fact) = match news {
            News::Known { key, record, items, seconds } => {
                let by = self.waiting.get(&key).and_then(|stages| stages.first()).copied();
                (key, Fact::Known(Known { record, items, executed: by.zip(seconds) }))
            }
            News::Failed { key, cause } => (key, Fact::Failed(cause)),
            News::WouldRun { key, because } => (key, Fact::WouldRun(because)),
        };
        self.facts.insert(key, fact);
        let mut ready = VecDeque::new();
        for id in self.waiting.remove(&key).unwrap_or_default() {
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
            let mut desk = Desk::new(self.plan, self.contents, &self.facts, &self.ends, id);
            let (events, end) = advance::advance(&mut desk);
            let Desk { found, missing, .. } = desk;
            let stage = &self.plan.stages[id].name;
            for (key, part, action) in found {
                if self.told.insert((id, key)) {
                    let hit = Event::Hit { stage: stage.clone(), part, key: key.to_string(), action };
                    commands.push(Command::Tell(hit));
                }
            }
            let Some(end) = end else {
                for request in missing {
                    self.outstanding[id] += 1;
                    let waiting = self.waiting.entry(request.key).or_default();
                    waiting.push(id);
                    if waiting.len() == 1 {
                        self.told.insert((id, request.key));
                        commands.push(Command::Obtain(request));
                    }
                }
                continue;
            };
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
