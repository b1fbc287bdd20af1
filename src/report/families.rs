//! Stages of a `for` side by side: what each gave, and how far they lie apart. A stage that failed has a row and no number.

use super::fold::{RunState, StageRun};
use super::json::word;
use super::sheet::{Grid, Header, Sheet, Tone, cell, plain};
use super::stages::study_row;
use crate::event::{ArtifactEvidence, Metrics, Outcome};
use crate::gate;
use crate::gate::statistics::{Spread, sample_deviation, sample_mean};
use serde::Serialize;
use stages::stage::Direction;
use std::collections::{BTreeSet, VecDeque};

/// The stages of one `for` that stand beside each other.
#[derive(Clone, Debug, Serialize)]
pub struct Family {
    pub name: String,
    pub metrics: Vec<FamilyMetric>,
    pub members: Vec<FamilyMember>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FamilyMember {
    pub stage: String,
    /// Its state, as in the document of a run.
    pub state: &'static str,
    /// The checkpoint that was judged, or that goes on.
    pub step: Option<u64>,
    /// A value for each metric; `None` where it has none.
    pub values: Vec<Option<f64>>,
}

/// A metric across the stages that have it.
#[derive(Clone, Debug, Serialize)]
pub struct FamilyMetric {
    pub name: String,
    pub count: usize,
    pub mean: Option<f64>,
    /// `None` of fewer than two, as the interval.
    pub deviation: Option<f64>,
    /// The 95 % interval of the mean by t, in which the stages are the evidence.
    pub within: Option<[f64; 2]>,
}

impl Family {
    /// The numbers of a metric, of the stages that have it.
    pub fn numbers(&self, at: usize) -> Vec<f64> {
        numbers(&self.members, at)
    }

