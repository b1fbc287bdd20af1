//! Decides what a run does next. Pure: news go in, commands come out; no files, processes or store.
//!
//! A stage whose needs have ended is *advanced*: from what is known, it either asks for actions that are missing or
//! ends. It is advanced again when everything it asked for has arrived, so each stage is looked at a few times, however
//! many others there are.

mod advance;
mod classes;
pub mod decide;
mod draw;
mod gather;
mod lookup;
mod measure;
mod state;
mod tabulate;

use crate::action::Record;
use crate::cause::{Cause, SkipReason};
use crate::event::{Event, HumanDecision, Outcome, RuleVerdict, Table};
use crate::failure::Failure;
use crate::gate::Items;
use crate::ledger::{LookVerdict, Permission};
use crate::plan::selection::{Role, Selection};
use crate::plan::{Plan, StageId};
use cache::{Content, Digest};
pub use lookup::FileInTree;
pub use lookup::LabelsThere;
use lookup::{ActionResult, Knowledge, KnownRecord, Lookup, Need, Query, RunInputs};
use stages::io::Shortfall;
pub use state::{AskedLook, KeyedAction, LookSearch, Request};
use state::{Questions, State};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

pub enum Command {
    /// Find the record of this action or make it, then tell the schedule.
    Obtain(Request),
    /// Read a per-item table, then tell the schedule.
    Read(Table),
    /// Find the content of one file of an artifact, then tell the schedule.
    Open(FileInTree),
    /// Find the device class in the record of an action, then tell the schedule.
    Class(Digest),
    /// Find the remembered rule verdicts for this evidence, if any, then tell the schedule.
    Recall(Digest),
    /// Remember these verdicts; nothing comes back.
    Remember(Digest, Vec<RuleVerdict>),
    /// Take a look, or find whether it was taken, then tell the schedule.
    Look(Box<AskedLook>),
    /// Find the labels of a worklist that count, then tell the schedule.
    Labels(Content),
    /// Enter the verdict of a look; nothing comes back.
    Judged(LookVerdict),
    Tell(Event),
    /// Report how a stage ended.
    End(StageId, Outcome),
}

pub enum News {
    Known {
        key: Digest,
        record: Arc<Record>,
        /// The time it took, if it was executed in this run.
        seconds: Option<f64>,
    },
    Failed {
        key: Digest,
        cause: Failure,
    },
    /// Nothing is executed in this run, and the store has no such record.
    WouldRun {
        key: Digest,
        because: Vec<Cause>,
    },
    /// It did what its budget allows, and waits for a larger one.
    Waits {
        key: Digest,
        shortfall: Shortfall,
    },
    /// It could be executed, but this run begins nothing more.
    LeftOut {
        key: Digest,
        because: SkipReason,
    },
    /// The rows, or the reason why there are none.
    Items(Table, Result<Arc<Items>, String>),
    /// The content, or the reason why there is none.
    Opened(FileInTree, Result<Content, String>),
    /// The device class; `None` if there is no such record, or it names none.
    Classed(Digest, Option<String>),
    Recalled(Digest, Option<Vec<RuleVerdict>>),
    /// The permission of a look, or the reason why the ledger cannot tell.
    Looked(LookSearch, Result<Option<Permission>, String>),
    /// The labels of a worklist, or the reason why nobody can tell.
    Labelled(Content, Result<LabelsThere, String>),
}

pub struct Schedule<'a> {
    inputs: RunInputs<'a>,
    knowledge: Knowledge,
    /// Indexed by stage.
    states: Vec<State>,
    /// The stages that need each stage to end.
    dependants: Vec<Vec<StageId>>,
    /// The stages that need the same answer; the first one asked for it.
    askers: HashMap<Need, Vec<StageId>>,
    /// Stages that can be advanced.
    ready: VecDeque<StageId>,
}

