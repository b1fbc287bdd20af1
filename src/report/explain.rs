//! `explain STAGE`: everything one run knows of one stage. Knows nothing of the store: what its record adds is handed in.

use super::cause::Now;
use super::fold::{ActionRun, ActionState, Run, StageRun};
use super::page::{self, Page, Tone, cell, duration, moment, number};
use super::reliability::{self, Bin};
use super::stages;
use crate::event::{Metrics, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// A candidate as the record keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub step: u64,
    pub content: String,
    pub metrics: Metrics,
    /// Of a reward model.
    pub reliability: Vec<Bin>,
}

/// When an action was really executed: found in this run or an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    pub at: String,
    pub why: Vec<String>,
    pub log: String,
    pub took: String,
}

/// The execution of an action in `run`, whatever the stage was called then.
pub fn execution(run: &Run, key: &str) -> Option<Execution> {
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

/// What is known beside the events of the run.
#[derive(Debug, Default)]
pub struct Stored {
    /// Of the record of the stage's own action; `None` where there is no record.
    pub checkpoints: Option<Vec<Checkpoint>>,
    /// How many results a key has had, of those that had more than one.
    pub variants: BTreeMap<String, usize>,
    /// What a run would do; `None` where that was not asked.
    pub now: Option<Now>,
}

/// `executed` finds the execution of a key in this run or the ones before it.
pub fn explain(
    run: &Run,
    stage: &StageRun,
    executed: impl Fn(&str) -> Option<Execution>,
    stored: &Stored,
    page: Page,
) -> String {
    let Stored { checkpoints, variants, now } = stored;
    let mut sections = vec![format!("{} ({})\n", stage.head.name, stage.head.kind)];
    sections.extend(now.as_ref().map(|now| today(now, page)));
    sections.push(outcome(stage, page));
    let (own, parts): (Vec<&ActionRun>, Vec<&ActionRun>) =
        stage.actions.iter().partition(|action| action.part.is_none());
    sections.extend(own.iter().map(|action| describe(action, executed(&action.key), page)));
    sections.push(measurements(&parts, &executed, page));
    sections.push(unsteady(stage, variants, page));
    sections.push(checkpoints.as_ref().map_or(String::new(), |checkpoints| candidates(stage, checkpoints, page)));
    sections.extend(checkpoints.as_ref().and_then(|checkpoints| calibration(stage, checkpoints, page)));
    sections.push(verdict(stage, page));
    sections.push(study(run, stage, page));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// Label and value, one pair a row.
pub struct Facts(comfy_table::Table);

impl Facts {
    pub fn new(page: Page) -> Facts {
        Facts(page::bare_table(page))
    }

    pub fn say(&mut self, label: &str, value: impl ToString, tone: Tone) {
        self.0.add_row([cell(label, Tone::Quiet), cell(value, tone)]);
    }

    /// The label stands once, beside the first.
    pub fn list(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        for (row, value) in values.into_iter().enumerate() {
            self.say(if row == 0 { label } else { "" }, value, Tone::Plain);
        }
    }

    pub fn print(mut self) -> String {
        page::keep_whole(&mut self.0, [0]);
        if self.0.is_empty() { String::new() } else { page::print(self.0) }
    }
}

/// What a run would do with the stage, with every cause.
fn today(now: &Now, page: Page) -> String {
    let mut facts = Facts::new(page);
    facts.say("now", &now.said, now.tone);
    facts.list("because", now.because.iter().cloned());
    facts.print()
}

/// Actions that gave different results for the same arguments.
fn unsteady(stage: &StageRun, variants: &BTreeMap<String, usize>, page: Page) -> String {
    let mut facts = Facts::new(page);
    for action in &stage.actions {
        let Some(count) = variants.get(&action.key) else { continue };
        let part = action.part.as_ref().map_or(String::new(), |part| format!("{part}: "));
        facts.say("not deterministic", format!("{part}{count} variants; the first is kept"), Tone::Doubtful);
    }
    facts.print()
}

fn outcome(stage: &StageRun, page: Page) -> String {
    let mut facts = Facts::new(page);
    let metrics = match &stage.outcome {
        Some(Outcome::Done { content, step, kept, executed, seconds, metrics }) => {
            facts.say("result", ran(*executed, *seconds), Tone::Plain);
            let step = step.map_or(String::new(), |step| format!(", step {step}"));
            let kept = if *kept { " (the incumbent: its own candidate was rejected)" } else { "" };
            facts.say("output", format!("{}{step}{kept}", short(content)), Tone::Plain);
            Some(metrics)
        }
        Some(Outcome::Stopped { executed, seconds, metrics }) => {
            facts.say("result", format!("{}, then stopped by its gate", ran(*executed, *seconds)), Tone::Doubtful);
            Some(metrics)
        }
        Some(Outcome::Held { executed, seconds, metrics }) => {
            let result = format!("{}, then held: a person has to decide", ran(*executed, *seconds));
            facts.say("result", result, Tone::Doubtful);
            Some(metrics)
        }
        Some(Outcome::Failed { cause }) => {
            facts.say("result", format!("failed: {cause}"), Tone::Bad);
            None
        }
        Some(Outcome::Skipped { because }) => {
            facts.say("result", format!("skipped: {because}"), Tone::Doubtful);
            None
        }
        Some(Outcome::WouldRun { because }) => {
            facts.say("result", format!("would run: {}", because.join("; ")), Tone::Doubtful);
            None
        }
        Some(Outcome::Interrupted) => {
            facts.say("result", "interrupted", Tone::Doubtful);
            None
        }
        None if stage.actions.is_empty() => {
            facts.say("result", "not reached", Tone::Quiet);
            None
        }
        None => {
            facts.say("result", "has no end yet", Tone::Doubtful);
            None
        }
    };
    if let Some(metrics) = metrics {
        facts.list("metrics", metrics.iter().map(|(name, value)| format!("{name} {}", number(*value))));
    }
    facts.print()
}

fn ran(executed: bool, seconds: f64) -> String {
    if executed { format!("run in {}", duration(seconds)) } else { "cached".to_owned() }
}

fn describe(action: &ActionRun, executed: Option<Execution>, page: Page) -> String {
    let mut facts = Facts::new(page);
    facts.say("key", &action.key, Tone::Plain);
    match &executed {
        Some(found) => {
            facts.say("last run", format!("{}, {}", moment(&found.at), found.took), Tone::Plain);
            facts.list("why", found.why.iter().cloned());
        }
        None => facts.say("last run", "in a run whose journal is gone", Tone::Quiet),
    }
    let value = action.action.value();
    facts.list("inputs", inputs(&value));
    facts.list("parameters", parameters(&value));
    for name in ["seed", "version", "salt"] {
        if let Some(value) = value.get(name).filter(|value| !value.is_null()) {
            facts.say(name, value, Tone::Plain);
        }
    }
    if let Some(log) = executed.map(|found| found.log).filter(|log| !log.is_empty()) {
        facts.say("log", log, Tone::Plain);
    }
    facts.print()
}

/// The parts of an eval, of this stage or asked for by its gate: a row each, then what they share.
fn measurements(parts: &[&ActionRun], executed: &impl Fn(&str) -> Option<Execution>, page: Page) -> String {
    let mut table = page::table(page, &["measurement", "result", "last run", "key", "inputs"]);
    let mut facts = Facts::new(page);
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for part in parts {
        let action = part.action.value();
        let (result, tone) = match &part.state {
            ActionState::Hit => ("cached", Tone::Quiet),
            ActionState::Running { .. } => ("not finished", Tone::Doubtful),
            ActionState::Finished { .. } => ("run", Tone::Plain),
            ActionState::Failed { .. } => ("failed", Tone::Bad),
        };
        let name = part.part.as_deref().unwrap_or_default();
        let execution = executed(&part.key);
        let last =
            execution.as_ref().map_or("–".to_owned(), |found| format!("{}, {}", moment(&found.at), found.took));
        table.add_row([
            cell(name, Tone::Plain),
            cell(result, tone),
            cell(last, Tone::Plain),
            cell(part.key.get(..12).unwrap_or(&part.key), Tone::Plain),
            cell(inputs(&action).join("\n"), Tone::Plain),
        ]);
        let why = execution.map(|found| found.why).unwrap_or_default();
        facts.list(&format!("why {name}"), why);
        let kind = action.get("kind").and_then(Value::as_str).unwrap_or("it");
        let said = (kind.to_owned(), parameters(&action));
        if !said.1.is_empty() && !seen.contains(&said) {
            seen.push(said);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    for (kind, parameters) in seen {
        facts.list(&format!("parameters of {kind}"), parameters);
    }
    let facts = facts.print();
    let gap = if facts.is_empty() { "" } else { "\n" };
    format!("{}{gap}{facts}", page::print(table))
}

fn chosen(stage: &StageRun) -> Option<u64> {
    match &stage.outcome {
        Some(Outcome::Done { step, kept: false, .. }) => *step,
        _ => None,
    }
}

fn candidates(stage: &StageRun, checkpoints: &[Checkpoint], page: Page) -> String {
    let mut names: Vec<&str> = stage.head.metrics.iter().map(|(name, _)| name.as_str()).collect();
    for name in checkpoints.iter().flat_map(|checkpoint| checkpoint.metrics.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.retain(|name| checkpoints.iter().any(|checkpoint| checkpoint.metrics.contains_key(*name)));
    let chosen = chosen(stage);
    // Metrics go down and checkpoints across: metrics are many, and read against each other. So many checkpoints as a line
    // has room for, then the next ones below.
    let marked = |checkpoint: &Checkpoint| if chosen == Some(checkpoint.step) { " *" } else { "" };
    let tables = checkpoints.chunks(page.columns(NAME, NUMBER)).map(|checkpoints| {
        let head: Vec<String> =
            checkpoints.iter().map(|checkpoint| format!("step {}{}", checkpoint.step, marked(checkpoint))).collect();
        let head: Vec<&str> = ["candidate"].into_iter().chain(head.iter().map(String::as_str)).collect();
        let mut table = page::table(page, &head);
        let mut add = |name: &str, values: &dyn Fn(&Checkpoint) -> String| {
            let cells = checkpoints.iter().map(|checkpoint| {
                let tone = if chosen == Some(checkpoint.step) { Tone::Good } else { Tone::Plain };
                cell(values(checkpoint), tone)
            });
            table.add_row([cell(name, Tone::Plain)].into_iter().chain(cells));
        };
        add("content", &|checkpoint| short(&checkpoint.content));
        for name in &names {
            add(name, &|checkpoint| checkpoint.metrics.get(*name).map_or("–".to_owned(), |value| number(*value)));
        }
        page::align_right(&mut table, 1..head.len());
        page::print(table)
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// Of the checkpoint that goes on, else of the last one.
fn calibration(stage: &StageRun, checkpoints: &[Checkpoint], page: Page) -> Option<String> {
    let chosen = checkpoints.iter().find(|checkpoint| chosen(stage) == Some(checkpoint.step)).or(checkpoints.last())?;
    let diagram = (!chosen.reliability.is_empty()).then(|| reliability::diagram(&chosen.reliability, page))?;
    Some(format!("how sure step {} is of held-out pairs, and how often it is right:\n{diagram}", chosen.step))
}

/// Cells that the name of a metric and a content, which is longer than any number, take in a table.
const NAME: usize = 20;
const NUMBER: usize = 19;

pub fn verdict(stage: &StageRun, page: Page) -> String {
    let Some(verdict) = &stage.verdict else { return String::new() };
    let mut facts = Facts::new(page);
    let (word, tone) = stages::decision(verdict.decision);
    let carries = if verdict.carries.is_empty() { String::new() } else { format!(": {} goes on", verdict.carries) };
    facts.say("gate", format!("{word}{carries}"), tone);
    for (role, word, tone, because) in stages::verdict_rows(verdict) {
        let word = if word.is_empty() { String::new() } else { format!("{word}: ") };
        facts.say(&role, format!("{word}{because}"), tone);
    }
    // The rules as they were written, where the numbers put into them do not say it all.
    facts.list("rules", verdict.rules.iter().map(|rule| rule.text.clone()));
    facts.print()
}

fn study(run: &Run, stage: &StageRun, page: Page) -> String {
    let study = run.studies.iter().find(|study| study.eval == stage.head.name);
    study.map_or(String::new(), |study| super::study::table(study, page))
}

fn inputs(action: &Value) -> Vec<String> {
    let inputs = action.get("inputs").and_then(Value::as_object);
    inputs.into_iter().flatten().map(|(port, content)| format!("{port}: {}", contents(content))).collect()
}

fn parameters(action: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(parameters) = action.get("parameters").filter(|value| !value.is_null()) {
        flatten("", parameters, &mut lines);
    }
    lines.into_iter().map(|(path, value)| format!("{path}: {value}")).collect()
}

fn contents(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(contents).collect::<Vec<_>>().join(", "),
        Value::String(text) => short(text),
        other => other.to_string(),
    }
}

/// `tree:0123…` cut to the twelve digits that tell contents apart for a reader.
pub fn short(content: &str) -> String {
    match content.split_once(':') {
        Some((sort, digest)) => format!("{sort}:{}", digest.get(..12).unwrap_or(digest)),
        None => content.to_owned(),
    }
}

/// Parameters as `(dotted path, value)`.
pub fn flatten(under: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if under.is_empty() { name.clone() } else { format!("{under}.{name}") };
                flatten(&path, value, lines);
            }
        }
        Value::String(text) => lines.push((under.to_owned(), text.clone())),
        Value::Object(_) if under.is_empty() => {}
        other => lines.push((under.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests;
