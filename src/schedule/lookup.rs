//! Lookups of a stage that is being advanced: actions, and what other stages' names carry. Gates and measurements are
//! built on it.

mod failed;
mod inputs;
mod people;

use super::state::{Artifact, AskedLook, KeyedAction, LookSearch, Request, StageEnd, State, TakenLook};
use crate::action::{Action, Record};
use crate::cause::{Cause, EvalPart, SkipReason, StageCause};
use crate::event::{HumanDecision, Outcome, RuleVerdict, Table, WaitReason};
use crate::failure::Failure;
use crate::gate::Items;
use crate::hub;
use crate::ledger::Permission;
use crate::plan::{ArtifactName, Pin, Plan, Source, Stage, StageId};
use cache::{Content, Digest};
pub use people::LabelsThere;
use stages::io::{CalledReward, Shortfall};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

pub enum ActionResult {
    Known(KnownRecord),
    Failed(Failure),
    WouldRun(Vec<Cause>),
    /// It did what its budget allows.
    Waits(Shortfall),
    LeftOut(SkipReason),
}

#[derive(Clone)]
pub struct KnownRecord {
    pub record: Arc<Record>,
    /// The stage that executed it in this run, and the seconds it took; `None` for a hit.
    pub executed: Option<(StageId, f64)>,
}

/// Everything that has been answered so far.
#[derive(Default)]
pub struct Knowledge {
    pub actions: HashMap<Digest, ActionResult>,
    pub tables: HashMap<Table, Result<Arc<Items>, String>>,
    pub files: HashMap<FileInTree, Result<Content, String>>,
    /// `None`: there is no such record, or it names none.
    pub classes: HashMap<Digest, Option<String>>,
    /// `None` if it was asked for but never remembered.
    pub memories: HashMap<Digest, Option<Vec<RuleVerdict>>>,
    /// `None` if it does not stand in the ledger and was asked for without its items.
    pub looks: HashMap<LookSearch, Result<Option<Permission>, String>>,
    /// The labels of each worklist.
    pub labels: HashMap<Content, Result<LabelsThere, String>>,
}

/// A file of an artifact, by its path from the top.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileInTree {
    pub tree: Content,
    pub path: String,
}

/// Something a stage can wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    Action(Digest),
    Table(Table),
    File(FileInTree),
    Class(Digest),
    Memory(Digest),
    Look(LookSearch),
    Labels(Content),
}

/// Something a stage has to ask for.
pub enum Query {
    Action(Request),
    Table(Table),
    File(FileInTree),
    Class(Digest),
    Memory(Digest),
    Look(Box<AskedLook>),
    Labels(Content),
}

impl Query {
    pub fn need(&self) -> Need {
        match self {
            Query::Action(request) => Need::Action(request.action.key),
            Query::Table(table) => Need::Table(table.clone()),
            Query::File(file) => Need::File(file.clone()),
            Query::Class(key) => Need::Class(*key),
            Query::Memory(key) => Need::Memory(*key),
            Query::Look(asked) => Need::Look(asked.need()),
            Query::Labels(worklist) => Need::Labels(worklist.clone()),
        }
    }
}

/// The facts that a run knows when it begins.
#[derive(Clone, Copy)]
pub struct RunInputs<'a> {
    pub plan: &'a Plan,
    /// Contents of every path that is an input.
    pub contents: &'a BTreeMap<PathBuf, Content>,
    /// People's decisions, by the question of the evidence.
    pub decisions: &'a BTreeMap<String, HumanDecision>,
}

pub struct Lookup<'a> {
    pub plan: &'a Plan,
    contents: &'a BTreeMap<PathBuf, Content>,
    pub decisions: &'a BTreeMap<String, HumanDecision>,
    knowledge: &'a Knowledge,
    /// The states of all stages.
    pub states: &'a [State],
    /// The asking stage.
    pub id: StageId,
    pub queries: Vec<Query>,
    /// The verdicts of its gate's rules, to be remembered.
    pub learned: Option<(Digest, Vec<RuleVerdict>)>,
    /// The look that its gate took.
    pub look: Option<TakenLook>,
    /// The stages that it cannot choose, since they failed: each with the reason.
    pub failed_candidates: Vec<String>,
    /// The actions found, with the name of the part.
    pub found: Vec<(KeyedAction, Option<EvalPart>)>,
    /// The asker's own action, once it is known.
    pub own: Option<KeyedAction>,
    /// Whether its own action was executed; `seconds` counts all its actions.
    pub is_executed: bool,
    pub seconds: f64,
}

/// The reason a stage cannot go on: what it asked for is not there yet, or it ends here.
#[derive(Clone, Debug)]
pub enum Obstacle {
    Waiting,
    Ends(Outcome),
}

pub type Step<T> = Result<T, Obstacle>;

pub fn fails<T>(cause: impl Into<Failure>) -> Step<T> {
    Err(Obstacle::Ends(Outcome::Failed { cause: cause.into() }))
}

