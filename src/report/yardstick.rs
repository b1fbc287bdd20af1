//! Whether the numbers of two runs were measured by one yardstick: the reward model that scored, the rows that were
//! measured on, the model that was measured from, the class of device. Where they were not, neither number is better.

use super::fold::{ActionRun, StageRun};
use formats::data::is_data;
use serde_json::Value;
use stages::kinds::{self, KINDS};
use stages::stage::{Accepts, Kind, Measure, PartInput, Port, Work};
use std::collections::BTreeSet;

/// The device class of an action, where it is known.
pub type DeviceClass<'a> = &'a dyn Fn(&ActionRun) -> Option<String>;

/// The change of the yardstick between two runs of a stage, for one of its metrics: `another reward model and another
/// held-out file`; `None` if none is known.
pub fn change([old, new]: [&StageRun; 2], metric: &str, class: DeviceClass) -> Option<String> {
    let [old, new] = [old, new].map(|stage| Basis::of(stage, metric));
    let mut changes: Vec<String> = Vec::new();
    let is_known = !old.by.is_empty() && !new.by.is_empty();
    for (what, _) in old.by.iter().chain(&new.by).filter(|_| is_known) {
        let values =
            |of: &Basis| of.by.iter().filter(|(other, _)| other == what).map(|(_, value)| value.clone()).collect();
        let [before, after]: [Vec<Value>; 2] = [values(&old), values(&new)];
        if before != after && !changes.contains(what) {
            changes.push(what.clone());
        }
    }
    if class_change([&old.actions, &new.actions], class).is_some() {
        changes.push("another class of device".to_owned());
    }
    (!changes.is_empty()).then(|| changes.join(" and "))
}

/// The change of the device classes of all actions of a stage: `cpu x86_64 avx512f -> wgpu wgsl 3 …`.
pub fn devices(stages: [&StageRun; 2], class: DeviceClass) -> Option<String> {
    let [old, new] = stages.map(|stage| stage.actions.iter().collect::<Vec<_>>());
    class_change([&old, &new], class)
}

/// Actions without a class, as scores by a file are, say nothing.
fn class_change(actions: [&[&ActionRun]; 2], class: DeviceClass) -> Option<String> {
    let classes = |actions: &[&ActionRun]| actions.iter().filter_map(|action| class(action)).collect::<BTreeSet<_>>();
    let [old, new] = actions.map(classes);
    let is_changed = !old.is_empty() && !new.is_empty() && old != new;
    let names = |classes: BTreeSet<String>| classes.into_iter().collect::<Vec<_>>().join(", ");
    is_changed.then(|| format!("{} -> {}", names(old), names(new)))
}

/// The origin of a metric of a stage.
#[derive(Default)]
struct Basis<'a> {
    /// The actions that measured it.
    actions: Vec<&'a ActionRun>,
    /// The inputs that it was measured by, each after the words for another one.
    by: Vec<(String, Value)>,
}

impl<'a> Basis<'a> {
    fn of(stage: &'a StageRun, metric: &str) -> Basis<'a> {
        let kind = kinds::kind(&stage.head.kind);
        let own = stage.own_action();
        // Others are those of a judge.
        let is_own = stage.head.metrics.iter().any(|(name, _)| name == metric);
        match (kind.map(|kind| (kind, kind.work)), own) {
            (Some((kind, Work::Run(_))), Some(action)) if is_own => Basis::in_training(kind, action, metric),
            _ => measured_by_parts(stage, metric).unwrap_or_default(),
        }
    }

    /// The basis of a metric of the stage's own action: measured on rows that are kept for it, else on a part of all; some
    /// by a reward model.
    fn in_training(kind: &Kind, action: &'a ActionRun, metric: &str) -> Basis<'a> {
        let action_value = action.action.value();
        let connected: Vec<(&String, &Value)> =
            action_value.get("inputs").and_then(Value::as_object).into_iter().flatten().collect();
        let port = |name: &str| kind.port(name);
        let is_measured = |name: &str| port(name).is_some_and(|port| port.is_measured);
        let has_rows = |name: &str, value: &Value| match port(name) {
            Some(port) => matches!(port.accepts, Accepts::Data(_)),
            // A command may measure on any rows that it is given.
            None => is_file_of_rows(value),
        };
        let is_kept_apart = connected.iter().any(|(name, _)| is_measured(name));
        let scores = kind.metrics().find(|own| own.name == metric).and_then(|own| own.measured_by);
        let counts = |(name, value): &(&String, &Value)| {
            scores == Some(name.as_str()) || if is_kept_apart { is_measured(name) } else { has_rows(name, value) }
        };
        let by = connected.into_iter().filter(counts);
        Basis { by: by.map(|(name, value)| (another(port(name)), value.clone())).collect(), actions: vec![action] }
    }
}

/// Whether a content, or any of a list, is a file whose format is one of rows.
fn is_file_of_rows(content: &Value) -> bool {
    match content {
        Value::Array(all) => all.iter().any(is_file_of_rows),
        one => one.as_str().and_then(|content| content.split(':').next()).is_some_and(is_data),
    }
}

/// The basis of a metric that was measured in parts, for the stage itself or for its gate.
fn measured_by_parts<'a>(stage: &'a StageRun, metric: &str) -> Option<Basis<'a>> {
    let (kind, measure, place, nth) = part(metric)?;
    // The inputs of a port that takes many in the order in which they come; the first one judges and has no name.
    let mut inputs = vec![None];
    for action in of_part(stage, measure, place) {
        let by = action.part.as_ref().and_then(|part| part.by.as_ref());
        if !inputs.contains(&by) {
            inputs.push(by);
        }
    }
    let by = *inputs.get(nth - 1)?;
    let is_it = |action: &&ActionRun| action.part.as_ref().is_some_and(|part| part.by.as_ref() == by);
    let actions: Vec<&ActionRun> = of_part(stage, measure, place).filter(is_it).collect();
    let mut measured = Basis { actions, by: Vec::new() };
    let first = *measured.actions.first()?;
    add(kind, measure, place, stage, first, &mut measured);
    Some(measured)
}

