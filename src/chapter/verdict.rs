//! The first thing on the page: how the run ended, in a sentence, with the number that decided it.

use super::facts::{Absence, Facts};
use super::text::visible;
use super::words::{self, Language, Phrase};
use crate::event::{ArtifactEvidence, Outcome, RuleVerdict, Verdict};
use crate::gate::{self, Decision};
use crate::report::fold::StageRun;
use crate::report::format::{duration, moment, number};
use maud::{Markup, html};
use serde::Serialize;
use std::collections::BTreeMap;

/// The end of a run, as the one thing to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Running,
    Interrupted,
    BrokenOff,
    GateError,
    Failure,
    Held,
    Unlabelled,
    Stopped,
    Promotion,
    LuckyPromotion,
    KeptIncumbent,
    /// The same, since it is not sure that the candidate is better.
    UnsurelyBetter,
    /// Every gate is open, and none promotes a model over another.
    Passed,
    /// There is no gate.
    Done,
}

/// The ending, and the stage that it is about.
fn ending(facts: &Facts) -> (Ending, Option<&StageRun>) {
    let stages = &facts.run.stages;
    let of = |is: &dyn Fn(&Outcome) -> bool| stages.iter().find(|stage| stage.outcome.as_ref().is_some_and(is));
    let Some(finish) = &facts.run.finish else {
        let at_work = stages.iter().find(|stage| stage.outcome.is_none() && !stage.actions.is_empty());
        return (if facts.is_alive { Ending::Running } else { Ending::BrokenOff }, at_work);
    };
    if finish.exit == 130 {
        return (Ending::Interrupted, of(&|outcome| matches!(outcome, Outcome::Interrupted)));
    }
    let has_erred =
        |stage: &StageRun| stage.verdict.as_ref().is_some_and(|verdict| verdict.decision == Decision::Error);
    if let Some(failed) = of(&|outcome| matches!(outcome, Outcome::Failed { .. })) {
        return (if has_erred(failed) { Ending::GateError } else { Ending::Failure }, Some(failed));
    }
    if let Some(held) = of(&|outcome| matches!(outcome, Outcome::Held { .. })) {
        return (Ending::Held, Some(held));
    }
    if let Some(waiting) = of(&|outcome| matches!(outcome, Outcome::Waits { .. })) {
        return (Ending::Unlabelled, Some(waiting));
    }
    if let Some(stopped) = of(&|outcome| matches!(outcome, Outcome::Stopped { .. })) {
        return (Ending::Stopped, Some(stopped));
    }
    let is_promotion = |stage: &&StageRun| {
        let of_incumbent = stage.verdict.as_ref().is_some_and(|verdict| verdict.evidence.incumbent.is_some());
        of_incumbent && matches!(stage.outcome, Some(Outcome::Done { .. }))
    };
    if let Some(last) = stages.iter().rfind(is_promotion) {
        return match (&last.outcome, &last.verdict) {
            (Some(Outcome::Done { kept: true, .. }), Some(verdict)) if verdict.decision == Decision::Unsure => {
                (Ending::UnsurelyBetter, Some(last))
            }
            (Some(Outcome::Done { kept: true, .. }), _) => (Ending::KeptIncumbent, Some(last)),
            (_, Some(verdict)) if is_lucky(verdict) => (Ending::LuckyPromotion, Some(last)),
            _ => (Ending::Promotion, Some(last)),
        };
    }
    match stages.iter().rfind(|stage| stage.verdict.is_some()) {
        Some(last) => (Ending::Passed, Some(last)),
        None => (Ending::Done, None),
    }
}

/// Whether a rule that had to pass may have passed by noise alone, and none asked for confidence.
fn is_lucky(verdict: &Verdict) -> bool {
    let mut required = verdict.rules.iter().filter(|rule| rule.is_required());
    verdict.decided.is_none() && required.any(|rule| rule.is_within_noise)
}

/// The rule that decided: of those that must pass the worst, and of those that passed the one that did so by least.
fn deciding(verdict: &Verdict) -> Option<&RuleVerdict> {
    let required = || verdict.rules.iter().filter(|rule| rule.is_required());
    let first = |decision: Decision| required().find(|rule| rule.decision == decision);
    let worst = [Decision::Error, Decision::Fail, Decision::Unsure].into_iter().find_map(first);
    worst.or_else(|| required().find(|rule| rule.is_within_noise)).or_else(|| required().next())
}

