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
        let reason = match (&end.outcome, source) {
            // What is pinned is there before the gate.
            (Outcome::Stopped { .. }, Source::Stage { pin: Pin::Open, .. }) => {
                format!("the gate of `{name}` is closed")
            }
            (Outcome::Failed { .. }, _) if end.record.is_none() => format!("`{name}` failed"),
            (Outcome::Failed { .. }, Source::Stage { pin: Pin::Open, .. }) => format!("`{name}` failed"),
            (Outcome::Skipped { because: SkipReason::Failed(need) }, _) => {
                format!("`{name}` was not run, since `{need}` failed")
            }
            (Outcome::Skipped { because: SkipReason::GateClosed(need) }, _) => {
                format!("`{name}` was not run, since the gate of `{need}` is closed")
            }
            _ => return self.artifact(source).map(Ok),
        };
        Ok(Err(reason))
    }
}