    /// The number of stages that failed, or were stopped or left out since another one was.
    pub fn failed(&self) -> usize {
        self.members.iter().filter(|member| member.has_failed()).count()
    }
}

impl FamilyMember {
    pub fn has_failed(&self) -> bool {
        matches!(self.state, "failed" | "skipped" | "stopped")
    }
}

fn numbers(members: &[FamilyMember], at: usize) -> Vec<f64> {
    members.iter().filter_map(|member| member.values[at]).collect()
}

/// The families of a run, in the order of the file. Stages that stand on each other are no repetitions, and have no mean.
pub fn families(run: &RunState, is_alive: bool) -> Vec<Family> {
    let mut names: Vec<&String> = Vec::new();
    let mut seen = BTreeSet::new();
    let of_stages = run.stages.iter().flat_map(|stage| &stage.head.families);
    names.extend(of_stages.filter(|name| seen.insert(*name)));
    names.into_iter().filter_map(|name| family(run, name, is_alive)).collect()
}

fn family(run: &RunState, name: &str, is_alive: bool) -> Option<Family> {
    let stages: Vec<&StageRun> =
        run.stages.iter().filter(|stage| stage.head.families.iter().any(|of| of == name)).collect();
    if stages.len() < 2 || stand_on_each_other(run, &stages) {
        return None;
    }
    let metrics = metrics(run, name, &stages);
    // Before anything has run there is nothing to stand side by side.
    if metrics.is_empty() {
        return None;
    }
    let members: Vec<FamilyMember> = stages
        .iter()
        .map(|stage| FamilyMember {
            stage: stage.head.name.clone(),
            state: if kept(stage).is_some() { "kept" } else { word(stage, is_alive) },
            step: stage.judged_step(),
            values: metrics.iter().map(|metric| value(run, stage, metric)).collect(),
        })
        .collect();
    let across = |(at, name): (usize, String)| {
        let numbers = numbers(&members, at);
        let spread = Spread::of(&numbers);
        FamilyMetric {
            name,
            count: numbers.len(),
            mean: (!numbers.is_empty()).then(|| sample_mean(&numbers)),
            deviation: spread.map(|_| sample_deviation(&numbers)),
            within: spread.map(|spread| spread.inference(0.025)).map(|of| [of.lower, of.upper]),
        }
    };
    let metrics = metrics.into_iter().enumerate().map(across).collect();
    Some(Family { name: name.to_owned(), metrics, members })
}

/// Whether one of these stages needs another one of them, as each reward model of a chain needs the one before.
fn stand_on_each_other(run: &RunState, stages: &[&StageRun]) -> bool {
    let names: BTreeSet<&str> = stages.iter().map(|stage| stage.head.name.as_str()).collect();
    let sources = |stage: &StageRun| -> Vec<String> {
        stage.head.from.iter().flat_map(|(_, sources)| sources).map(|source| source.name.clone()).collect()
    };
    let (mut left, mut seen): (VecDeque<String>, BTreeSet<String>) =
        (stages.iter().flat_map(|stage| sources(stage)).collect(), BTreeSet::new());
    while let Some(name) = left.pop_front() {
        if names.contains(name.as_str()) {
            return true;
        }
        if seen.insert(name.clone()) {
            left.extend(run.stage(&name).into_iter().flat_map(sources));
        }
    }
    false
}

/// The metrics that any of the stages has: first those that rules read across them, then those with a better side.
fn metrics(run: &RunState, family: &str, stages: &[&StageRun]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let has = stages.iter().any(|stage| value(run, stage, name).is_some());
        if has && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    let rules = run.stages.iter().filter_map(|stage| stage.verdict.as_deref()).flat_map(|verdict| &verdict.rules);
    for rule in rules.filter(|rule| rule.text.contains(family)).filter_map(|rule| gate::parse(&rule.text).ok()) {
        rule.families().filter(|(named, _)| *named == family).for_each(|(_, metric)| add(metric));
    }
    for study in &run.studies {
        super::study::columns(study).0.iter().for_each(|column| add(&column.name));
    }
    for (name, direction) in stages.iter().flat_map(|stage| &stage.head.metrics) {
        if *direction != Direction::Neutral {
            add(name);
        }
    }
    if names.is_empty() {
        let all: BTreeSet<&String> = stages.iter().flat_map(|stage| own(stage)).flat_map(Metrics::keys).collect();
        names.extend(all.into_iter().cloned());
    }
    names
}

/// The metrics of a stage that gave something.
fn own(stage: &StageRun) -> Option<&Metrics> {
    match &stage.outcome {
        Some(Outcome::Done { metrics, .. } | Outcome::Stopped { metrics, .. } | Outcome::Held { metrics, .. }) => {
            Some(metrics)
        }
        _ => None,
    }
}

/// The incumbent that a stage kept: it carries the stage's name, and rules take its numbers.
fn kept(stage: &StageRun) -> Option<&ArtifactEvidence> {
    match &stage.outcome {
        Some(Outcome::Done { kept: true, .. }) => stage.verdict.as_deref()?.evidence.incumbent.as_ref(),
        _ => None,
    }
}

fn value(run: &RunState, stage: &StageRun, metric: &str) -> Option<f64> {
    let of = |metrics: &Metrics| metrics.get(metric).copied().flatten().filter(|value| value.is_finite());
    if let Some(kept) = kept(stage) {
        return kept.judged.values().find_map(|by| of(&by.metrics)).or_else(|| of(&kept.metrics));
    }
    // What a judge measured is what rules across stages read, where the stage has a metric of the same name.
    let own = own(stage)?;
    study_row(run, stage).and_then(of).or_else(|| of(own))
}

/// The most metrics of a table on a terminal.
const SHOWN: usize = 4;

pub fn table(family: &Family) -> Sheet {
    let metrics = &family.metrics[..family.metrics.len().min(SHOWN)];
    let decimals: Vec<usize> = metrics.iter().enumerate().map(|(at, _)| family.decimals(at)).collect();
    let heads = metrics.iter().map(|metric| Header::number(metric.name.clone()));
    let mut grid =
        Grid::new([Header::name("stage"), Header::name("result"), Header::number("step")].into_iter().chain(heads));
    let shown =
        |value: Option<f64>, at: usize| value.map_or("–".to_owned(), |value| format!("{value:.0$}", decimals[at]));
    for member in &family.members {
        let tone = if member.has_failed() { Tone::Bad } else { Tone::Plain };
        let step = member.step.map_or(String::new(), |step| step.to_string());
        let first = [plain(&member.stage), cell(member.state, tone), plain(step)];
        grid.add(first.into_iter().chain((0..metrics.len()).map(|at| plain(shown(member.values[at], at)))));
    }
    let mut add = |name: &str, text: &dyn Fn(usize) -> String| {
        let first = [cell(name, Tone::Quiet), plain(""), plain("")];
        grid.add(first.into_iter().chain((0..metrics.len()).map(|at| plain(text(at)))));
    };
    let mean = match family.failed() {
        0 => "mean".to_owned(),
        failed => format!("mean of {}", family.members.len() - failed),
    };
    add(&mean, &|at| shown(metrics[at].mean, at));
    add("sd", &|at| shown(metrics[at].deviation, at));
    add("95 % from", &|at| shown(metrics[at].within.map(|[low, _]| low), at));
    add("95 % to", &|at| shown(metrics[at].within.map(|[_, high]| high), at));
    let failed = match family.failed() {
        0 => String::new(),
        1 => "; 1 stage gave nothing, and has no part in the mean".to_owned(),
        many => format!("; {many} stages gave nothing, and have no part in the mean"),
    };
    let note = format!("the intervals count stages as evidence, not prompts{failed}");
    Sheet {
        heading: format!("{}: {} stages of a `for`", family.name, family.members.len()),
        grid,
        note,
        ..Sheet::default()
    }
}

impl Family {
    /// The decimal places with which the numbers of a metric are told apart from their spread: two of its digits.
    pub fn decimals(&self, at: usize) -> usize {
        let spread = self.metrics[at].deviation.filter(|spread| *spread > 0.0);
        spread.map_or(3, |spread| (1.0 - spread.log10().floor()).clamp(0.0, 6.0) as usize)
    }
}
