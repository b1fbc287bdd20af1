//! The stages that did not go on: rejected, held, stopped, failed and interrupted stages, with the rule, its numbers, and what would have
//! had to be otherwise.

use super::facts::Facts;
use super::gates::rules;
use super::standing::Standing;
use super::text::visible;
use super::words::{self, Language};
use crate::event::{Outcome, WaitReason};
use crate::report::fold::StageRun;
use maud::{Markup, html};

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let standing = |stage: &StageRun| Standing::of(stage, facts.is_alive);
    let is_dark = |stage: &&StageRun| match standing(stage) {
        Standing::Done | Standing::Cached | Standing::Running => false,
        Standing::NotReached | Standing::Skipped => false,
        Standing::Kept
        | Standing::Stopped
        | Standing::Held
        | Standing::Waits
        | Standing::WaitsForBudget
        | Standing::Failed => true,
        Standing::Interrupted | Standing::BrokenOff => !stage.actions.is_empty(),
    };
    let dark: Vec<&StageRun> = facts.run.stages.iter().filter(is_dark).collect();
    let noted: Vec<&StageRun> = facts.run.stages.iter().filter(|stage| !stage.notes.is_empty()).collect();
    let skipped: Vec<&StageRun> = facts
        .run
        .stages
        .iter()
        .filter(|stage| !is_dark(stage))
        .filter(|stage| {
            let standing = standing(stage);
            matches!(standing, Standing::Skipped | Standing::Interrupted)
                || !facts.is_alive && standing == Standing::NotReached
        })
        .collect();
    Some(html! {
        @if dark.is_empty() && skipped.is_empty() && noted.is_empty() { p.note { (words::NOTHING_DARK.say(language)) } }
        @for stage in dark { (of_stage(facts, stage, language)) }
        @if !skipped.is_empty() {
            h3 { (words::NOT_BEGUN.say(language)) }
            ul.plain { @for stage in skipped { li { (skipped_line(facts, stage, language)) } } }
        }
        @if !noted.is_empty() {
            h3 { (words::NOTES.say(language)) }
            dl.rules {
                @for stage in noted {
                    div {
                        dt { (stage.head.name) }
                        @for (part, message) in &stage.notes {
                            dd lang="en" { @if let Some(part) = part { (part) ": " } (visible(message)) }
                        }
                    }
                }
            }
        }
    })
}

fn skipped_line(facts: &Facts, stage: &StageRun, language: Language) -> Markup {
    html! {
        (stage.head.name) ": " (Standing::of(stage, facts.is_alive).word(language))
        @if let Some(Outcome::Skipped { because }) = &stage.outcome { span lang="en" { " (" (because) ")" } }
    }
}

fn of_stage(facts: &Facts, stage: &StageRun, language: Language) -> Markup {
    let name = &stage.head.name;
    let command = match &stage.outcome {
        Some(Outcome::Failed { .. }) => Some(facts.command(&format!("log {name}"))),
        Some(Outcome::Held { .. }) => Some(facts.command(&format!("approve {name}")) + " --reason TEXT"),
        Some(Outcome::Waits { on: WaitReason::Labels, .. }) => Some(facts.command(&format!("label {name}"))),
        Some(Outcome::Interrupted) | None => Some(facts.command("run")),
        _ => None,
    };
    let is_judged = stage.verdict.as_ref().is_some_and(|verdict| !verdict.rules.is_empty());
    html! {
        article.dark {
            h3 { (name) " " (Standing::of(stage, facts.is_alive).mark(language)) }
            @if let Some(Outcome::Failed { cause }) = &stage.outcome {
                pre.cause lang="en" { (visible(&cause.to_string())) }
            }
            @if let Some(verdict) = &stage.verdict {
                @if !verdict.carries.is_empty() {
                    p.note { (words::GOES_ON.fill(language, &[("carries", &verdict.carries)])) }
                }
                (rules(verdict, language))
            }
            @if is_judged {
                p.next { (words::TRY_RULE.say(language)) " " code { (facts.command(&format!("gate what-if {name} 'RULE'"))) } }
            }
            @if let Some(command) = command { p.next { (words::NEXT.say(language)) " " code { (command) } } }
        }
    }
}