/// A number of a rule: its name, the judged model's, and that of the model before it.
pub fn decisive(verdict: &Verdict) -> Option<(String, Option<f64>, Option<f64>)> {
    let rule = gate::parse(&deciding(verdict)?.text).ok()?;
    let evidence = &verdict.evidence;
    let seen = evidence.candidates.get(evidence.chosen?)?;
    let value = |seen: &ArtifactEvidence, metric: &str| {
        let judged = seen.judged.values().find_map(|by| by.metrics.get(metric));
        judged.or_else(|| seen.metrics.get(metric)).copied()
    };
    let (metric, mine) = rule.metrics().find_map(|metric| Some((metric, value(seen, metric)?)))?;
    let theirs = evidence.incumbent.as_ref().and_then(|incumbent| value(incumbent, metric));
    // Without it in the rule, the model before was not what it is held against.
    let theirs = theirs.filter(|_| rule.names_incumbent());
    Some((metric.to_owned(), mine, theirs.flatten()))
}

/// The number in brackets, or nothing.
pub fn number_clause(verdict: &Verdict, language: Language) -> String {
    let Some((metric, mine, theirs)) = decisive(verdict) else { return String::new() };
    let incumbent = verdict.evidence.incumbent.as_ref().map(|seen| seen.label.to_string()).unwrap_or_default();
    let mine = number(mine);
    match theirs {
        Some(theirs) => {
            let theirs = number(Some(theirs));
            words::NUMBER_AGAINST
                .fill(language, &[("metric", &metric), ("value", &mine), ("other", &theirs), ("incumbent", &incumbent)])
        }
        None => words::NUMBER_ALONE.fill(language, &[("metric", &metric), ("value", &mine)]),
    }
}

/// The sentence.
pub fn sentence(facts: &Facts, language: Language) -> String {
    let (ending, stage) = ending(facts);
    let run = &facts.run;
    let name = stage.map_or("", |stage| stage.head.name.as_str());
    let verdict = stage.and_then(|stage| stage.verdict.as_deref());
    let is_done = |stage: &&StageRun| matches!(stage.outcome, Some(Outcome::Done { .. }));
    let (done, all) = (run.stages.iter().filter(is_done).count().to_string(), run.stages.len().to_string());
    let clause = verdict.map(|verdict| number_clause(verdict, language)).unwrap_or_default();
    let cause = match stage.and_then(|stage| stage.outcome.as_ref()) {
        Some(Outcome::Failed { cause }) => cause.to_string().lines().next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let carries = verdict.map_or("", |verdict| verdict.carries.as_str());
    let time = run.finish.as_ref().map(|finish| duration(finish.seconds)).unwrap_or_default();
    let incumbent = verdict.and_then(|verdict| verdict.evidence.incumbent.as_ref());
    let incumbent = incumbent.map(|seen| seen.label.to_string()).unwrap_or_default();
    let phrase: Phrase = match ending {
        Ending::Running if name.is_empty() => words::IS_STARTING,
        Ending::Running => words::IS_RUNNING,
        Ending::Interrupted => words::WAS_INTERRUPTED,
        Ending::BrokenOff => words::BROKE_OFF,
        Ending::GateError => words::GATE_ERRED,
        Ending::Failure => words::HAS_FAILED,
        Ending::Held => words::IS_HELD,
        Ending::Unlabelled => words::IS_UNLABELLED,
        Ending::Stopped => words::IS_STOPPED,
        Ending::Promotion => words::IS_PROMOTED,
        Ending::LuckyPromotion => words::IS_PROMOTED_BY_LUCK,
        Ending::KeptIncumbent => words::IS_NOT_PROMOTED,
        Ending::UnsurelyBetter => words::IS_NOT_SURELY_BETTER,
        Ending::Passed => words::HAS_PASSED,
        Ending::Done => words::IS_DONE,
    };
    let mut sentence = phrase.fill(
        language,
        &[
            ("pipeline", &run.pipeline),
            ("stage", name),
            ("number", &clause),
            ("cause", &cause),
            ("carries", carries),
            ("incumbent", &incumbent),
            ("time", &time),
            ("done", &done),
            ("all", &all),
        ],
    );
    let broken = verdict.map_or(0, |verdict| warnings(verdict).count());
    if broken > 0 && matches!(ending, Ending::Promotion | Ending::LuckyPromotion | Ending::Passed) {
        sentence += &words::BUT_WARNED.fill(language, &[("count", &broken.to_string())]);
    }
    sentence
}

/// Rules that only warn, and do.
fn warnings(verdict: &Verdict) -> impl Iterator<Item = &RuleVerdict> {
    verdict.rules.iter().filter(|rule| rule.role == "warn" && rule.decision == Decision::Fail)
}

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let (ending, stage) = ending(facts);
    let verdict = stage.and_then(|stage| stage.verdict.as_deref());
    let decided = verdict.and_then(deciding).filter(|_| !matches!(ending, Ending::Running | Ending::BrokenOff));
    let run = &facts.run;
    let next = next(facts, ending, stage);
    Some(html! {
        p.lead { (visible(&sentence(facts, language))) }
        @if let Some(rule) = decided {
            p.because lang="en" { span.role { (words::BECAUSE.say(language)) } " " (visible(&rule.explanation)) }
        }
        @for rule in verdict.into_iter().flat_map(warnings) {
            p.because lang="en" { span.role { (words::WARNING.say(language)) } " " (visible(&rule.explanation)) }
        }
        p.meta {
            (run.pipeline) " · " (moment(&run.at))
            @if let Some(finish) = &run.finish { " · " (duration(finish.seconds)) }
            " · " (words::STAGES_COUNT.fill(language, &[("count", &run.stages.len().to_string())]))
            @for set in &run.overrides { " · " code { "--set " (visible(set)) } }
            @if !run.selection.is_empty() {
                " · " (words::ONLY_A_PART.say(language)) " " code { (visible(&run.selection)) }
            }
        }
        @if let Some(command) = next { p.next { (words::NEXT.say(language)) " " code { (command) } } }
        (losses(facts, language))
    })
}

