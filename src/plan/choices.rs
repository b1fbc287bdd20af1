//! Stages that choose among others: what they give, and which metrics all of those have.

use super::draft::Draft;
use super::graph::StageId;
use super::source::{self, Source};
use crate::diagnostic::Diagnostic;
use crate::gate::MetricName;
use crate::spec::{Reference, Spec};
use stages::kinds::best_of;
use stages::stage::{Gives, Kind, Work};
use std::collections::HashMap;

/// The port of the stages that a kind chooses from, if it chooses.
pub fn port(kind: Option<&Kind>) -> Option<&'static str> {
    match kind?.work {
        Work::Choose { port } => Some(port),
        Work::Run(_) | Work::Measure(_) | Work::Ask(_) | Work::Draw(_) => None,
    }
}

/// Gives every stage that chooses the kind that gives what those it chooses from give.
pub fn give(
    spec: &Spec,
    ids: &HashMap<&str, StageId>,
    kinds: &mut [Option<&'static Kind>],
    mistakes: &mut Vec<Diagnostic>,
) {
    let choosing: Vec<StageId> = (0..kinds.len()).filter(|id| port(kinds[*id]).is_some()).collect();
    // A choice among choices takes as many passes as there are choices, at most.
    for _ in 0..choosing.len() {
        let before: Vec<Option<Gives>> = choosing.iter().map(|id| kinds[*id].map(|kind| kind.gives)).collect();
        for id in &choosing {
            let first = chosen_from(spec, ids, kinds, *id).into_iter().next();
            let Some((_, gives)) = first else { continue };
            kinds[*id] = best_of::of(gives).or(kinds[*id]);
        }
        if choosing.iter().zip(before).all(|(id, before)| kinds[*id].map(|kind| kind.gives) == before) {
            break;
        }
    }
    for id in choosing {
        let all = chosen_from(spec, ids, kinds, id);
        let Some(((first, gives), others)) = all.split_first() else { continue };
        let Some((other, theirs)) = others.iter().find(|(_, theirs)| theirs != gives) else { continue };
        let message = format!(
            "one of several is chosen, and these are of two sorts: `{first}` gives {}, `{other}` gives {}",
            source::gift(*gives),
            source::gift(*theirs)
        );
        mistakes.push(Diagnostic::error(spec.stages[id].name.span, message).help("name stages of one kind"));
    }
}

/// The stages that a stage chooses from, by what they give.
fn chosen_from<'a>(
    spec: &'a Spec,
    ids: &HashMap<&str, StageId>,
    kinds: &[Option<&'static Kind>],
    id: StageId,
) -> Vec<(&'a str, Gives)> {
    let typed = spec.stages[id].from.iter().filter(|from| Some(from.port.value.as_str()) == port(kinds[id]));
    let stage = |reference: &'a Reference| {
        let Reference::Stage { name, .. } = reference else { return None };
        Some((name.as_str(), kinds[*ids.get(name.as_str())?]?.gives))
    };
    typed.flat_map(|from| &from.sources).filter_map(|source| stage(&source.reference)).collect()
}

/// Gives every stage that chooses the metrics that all it chooses from have in their records.
pub fn measure(drafts: &mut [Draft]) {
    let choosing: Vec<StageId> = (0..drafts.len()).filter(|id| port(drafts[*id].kind).is_some()).collect();
    for _ in 0..choosing.len() {
        let mut has_changed = false;
        for id in &choosing {
            let common = common(drafts, *id);
            has_changed |= common.len() != drafts[*id].metrics.len();
            drafts[*id].metrics = common;
        }
        if !has_changed {
            break;
        }
    }
}

fn common(drafts: &[Draft], id: StageId) -> Vec<MetricName> {
    let port = port(drafts[id].kind);
    let sources = drafts[id].inputs.iter().filter(|input| Some(input.port.as_str()) == port);
    let mut records = sources.flat_map(|input| &input.sources).map(|source| match source {
        Source::Stage { stage, .. } => drafts[*stage].metrics.as_slice(),
        Source::File { .. } | Source::Path(_) => &[],
    });
    let mut common = records.next().map_or_else(Vec::new, <[MetricName]>::to_vec);
    for record in records {
        common.retain(|metric| {
            record.iter().any(|other| other.name == metric.name && other.direction == metric.direction)
        });
    }
    common
}
