//! `explain STAGE`: everything one run knows about one stage. What the store adds is an argument.

use super::cause::Now;
use super::fold::{ActionRun, ActionState, RunState, StageRun};
use super::format::{self, duration, moment, number, short};
use super::reliability::{self, Bin};
use super::sheet::{Grid, Header, Sheet, Tone, cell, plain};
use super::stages::{self, VerdictRow};
use super::study;
use crate::cause::{Cause, EvalPart, on_one_line};
use crate::event::{Metrics, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// A candidate as the record holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub step: u64,
    pub content: String,
    pub metrics: Metrics,
    /// The reliability of a reward model; empty for other kinds.
    pub reliability: Vec<Bin>,
}

/// The execution behind an action, in this run or, after a cache hit, in an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    pub at: String,
    pub why: Vec<Cause>,
    pub log: String,
    pub took: String,
}

/// The execution of an action in `run`, under whatever stage name.
pub fn execution(run: &RunState, key: &str) -> Option<Execution> {
    let actions = run.stages.iter().flat_map(|stage| &stage.actions);
    actions.filter(|action| action.key == key).find_map(|action| match &action.state {
        ActionState::Hit => None,
        ActionState::Running { why, log, .. } => {
            Some(Execution { at: run.at.clone(), why: why.clone(), log: log.clone(), took: "not finished".to_owned() })
        }
        ActionState::Finished { why, log, seconds, device } => {
            let device = device.as_deref().map_or(String::new(), |device| format!(" on {device}"));
            let took = format!("{}{device}", duration(*seconds));
            Some(Execution { at: run.at.clone(), why: why.clone(), log: log.clone(), took })
        }
        ActionState::Failed { why, log, .. } => {
            Some(Execution { at: run.at.clone(), why: why.clone(), log: log.clone(), took: "failed".to_owned() })
        }
    })
}

/// Facts of the store about a stage, beside the events of the run.
#[derive(Debug, Default)]
pub struct StoreFacts {
    /// The candidates in the record of the stage's own action; `None` if there is no record.
    pub checkpoints: Option<Vec<Checkpoint>>,
    /// The number of different results of a key, for keys with more than one.
    pub variants: BTreeMap<String, usize>,
    /// The prediction for a run now; `None` if that was not asked.
    pub now: Option<Now>,
}

/// All sections. `executed` finds the execution of a key in this run or an earlier one.
pub fn explain(
    run: &RunState,
    stage: &StageRun,
    executed: impl Fn(&str) -> Option<Execution>,
    stored: &StoreFacts,
) -> Vec<Sheet> {
    let StoreFacts { checkpoints, variants, now } = stored;
    let mut sheets = vec![Sheet::heading(format!("{} ({})", stage.head.name, stage.head.kind))];
    sheets.extend(now.as_ref().map(today));
    sheets.push(outcome(stage));
    let (own, parts): (Vec<&ActionRun>, Vec<&ActionRun>) =
        stage.actions.iter().partition(|action| action.part.is_none());
    sheets.extend(own.iter().map(|action| describe(action, executed(&action.key))));
    sheets.extend(measurements(&parts, &executed));
    sheets.push(unsteady(stage, variants));
    if let Some(checkpoints) = checkpoints {
        sheets.push(candidates(stage, checkpoints).into());
        sheets.extend(calibration(stage, checkpoints));
    }
    sheets.push(verdict(stage));
    sheets.extend(run.studies.iter().find(|study| study.eval == stage.head.name).map(study::table));
    sheets
}

/// The section about a run now: what it would do with the stage, with every cause.
fn today(now: &Now) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.say("now", &now.said, now.tone);
    sheet.list("because", now.because.iter().cloned());
    sheet
}

/// Actions that gave different results for the same key.
fn unsteady(stage: &StageRun, variants: &BTreeMap<String, usize>) -> Sheet {
    let mut sheet = Sheet::default();
    for action in &stage.actions {
        let Some(count) = variants.get(&action.key) else { continue };
        let part = action.part.as_ref().map_or(String::new(), |part| format!("{part}: "));
        sheet.say("not deterministic", format!("{part}{count} variants; the first is kept"), Tone::Doubtful);
    }
    sheet
}