/// All values, or the heaviest obstacle among the steps.
pub fn all<T>(steps: impl IntoIterator<Item = Step<T>>) -> Step<Vec<T>> {
    // Never stops early: each step may ask for something.
    let mut values = Ok(Vec::new());
    for step in steps {
        values = both(values, step).map(|(mut values, value)| {
            values.push(value);
            values
        });
    }
    values
}

/// Both values, or the heavier obstacle.
pub fn both<A, B>(one: Step<A>, other: Step<B>) -> Step<(A, B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(heavier(one, other)),
        (Err(blocked), Ok(_)) | (Ok(_), Err(blocked)) => Err(blocked),
    }
}

fn heavier(one: Obstacle, other: Obstacle) -> Obstacle {
    let weight = |blocked: &Obstacle| match blocked {
        Obstacle::Ends(Outcome::Failed { .. }) => 4,
        Obstacle::Ends(Outcome::Skipped { .. }) => 3,
        // Waiting outweighs `WouldRun`, so that every reason is named in the end.
        Obstacle::Waiting => 1,
        Obstacle::Ends(Outcome::WouldRun { .. }) => 0,
        Obstacle::Ends(_) => 2,
    };
    match (one, other) {
        (Obstacle::Ends(Outcome::WouldRun { mut because }), Obstacle::Ends(Outcome::WouldRun { because: more })) => {
            because.extend(more.into_iter().filter(|line| !because.contains(line)).collect::<Vec<_>>());
            Obstacle::Ends(Outcome::WouldRun { because })
        }
        (one, other) if weight(&other) > weight(&one) => other,
        (one, _) => one,
    }
}

