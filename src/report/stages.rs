//! The table of stages, the verdicts with the numbers behind them, and the causes of failures.

use super::fold::{ActionState, RunState, StageRun};
use super::format::{bytes as format_bytes, duration, moment, number};
use super::sheet::{Grid, Header, Pair, Sheet, TOGETHER, Tone, Width, cell, plain};
use super::visible::visible;
use crate::cause::on_one_line;
use crate::event::{HumanDecision, Metrics, Outcome, Verdict, WaitReason};
use crate::gate::{self, Decision, Rule};
use crate::plan::Pin;
use stages::stage::{Direction, LOST_ROWS};

/// The number of metrics in a row, and the limit if the rules of its gate name more; `explain` shows all.
const SHOWN: usize = 3;
const SHOWN_OF_RULES: usize = 4;

/// The number of stages up to which all are listed.
const LONG: usize = 60;

/// The width of the gate column in terminal cells: the numbers follow below the table, the metrics need the room.
const GATE_WIDTH: usize = 24;

pub fn table(run: &RunState, is_alive: bool) -> Sheet {
    let notes_are =
        if run.stages.iter().any(StageRun::would_run) { "metrics, or why it would run" } else { "key metrics" };
    let mut grid = Grid::new([
        Header::name("stage"),
        Header::name("kind"),
        Header::name("result"),
        Header::number("time"),
        Header::text(notes_are),
        Header { width: Width::AtMost(GATE_WIDTH), ..Header::text("gate") },
    ]);
    for stage in run.stages.iter().filter(|stage| is_listed(run, stage)) {
        let (result, tone) = result(run, stage, is_alive);
        let (gate, gate_tone) = gate(stage);
        grid.add([
            plain(&stage.head.name),
            plain(&stage.head.kind),
            cell(result, tone),
            plain(time(run, stage)),
            plain(notes(run, stage)),
            cell(gate, gate_tone),
        ]);
    }
    let note = match run.stages.iter().filter(|stage| !is_listed(run, stage)).count() {
        0 => String::new(),
        hidden => format!("{hidden} cached stages are not listed; `pipeline status --json` has them"),
    };
    Sheet { grid, note, ..Sheet::default() }
}

/// Whether the stage has a row: in a long table, stages that did not change are left out.
fn is_listed(run: &RunState, stage: &StageRun) -> bool {
    let is_quiet = stage.outcome.as_ref().is_some_and(Outcome::is_cached)
        && stage.fetched.is_none()
        && stage
            .verdict
            .as_ref()
            .is_none_or(|verdict| verdict.decision == Decision::Pass && verdict.despite().is_empty());
    run.stages.len() <= LONG || !is_quiet
}

fn result(run: &RunState, stage: &StageRun, is_alive: bool) -> (String, Tone) {
    let is_alive = run.finish.is_none() && is_alive;
    let ran = |executed: bool| match stage.fetched {
        _ if executed => ("run".to_owned(), Tone::Plain),
        Some(bytes) if run.is_look() => (format!("would fetch {}", format_bytes(bytes)), Tone::Doubtful),
        // Its files come when somebody reads them.
        Some(_) => ("from the remote".to_owned(), Tone::Quiet),
        None => ("cached".to_owned(), Tone::Quiet),
    };
    match &stage.outcome {
        Some(Outcome::Done { executed: false, .. }) if stage.chooses() => ("chosen".to_owned(), Tone::Quiet),
        Some(Outcome::Done { executed, .. } | Outcome::Stopped { executed, .. } | Outcome::Held { executed, .. }) => {
            ran(*executed)
        }
        Some(Outcome::Waits { .. }) => ("waits".to_owned(), Tone::Doubtful),
        Some(Outcome::Failed { .. }) => ("failed".to_owned(), Tone::Bad),
        Some(Outcome::Skipped { .. }) => ("skipped".to_owned(), Tone::Doubtful),
        Some(Outcome::WouldRun { .. }) => ("would run".to_owned(), Tone::Doubtful),
        Some(Outcome::Interrupted) => ("interrupted".to_owned(), Tone::Doubtful),
        None if stage.actions.is_empty() => ("–".to_owned(), Tone::Quiet),
        None if is_alive => (format!("running{}", share_done(stage)), Tone::Plain),
        None => ("broken off".to_owned(), Tone::Bad),
    }
}

fn share_done(stage: &StageRun) -> String {
    match stage.actions.last().map(|action| &action.state) {
        Some(ActionState::Running { done, total, .. }) if *total > 0 => {
            format!("{TOGETHER}{}{TOGETHER}%", done * 100 / total)
        }
        _ => String::new(),
    }
}

