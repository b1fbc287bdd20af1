//! The metrics that a stage reports, known before it runs.

use super::inputs::Input;
use crate::diagnostic::Diagnostic;
use crate::gate::MetricName;
use crate::spec::StageSpec;
use stages::stage::{Direction, Kind, Work};

/// The metrics that the stage's own record will hold.
pub fn metrics(stage: &StageSpec, kind: &Kind, inputs: &[Input], mistakes: &mut Vec<Diagnostic>) -> Vec<MetricName> {
    let mut metrics = kind_metrics(kind, inputs);
    if let Work::Measure(_) = kind.work {
        // Counted as typed: a source that was not found is a mistake already, and its metrics are not missing.
        let rewards = stage.from.iter().filter(|from| from.port.value == "reward").map(|from| from.sources.len()).sum();
        for n in 2..=rewards {
            let (name, field) = (format!("mean_score_{n}"), Some(format!("score_{n}")));
            metrics.push(MetricName { name, direction: Direction::Higher, field });
            let name = format!("score_sd_{n}");
            metrics.push(MetricName { name, direction: Direction::Neutral, field: None });
        }
    }
    for (metric, direction) in &stage.metrics {
        if !kind.takes_any_port {
            let message = format!("`{}` declares its metrics itself", kind.name);
            mistakes.push(Diagnostic::error(metric.span, message).help("`metrics` is for stages of kind `exec`"));
            break;
        }
        // The command may write items of this name; that is known only after it has run.
        let field = Some(metric.value.clone());
        metrics.push(MetricName { name: metric.value.clone(), direction: *direction, field });
    }
    metrics
}

/// The metrics of every stage of the kind, also as a judge.
pub fn kind_metrics(kind: &Kind, inputs: &[Input]) -> Vec<MetricName> {
    // The distance from a baseline is measured only if there is one.
    let is_measured = |name: &str| match kind.work {
        Work::Measure(_) => name != "kl" || inputs.iter().any(|input| input.port == "baseline"),
        Work::Run(_) => true,
    };
    declared_metrics(kind).into_iter().filter(|metric| is_measured(&metric.name)).collect()
}

/// All metrics that a stage of the kind can report, whatever is connected to it.
pub fn declared_metrics(kind: &Kind) -> Vec<MetricName> {
    let named = |metric: &stages::stage::Metric| MetricName {
        name: metric.name.to_owned(),
        direction: metric.direction,
        field: metric.mean_of.map(str::to_owned),
    };
    kind.metrics().map(named).collect()
}
