//! The description of a stage, which a run begins with.

use crate::event::StageHead;
use crate::plan::{Plan, Stage};
use std::sync::Arc;

pub fn head(plan: &Plan, stage: &Stage) -> Arc<StageHead> {
    Arc::new(StageHead {
        name: stage.name.clone(),
        kind: stage.kind.name.to_owned(),
        has_gate: stage.gate.is_some(),
        metrics: stage.metrics.iter().map(|metric| (metric.name.clone(), metric.direction)).collect(),
        from: stage.inputs.iter().map(|input| (input.port.clone(), plan.sources(input))).collect(),
        families: stage.families.clone(),
    })
}
