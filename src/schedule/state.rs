//! The state of one stage of a run, and what it gives to others once it has ended.

use crate::action::{Action, Candidate, Record};
use crate::canonical::Canonical;
use crate::cause::EvalPart;
use crate::event::{JudgeEvidence, Metrics, Outcome, Table};
use crate::ledger::items::ItemSet;
use crate::ledger::{LookKey, LookVerdict, Permission};
use crate::plan::{ArtifactName, StageId};
use anyhow::Result;
use cache::{Content, Digest};
use stages::io::CalledReward;
use std::collections::HashSet;
use std::sync::Arc;

/// The state of a stage: what it waits for, or how it ended.
#[expect(clippy::large_enum_variant, reason = "there is one for each stage, and nearly all of them end")]
pub enum State {
    /// Excluded by `--only` and `--from`: it does not end in this run.
    LeftOut,
    /// Waits for `unmet` needed stages to end.
    Waits {
        unmet: usize,
    },
    /// It was advanced, and has asked for what is missing.
    Asks(Questions),
    Ended(StageEnd),
}

#[derive(Default)]
pub struct Questions {
    /// The number of outstanding answers.
    pub open: usize,
    /// The stage's own action; final, because its inputs have ended.
    pub own: Option<KeyedAction>,
    /// The actions already in the journal under the stage's name.
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

/// The end of a stage, and what others may still take from it.
pub struct StageEnd {
    pub outcome: Outcome,
    /// The artifact that carries the stage's name; only if the stage is done.
    pub artifact: Option<Artifact>,
    /// Used by pins, so it is also there behind a closed gate.
    pub record: Option<Arc<Record>>,
    /// The models that this stage's gate put before an eval.
    pub put_before: Vec<StudyEntry>,
    /// The claim of the look that its gate took.
    pub look: Option<String>,
}

/// A look; with or without the items, which are needed for a new one alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookSearch {
    pub key: LookKey,
    pub has_items: bool,
}

/// A look that a gate is about to take.
#[derive(Clone, Debug)]
pub struct AskedLook {
    pub key: LookKey,
    /// Whether looks at more items are looks of the same claim.
    pub is_growing: bool,
    /// The claim of the look before it in its chain.
    pub after: Option<String>,
    /// `None`: it is only asked whether it stands in the ledger.
    pub items: Option<ItemSet>,
    /// The number of rows of their table.
    pub count: usize,
    /// For the reader of the ledger.
    pub stage: String,
    pub candidate: String,
    pub content: String,
    pub rules: Vec<String>,
}

impl AskedLook {
    pub fn need(&self) -> LookSearch {
        LookSearch { key: self.key.clone(), has_items: self.items.is_some() }
    }
}

/// A look that a gate took, and its verdict.
#[derive(Clone, Debug)]
pub struct TakenLook {
    pub claim: String,
    /// `None` until the ledger has told.
    pub permission: Option<Permission>,
    /// `None` until the gate is judged.
    pub judged: Option<LookVerdict>,
}

/// Content on its way through the pipeline, with what is known of its origin.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub content: Content,
    pub step: Option<u64>,
    /// Metrics of the record it came from, whatever name it carries now; a path has none.
    pub metrics: Metrics,
    /// The table of that record.
    pub table: Option<Table>,
    /// The name of its maker: `sft`, `rm_1@150`, or the last part of a path.
    pub label: ArtifactName,
    /// The choice that it came out of, if judges made one.
    pub chosen: Option<ChosenBest>,
}

/// A choice of the best of several by judges: whoever measures it on the same rows sees its luck.
#[derive(Clone, Debug)]
pub struct ChosenBest {
    /// The number of those that it was chosen among.
    pub among: usize,
    pub judges: Vec<StageId>,
}

impl Artifact {
    pub fn of(candidate: &Candidate, label: ArtifactName) -> Artifact {
        let (content, metrics) = (candidate.content.clone(), candidate.metrics.clone());
        Artifact { content, step: Some(candidate.step), metrics, table: Table::of(candidate), label, chosen: None }
    }

    /// The number of artifacts that it is the best of; 1 if it was not chosen.
    pub fn among(&self) -> usize {
        self.chosen.as_ref().map_or(1, |chosen| chosen.among)
    }
}

/// One model in the table of an eval.
#[derive(Clone)]
pub struct StudyEntry {
    pub eval: StageId,
    pub label: ArtifactName,
    pub is_rejected: bool,
    /// A candidate of the stage that put it there; otherwise only compared with.
    pub is_candidate: bool,
    pub content: Content,
    pub measurement: Measurement,
}

/// The result of measuring one model by a measuring stage.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Metrics and tables of all parts; for a port that takes many, only of its first input.
    pub seen: JudgeEvidence,
    /// The table used to compare models, if the kind compares them.
    pub compared: Option<Table>,
    /// Content that carries the name of the measuring stage.
    pub content: Content,
    pub model: Content,
    /// The content of each part; `None` if the part was left out.
    pub parts: Vec<Option<Content>>,
    /// The keys of its actions.
    pub keys: Vec<Digest>,
    /// Whether any of them was executed in this run.
    pub is_executed: bool,
    /// The device class on which it was measured again; `None`: wherever it was measured first.
    pub on: Option<String>,
}

/// An action with its hash, which is the most expensive thing computed from it.
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
    /// The measurement and its model; `None` for the stage's own action.
    pub part: Option<EvalPart>,
    pub action: KeyedAction,
    /// The stage whose time-out and retries count: the eval for the parts of its measurement.
    pub limits_of: StageId,
    /// The rewards that it asks, and how; by what their stages gave.
    pub called: Vec<CalledReward>,
}