/// The time of a stage that was executed in this run, or, for one that would run, of its last execution. A cached stage
/// has none: the times of the table add up to the run.
fn time(run: &RunState, stage: &StageRun) -> String {
    match stage.outcome.as_ref().and_then(Outcome::executed_in) {
        Some(seconds) => duration(seconds),
        None => run.last_time(stage).map_or(String::new(), |seconds| format!("~{}", duration(seconds))),
    }
}

/// The metrics, or the reason why there are none.
fn notes(run: &RunState, stage: &StageRun) -> String {
    match &stage.outcome {
        Some(Outcome::Done { metrics, .. } | Outcome::Stopped { metrics, .. } | Outcome::Held { metrics, .. }) => {
            key_metrics(run, stage, metrics)
        }
        Some(Outcome::Waits { done, needed, on }) => {
            let what = if *on == WaitReason::Budget { "replies" } else { "labels" };
            format!("{done} of {needed} {what}; {}", on.way_on(&run.file, &stage.head.name))
        }
        Some(Outcome::Skipped { because }) => because.to_string(),
        Some(Outcome::WouldRun { because }) => on_one_line(because),
        Some(Outcome::Failed { .. }) => "see below".to_owned(),
        Some(Outcome::Interrupted) => String::new(),
        None => match stage.actions.last().map(|action| &action.state) {
            Some(ActionState::Running { message, .. }) => message.clone(),
            _ => String::new(),
        },
    }
}

/// The most important metrics: first those of the rules that decide and of those that do not pass, then those with a
/// direction, in declared order.
fn key_metrics(run: &RunState, stage: &StageRun, metrics: &Metrics) -> String {
    // A metric that is not the stage's own was measured by its judge.
    let judged = study_row(run, stage);
    let value = |name: &str| metrics.get(name).or_else(|| judged.and_then(|judged| judged.get(name))).copied();
    let rules = stage.verdict.iter().flat_map(|verdict| &verdict.rules);
    let telling = rules.filter(|rule| rule.is_required() || rule.decision != Decision::Pass);
    let rules: Vec<Rule> = telling.filter_map(|rule| gate::parse(&rule.text).ok()).collect();
    let chosen_by = stage.verdict.iter().flat_map(|verdict| &verdict.chosen_by).map(String::as_str);
    let in_rules = rules.iter().flat_map(Rule::metrics).chain(chosen_by);
    let mut names: Vec<&str> = Vec::new();
    let mut add = |name| {
        let is_new = value(name).is_some() && !names.contains(&name);
        if is_new {
            names.push(name);
        }
        names.len()
    };
    let of_rules = in_rules.map(&mut add).last().unwrap_or(0);
    for wants_neutral in [false, true] {
        for (name, direction) in &stage.head.metrics {
            if (*direction == Direction::Neutral) == wants_neutral {
                add(name);
            }
        }
    }
    for name in metrics.keys() {
        add(name);
    }
    names.truncate(of_rules.clamp(SHOWN, SHOWN_OF_RULES));
    // What was left out or cut of the data is always told.
    let told =
        LOST_ROWS.into_iter().filter(|name| metrics.get(*name).copied().flatten().is_some_and(|rows| rows > 0.0));
    let told: Vec<&str> = told.filter(|name| !names.contains(name)).collect();
    names.extend(told);
    let shown = names.iter().filter_map(|name| Some(format!("{name}{TOGETHER}{}", number(value(name)?))));
    shown.collect::<Vec<_>>().join(&format!("{TOGETHER} "))
}

/// The metrics that an eval measured on the chosen candidate of the stage, whether its gate passed or not.
pub fn study_row<'a>(run: &'a RunState, stage: &StageRun) -> Option<&'a Metrics> {
    let name = stage.head.name.as_str();
    let chosen = match &stage.outcome {
        Some(Outcome::Done { step: Some(step), kept: false, .. }) => Pin::Step(*step),
        _ => Pin::Last,
    };
    let rows = run.studies.iter().flat_map(|study| &study.rows);
    let of_stage: Vec<_> = rows.filter(|row| row.model.name == name).collect();
    let row = of_stage.iter().rfind(|row| row.model.pin == Pin::Open || row.model.pin == chosen).or(of_stage.last());
    row.map(|row| &row.metrics)
}

