//! The runs of a store as a table: when, how long, what was asked, how each ended, and its headline.

use super::fold::{RunState, StageRun};
use super::format::{duration, moment};
use super::sheet::{Cell, Grid, Header, Sheet, Tone, cell, plain};
use super::study::{self, Headline};
use crate::event::Outcome;
use serde::Serialize;

/// A row of the table, and a line of `runs --json`.
#[derive(Debug, Serialize)]
pub struct RunRow {
    pub run: String,
    pub pipeline: String,
    pub file: String,
    /// RFC 3339.
    pub at: String,
    /// Null while it goes on, and for ever if it was killed.
    pub seconds: Option<f64>,
    /// The changes and the selection, as typed: `--set`, `--only`, `--from`.
    pub asked: String,
    /// `done`, `failed`, `stopped`, `held`, `interrupted`, `running`, `broken off`.
    pub ended: &'static str,
    /// `5 run, 2 cached`.
    pub stages: String,
    /// The first metric of the model that goes on, of the last study.
    pub headline: Option<Headline>,
}

pub fn row(run: &RunState, is_alive: bool) -> RunRow {
    let set = run.overrides.iter().map(|set| format!("--set {set}"));
    let asked: Vec<String> = set.chain((!run.selection.is_empty()).then(|| run.selection.clone())).collect();
    RunRow {
        run: run.name.clone(),
        pipeline: run.pipeline.clone(),
        file: run.file.clone(),
        at: run.at.clone(),
        seconds: run.finish.as_ref().map(|finish| finish.seconds),
        asked: asked.join(" "),
        ended: ended(run, is_alive),
        stages: counts(run),
        headline: run.studies.iter().rev().find_map(|study| study::headline(run, study)),
    }
}

fn ended(run: &RunState, is_alive: bool) -> &'static str {
    match run.finish.as_ref().map(|finish| finish.exit) {
        None if is_alive => "running",
        None => "broken off",
        Some(0) => "done",
        Some(3) if run.stages.iter().any(|stage| matches!(stage.outcome, Some(Outcome::Held { .. }))) => "held",
        Some(3) if run.stages.iter().any(|stage| matches!(stage.outcome, Some(Outcome::Waits { .. }))) => "waits",
        Some(3) => "stopped",
        Some(130) => "interrupted",
        Some(_) => "failed",
    }
}

fn tone(ended: &str) -> Tone {
    match ended {
        "done" => Tone::Good,
        "failed" | "broken off" => Tone::Bad,
        "held" | "waits" | "stopped" | "interrupted" => Tone::Doubtful,
        _ => Tone::Plain,
    }
}

/// `5 run, 2 cached, 1 kept the incumbent`; counts of zero are left out.
pub fn counts(run: &RunState) -> String {
    let count = |is: fn(&Outcome) -> bool| {
        run.stages.iter().filter_map(|stage| stage.outcome.as_ref()).filter(|o| is(o)).count()
    };
    let is_cached = |stage: &&StageRun| stage.outcome.as_ref().is_some_and(Outcome::is_cached);
    let fetched = run.stages.iter().filter(is_cached).filter(|stage| stage.fetched.is_some()).count();
    let phrases = [
        (count(|o| matches!(o, Outcome::WouldRun { .. })), "would run"),
        (count(|o| o.executed_in().is_some()), "run"),
        (fetched, if run.is_look() { "would be fetched" } else { "from the remote" }),
        (count(Outcome::is_cached) - fetched, "cached"),
        (count(|o| matches!(o, Outcome::Done { kept: true, .. })), "kept the incumbent"),
        (count(|o| matches!(o, Outcome::Stopped { .. })), "stopped"),
        (count(|o| matches!(o, Outcome::Held { .. })), "held"),
        (count(|o| matches!(o, Outcome::Waits { .. })), "waiting"),
        (count(|o| matches!(o, Outcome::Failed { .. })), "failed"),
        (count(|o| matches!(o, Outcome::Skipped { .. })), "skipped"),
        (count(|o| matches!(o, Outcome::Interrupted)), "interrupted"),
    ];
    let said: Vec<String> =
        phrases.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    if said.is_empty() { "no stage was reached".to_owned() } else { said.join(", ") }
}

/// The table. `has_older`: whether it leaves older runs out.
pub fn table(rows: &[RunRow], has_older: bool) -> Sheet {
    let mut grid = Grid::new([
        Header::name("run"),
        Header::name("started"),
        Header::number("took"),
        Header::name("ended"),
        Header::text("stages"),
        Header::text("asked"),
        Header::text("headline"),
    ]);
    for row in rows {
        grid.add(cells(row));
    }
    let note = if has_older { "older runs are not listed: `--all`".to_owned() } else { String::new() };
    Sheet { grid, note, ..Sheet::default() }
}

fn cells(row: &RunRow) -> [Cell; 7] {
    let headline = row
        .headline
        .as_ref()
        .map(|Headline { model, metric, value }| format!("{metric} {} ({model})", super::format::number(*value)));
    [
        plain(&row.run),
        plain(moment(&row.at).trim_end_matches(" UTC")),
        plain(row.seconds.map(duration).unwrap_or_default()),
        cell(row.ended, tone(row.ended)),
        plain(&row.stages),
        plain(&row.asked),
        plain(headline.unwrap_or_default()),
    ]
}
