//! The metrics that a stage reports, known before it runs.

use super::draft::{Draft, is_reward_model};
use super::source::{Input, Source};
use crate::diagnostic::Diagnostic;
use crate::gate::MetricName;
use crate::spec::{MetricSpec, PortSpec, StageSpec};
use serde_json::Value;
use stages::stage::{Accepts, Gives, Kind, Part, Port, Work};

/// The metrics that the stage's own record will contain.
pub fn metrics(
    stage: &StageSpec,
    kind: &Kind,
    inputs: &[Input],
    parameters: Option<&Value>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<MetricName> {
    let mut metrics = kind_metrics(kind, inputs, parameters);
    if let Work::Measure(measure) = kind.work {
        for port in kind.ports.iter().filter(|port| port.takes_many) {
            // Sources count as typed: one not found is already a mistake, and its metrics are not missing.
            let typed = stage.from.iter().filter(|from| from.port.value == port.name);
            // Those with weights are added up to one.
            let counted = |from: &PortSpec| if from.has_weights() { 1 } else { from.sources.len() };
            for n in 2..=typed.map(counted).sum() {
                let parts = measure.parts.iter().filter(|part| part.reads(port.name));
                let all = parts.flat_map(|part| {
                    declared_metrics(part.kind).into_iter().filter(|metric| is_asked(part, &metric.name, parameters))
                });
                metrics.extend(all.map(|metric| MetricName {
                    name: format!("{}_{n}", metric.name),
                    field: metric.field.map(|field| format!("{field}_{n}")),
                    ..metric
                }));
            }
        }
    }
    for metric in &stage.metrics {
        if !kind.is_command() {
            let message = format!("`{}` declares its metrics itself", kind.name);
            mistakes.push(Diagnostic::error(metric.name.span, message).help("`metrics` is for stages of kind `exec`"));
            break;
        }
        metrics.push(written_metric(metric));
    }
    metrics
}

/// A metric that the file declares.
pub fn written_metric(metric: &MetricSpec) -> MetricName {
    // The command may write items of this name; this is known only after it has run.
    let (name, field) = (metric.name.value.clone(), Some(metric.name.value.clone()));
    MetricName { name, direction: metric.direction, field, bounds: metric.bounds, has_own_rows: false }
}

/// Whether the parameters ask for a metric of a part: one that hangs on a list has a metric for each value of it, `best_of_4`.
/// Parameters that are a mistake ask for all.
fn is_asked(part: &Part, metric: &str, parameters: Option<&Value>) -> bool {
    let Some((list, given)) = part.unless_empty.zip(parameters) else { return true };
    let value = metric.strip_prefix(list).and_then(|rest| rest.strip_prefix('_'));
    given[list].as_array().into_iter().flatten().any(|one| value == Some(&one.to_string()))
}

/// Whether a stage of the kind draws anything: an evaluation does where its parameters ask for a part that draws.
pub fn draws(kind: &Kind, parameters: Option<&Value>) -> bool {
    let Work::Measure(measure) = kind.work else { return kind.draws };
    let asks = |list: &str| parameters.is_none_or(|given| given[list].as_array().is_some_and(|all| !all.is_empty()));
    measure.parts.iter().any(|part| part.kind.draws && part.unless_empty.is_none_or(asks))
}

/// The metrics of every stage of the kind, including as a judge.
pub fn kind_metrics(kind: &Kind, inputs: &[Input], parameters: Option<&Value>) -> Vec<MetricName> {
    // A port that the kind requires is connected; otherwise that is a mistake already.
    let is_connected = |port: &Port| !port.is_optional || inputs.iter().any(|input| input.port == port.name);
    let is_measured = |name: &str| match kind.work {
        Work::Run(_) | Work::Ask(_) | Work::Draw(_) | Work::Choose { .. } => {
            let needed = kind.metrics().find(|metric| metric.name == name).and_then(|metric| metric.needs);
            needed.and_then(|port| kind.port(port)).is_none_or(is_connected)
        }
        Work::Measure(measure) => measure.parts.iter().any(|part| {
            let mut read = kind.ports.iter().filter(|port| part.reads(port.name));
            part.kind.metrics().any(|metric| metric.name == name)
                && is_asked(part, name, parameters)
                && read.all(is_connected)
        }),
    };
    declared_metrics(kind).into_iter().filter(|metric| is_measured(&metric.name)).collect()
}

/// Takes the metrics of orders from stages whose judge is known to give each answer a number.
pub fn take_orders(drafts: &mut [Draft]) {
    for id in 0..drafts.len() {
        let Some(kind) = drafts[id].kind else { continue };
        let is_judge = |input: &&Input| kind.port(&input.port).is_some_and(|port| port.accepts == Accepts::Judge);
        let judge = drafts[id].inputs.iter().find(is_judge).and_then(|input| input.sources.first());
        let scores = judge.is_some_and(|judge| match judge {
            Source::Stage { stage, .. } if drafts[*stage].kind.is_some_and(|kind| kind.gives == Gives::Scorer) => true,
            // A judge that is one file is no model.
            Source::File { .. } => true,
            Source::Path(path) if path.is_file() => true,
            model => is_reward_model(drafts, model),
        });
        if scores {
            let of_orders = |name: &str| kind.metrics().any(|metric| metric.needs_orders && metric.name == name);
            drafts[id].metrics.retain(|metric| !of_orders(&metric.name));
        }
    }
}

/// All metrics that a stage of the kind can report, whatever its connections.
pub fn declared_metrics(kind: &Kind) -> Vec<MetricName> {
    let named = |metric: &stages::stage::Metric| MetricName {
        name: metric.name.to_owned(),
        direction: metric.direction,
        field: metric.mean_of.map(str::to_owned),
        bounds: metric.bounds,
        has_own_rows: metric.has_own_rows,
    };
    kind.metrics().map(named).collect()
}
