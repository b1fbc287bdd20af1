//! Two runs of a pipeline side by side: differences of settings and results, and their causes.

use super::cause::trail;
use super::fold::{RunState, StageRun};
use super::format::{moment, number, short};
use super::json::word;
use super::sheet::{Grid, Header, Sheet, Tone, cell, plain};
use super::stages;
use super::yardstick::{self, DeviceClass};
use crate::action::differences;
use crate::cause::{Cause, StageCause};
use crate::event::{Metrics, Outcome, Verdict};
use crate::gate::Decision;
use ::stages::stage::Direction;
use serde::Serialize;
use std::collections::BTreeSet;

/// The document of `diff --json`: a versioned promise, like that of `status --json`.
#[derive(Serialize)]
pub struct Diff {
    pub format: u32,
    pub old: DiffRun,
    pub new: DiffRun,
    /// `--set` arguments that only one of the runs has.
    pub overrides: OldNew<Vec<String>>,
    /// The stages that differ in anything.
    pub stages: Vec<StageDiff>,
    /// Names of stages that only one of the runs has.
    pub only: OldNew<Vec<String>>,
    pub unchanged: usize,
}

#[derive(Serialize)]
pub struct DiffRun {
    pub run: String,
    pub pipeline: String,
    pub file: String,
    pub at: String,
    pub exit: Option<u8>,
}

#[derive(Serialize)]
pub struct OldNew<T> {
    pub old: T,
    pub new: T,
}

#[derive(Serialize)]
pub struct StageDiff {
    pub name: String,
    pub kind: String,
    /// Changes of its actions, each with its cause if that lies upstream.
    pub because: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OldNew<&'static str>>,
    /// The artifact that carries the stage's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<OldNew<Option<String>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricDiff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<OldNew<Option<GateSummary>>>,
}

#[derive(Serialize)]
pub struct MetricDiff {
    pub name: String,
    /// Null: not finite, or not measured.
    pub old: Option<f64>,
    pub new: Option<f64>,
    pub change: Option<f64>,
    /// `better` or `worse` if the metric has a direction and one yardstick measured both.
    #[serde(rename = "is")]
    pub judged: Option<&'static str>,
    /// The change of the yardstick that measured them: then neither is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<String>,
    /// Old and new value as text: `NaN` if not finite, `–` if not measured.
    #[serde(skip)]
    pub shown: [String; 2],
}

#[derive(Clone, PartialEq, Serialize)]
pub struct GateSummary {
    pub decision: Decision,
    pub carries: String,
    /// `require accuracy > 0.6`.
    pub rules: Vec<String>,
}

pub fn diff(old: &RunState, new: &RunState, class: DeviceClass) -> Diff {
    let only = |of: &RunState, other: &RunState| {
        let names = of.stages.iter().map(|stage| &stage.head.name).filter(|name| other.stage(name).is_none());
        names.cloned().collect::<Vec<_>>()
    };
    let set = |of: &RunState, other: &RunState| {
        of.overrides.iter().filter(|set| !other.overrides.contains(set)).cloned().collect::<Vec<_>>()
    };
    let both: Vec<(&StageRun, &StageRun)> =
        new.stages.iter().filter_map(|stage| Some((old.stage(&stage.head.name)?, stage))).collect();
    let stages: Vec<StageDiff> = both
        .iter()
        .map(|(before, after)| changed(Side { run: old, stage: before }, Side { run: new, stage: after }, class))
        .filter(differs)
        .collect();
    Diff {
        format: 1,
        old: which(old),
        new: which(new),
        overrides: OldNew { old: set(old, new), new: set(new, old) },
        unchanged: both.len() - stages.len(),
        stages,
        only: OldNew { old: only(old, new), new: only(new, old) },
    }
}

fn which(run: &RunState) -> DiffRun {
    let (name, pipeline, file, at) = (run.name.clone(), run.pipeline.clone(), run.file.clone(), run.at.clone());
    DiffRun { run: name, pipeline, file, at, exit: run.finish.as_ref().map(|finish| finish.exit) }
}

fn differs(stage: &StageDiff) -> bool {
    let StageDiff { because, outcome, content, metrics, gate, .. } = stage;
    !because.is_empty() || outcome.is_some() || content.is_some() || !metrics.is_empty() || gate.is_some()
}

/// A stage as one of the runs has it.
#[derive(Clone, Copy)]
struct Side<'a> {
    run: &'a RunState,
    stage: &'a StageRun,
}

