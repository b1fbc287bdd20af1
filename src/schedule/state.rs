//! Where one stage of a run stands, and what it gives to others once it has ended.

use crate::action::{Action, Candidate, Record};
use crate::canonical::Canonical;
use crate::cause::EvalPart;
use crate::event::{JudgeEvidence, Metrics, Outcome, Table};
use crate::plan::{ArtifactName, StageId};
use anyhow::Result;
use cache::{Content, Digest};
use std::collections::HashSet;
use std::sync::Arc;

/// What a stage is waiting for, or how it ended.
#[expect(clippy::large_enum_variant, reason = "there is one for each stage, and nearly all of them end")]
pub enum State {
    /// `--only` and `--from` leave it out: it does not end in this run.
    LeftOut,
    /// For so many stages that it needs.
    Waits {
        unmet: usize,
    },
    /// It was advanced, and has asked for what it lacks.
    Asks(Questions),
    Ended(StageEnd),
}

#[derive(Default)]
pub struct Questions {
    /// How many answers are outstanding.
    pub open: usize,
    /// The stage's own action: its inputs have ended, so that it stays what it is.
    pub own: Option<KeyedAction>,
    /// The actions that the journal has under the stage's name.
    pub journaled: HashSet<Digest>,
}

impl State {
    pub fn end(&self) -> Option<&StageEnd> {
        match self {
            State::Ended(end) => Some(end),
            State::LeftOut | State::Waits { .. } | State::Asks(_) => None,
        }
    }

    pub fn is_unfinished(&self) -> bool {
        matches!(self, State::Waits { .. } | State::Asks(_))
    }
}

/// How a stage ended, and what others may still take from it.
pub struct StageEnd {
    pub outcome: Outcome,
    /// What carries the stage's name; only of a stage that is done.
    pub artifact: Option<Artifact>,
    /// For pins: there also behind a closed gate.
    pub record: Option<Arc<Record>>,
    /// Models that this stage's gate put before an eval.
    pub put_before: Vec<StudyEntry>,
}

/// Content on its way through the pipeline, with what is known of its making.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub content: Content,
    pub step: Option<u64>,
    /// Of the record it came from, whatever name it carries now. A path has none.
    pub metrics: Metrics,
    /// Of that record, too.
    pub table: Option<Table>,
    /// Who made it: `sft`, `rm_1@150`, or the last part of a path.
    pub label: ArtifactName,
}

impl Artifact {
    pub fn of(candidate: &Candidate, label: ArtifactName) -> Artifact {
        let (content, metrics) = (candidate.content.clone(), candidate.metrics.clone());
        Artifact { content, step: Some(candidate.step), metrics, table: Table::of(candidate), label }
    }
}

/// One model in the table of an eval.
#[derive(Clone)]
pub struct StudyEntry {
    pub eval: StageId,
    pub label: ArtifactName,
    pub is_rejected: bool,
    /// Of the stage that put it there; else it was only compared with.
    pub is_candidate: bool,
    pub content: Content,
    pub measurement: Measurement,
}

/// What a measuring stage says of one model.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Metrics and tables of all parts; of a port that takes many, by its first input alone.
    pub seen: JudgeEvidence,
    /// The table by which models are compared, if the kind compares them.
    pub compared: Option<Table>,
    /// Carries the name of the measuring stage.
    pub content: Content,
    pub model: Content,
    /// The content of each part; `None` for one that was left out.
    pub parts: Vec<Option<Content>>,
}

/// An action and its hash, which takes longer than anything else that is done to it.
#[derive(Clone, Debug)]
pub struct KeyedAction {
    pub action: Canonical,
    pub key: Digest,
}

impl KeyedAction {
    pub fn of(action: &Action) -> Result<KeyedAction> {
        let action = action.written()?;
        Ok(KeyedAction { key: action.digest(), action })
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub stage: StageId,
    /// Which measurement of which model; `None` for the stage's own action.
    pub part: Option<EvalPart>,
    pub action: KeyedAction,
    /// Whose time-out and retries count: the eval stage for the parts of its measurement.
    pub limits_of: StageId,
}
