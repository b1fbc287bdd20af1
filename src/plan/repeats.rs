//! Warns of a stage that would be the same action as another: it would be found in the store, not run again.
//! Sees kinds, parameters, seeds and sources; knows nothing of keys.

use super::{Draft, Input, OnFail, Pin, Source, StageId};
use crate::diagnostic::Diagnostic;
use stages::stage::Work;

pub fn warn(drafts: &[Draft], pipeline_seed: u64, mistakes: &mut Vec<Diagnostic>) {
    for later in 0..drafts.len() {
        let found = (0..drafts.len()).filter(|earlier| *earlier != later).find_map(|earlier| {
            let are_alike = are_alike(&drafts[earlier], &drafts[later], pipeline_seed);
            are_alike.then(|| repeat(drafts, earlier, later)).flatten()
        });
        let Some((earlier, if_kept)) = found else { continue };
        let (name, other) = (&drafts[later].spec.name, &drafts[earlier].spec.name.value);
        let message = match if_kept {
            None => format!("`{}` is the same action as `{other}`: it runs once", name.value),
            Some(gate) => {
                let gate = &drafts[gate].spec.name.value;
                format!("`{}` repeats `{other}` when the gate of `{gate}` keeps the incumbent", name.value)
            }
        };
        let draws = drafts[later].kind.is_some_and(|kind| kind.draws);
        let help =
            if draws { "give it its own `seed` (or data) if it is meant as a new attempt" } else { "drop one of them" };
        mistakes.push(Diagnostic::warning(name.span, message).help(help));
    }
}

fn are_alike(first: &Draft, second: &Draft, pipeline_seed: u64) -> bool {
    let (Some(kind), Some(other)) = (first.kind, second.kind) else { return false };
    let seed = |draft: &Draft| draft.spec.seed.as_ref().map_or(pipeline_seed, |seed| seed.value);
    kind.name == other.name
        && matches!(kind.work, Work::Run(_))
        && first.parameters == second.parameters
        && !first.parameters.is_null()
        && (!kind.draws || seed(first) == seed(second))
        && first.inputs.len() == second.inputs.len()
}

/// Whether `later` has the inputs of `earlier`: as written (each pair is reported at its second stage), or once a gate
/// keeps its incumbent; then also whose gate.
fn repeat(drafts: &[Draft], earlier: StageId, later: StageId) -> Option<(StageId, Option<StageId>)> {
    let mut if_kept = None;
    for input in &drafts[later].inputs {
        let other = drafts[earlier].inputs.iter().find(|other| other.port == input.port)?;
        if input.sources.len() != other.sources.len() || input.is_list != other.is_list {
            return None;
        }
        for (source, wanted) in input.sources.iter().zip(&other.sources) {
            if source != wanted {
                if_kept = Some(if_kept.unwrap_or(kept(drafts, source, wanted)?));
            }
        }
    }
    (if_kept.is_some() || earlier < later).then_some((earlier, if_kept))
}

/// The first gate on the way from `source` back to `wanted`, when every stage between them may keep its incumbent.
fn kept(drafts: &[Draft], source: &Source, wanted: &Source) -> Option<StageId> {
    let mut here = source;
    let mut first = None;
    // A cycle, reported elsewhere, must not keep us here.
    for _ in 0..drafts.len() {
        let Source::Stage { stage, pin: Pin::Open } = here else { return None };
        let draft = &drafts[*stage];
        let keeps = draft.spec.gate.as_ref().is_some_and(|gate| gate.on_fail == OnFail::Keep);
        let port = draft.incumbent.as_ref().filter(|_| keeps)?;
        let is_port = |input: &&Input| input.port == *port;
        here = draft.inputs.iter().find(is_port)?.sources.first()?;
        first = first.or(Some(*stage));
        if here == wanted {
            return first;
        }
    }
    None
}
