//! The standing of stages and gates, in words and shapes as well as in colours.

use super::words::{self, Language, Phrase};
use crate::event::{Outcome, WaitReason};
use crate::gate::Decision;
use crate::report::fold::StageRun;
use crate::report::format::duration;
use maud::{Markup, html};

/// The standing of a stage, as a word and as the shape of its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Done,
    Cached,
    Kept,
    Stopped,
    Held,
    Waits,
    WaitsForBudget,
    Failed,
    Skipped,
    Interrupted,
    BrokenOff,
    Running,
    NotReached,
}

impl Standing {
    pub fn of(stage: &StageRun, is_alive: bool) -> Standing {
        match &stage.outcome {
            Some(Outcome::Done { kept: true, .. }) => Standing::Kept,
            Some(Outcome::Done { executed: true, .. }) => Standing::Done,
            Some(Outcome::Done { .. }) => Standing::Cached,
            Some(Outcome::Stopped { .. }) => Standing::Stopped,
            Some(Outcome::Held { .. }) => Standing::Held,
            Some(Outcome::Waits { on: WaitReason::Labels, .. }) => Standing::Waits,
            Some(Outcome::Waits { on: WaitReason::Budget, .. }) => Standing::WaitsForBudget,
            Some(Outcome::Failed { .. }) => Standing::Failed,
            Some(Outcome::Skipped { .. } | Outcome::WouldRun { .. }) => Standing::Skipped,
            Some(Outcome::Interrupted) => Standing::Interrupted,
            None if stage.actions.is_empty() => Standing::NotReached,
            None if is_alive => Standing::Running,
            None => Standing::BrokenOff,
        }
    }

    /// The mark, the class of its tone, and the word.
    pub fn sign(self) -> (&'static str, &'static str, Phrase) {
        match self {
            Standing::Done => ("✓", "good", words::DONE),
            Standing::Cached => ("=", "quiet", words::CACHED),
            Standing::Kept => ("↩", "unsure", words::KEPT),
            Standing::Stopped => ("■", "bad", words::STOPPED),
            Standing::Held => ("‖", "unsure", words::HELD),
            Standing::Waits => ("…", "unsure", words::WAITS),
            Standing::WaitsForBudget => ("…", "unsure", words::WAITS_FOR_BUDGET),
            Standing::Failed => ("✕", "error", words::FAILED),
            Standing::Skipped => ("–", "quiet", words::SKIPPED),
            Standing::Interrupted => ("!", "unsure", words::INTERRUPTED),
            Standing::BrokenOff => ("!", "error", words::BROKEN_OFF),
            Standing::Running => ("▸", "good", words::RUNNING),
            Standing::NotReached => ("·", "quiet", words::NOT_REACHED),
        }
    }

    pub fn word(self, language: Language) -> &'static str {
        self.sign().2.say(language)
    }

    pub fn mark(self, language: Language) -> Markup {
        let (sign, tone, word) = self.sign();
        html! { span class={ "verdict " (tone) } { (sign) " " (word.say(language)) } }
    }
}

pub fn decision_word(decision: Decision, language: Language) -> &'static str {
    let phrase = match decision {
        Decision::Pass => words::PASSES,
        Decision::Fail => words::FAILS,
        Decision::Unsure => words::IS_UNSURE,
        Decision::Error => words::ERRS,
    };
    phrase.say(language)
}

/// The class of a decision in the style sheet.
pub fn decision_class(decision: Decision) -> &'static str {
    match decision {
        Decision::Pass => "good",
        Decision::Fail => "bad",
        Decision::Unsure => "unsure",
        Decision::Error => "error",
    }
}

/// The time that a stage took in this run.
pub fn time(stage: &StageRun) -> String {
    stage.outcome.as_ref().and_then(Outcome::executed_in).map(duration).unwrap_or_default()
}
