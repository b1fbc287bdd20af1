//! Stages that gave nothing, and what that means to those which stand on them. Where others stand beside one that failed, as in a
//! choice among several or a rule about all of them, work goes on.

use super::{Lookup, Obstacle, Step};
use crate::cause::{Cause, SkipReason, StageCause};
use crate::event::{Outcome, WaitReason};
use crate::failure::Failure;
use crate::plan::{Pin, Source};
use crate::schedule::state::Artifact;

impl Lookup<'_> {
    /// The artifact of a source, or why there will be none: the stage failed, or its gate is closed, or one that it needs
    /// failed. Whoever waits for what may still come goes on waiting.
    pub fn if_not_failed(&mut self, source: &Source) -> Step<Result<Artifact, String>> {
        let Some(id) = source.stage() else { return self.artifact(source).map(Ok) };
        let (name, end) = (&self.plan.stages[id].name, self.end(id)?);
        // What is pinned is there before the gate, if there is a record of it.
        let is_open = matches!(source, Source::Stage { pin: Pin::Open, .. } | Source::File { pin: Pin::Open, .. });
        let reason = match &end.outcome {
            Outcome::Stopped { .. } if is_open => format!("the gate of `{name}` is closed"),
            Outcome::Failed { .. } if is_open || end.record.is_none() => format!("`{name}` failed"),
            Outcome::Skipped { because: SkipReason::Failed(need) } => {
                format!("`{name}` was not run, since `{need}` failed")
            }
            Outcome::Skipped { because: SkipReason::GateClosed(need) } => {
                format!("`{name}` was not run, since the gate of `{need}` is closed")
            }
            _ => return self.artifact(source).map(Ok),
        };
        Ok(Err(reason))
    }

    /// The obstacle to a stage whose need ended without an artifact. The first cause is passed down the line.
    pub fn follows(name: &str, outcome: &Outcome) -> Obstacle {
        Obstacle::Ends(match outcome {
            Outcome::Done { .. } => Outcome::Failed { cause: Failure::NothingToTake(name.to_owned()) },
            Outcome::Stopped { .. } => Outcome::Skipped { because: SkipReason::GateClosed(name.to_owned()) },
            Outcome::Held { .. } => Outcome::Skipped { because: SkipReason::Undecided(name.to_owned()) },
            Outcome::Waits { on: WaitReason::Labels, .. } => {
                Outcome::Skipped { because: SkipReason::Unlabelled(name.to_owned()) }
            }
            Outcome::Waits { on: WaitReason::Budget, .. } => {
                Outcome::Skipped { because: SkipReason::Other(format!("`{name}` waits for a larger budget")) }
            }
            Outcome::Failed { .. } => Outcome::Skipped { because: SkipReason::Failed(name.to_owned()) },
            Outcome::Skipped { because } => Outcome::Skipped { because: because.clone() },
            Outcome::WouldRun { .. } => {
                let because = StageCause { part: None, cause: Cause::Upstream(name.to_owned()) };
                Outcome::WouldRun { because: vec![because] }
            }
            Outcome::Interrupted => Outcome::Interrupted,
        })
    }
}
