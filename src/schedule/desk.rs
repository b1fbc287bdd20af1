//! Where a stage that is being advanced asks: for actions, and for what other stages' names carry. Knows nothing of
//! gates and measurements.

use super::{Artifact, End, Keyed, Request};
use crate::action::{Action, ActionInput, Candidate, Record};
use crate::event::{Decided, Outcome, RuleVerdict, Table};
use crate::gate::Items;
use crate::plan::{Input, Pin, Plan, Source, Stage, StageId};
use cache::{Content, Digest};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

pub enum Fact {
    Known(Known),
    Failed(String),
    WouldRun(Vec<String>),
    LeftOut(String),
}

#[derive(Clone)]
pub struct Known {
    pub record: Arc<Record>,
    /// By whom in this run, and how many seconds it took; `None` for a hit.
    pub executed: Option<(StageId, f64)>,
}

/// Everything that has been answered so far.
#[derive(Default)]
pub struct Knowledge {
    pub actions: HashMap<Digest, Fact>,
    pub tables: HashMap<Table, Result<Arc<Items>, String>>,
    /// `None`: asked for, and never remembered.
    pub memories: HashMap<Digest, Option<Vec<RuleVerdict>>>,
}

/// What can be waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    Action(Digest),
    Table(Table),
    Memory(Digest),
}

/// What has to be asked for.
pub enum Missing {
    Action(Request),
    Table(Table),
    Memory(Digest),
}

impl Missing {
    pub fn need(&self) -> Need {
        match self {
            Missing::Action(request) => Need::Action(request.action.key),
            Missing::Table(table) => Need::Table(table.clone()),
            Missing::Memory(key) => Need::Memory(*key),
        }
    }
}

pub struct Desk<'a> {
    pub plan: &'a Plan,
    pub ends: &'a [Option<End>],
    /// Who asks.
    pub id: StageId,
    contents: &'a BTreeMap<PathBuf, Content>,
    pub decisions: &'a BTreeMap<String, Decided>,
    knowledge: &'a Knowledge,
    pub missing: Vec<Missing>,
    /// What the rules of its gate said, to be remembered.
    pub learned: Option<(Digest, Vec<RuleVerdict>)>,
    /// What was there, with the name of the part.
    pub found: Vec<(Keyed, Option<String>)>,
    /// The asker's own action, once it is known.
    pub own: Option<Keyed>,
    /// Of the asker's own action, and of everything.
    pub is_executed: bool,
    pub seconds: f64,
}

/// Why a stage cannot go on: what it asked for is not there yet, or it ends here.
#[derive(Clone, Debug)]
pub enum Blocked {
    Waiting,
    Ends(Outcome),
}

pub type Step<T> = Result<T, Blocked>;

pub fn fails<T>(cause: impl Into<String>) -> Step<T> {
    Err(Blocked::Ends(Outcome::Failed { cause: cause.into() }))
}

/// All of them, or what weighs most among the reasons why not.
pub fn all<T>(steps: impl IntoIterator<Item = Step<T>>) -> Step<Vec<T>> {
    // To the end in any case: each step may ask for something.
    let mut values = Ok(Vec::new());
    for step in steps {
        values = both(values, step).map(|(mut values, value)| {
            values.push(value);
            values
        });
    }
    values
}

/// The same for two of different types.
pub fn both<A, B>(one: Step<A>, other: Step<B>) -> Step<(A, B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(heavier(one, other)),
        (Err(blocked), Ok(_)) | (Ok(_), Err(blocked)) => Err(blocked),
    }
}

fn heavier(one: Blocked, other: Blocked) -> Blocked {
    let weight = |blocked: &Blocked| match blocked {
        Blocked::Ends(Outcome::Failed { .. }) => 4,
        Blocked::Ends(Outcome::Skipped { .. }) => 3,
        // Waited for before it is said what would run, so that every reason is named.
        Blocked::Waiting => 1,
        Blocked::Ends(Outcome::WouldRun { .. }) => 0,
        Blocked::Ends(_) => 2,
    };
    match (one, other) {
        (Blocked::Ends(Outcome::WouldRun { mut because }), Blocked::Ends(Outcome::WouldRun { because: more })) => {
            because.extend(more.into_iter().filter(|line| !because.contains(line)).collect::<Vec<_>>());
            Blocked::Ends(Outcome::WouldRun { because })
        }
        (one, other) if weight(&other) > weight(&one) => other,
        (one, _) => one,
    }
}