fn outcome(stage: &StageRun) -> Sheet {
    let mut sheet = Sheet::default();
    let metrics = match &stage.outcome {
        Some(Outcome::Done { content, step, kept, executed, seconds, metrics }) => {
            sheet.say("result", ran(*executed, *seconds), Tone::Plain);
            let step = step.map_or(String::new(), |step| format!(", step {step}"));
            let kept = if *kept { " (the incumbent: its own candidate was rejected)" } else { "" };
            sheet.say("output", format!("{}{step}{kept}", short(content)), Tone::Plain);
            Some(metrics)
        }
        Some(Outcome::Stopped { executed, seconds, metrics }) => {
            sheet.say("result", format!("{}, then stopped by its gate", ran(*executed, *seconds)), Tone::Doubtful);
            Some(metrics)
        }
        Some(Outcome::Held { executed, seconds, metrics }) => {
            let result = format!("{}, then held: a person has to decide", ran(*executed, *seconds));
            sheet.say("result", result, Tone::Doubtful);
            Some(metrics)
        }
        Some(Outcome::Waits { done, needed, on }) => {
            sheet.say("result", on.progress(*done, *needed), Tone::Doubtful);
            None
        }
        Some(Outcome::Failed { cause }) => {
            sheet.say("result", format!("failed: {cause}"), Tone::Bad);
            None
        }
        Some(Outcome::Skipped { because }) => {
            sheet.say("result", format!("skipped: {because}"), Tone::Doubtful);
            None
        }
        Some(Outcome::WouldRun { because }) => {
            sheet.say("result", format!("would run: {}", on_one_line(because)), Tone::Doubtful);
            None
        }
        Some(Outcome::Interrupted) => {
            sheet.say("result", "interrupted", Tone::Doubtful);
            None
        }
        None if stage.actions.is_empty() => {
            sheet.say("result", "not reached", Tone::Quiet);
            None
        }
        None => {
            sheet.say("result", "has no end yet", Tone::Doubtful);
            None
        }
    };
    if let Some(metrics) = metrics {
        sheet.list("metrics", metrics.iter().map(|(name, value)| format!("{name} {}", number(*value))));
    }
    sheet
}

fn ran(executed: bool, seconds: f64) -> String {
    if executed { format!("run in {}", duration(seconds)) } else { "cached".to_owned() }
}

fn describe(action: &ActionRun, executed: Option<Execution>) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.say("key", &action.key, Tone::Plain);
    match &executed {
        Some(found) => {
            sheet.say("last run", format!("{}, {}", moment(&found.at), found.took), Tone::Plain);
            sheet.list("why", found.why.iter().map(Cause::to_string));
        }
        None => sheet.say("last run", "in a run whose journal is gone", Tone::Quiet),
    }
    let value = action.action.value();
    sheet.list("inputs", inputs(&value));
    sheet.list("parameters", parameters(&value));
    for name in ["seed", "version", "salt"] {
        if let Some(value) = value.get(name).filter(|value| !value.is_null()) {
            sheet.say(name, value, Tone::Plain);
        }
    }
    if let Some(log) = executed.map(|found| found.log).filter(|log| !log.is_empty()) {
        sheet.say("log", log, Tone::Plain);
    }
    sheet
}

/// The measurements of an eval, or those made for the stage's gate: one row each, then their causes and parameters.
fn measurements(parts: &[&ActionRun], executed: &impl Fn(&str) -> Option<Execution>) -> [Sheet; 2] {
    let mut grid = Grid::new(["measurement", "result", "last run", "key", "inputs"].map(Header::text));
    let mut shared = Sheet::default();
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for part in parts {
        let action = part.action.value();
        let (result, tone) = match &part.state {
            ActionState::Hit => ("cached", Tone::Quiet),
            ActionState::Running { .. } => ("not finished", Tone::Doubtful),
            ActionState::Finished { .. } => ("run", Tone::Plain),
            ActionState::Failed { .. } => ("failed", Tone::Bad),
        };
        let name = part.part.as_ref().map(EvalPart::to_string).unwrap_or_default();
        let execution = executed(&part.key);
        let last =
            execution.as_ref().map_or("–".to_owned(), |found| format!("{}, {}", moment(&found.at), found.took));
        grid.add([
            plain(&name),
            cell(result, tone),
            plain(last),
            plain(part.key.get(..12).unwrap_or(&part.key)),
            plain(inputs(&action).join("\n")),
        ]);
        let why = execution.map(|found| found.why).unwrap_or_default();
        shared.list(&format!("why {name}"), why.iter().map(Cause::to_string));
        let kind = action.get("kind").and_then(Value::as_str).unwrap_or("it");
        let parameters = (kind.to_owned(), parameters(&action));
        if !parameters.1.is_empty() && !seen.contains(&parameters) {
            seen.push(parameters);
        }
    }
    for (kind, parameters) in seen {
        shared.list(&format!("parameters of {kind}"), parameters);
    }
    [grid.into(), shared]
}