/// The decision, and what it means for the stage's name.
fn gate(stage: &StageRun) -> (String, Tone) {
    let Some(verdict) = &stage.verdict else { return (String::new(), Tone::Quiet) };
    let (word, tone) = decision(verdict.decision);
    let text = match &stage.outcome {
        Some(Outcome::Done { kept: true, .. }) => format!("{word}: keeps {}", verdict.carries),
        Some(Outcome::Stopped { .. }) if verdict.decided.is_some() => format!("{word}: rejected"),
        Some(Outcome::Stopped { .. }) => format!("{word}: stops here"),
        Some(Outcome::Held { .. }) => format!("{word}: held"),
        Some(Outcome::Done { kept: false, .. }) if verdict.decided.is_some() => {
            format!("{word}: approved, {}", verdict.carries)
        }
        // Without `select` the last candidate carries the name, which needs no words.
        Some(Outcome::Done { .. }) if verdict.select.is_some() => format!("{word}: {}", verdict.carries),
        _ => word.to_owned(),
    };
    let despite = verdict.despite();
    (format!("{text}{despite}"), if despite.is_empty() { tone } else { Tone::Doubtful })
}

/// A person's decision: who, when and why.
fn decided(decided: &HumanDecision) -> String {
    let HumanDecision { is_approved, by, at, reason } = decided;
    let word = if *is_approved { "approved" } else { "rejected" };
    format!("{word} by {by}, {}: {reason}", moment(at))
}

pub fn decision(decision: Decision) -> (&'static str, Tone) {
    let tone = match decision {
        Decision::Pass => Tone::Good,
        Decision::Fail | Decision::Unsure => Tone::Doubtful,
        Decision::Error => Tone::Bad,
    };
    (decision.word(), tone)
}

/// The rules of every gate with their numbers; empty before a gate has decided.
pub fn gates(run: &RunState) -> Sheet {
    let mut grid =
        Grid::new([Header::name("gate of"), Header::name("rule"), Header::name("says"), Header::text("because")]);
    for stage in run.stages.iter().filter(|stage| is_listed(run, stage)) {
        let Some(verdict) = &stage.verdict else { continue };
        for (row, VerdictRow { role, word, tone, because }) in verdict_rows(verdict).into_iter().enumerate() {
            let name = if row == 0 { stage.head.name.as_str() } else { "" };
            grid.add([plain(name), plain(role), cell(word, tone), plain(because)]);
        }
    }
    grid.into()
}

/// A line of a verdict: the choice, a rule, or what a person decided.
pub struct VerdictRow {
    pub role: String,
    /// The decision; empty for a line that is not a rule.
    pub word: &'static str,
    pub tone: Tone,
    /// The numbers behind it.
    pub because: String,
}

pub fn verdict_rows(verdict: &Verdict) -> Vec<VerdictRow> {
    let row = |role: &str, because| VerdictRow { role: role.to_owned(), word: "", tone: Tone::Plain, because };
    let select = verdict.select.iter().map(|select| row("select", select.clone()));
    let rules = verdict.rules.iter().map(|rule| {
        let (word, tone) = decision(rule.decision);
        // A rule that only observes raises no alarm.
        let tone = if rule.role == "observe" { Tone::Quiet } else { tone };
        let numbers = if rule.explanation.is_empty() { &rule.text } else { &rule.explanation };
        VerdictRow { word, tone, ..row(&rule.role, numbers.clone()) }
    });
    let person = verdict.decided.iter().map(|person| row("person", decided(person)));
    select.chain(rules).chain(person).collect()
}

/// Notes about actions, each message once; empty if there are none.
pub fn notes_of_actions(run: &RunState) -> Sheet {
    let mut said: Vec<(String, usize, &str)> = Vec::new();
    for stage in &run.stages {
        for (part, message) in &stage.notes {
            match said.iter_mut().find(|(_, _, known)| known == message) {
                Some((_, others, _)) => *others += 1,
                None => {
                    let name = &stage.head.name;
                    let name = part.as_ref().map_or_else(|| name.clone(), |part| format!("{name}: {part}"));
                    said.push((name, 0, message));
                }
            }
        }
    }
    let mut sheet = Sheet::default();
    for (name, others, message) in said {
        let label = if others == 0 { name } else { format!("{name}, and {others} more") };
        sheet.entries.push(Pair { label: cell(label, Tone::Doubtful), value: plain(visible(message)) });
    }
    sheet
}

/// Causes and logs of failed stages; empty if none failed.
pub fn failures(run: &RunState) -> Sheet {
    let mut sheet = Sheet::default();
    for stage in &run.stages {
        let Some(Outcome::Failed { cause }) = &stage.outcome else { continue };
        let label = cell(format!("{} failed", stage.head.name), Tone::Bad);
        sheet.entries.push(Pair { label, value: plain(visible(&cause.to_string())) });
        for action in &stage.actions {
            let ActionState::Failed { cause: of_part, log, .. } = &action.state else { continue };
            let part = action.part.as_ref().map_or(String::new(), |part| format!("{part}: "));
            if of_part != cause {
                sheet.say("", visible(&format!("{part}{of_part}")), Tone::Plain);
            }
            sheet.say("", format!("log: {log}"), Tone::Quiet);
        }
    }
    sheet
}
