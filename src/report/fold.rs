//! Folds events into the state of a run, from which every section of the report is made.

use crate::canonical::Canonical;
use crate::cause::{Cause, EvalPart};
use crate::event::{self, Event, LOOK, Machine, ModelAnswer, Outcome, StageHead, StudyRow, Verdict};
use crate::failure::Failure;
use crate::report::format;
use stages::kinds;
use stages::stage::Work;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct RunState {
    /// `<time>-<pipeline>`, the name of its directory.
    pub name: String,
    pub pipeline: String,
    pub file: String,
    pub at: String,
    pub overrides: Vec<String>,
    /// `--only` and `--from`, as typed.
    pub selection: String,
    /// The machine that it was on; older journals do not say.
    pub machine: Option<Machine>,
    pub stages: Vec<StageRun>,
    pub studies: Vec<Study>,
    /// `None` while the run goes on, and for ever if it was killed.
    pub finish: Option<Finish>,
    /// The options that select this run's store on the command line: empty, or ` --store DIR`.
    pub options: String,
    /// The seconds that each stage took when last executed, before this run; filled only for a look ahead.
    pub lasted: BTreeMap<String, f64>,
}

#[derive(Clone, Debug)]
pub struct Finish {
    pub exit: u8,
    pub seconds: f64,
}

#[derive(Clone, Debug)]
pub struct StageRun {
    pub head: Arc<StageHead>,
    /// The stage's own action and the measurements made for it, in request order.
    pub actions: Vec<ActionRun>,
    /// Boxed: it is ten times as large as the rest, and most of thousands of stages have none.
    pub verdict: Option<Box<Verdict>>,
    pub outcome: Option<Outcome>,
    /// `(part, message)`, in order.
    pub notes: Vec<(Option<EvalPart>, String)>,
    /// The files of records of the remote that were not here, in bytes; `None` if nothing is from there.
    pub fetched: Option<u64>,
}

impl StageRun {
    /// Whether it only chooses among what other stages gave.
    pub fn chooses(&self) -> bool {
        kinds::kind(&self.head.kind).is_some_and(|kind| matches!(kind.work, Work::Choose { .. }))
    }

    /// The step of the checkpoint that its gate judged, else of the one that it handed on.
    pub fn judged_step(&self) -> Option<u64> {
        let evidence = self.verdict.as_deref().map(|verdict| &verdict.evidence);
        let chosen = evidence.and_then(|evidence| evidence.candidates.get(evidence.chosen?)?.step);
        chosen.or(match &self.outcome {
            Some(Outcome::Done { step, kept: false, .. }) => *step,
            _ => None,
        })
    }
}

#[derive(Clone, Debug)]
pub struct ActionRun {
    /// `None` for the stage's own action.
    pub part: Option<EvalPart>,
    pub key: String,
    pub action: Canonical,
    pub state: ActionState,
    /// Where a cluster worked it, in words; `None` on this machine.
    pub place: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub enum ActionState {
    Hit,
    Running { why: Vec<Cause>, log: String, done: u64, total: u64, message: String },
    Finished { why: Vec<Cause>, log: String, seconds: f64, device: Option<String> },
    Failed { why: Vec<Cause>, log: String, cause: Failure },
}

/// The models that one eval stage measured.
#[derive(Clone, Debug)]
pub struct Study {
    pub eval: String,
    /// The reward models behind the headlines, in order; empty if the stages report their scores themselves.
    pub rewards: Vec<String>,
    pub rows: Vec<StudyRow>,
    pub comparisons: Vec<(String, Vec<ModelAnswer>)>,
}

/// The state after these events; `None` if no run has started.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<RunState> {
    let mut folding = RunFold::default();
    events.into_iter().for_each(|event| folding.add(event));
    folding.run
}

/// The state of a run so far.
#[derive(Default)]
pub struct RunFold {
    pub run: Option<RunState>,
    /// The index of each stage by name: there may be thousands.
    indices: HashMap<String, usize>,
}

impl RunFold {
    pub fn add(&mut self, event: &Event) {
        match (&mut self.run, event) {
            (None, Event::RunStarted { run, pipeline, file, at, stages, overrides, selection, machine }) => {
                self.indices = stages.iter().enumerate().map(|(at, head)| (head.name.clone(), at)).collect();
                self.run = Some(RunState {
                    name: run.clone(),
                    pipeline: pipeline.clone(),
                    file: file.clone(),
                    at: at.clone(),
                    overrides: overrides.clone(),
                    selection: selection.clone(),
                    machine: machine.clone(),
                    stages: stages.iter().map(not_reached).collect(),
                    studies: Vec::new(),
                    finish: None,
                    options: String::new(),
                    lasted: BTreeMap::new(),
                });
            }
            (Some(run), event) => run.add(event, &self.indices),
            (None, _) => {}
        }
    }
}

fn not_reached(head: &Arc<StageHead>) -> StageRun {
    StageRun { head: head.clone(), actions: Vec::new(), verdict: None, outcome: None, notes: Vec::new(), fetched: None }
}

impl RunState {
    pub fn stage(&self, name: &str) -> Option<&StageRun> {
        self.stages.iter().find(|stage| stage.head.name == name)
    }

    /// Whether nothing is executed: a plan.
    pub fn is_look(&self) -> bool {
        self.name == LOOK
    }

    /// The seconds that a stage which would run took last time.
    pub fn last_time(&self, stage: &StageRun) -> Option<f64> {
        stage.would_run().then(|| self.lasted.get(&stage.head.name).copied()).flatten()
    }