impl<'a> Desk<'a> {
    pub fn new(
        plan: &'a Plan,
        (contents, decisions): (&'a BTreeMap<PathBuf, Content>, &'a BTreeMap<String, Decided>),
        knowledge: &'a Knowledge,
        ends: &'a [Option<End>],
        id: StageId,
        own: Option<Keyed>,
    ) -> Desk<'a> {
        Desk {
            plan,
            ends,
            id,
            contents,
            decisions,
            knowledge,
            missing: Vec::new(),
            learned: None,
            found: Vec::new(),
            own,
            is_executed: false,
            seconds: 0.0,
        }
    }

    pub fn stage(&self) -> &'a Stage {
        &self.plan.stages[self.id]
    }

    /// The record of an action, now or later.
    pub fn obtain(&mut self, part: Option<&str>, action: Keyed, limits_of: StageId) -> Step<Known> {
        let lines = |lines: &[String]| match part {
            None => lines.to_vec(),
            Some(part) => lines.iter().map(|line| format!("{part}: {line}")).collect(),
        };
        match self.knowledge.actions.get(&action.key) {
            Some(Fact::Known(known)) => {
                if let Some((by, seconds)) = known.executed
                    && by == self.id
                    && !self.found.iter().any(|(found, _)| found.key == action.key)
                {
                    self.is_executed |= part.is_none();
                    self.seconds += seconds;
                }
                self.found.push((action, part.map(str::to_owned)));
                Ok(known.clone())
            }
            Some(Fact::Failed(cause)) => fails(match part {
                None => cause.clone(),
                Some(part) => format!("{part}: {cause}"),
            }),
            Some(Fact::WouldRun(because)) => Err(Blocked::Ends(Outcome::WouldRun { because: lines(because) })),
            Some(Fact::LeftOut(because)) => Err(Blocked::Ends(Outcome::Skipped { because: because.clone() })),
            None => {
                let part = part.map(str::to_owned);
                self.ask(Missing::Action(Request { stage: self.id, part, action, limits_of }))
            }
        }
    }

    /// The asker's own action. Worked out once: it is asked for again when the record has come.
    pub fn own_action(&mut self) -> Step<Keyed> {
        if self.own.is_none() {
            self.own = Some(keyed(self.action(self.stage())?)?);
        }
        Ok(self.own.clone().expect("it was put there above"))
    }

    fn ask<T>(&mut self, missing: Missing) -> Step<T> {
        if !self.missing.iter().any(|known| known.need() == missing.need()) {
            self.missing.push(missing);
        }
        Err(Blocked::Waiting)
    }

    /// The rows of a per-item table, now or later.
    pub fn items(&mut self, table: &Table) -> Step<Arc<Items>> {
        match self.knowledge.tables.get(table) {
            Some(Ok(items)) => Ok(items.clone()),
            Some(Err(reason)) => fails(reason.clone()),
            None => self.ask(Missing::Table(table.clone())),
        }
    }

    /// The same for a gate: a table that cannot be read is an error of the rules that look at it, and of nothing else.
    pub fn table(&mut self, table: &Table) -> Step<Arc<Items>> {
        match self.knowledge.tables.get(table) {
            Some(Err(reason)) => Ok(Arc::new(Items::broken(reason.clone()))),
            _ => self.items(table),
        }
    }

    /// What the rules said of this evidence in an earlier run, if they did.
    pub fn recall(&mut self, key: Digest) -> Step<Option<Vec<RuleVerdict>>> {
        match self.knowledge.memories.get(&key) {
            Some(rules) => Ok(rules.clone()),
            None => self.ask(Missing::Memory(key)),
        }
    }

    /// The one call of a stage's kind, every input resolved to content.
    fn action(&self, stage: &Stage) -> Step<Action> {
        let inputs = all(stage.inputs.iter().map(|input| {
            let artifacts = self.artifacts(input)?;
            let mut contents: Vec<Content> = artifacts.into_iter().map(|artifact| artifact.content).collect();
            let input_of_action = match (input.is_list, contents.len()) {
                (false, 1) => ActionInput::One(contents.remove(0)),
                _ => ActionInput::Many(contents),
            };
            Ok((input.port.clone(), input_of_action))
        }))?;
        Ok(Action {
            kind: stage.kind.name.to_owned(),
            version: stage.kind.version,
            parameters: stage.parameters.clone(),
            seed: stage.seed,
            inputs: inputs.into_iter().collect(),
            salt: self.plan.salt.clone(),
        })
    }

    pub fn artifacts(&self, input: &Input) -> Step<Vec<Artifact>> {
        all(input.sources.iter().map(|source| self.artifact(source)))
    }

    /// The first of what is connected to a port.
    pub fn on_port(&self, stage: &Stage, port: &str) -> Step<Option<Artifact>> {
        let source = stage.inputs.iter().find(|input| input.port == port).and_then(|input| input.sources.first());
        source.map(|source| self.artifact(source)).transpose()
    }

    pub fn artifact(&self, source: &Source) -> Step<Artifact> {
        match source {
            Source::Path(path) => {
                let Some(content) = self.contents.get(path) else {
                    return fails(format!("read {}: it was not there when the run began", path.display()));
                };
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                let (content, metrics) = (content.clone(), BTreeMap::new());
                Ok(Artifact { content, step: None, metrics, table: None, label: name })
            }
            Source::Stage { stage, pin: Pin::Open } => self.carried(*stage),
            Source::Stage { stage, pin } => self.pinned(*stage, pin),
        }
    }

    /// What carries a stage's name.
    pub fn carried(&self, id: StageId) -> Step<Artifact> {
        let end = self.end(id)?;
        match (&end.artifact, &end.outcome) {
            (Some(artifact), _) => Ok(artifact.clone()),
            (None, outcome) => Err(follows(&self.plan.stages[id].name, outcome)),
        }
    }

    /// What came out before the gate; needs only a record.
    fn pinned(&self, id: StageId, pin: &Pin) -> Step<Artifact> {
        let name = &self.plan.stages[id].name;
        let end = self.end(id)?;
        let Some(record) = &end.record else { return Err(follows(name, &end.outcome)) };
        let (candidate, label) = match pin {
            Pin::Step(step) => {
                let Some(candidate) = record.candidates.iter().find(|candidate| candidate.step == *step) else {
                    let steps: Vec<String> = record.candidates.iter().map(|known| known.step.to_string()).collect();
                    return fails(format!("find `{name}@{step}`: `{name}` has steps {}", steps.join(", ")));
                };
                (candidate, format!("{name}@{step}"))
            }
            Pin::Last | Pin::Open => (record.last(), format!("{name}@last")),
        };
        Ok(made(candidate, label))
    }

    fn end(&self, id: StageId) -> Step<&'a End> {
        match &self.ends[id] {
            Some(end) => Ok(end),
            // The plan holds an edge for everything a stage can name.
            None => fails(format!("find what `{}` gave: it has not ended yet", self.plan.stages[id].name)),
        }
    }
}