/// The command to go on with, where one is needed.
fn next(facts: &Facts, ending: Ending, stage: Option<&StageRun>) -> Option<String> {
    let name = stage.map(|stage| stage.head.name.as_str()).unwrap_or_default();
    match ending {
        Ending::Held => Some(facts.command(&format!("approve {name}")) + " --reason TEXT"),
        Ending::Interrupted | Ending::BrokenOff => Some(facts.command("run")),
        Ending::Failure => Some(facts.command(&format!("log {name}"))),
        Ending::GateError | Ending::Stopped => Some(facts.command(&format!("gate show {name}"))),
        Ending::Running => Some(facts.command("watch")),
        _ => None,
    }
}

/// The list of what the page lacks.
pub fn losses(facts: &Facts, language: Language) -> Markup {
    let lost = lost(facts, language);
    html! {
        @if !lost.is_empty() {
            div.losses role="note" {
                p { strong { (words::PAGE_LACKS.say(language)) } }
                ul {
                    @for LostThing { what, way_back } in &lost {
                        li {
                            (visible(what))
                            @if let Some(command) = way_back { " " (words::WAY_BACK.say(language)) " " code { (command) } }
                        }
                    }
                }
            }
        }
    }
}

/// Something that the page lacks, in words, and the command that brings it back, if one does.
#[derive(Serialize)]
pub struct LostThing {
    pub what: String,
    pub way_back: Option<String>,
}

/// Everything that the page lacks. What was lost in the same way is one thing: a store without blobs has lost hundreds.
pub fn lost(facts: &Facts, language: Language) -> Vec<LostThing> {
    let run = || Some(facts.command("run"));
    let thing = |what: String, way_back: Option<String>| LostThing { what, way_back };
    let (mut lost, mut records, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    let mut items: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for absence in &facts.losses {
        match absence {
            Absence::Store(reason) => {
                lost.push(thing(words::LACKS_STORE.fill(language, &[("reason", reason)]), run()));
            }
            Absence::Journal(name) => {
                lost.push(thing(words::LACKS_JOURNAL.fill(language, &[("run", name)]), run()));
            }
            Absence::TornLine => lost.push(thing(words::LACKS_LAST_LINE.say(language).to_owned(), run())),
            Absence::DamagedLines(count) => {
                lost.push(thing(words::LACKS_LINES.fill(language, &[("count", &count.to_string())]), run()));
            }
            // No command of this version reads them.
            Absence::NewerLines(count) => {
                lost.push(thing(words::LACKS_NEWER_LINES.fill(language, &[("count", &count.to_string())]), None));
            }
            Absence::Record(stage) => records.push(stage.as_str()),
            Absence::Curve(stage) => curves.push(stage.as_str()),
            Absence::Items(stage, reason) => items.entry(reason).or_default().push(stage),
        }
    }
    if !records.is_empty() {
        lost.push(thing(words::LACKS_RECORD.fill(language, &[("stage", &listed(&records))]), run()));
    }
    if !curves.is_empty() {
        let forced: String = curves.iter().map(|stage| format!(" --force {stage}")).collect();
        let what = words::LACKS_CURVE.fill(language, &[("stage", &listed(&curves))]);
        lost.push(thing(what, Some(facts.command("run") + &forced)));
    }
    lost.extend(items.into_iter().map(|(reason, stages)| {
        let what = words::LACKS_ITEMS.fill(language, &[("stage", &listed(&stages)), ("reason", reason)]);
        thing(what, run())
    }));
    lost
}

/// The first names of a list, and how many more there are.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more > 0 { format!("{shown}, … (+{more})") } else { shown }
}