    fn study_mut(&mut self, eval: &str) -> &mut Study {
        let at = self.studies.iter().position(|study| study.eval == eval).unwrap_or_else(|| {
            self.studies.push(Study {
                eval: eval.to_owned(),
                rewards: Vec::new(),
                rows: Vec::new(),
                comparisons: Vec::new(),
            });
            self.studies.len() - 1
        });
        &mut self.studies[at]
    }

    fn add(&mut self, event: &Event, indices: &HashMap<String, usize>) {
        match event {
            Event::RunStarted { .. } => {}
            Event::ScoredBy { eval, rewards } => self.study_mut(eval).rewards = rewards.clone(),
            Event::Measured { eval, row } => {
                let study = self.study_mut(eval);
                study.rows.retain(|other| other.model != row.model);
                study.rows.push(row.clone());
            }
            Event::Compared { eval, prompt, answers } => {
                // A run that started over because of a damaged result repeats its comparisons.
                let told = (prompt.clone(), answers.clone());
                let comparisons = &mut self.study_mut(eval).comparisons;
                if !comparisons.contains(&told) {
                    comparisons.push(told);
                }
            }
            Event::RunFinished { exit, seconds, .. } => self.finish = Some(Finish { exit: *exit, seconds: *seconds }),
            Event::Hit { stage, .. }
            | Event::Fetched { stage, .. }
            | Event::Started { stage, .. }
            | Event::Placed { stage, .. }
            | Event::Progressed { stage, .. }
            | Event::Finished { stage, .. }
            | Event::Failed { stage, .. }
            | Event::Noted { stage, .. }
            | Event::Judged { stage, .. }
            | Event::Ended { stage, .. } => {
                if let Some(at) = indices.get(stage) {
                    self.stages[*at].add(event);
                }
            }
        }
    }
}

impl StageRun {
    /// The action of the stage itself; an eval has measurements alone.
    pub fn own_action(&self) -> Option<&ActionRun> {
        self.actions.iter().find(|action| action.part.is_none())
    }

    pub fn was_executed(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.executed_in().is_some())
    }

    pub fn would_run(&self) -> bool {
        matches!(self.outcome, Some(Outcome::WouldRun { .. }))
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Hit { part, key, action, .. } => self.put(part, key, action, ActionState::Hit),
            Event::Fetched { part, from, .. } => {
                *self.fetched.get_or_insert(0) += from.bytes;
                let note = match part {
                    None => {
                        let size = format::bytes(from.bytes);
                        format!("its result is from {}; of its files {size} were not here", from.origin())
                    }
                    // A measurement has many parts, which are told together.
                    Some(_) => {
                        let host = from.host.as_ref().map_or(String::new(), |host| format!(", made on {host}"));
                        format!("measurements of it are from {}{host}", from.remote)
                    }
                };
                // A run that started over says it again.
                if !self.notes.iter().any(|(of, said)| of.is_none() && *said == note) {
                    self.notes.push((None, note));
                }
            }
            Event::Started { part, key, action, why, log, .. } => {
                let state = ActionState::Running {
                    why: why.clone(),
                    log: log.clone(),
                    done: 0,
                    total: 0,
                    message: String::new(),
                };
                self.put(part, key, action, state);
            }
            Event::Placed { part, executor, id, node, waits, .. } => {
                let place = event::place(executor, id, node, waits);
                if let Some(action) = self.actions.iter_mut().find(|action| action.part == *part) {
                    if let ActionState::Running { total: 0, message, .. } = &mut action.state {
                        message.clone_from(&place);
                    }
                    action.place = Some(place.into());
                }
            }
            Event::Progressed { part, progress, .. } => {
                if let Some(ActionState::Running { done, total, message, .. }) = self.state_mut(part) {
                    (*done, *total, *message) = (progress.done, progress.total, progress.message.clone());
                }
            }
            Event::Finished { part, seconds, device, .. } => {
                let place =
                    self.actions.iter().find(|action| action.part == *part).and_then(|action| action.place.clone());
                self.notes.extend(place.map(|place| (part.clone(), format!("ran on {place}"))));
                self.end(part, |why, log| ActionState::Finished { why, log, seconds: *seconds, device: device.clone() })
            }
            Event::Failed { part, cause, log, .. } => {
                self.end(part, |why, _| ActionState::Failed { why, log: log.clone(), cause: cause.clone() });
            }
            Event::Noted { part, message, .. } => self.notes.push((part.clone(), message.clone())),
            Event::Judged { verdict, .. } => self.verdict = Some(verdict.clone()),
            Event::Ended { outcome, .. } => self.outcome = Some(outcome.clone()),
            Event::RunStarted { .. }
            | Event::ScoredBy { .. }
            | Event::Measured { .. }
            | Event::Compared { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    /// A second attempt at an action replaces the first.
    fn put(&mut self, part: &Option<EvalPart>, key: &str, action: &Canonical, state: ActionState) {
        let new = ActionRun { part: part.clone(), key: key.to_owned(), action: action.clone(), state, place: None };
        match self.actions.iter_mut().find(|old| old.part == *part) {
            Some(old) => *old = new,
            // Most stages have one action, and a growing list would allocate capacity for four.
            None => {
                self.actions.reserve_exact(1);
                self.actions.push(new);
            }
        }
    }

    fn state_mut(&mut self, part: &Option<EvalPart>) -> Option<&mut ActionState> {
        self.actions.iter_mut().find(|action| action.part == *part).map(|action| &mut action.state)
    }

    fn end(&mut self, part: &Option<EvalPart>, next: impl FnOnce(Vec<Cause>, String) -> ActionState) {
        if let Some(state) = self.state_mut(part) {
            let (why, log) = match state {
                ActionState::Running { why, log, .. } => (std::mem::take(why), std::mem::take(log)),
                _ => (Vec::new(), String::new()),
            };
            *state = next(why, log);
        }
    }
}