fn changed(old: Side, new: Side, class: DeviceClass) -> StageDiff {
    let (before, after) = (old.stage, new.stage);
    let name = after.head.name.clone();
    let content = |stage: &StageRun| match &stage.outcome {
        Some(Outcome::Done { content, .. }) => Some(content.clone()),
        _ => None,
    };
    StageDiff {
        because: because(old, new, class),
        // Whether a run is still alive is not a difference.
        outcome: two(word(before, false), word(after, false)),
        content: two(content(before), content(after)),
        metrics: measurements(new.run, before, after, class),
        gate: two(before.verdict.as_deref().map(said), after.verdict.as_deref().map(said)),
        kind: match before.head.kind == after.head.kind {
            true => after.head.kind.clone(),
            false => format!("{} -> {}", before.head.kind, after.head.kind),
        },
        name,
    }
}

fn two<T: PartialEq>(old: T, new: T) -> Option<OldNew<T>> {
    (old != new).then_some(OldNew { old, new })
}

fn because(old: Side, new: Side, class: DeviceClass) -> Vec<String> {
    let mut causes = Vec::new();
    for action in &new.stage.actions {
        let Some(other) = old.stage.actions.iter().find(|other| other.part == action.part) else { continue };
        let cause = |difference| StageCause { part: action.part.clone(), cause: Cause::Changed(difference) };
        causes.extend(differences(&other.action, &action.action).into_iter().map(cause));
    }
    let mut because = trail(old.run, new.run).followed(&new.stage.head.name, &causes);
    let devices = yardstick::devices([old.stage, new.stage], class);
    because.extend(devices.map(|devices| format!("device: {devices}")));
    because
}

fn said(verdict: &Verdict) -> GateSummary {
    let rules = verdict.rules.iter().map(|rule| format!("{} {}", rule.role, rule.text)).collect();
    GateSummary { decision: verdict.decision, carries: verdict.carries.clone(), rules }
}

fn measured(stage: &StageRun) -> Option<&Metrics> {
    match stage.outcome.as_ref()? {
        Outcome::Done { metrics, .. } | Outcome::Stopped { metrics, .. } | Outcome::Held { metrics, .. } => {
            Some(metrics)
        }
        _ => None,
    }
}

/// The metrics that differ, those with a direction first.
fn measurements(new: &RunState, before: &StageRun, after: &StageRun, class: DeviceClass) -> Vec<MetricDiff> {
    // If the stage gave no result in one of the runs, its outcome says so already.
    let (Some(old), Some(now)) = (measured(before), measured(after)) else { return Vec::new() };
    let names: BTreeSet<&String> = old.keys().chain(now.keys()).collect();
    let value =
        |metrics: &Metrics, name: &String| metrics.get(name).copied().flatten().filter(|value| value.is_finite());
    let mut metrics: Vec<MetricDiff> = names
        .into_iter()
        .filter(|name| value(old, name) != value(now, name) || old.contains_key(*name) != now.contains_key(*name))
        .map(|name| {
            let shown = [old, now].map(|of| of.get(name).map_or("–".to_owned(), |value| number(*value)));
            let (old, now) = (value(old, name), value(now, name));
            let change = old.zip(now).map(|(old, now)| now - old);
            let yardstick = change.and_then(|_| yardstick::change([before, after], name, class));
            let is_better =
                change.filter(|_| yardstick.is_none()).and_then(|change| match direction(new, after, name) {
                    Direction::Neutral => None,
                    Direction::Higher => Some(change > 0.0),
                    Direction::Lower => Some(change < 0.0),
                });
            let judged = is_better.map(|is_better| if is_better { "better" } else { "worse" });
            MetricDiff { name: name.clone(), old, new: now, change, judged, yardstick, shown }
        })
        .collect();
    metrics.sort_by_key(|metric| metric.judged.is_none());
    metrics
}

/// The direction as any stage of the run declares it: a metric that is not the stage's own comes from its judge.
fn direction(run: &RunState, stage: &StageRun, metric: &str) -> Direction {
    let heads = std::iter::once(&stage.head).chain(run.stages.iter().map(|stage| &stage.head));
    let declared = heads.flat_map(|head| &head.metrics).find(|(name, _)| name == metric);
    declared.map_or(Direction::Neutral, |(_, direction)| *direction)
}

pub fn json(diff: &Diff) -> String {
    let mut text = serde_json::to_string_pretty(diff).expect("a report is plain data");
    text.push('\n');
    text
}

pub fn sheets(diff: &Diff) -> Vec<Sheet> {
    vec![heading(diff), overrides(diff), causes(diff), table(diff).into(), gates(diff), last_line(diff)]
}