impl<'a> Lookup<'a> {
    pub fn new(
        inputs: RunInputs<'a>,
        knowledge: &'a Knowledge,
        states: &'a [State],
        id: StageId,
        own: Option<KeyedAction>,
    ) -> Lookup<'a> {
        let RunInputs { plan, contents, decisions } = inputs;
        let (queries, found, failed_candidates, learned, look) = (Vec::new(), Vec::new(), Vec::new(), None, None);
        let (is_executed, seconds) = (false, 0.0);
        Lookup {
            plan,
            contents,
            decisions,
            knowledge,
            states,
            id,
            queries,
            learned,
            look,
            failed_candidates,
            found,
            own,
            is_executed,
            seconds,
        }
    }

    pub fn stage(&self) -> &'a Stage {
        &self.plan.stages[self.id]
    }

    /// The record of an action; asks for it if not known.
    pub fn obtain(&mut self, part: Option<EvalPart>, action: KeyedAction, limits_of: StageId) -> Step<KnownRecord> {
        match self.knowledge.actions.get(&action.key) {
            Some(ActionResult::Known(known)) => {
                if let Some((by, seconds)) = known.executed
                    && by == self.id
                    && !self.found.iter().any(|(found, _)| found.key == action.key)
                {
                    self.is_executed |= part.is_none();
                    self.seconds += seconds;
                }
                self.found.push((action, part));
                Ok(known.clone())
            }
            Some(ActionResult::Failed(cause)) => fails(match part {
                None => cause.clone(),
                Some(part) => Failure::Part(Box::new(part), Box::new(cause.clone())),
            }),
            Some(ActionResult::WouldRun(because)) => {
                let cause = |cause: &Cause| StageCause { part: part.clone(), cause: cause.clone() };
                Err(Obstacle::Ends(Outcome::WouldRun { because: because.iter().map(cause).collect() }))
            }
            Some(ActionResult::Waits(Shortfall { done, needed })) => {
                Err(Obstacle::Ends(Outcome::Waits { done: *done, needed: *needed, on: WaitReason::Budget }))
            }
            Some(ActionResult::LeftOut(because)) => Err(Obstacle::Ends(Outcome::Skipped { because: because.clone() })),
            None => {
                let called = self.called(limits_of);
                self.ask(Query::Action(Request { stage: self.id, part, action, limits_of, called }))
            }
        }
    }

    /// The rewards that a stage asks, by what their stages gave.
    fn called(&self, id: StageId) -> Vec<CalledReward> {
        let told = self.plan.stages[id].called.iter().filter_map(|told| Some((told, self.carried(told.stage).ok()?)));
        told.map(|(told, given)| CalledReward {
            content: given.content.to_string(),
            beside_key: told.beside_key.clone(),
            secrets: told.secrets.clone(),
        })
        .collect()
    }

    /// The asker's own action. Computed once, although it is asked for again when the record has come.
    pub fn own_action(&mut self) -> Step<KeyedAction> {
        if self.own.is_none() {
            self.own = Some(keyed(self.action_of(None)?)?);
        }
        Ok(self.own.clone().expect("it was put there above"))
    }

    fn ask<T>(&mut self, query: Query) -> Step<T> {
        if !self.queries.iter().any(|known| known.need() == query.need()) {
            self.queries.push(query);
        }
        Err(Obstacle::Waiting)
    }

    /// The rows of a per-item table; asks for them if not known.
    pub fn items(&mut self, table: &Table) -> Step<Arc<Items>> {
        match self.knowledge.tables.get(table) {
            Some(Ok(items)) => Ok(items.clone()),
            Some(Err(reason)) => fails(reason.clone()),
            None => self.ask(Query::Table(table.clone())),
        }
    }

    /// The same for a gate: an unreadable table is an error only of the rules that look at it.
    pub fn table(&mut self, table: &Table) -> Step<Arc<Items>> {
        match self.knowledge.tables.get(table) {
            Some(Err(reason)) => Ok(Arc::new(Items::broken(reason.clone()))),
            _ => self.items(table),
        }
    }

    /// The device class in the record of an action, if there is one.
    pub fn class(&mut self, key: Digest) -> Step<Option<String>> {
        match self.knowledge.classes.get(&key) {
            Some(class) => Ok(class.clone()),
            None => self.ask(Query::Class(key)),
        }
    }

    /// The verdicts of the rules on this evidence in an earlier run, if any.
    pub fn recall(&mut self, key: Digest) -> Step<Option<Vec<RuleVerdict>>> {
        match self.knowledge.memories.get(&key) {
            Some(rules) => Ok(rules.clone()),
            None => self.ask(Query::Memory(key)),
        }
    }

    /// The permission of a look; `None` if it does not stand in the ledger and was asked for without its items.
    pub fn permission(&mut self, asked: AskedLook) -> Step<Option<Permission>> {
        match self.knowledge.looks.get(&asked.need()) {
            Some(Ok(permission)) => Ok(permission.clone()),
            Some(Err(reason)) => fails(reason.clone()),
            None => self.ask(Query::Look(Box::new(asked))),
        }
    }

    pub fn artifact(&mut self, source: &Source) -> Step<Artifact> {
        match source {
            Source::Path(path) => {
                let Some(content) = self.contents.get(path) else {
                    return fails(format!("read {}: it was not there when the run began", path.display()));
                };
                let last = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                let name = hub::repository_of(path).unwrap_or_else(last);
                let (content, metrics) = (content.clone(), BTreeMap::new());
                Ok(Artifact {
                    content,
                    step: None,
                    metrics,
                    table: None,
                    label: ArtifactName::open(&name),
                    chosen: None,
                })
            }
            Source::Stage { stage, pin: Pin::Open } => self.carried(*stage),
            Source::Stage { stage, pin } => self.pinned(*stage, pin),
            Source::File { stage, pin, path } => {
                let whole = self.artifact(&Source::Stage { stage: *stage, pin: *pin })?;
                let label = ArtifactName { file: Some(path.clone()), ..whole.label };
                let content = self.file(FileInTree { tree: whole.content, path: path.clone() }, &label)?;
                Ok(Artifact { content, step: whole.step, metrics: BTreeMap::new(), table: None, label, chosen: None })
            }
        }
    }

    /// The content of one file of an artifact; asks for it if not known.
    fn file(&mut self, file: FileInTree, label: &ArtifactName) -> Step<Content> {
        match self.knowledge.files.get(&file) {
            Some(Ok(content)) => Ok(content.clone()),
            Some(Err(reason)) => fails(format!("take `{label}`: {reason}")),
            None => self.ask(Query::File(file)),
        }
    }

    /// The artifact that carries a stage's name.
    pub fn carried(&self, id: StageId) -> Step<Artifact> {
        let end = self.end(id)?;
        match (&end.artifact, &end.outcome) {
            (Some(artifact), _) => Ok(artifact.clone()),
            (None, outcome) => Err(Lookup::follows(&self.plan.stages[id].name, outcome)),
        }
    }

    /// The artifact before the gate; needs only a record.
    fn pinned(&self, id: StageId, pin: &Pin) -> Step<Artifact> {
        let name = &self.plan.stages[id].name;
        let end = self.end(id)?;
        let Some(record) = &end.record else { return Err(Lookup::follows(name, &end.outcome)) };
        let candidate = match pin {
            Pin::Step(step) => {
                let Some(candidate) = record.candidates.iter().find(|candidate| candidate.step == *step) else {
                    let known = record.candidates.iter().map(|known| known.step).collect();
                    return fails(Failure::NoStep { stage: name.clone(), step: *step, known });
                };
                candidate
            }
            Pin::Last | Pin::Open => record.last(),
        };
        Ok(Artifact::of(candidate, ArtifactName::pinned(name, *pin)))
    }

    fn end(&self, id: StageId) -> Step<&'a StageEnd> {
        match self.states[id].end() {
            Some(end) => Ok(end),
            // The plan has an edge for everything a stage can name.
            None => fails(format!("find what `{}` gave: it has not ended yet", self.plan.stages[id].name)),
        }
    }
}

pub fn keyed(action: Action) -> Step<KeyedAction> {
    KeyedAction::of(&action).or_else(fails)
}