pub fn keyed(action: Action) -> Step<Keyed> {
    Keyed::of(&action).or_else(|error| fails(format!("{error:#}")))
}

pub fn made(candidate: &Candidate, label: String) -> Artifact {
    let (content, metrics) = (candidate.content.clone(), candidate.metrics.clone());
    let table = Table::of(candidate);
    Artifact { content, step: Some(candidate.step), metrics, table, label }
}

/// What becomes of a stage whose need ended without an artifact. The first cause is passed down the line.
fn follows(name: &str, outcome: &Outcome) -> Blocked {
    Blocked::Ends(match outcome {
        Outcome::Done { .. } => Outcome::Failed { cause: format!("find what `{name}` gave: it makes nothing to take") },
        Outcome::Stopped { .. } => Outcome::Skipped { because: format!("the gate of `{name}` is closed") },
        Outcome::Held { .. } => Outcome::Skipped { because: format!("`{name}` waits for a person's decision") },
        Outcome::Failed { .. } => Outcome::Skipped { because: format!("`{name}` failed") },
        Outcome::Skipped { because } => Outcome::Skipped { because: because.clone() },
        Outcome::WouldRun { .. } => Outcome::WouldRun { because: vec![format!("`{name}` would run")] },
        Outcome::Interrupted => Outcome::Interrupted,
    })
}
