//! The end of a stage.

use super::Metrics;
use crate::cause::{SkipReason, StageCause};
use crate::failure::Failure;
use serde::{Deserialize, Serialize};

/// The end of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The only outcome with an output. `kept` is true if the gate let the incumbent go on.
    Done {
        content: String,
        step: Option<u64>,
        kept: bool,
        executed: bool,
        seconds: f64,
        metrics: Metrics,
    },
    /// A closed gate with `on_fail: stop`.
    Stopped {
        executed: bool,
        seconds: f64,
        metrics: Metrics,
    },
    /// A closed gate with `on_fail: hold`: a person has to decide.
    Held {
        executed: bool,
        seconds: f64,
        metrics: Metrics,
    },
    /// People have not labelled enough, or a budget is spent: no process stays, and the next run goes on.
    Waits {
        done: usize,
        needed: usize,
        #[serde(default, skip_serializing_if = "WaitReason::is_labels")]
        on: WaitReason,
    },
    /// The work failed, or the gate erred.
    Failed {
        cause: Failure,
    },
    Skipped {
        because: SkipReason,
    },
    /// It would run; only in `plan` and `--dry-run`.
    WouldRun {
        because: Vec<StageCause>,
    },
    Interrupted,
}

/// The thing that a stage waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    #[default]
    Labels,
    /// More than its budget allows.
    Budget,
}

impl WaitReason {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_labels(&self) -> bool {
        *self == WaitReason::Labels
    }

    /// Words of how far it is.
    pub fn progress(self, done: usize, needed: usize) -> String {
        match self {
            WaitReason::Labels => format!("waits for people: {done} of {needed} labels"),
            WaitReason::Budget => format!("waits for a larger budget: {done} of {needed} replies"),
        }
    }

    /// Words for it.
    pub fn wanted(self) -> &'static str {
        match self {
            WaitReason::Labels => "labels",
            WaitReason::Budget => "a larger budget",
        }
    }

    /// The way on.
    pub fn way_on(self, file: &str, stage: &str) -> String {
        match self {
            WaitReason::Labels => format!("`pipeline label {file} {stage}`"),
            WaitReason::Budget => format!("raise `endpoint.budget` of `{stage}` in {file}"),
        }
    }
}

impl Outcome {
    /// Whether the work was done in this run, and its time; `None` if it gave nothing.
    fn work(&self) -> Option<(bool, f64)> {
        match self {
            Outcome::Done { executed, seconds, .. }
            | Outcome::Stopped { executed, seconds, .. }
            | Outcome::Held { executed, seconds, .. } => Some((*executed, *seconds)),
            Outcome::Waits { .. }
            | Outcome::Failed { .. }
            | Outcome::Skipped { .. }
            | Outcome::WouldRun { .. }
            | Outcome::Interrupted => None,
        }
    }

    /// The seconds it took, if it was done in this run.
    pub fn executed_in(&self) -> Option<f64> {
        self.work().filter(|(executed, _)| *executed).map(|(_, seconds)| seconds)
    }

    /// Whether the result already existed.
    pub fn is_cached(&self) -> bool {
        self.work().is_some_and(|(executed, _)| !executed)
    }
}
