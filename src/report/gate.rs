//! The sections of `gate show` and `gate what-if`: the measurements of a gate, the decision of another rule, and its
//! consequences.

use super::explain::verdict;
use super::fold::{RunState, StageRun};
use super::format::{duration, number, short};
use super::sheet::{Grid, Header, Sheet, TOGETHER, Tone, cell, plain};
use super::stages;
use crate::event::{ArtifactEvidence, Evidence, Outcome, RuleVerdict, Verdict};
use crate::gate::Decision;

/// The sections of `gate show`: the decision, and every number behind it.
pub fn show(stage: &StageRun) -> Vec<Sheet> {
    let Some(verdict_of_stage) = &stage.verdict else { return Vec::new() };
    let evidence = &verdict_of_stage.evidence;
    let mut question = Sheet::default();
    question.say("question", &evidence.question, Tone::Quiet);
    vec![verdict(stage), saw(evidence).into(), question]
}

/// The artifacts that a gate compared, with their contents and metrics.
fn saw(evidence: &Evidence) -> Grid {
    let mut grid =
        Grid::new([Header::name("saw"), Header::name("artifact"), Header::name("content"), Header::text("measured")]);
    let mut add = |role: &str, seen: &ArtifactEvidence, tone: Tone| {
        let own = seen.metrics.iter().map(|(name, value)| format!("{name} {}", number(*value)));
        let judged = seen.judged.iter().flat_map(|(judge, by)| {
            by.metrics.iter().map(move |(name, value)| format!("{judge}.{name} {}", number(*value)))
        });
        let measured = own.chain(judged).map(|text| text.replace(' ', &TOGETHER.to_string()));
        grid.add([
            plain(role),
            cell(seen.label.to_string(), tone),
            cell(short(&seen.content.to_string()), Tone::Quiet),
            plain(measured.collect::<Vec<_>>().join(" ")),
        ]);
    };
    for (at, seen) in evidence.candidates.iter().enumerate() {
        match evidence.chosen == Some(at) {
            true => add("candidate", seen, Tone::Good),
            false => add("not chosen", seen, Tone::Quiet),
        }
    }
    evidence.incumbent.iter().for_each(|seen| add("incumbent", seen, Tone::Plain));
    evidence.stages.iter().for_each(|(name, seen)| add(name, seen, Tone::Plain));
    grid
}

/// The decision of another rule on the measurements of one run.
pub struct WhatIf {
    pub run: String,
    /// The decision then; `None` without a gate.
    pub then: Option<Decision>,
    /// The decision now with its numbers, or the reason why there is none.
    pub now: Result<(Decision, String), String>,
}

/// One row for each set of measurements; runs that saw the same share a row.
pub fn supposed(rows: &[WhatIf]) -> Grid {
    let mut grid = Grid::new([
        Header::name("run"),
        Header::name("it said"),
        Header::name("it would say"),
        Header::text("because"),
    ]);
    for row in rows {
        let (then, then_tone) = row.then.map_or(("–", Tone::Quiet), stages::decision);
        let (now, tone, because) = match &row.now {
            Ok((decision, because)) => {
                let (word, tone) = stages::decision(*decision);
                (word, tone, because.as_str())
            }
            Err(reason) => ("–", Tone::Quiet, reason.as_str()),
        };
        grid.add([plain(&row.run), cell(then, then_tone), cell(now, tone), plain(because)]);
    }
    grid
}

/// The explanations of the choice and of the required rules.
pub fn because(select: Option<&str>, rules: &[RuleVerdict]) -> String {
    let required = rules.iter().filter(|rule| rule.is_required()).map(|rule| rule.explanation.as_str());
    select.into_iter().chain(required).collect::<Vec<_>>().join("; ")
}

/// Gates that decide differently in two looks at one pipeline, one line each.
pub fn changes(before: &RunState, after: &RunState) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in &after.stages {
        let Some(other) = before.stage(&stage.head.name) else { continue };
        let (Some(new), Some(old)) = (&stage.verdict, &other.verdict) else { continue };
        let word = |verdict: &Verdict| format!("{} ({} goes on)", verdict.decision.word(), verdict.carries);
        if (new.decision, &new.carries) != (old.decision, &old.carries) {
            lines.push(format!("the gate of {}: {} -> {}", stage.head.name, word(old), word(new)));
        }
    }
    lines
}

/// Stages that would run in `after` but not in `before`, with the time each took last, and stages that would end
/// differently.
pub fn cost(before: &RunState, after: &RunState) -> Vec<String> {
    let would_run = |run: &RunState, name: &str| run.stage(name).is_some_and(StageRun::would_run);
    let names = after.stages.iter().map(|stage| stage.head.name.as_str());
    let again: Vec<&str> = names.filter(|name| would_run(after, name) && !would_run(before, name)).collect();
    let lasted = |name: &&str| match after.lasted.get(*name) {
        Some(seconds) => format!("{name} ({} last time)", duration(*seconds)),
        None => format!("{name} (never ran)"),
    };
    let mut lines = vec![match again.is_empty() {
        true => "Nothing would have to run again.".to_owned(),
        false => {
            let total: f64 = again.iter().filter_map(|name| after.lasted.get(*name)).sum();
            let each: Vec<String> = again.iter().map(lasted).collect();
            format!("These would run again: {}; together about {}.", each.join(", "), duration(total))
        }
    }];
    let newly = |is: fn(&Outcome) -> bool| {
        let is_so =
            |run: &RunState, name: &str| run.stage(name).and_then(|stage| stage.outcome.as_ref()).is_some_and(is);
        let names = after.stages.iter().map(|stage| stage.head.name.as_str());
        names.filter(|name| is_so(after, name) && !is_so(before, name)).collect::<Vec<_>>().join(", ")
    };
    for (is, what) in [
        ((|outcome| matches!(outcome, Outcome::Skipped { .. })) as fn(&Outcome) -> bool, "would be skipped"),
        (|outcome| matches!(outcome, Outcome::Stopped { .. }), "would stop"),
        (|outcome| matches!(outcome, Outcome::Held { .. }), "would wait for a person"),
        (|outcome| matches!(outcome, Outcome::Waits { .. }), "would wait for labels or a budget"),
        (|outcome| matches!(outcome, Outcome::Failed { .. }), "would fail"),
    ] {
        let names = newly(is);
        if !names.is_empty() {
            lines.push(format!("{names} {what}."));
        }
    }
    lines
}
