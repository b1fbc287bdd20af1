//! Stages that failed where others stand beside them: a choice among several, or a rule about all of them, goes on.

use super::{Lookup, Step};
use crate::cause::SkipReason;
use crate::event::Outcome;
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
}