fn heading(diff: &Diff) -> Sheet {
    let mut sheet = Sheet::default();
    for (label, run) in [("old", &diff.old), ("new", &diff.new)] {
        sheet.say(label, format!("{}, {} ({})", run.run, moment(&run.at), run.file), Tone::Plain);
    }
    sheet
}

fn overrides(diff: &Diff) -> Sheet {
    let mut sheet = Sheet::default();
    for (label, sets) in [("only the old", &diff.overrides.old), ("only the new", &diff.overrides.new)] {
        sets.iter().for_each(|set| sheet.say(label, format!("--set {set}"), Tone::Plain));
    }
    sheet
}

/// Changes of the work of each stage and of its outcome.
fn causes(diff: &Diff) -> Sheet {
    let mut sheet = Sheet::default();
    for stage in &diff.stages {
        let mut lines = stage.because.clone();
        lines.extend(stage.outcome.as_ref().map(|outcome| format!("{} -> {}", outcome.old, outcome.new)));
        if let Some(OldNew { old: Some(old), new: Some(new) }) = &stage.content
            && stage.because.is_empty()
        {
            lines.push(format!("the same work, another output: {} -> {}", short(old), short(new)));
        }
        sheet.list(&format!("{} ({})", stage.name, stage.kind), lines);
    }
    sheet
}

fn table(diff: &Diff) -> Grid {
    let names = ["stage", "metric"].map(Header::name);
    let numbers = ["old", "new", "change"].map(Header::number);
    let mut grid = Grid::new(names.into_iter().chain(numbers).chain([Header::text("")]));
    for stage in &diff.stages {
        for (row, metric) in stage.metrics.iter().enumerate() {
            let [old, new] = &metric.shown;
            let change = metric.change.map_or(String::new(), |change| {
                format!("{}{}", if change > 0.0 { "+" } else { "" }, number(Some(change)))
            });
            let tone = match metric.judged {
                Some("better") => Tone::Good,
                Some(_) => Tone::Bad,
                None => Tone::Plain,
            };
            let yardstick = metric.yardstick.as_ref().map(|change| format!("not compared: {change}"));
            let judged = metric.judged.map(str::to_owned).or(yardstick).unwrap_or_default();
            grid.add([
                plain(if row == 0 { stage.name.as_str() } else { "" }),
                plain(&metric.name),
                plain(old),
                plain(new),
                cell(change, tone),
                cell(judged, tone),
            ]);
        }
    }
    grid
}

fn gates(diff: &Diff) -> Sheet {
    let mut sheet = Sheet::default();
    for stage in &diff.stages {
        let Some(OldNew { old, new }) = &stage.gate else { continue };
        let mut lines = Vec::new();
        let word = |said: &Option<GateSummary>| match said {
            None => "was not asked".to_owned(),
            Some(said) if said.carries.is_empty() => stages::decision(said.decision).0.to_owned(),
            Some(said) => format!("{} ({} goes on)", stages::decision(said.decision).0, said.carries),
        };
        if word(old) != word(new) {
            lines.push(format!("{} -> {}", word(old), word(new)));
        }
        let rules = |said: &Option<GateSummary>| said.as_ref().map(|said| said.rules.clone()).unwrap_or_default();
        // A missing verdict says nothing about the rules: the stage may have them all the same.
        if old.is_some() && new.is_some() {
            let (old, new) = (rules(old), rules(new));
            lines.extend(old.iter().filter(|rule| !new.contains(rule)).map(|rule| format!("no longer: {rule}")));
            lines.extend(new.iter().filter(|rule| !old.contains(rule)).map(|rule| format!("now: {rule}")));
        }
        sheet.list(&format!("gate of {}", stage.name), lines);
    }
    sheet
}

fn last_line(diff: &Diff) -> Sheet {
    let mut lines = Vec::new();
    for (label, names) in [("old", &diff.only.old), ("new", &diff.only.new)] {
        if !names.is_empty() {
            lines.push(format!("only in the {label} run: {}", names.join(", ")));
        }
    }
    let count = |number: usize| format!("{number} {}", if number == 1 { "stage" } else { "stages" });
    lines.push(match (diff.stages.len(), diff.unchanged) {
        (0, unchanged) => format!("no difference in {}", count(unchanged)),
        (changed, unchanged) => {
            format!("{} differ{}, {unchanged} unchanged", count(changed), if changed == 1 { "s" } else { "" })
        }
    });
    Sheet::note(lines.join("\n"))
}

#[cfg(test)]
mod tests;