/// The measuring kind, its part and the place of the input behind a metric: 2 for `mean_score_2`.
fn part(metric: &str) -> Option<(&'static Kind, &'static Measure, usize, usize)> {
    let nth = |name: &str| match metric.strip_prefix(name)? {
        "" => Some(1),
        rest => rest.strip_prefix('_')?.parse::<usize>().ok().filter(|nth| *nth > 1),
    };
    KINDS.iter().find_map(|kind| {
        let Work::Measure(measure) = kind.work else { return None };
        let of_part = |(place, nth): (usize, Option<usize>)| Some((*kind, measure, place, nth?));
        let parts = measure.parts.iter().enumerate();
        parts.map(|(place, part)| (place, part.kind.metrics().find_map(|own| nth(own.name)))).find_map(of_part)
    })
}

fn of_part<'a>(stage: &'a StageRun, measure: &Measure, place: usize) -> impl Iterator<Item = &'a ActionRun> {
    let name = measure.parts[place].kind.name;
    stage.actions.iter().filter(move |action| action.part.as_ref().is_some_and(|part| part.kind == name))
}

/// Adds what a part was measured by, and what the parts were that it reads; not the model, which is measured.
fn add<'a>(
    kind: &Kind,
    measure: &Measure,
    place: usize,
    stage: &'a StageRun,
    action: &ActionRun,
    basis: &mut Basis<'a>,
) {
    let value = action.action.value();
    for (name, input) in measure.parts[place].inputs {
        match input {
            PartInput::Port(port) if *port == measure.port => {}
            PartInput::Port(port) => {
                let content = value.pointer(&format!("/inputs/{name}")).cloned().unwrap_or_default();
                basis.by.push((another(kind.port(port)), content));
            }
            PartInput::Part(earlier) => {
                let judge = |action: &ActionRun| action.part.as_ref().and_then(|part| part.judge.clone());
                let read: Vec<&ActionRun> =
                    of_part(stage, measure, *earlier).filter(|other| judge(other) == judge(action)).collect();
                read.first().into_iter().for_each(|first| add(kind, measure, *earlier, stage, first, basis));
                basis.actions.extend(read);
            }
        }
    }
    let [parameters, version] = ["parameters", "version"].map(|name| value.get(name).cloned().unwrap_or_default());
    let part = measure.parts[place].kind.name;
    basis.by.push((format!("other parameters of `{part}`"), parameters));
    basis.by.push((format!("another version of `{part}`"), version));
}

/// The words for another input of a port.
fn another(port: Option<&Port>) -> String {
    match port {
        Some(Port { accepts: Accepts::RewardModel | Accepts::Reward, .. }) => "another reward model".to_owned(),
        Some(Port { accepts: Accepts::Data(_), is_measured: true, .. }) => "another held-out file".to_owned(),
        Some(Port { accepts: Accepts::Data(_), .. }) | None => "other rows".to_owned(),
        Some(port) => format!("another {}", port.name),
    }
}