impl<'a> Schedule<'a> {
    /// `contents` has the content of every input path; `decisions` has people's decisions, by the evidence's question.
    pub fn new(
        plan: &'a Plan,
        selection: &Selection,
        contents: &'a BTreeMap<PathBuf, Content>,
        decisions: &'a BTreeMap<String, HumanDecision>,
    ) -> Schedule<'a> {
        let is_part = |id: &StageId| selection.role(*id) != Role::Leave;
        let mut dependants = vec![Vec::new(); plan.stages.len()];
        let states = plan.stages.iter().enumerate().map(|(id, stage)| {
            if !is_part(&id) {
                return State::LeftOut;
            }
            let needs: BTreeSet<StageId> = stage.needs.iter().chain(&stage.after).copied().filter(is_part).collect();
            needs.iter().for_each(|need| dependants[*need].push(id));
            State::Waits { unmet: needs.len() }
        });
        let states = states.collect();
        let inputs = RunInputs { plan, contents, decisions };
        let (askers, ready) = (HashMap::new(), VecDeque::new());
        Schedule { inputs, knowledge: Knowledge::default(), states, dependants, askers, ready }
    }

    /// The first commands, before anything is known.
    pub fn begin(&mut self) -> Vec<Command> {
        self.ready =
            (0..self.states.len()).filter(|id| matches!(self.states[*id], State::Waits { unmet: 0 })).collect();
        self.advance()
    }

    pub fn news(&mut self, news: News) -> Vec<Command> {
        let knowledge = &mut self.knowledge;
        let need = match news {
            News::Known { key, record, seconds } => {
                let by = self.askers.get(&Need::Action(key)).and_then(|stages| stages.first()).copied();
                knowledge.actions.insert(key, ActionResult::Known(KnownRecord { record, executed: by.zip(seconds) }));
                Need::Action(key)
            }
            News::Failed { key, cause } => {
                knowledge.actions.insert(key, ActionResult::Failed(cause));
                Need::Action(key)
            }
            News::WouldRun { key, because } => {
                knowledge.actions.insert(key, ActionResult::WouldRun(because));
                Need::Action(key)
            }
            News::Waits { key, shortfall } => {
                knowledge.actions.insert(key, ActionResult::Waits(shortfall));
                Need::Action(key)
            }
            News::LeftOut { key, because } => {
                knowledge.actions.insert(key, ActionResult::LeftOut(because));
                Need::Action(key)
            }
            News::Items(table, items) => {
                knowledge.tables.insert(table.clone(), items);
                Need::Table(table)
            }
            News::Opened(file, content) => {
                knowledge.files.insert(file.clone(), content);
                Need::File(file)
            }
            News::Classed(key, class) => {
                knowledge.classes.insert(key, class);
                Need::Class(key)
            }
            News::Recalled(key, rules) => {
                knowledge.memories.insert(key, rules);
                Need::Memory(key)
            }
            News::Looked(need, permission) => {
                knowledge.looks.insert(need.clone(), permission);
                Need::Look(need)
            }
            News::Labelled(worklist, labels) => {
                knowledge.labels.insert(worklist.clone(), labels);
                Need::Labels(worklist)
            }
        };
        for id in self.askers.remove(&need).unwrap_or_default() {
            let Questions { open, own, journaled } = self.take_questions(id);
            self.set(id, State::Asks(Questions { open: open - 1, own, journaled }));
        }
        self.advance()
    }

    /// The stages of this run that have not ended, in the order of the plan.
    pub fn unfinished(&self) -> impl Iterator<Item = StageId> {
        (0..self.states.len()).filter(|id| self.states[*id].is_unfinished())
    }

    /// Changes the state of a stage, which happens only here. Stages that can be advanced because of it become ready.
    fn set(&mut self, id: StageId, state: State) {
        let is_end = matches!(state, State::Ended(_));
        if matches!(state, State::Waits { unmet: 0 } | State::Asks(Questions { open: 0, .. })) {
            self.ready.push_back(id);
        }
        self.states[id] = state;
        if is_end {
            for dependant in std::mem::take(&mut self.dependants[id]) {
                if let State::Waits { unmet } = self.states[dependant] {
                    self.set(dependant, State::Waits { unmet: unmet - 1 });
                }
            }
        }
    }

    /// Takes the stage's questions, to be given back with its next state.
    fn take_questions(&mut self, id: StageId) -> Questions {
        match &mut self.states[id] {
            State::Asks(questions) => std::mem::take(questions),
            State::LeftOut | State::Waits { .. } | State::Ended(_) => Questions::default(),
        }
    }

    fn advance(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(id) = self.ready.pop_front() {
            let Questions { own, mut journaled, .. } = self.take_questions(id);
            let mut lookup = Lookup::new(self.inputs, &self.knowledge, &self.states, id, own);
            let (events, end) = advance::advance(&mut lookup);
            let Lookup { found, queries, learned, look, own, .. } = lookup;
            for (action, part) in found {
                if journaled.insert(action.key) {
                    let (stage, key) = (self.inputs.plan.stages[id].name.clone(), action.key.to_string());
                    commands.push(Command::Tell(Event::Hit { stage, part, key, action: action.action }));
                }
            }
            let Some(end) = end else {
                let open = queries.len();
                for query in queries {
                    if let Query::Action(request) = &query {
                        journaled.insert(request.action.key);
                    }
                    let askers = self.askers.entry(query.need()).or_default();
                    askers.push(id);
                    if askers.len() == 1 {
                        commands.push(query.into());
                    }
                }
                self.set(id, State::Asks(Questions { open, own, journaled }));
                continue;
            };
            commands.extend(learned.map(|(key, rules)| Command::Remember(key, rules)));
            commands.extend(look.and_then(|look| look.judged).map(Command::Judged));
            commands.extend(events.into_iter().map(Command::Tell));
            commands.push(Command::End(id, end.outcome.clone()));
            self.set(id, State::Ended(end));
        }
        commands
    }
}

impl From<Query> for Command {
    fn from(query: Query) -> Command {
        match query {
            Query::Action(request) => Command::Obtain(request),
            Query::Table(table) => Command::Read(table),
            Query::File(file) => Command::Open(file),
            Query::Class(key) => Command::Class(key),
            Query::Memory(key) => Command::Recall(key),
            Query::Look(asked) => Command::Look(asked),
            Query::Labels(worklist) => Command::Labels(worklist),
        }
    }
}

#[cfg(test)]
mod tests;