fn chosen(stage: &StageRun) -> Option<u64> {
    match &stage.outcome {
        Some(Outcome::Done { step, kept: false, .. }) => *step,
        _ => None,
    }
}

/// One row for each metric and one column for each checkpoint, because there are many metrics to compare.
fn candidates(stage: &StageRun, checkpoints: &[Checkpoint]) -> Grid {
    let mut names: Vec<&str> = stage.head.metrics.iter().map(|(name, _)| name.as_str()).collect();
    for name in checkpoints.iter().flat_map(|checkpoint| checkpoint.metrics.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.retain(|name| checkpoints.iter().any(|checkpoint| checkpoint.metrics.contains_key(*name)));
    let chosen = chosen(stage);
    let headers = checkpoints.iter().map(|checkpoint| {
        let mark = if chosen == Some(checkpoint.step) { " *" } else { "" };
        Header::number(format!("step {}{mark}", checkpoint.step))
    });
    let mut grid = Grid::new([Header::text("candidate")].into_iter().chain(headers));
    grid.may_split = true;
    let mut add = |name: &str, value: &dyn Fn(&Checkpoint) -> String| {
        let cells = checkpoints.iter().map(|checkpoint| {
            let tone = if chosen == Some(checkpoint.step) { Tone::Good } else { Tone::Plain };
            cell(value(checkpoint), tone)
        });
        grid.add([plain(name)].into_iter().chain(cells));
    };
    add("content", &|checkpoint| short(&checkpoint.content));
    for name in &names {
        add(name, &|checkpoint| checkpoint.metrics.get(*name).map_or("–".to_owned(), |value| number(*value)));
    }
    grid
}

/// The reliability of the chosen checkpoint, else of the last one.
fn calibration(stage: &StageRun, checkpoints: &[Checkpoint]) -> Option<Sheet> {
    let chosen = checkpoints.iter().find(|checkpoint| chosen(stage) == Some(checkpoint.step)).or(checkpoints.last())?;
    let grid = (!chosen.reliability.is_empty()).then(|| reliability::diagram(&chosen.reliability))?;
    let heading = format!("how sure step {} is of held-out pairs, and how often it is right:", chosen.step);
    Some(Sheet { heading, grid, ..Sheet::default() })
}

pub fn verdict(stage: &StageRun) -> Sheet {
    let mut sheet = Sheet::default();
    let Some(verdict) = &stage.verdict else { return sheet };
    let (word, tone) = stages::decision(verdict.decision);
    let carries = if verdict.carries.is_empty() { String::new() } else { format!(": {} goes on", verdict.carries) };
    sheet.say("gate", format!("{word}{carries}{}", verdict.despite()), tone);
    for VerdictRow { role, word, tone, because } in stages::verdict_rows(verdict) {
        let word = if word.is_empty() { String::new() } else { format!("{word}: ") };
        sheet.say(&role, format!("{word}{because}"), tone);
    }
    // The rules as written: above they stand with their numbers.
    sheet.list("rules", verdict.rules.iter().map(|rule| rule.text.clone()));
    sheet
}

fn inputs(action: &Value) -> Vec<String> {
    let inputs = action.get("inputs").and_then(Value::as_object);
    inputs.into_iter().flatten().map(|(port, content)| format!("{port}: {}", contents(content))).collect()
}

fn parameters(action: &Value) -> Vec<String> {
    let parameters = action.get("parameters").filter(|value| !value.is_null());
    let parameters = parameters.map(format::parameters).unwrap_or_default();
    parameters.into_iter().map(|(path, value)| format!("{path}: {value}")).collect()
}

fn contents(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(contents).collect::<Vec<_>>().join(", "),
        Value::String(text) => short(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
