//! Warnings for a stage that would be the same action as another: it would be found in the store, not executed.
//! Compares kinds, parameters, seeds and sources.

use super::draft::Draft;
use super::graph::StageId;
use super::source::{Input, Source};
use crate::canonical::Canonical;
use crate::diagnostic::Diagnostic;
use crate::spec::{OnFail, Pin};
use stages::stage::Work;
use std::collections::HashMap;

/// The number of stages, alike except for their inputs, that are compared; further warnings would say nothing new.
const MAX_ALIKE: usize = 100;

pub fn warn(drafts: &[Draft], pipeline_seed: u64, mistakes: &mut Vec<Diagnostic>) {
    let mut firsts: HashMap<Signature, StageId> = HashMap::with_capacity(drafts.len());
    let first_alike = |id| Some(*firsts.entry(action(drafts, id, pipeline_seed, |source| source)?).or_insert(id));
    let as_written: Vec<Option<StageId>> = (0..drafts.len()).map(first_alike).collect();
    let if_kept = if_kept(drafts, pipeline_seed);
    for later in 0..drafts.len() {
        let as_written = as_written[later].filter(|earlier| *earlier < later);
        let (earlier, gate) = match (as_written, if_kept.get(&later)) {
            (Some(earlier), Some((kept, gate))) if *kept < earlier => (*kept, Some(*gate)),
            (Some(earlier), _) => (earlier, None),
            (None, Some((kept, gate))) => (*kept, Some(*gate)),
            (None, None) => continue,
        };
        let (name, other) = (&drafts[later].spec.name, &drafts[earlier].spec.name.value);
        let message = match gate {
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

/// For each stage that would repeat another if a gate kept its incumbent: the first such stage, and that gate's stage.
fn if_kept(drafts: &[Draft], pipeline_seed: u64) -> HashMap<StageId, (StageId, StageId)> {
    let incumbents = Incumbents::of(drafts);
    let may_repeat = |id: &StageId| {
        drafts[*id].inputs.iter().flat_map(|input| &input.sources).any(|source| incumbents.is_kept(source))
    };
    let later: Vec<StageId> = (0..drafts.len()).filter(may_repeat).collect();
    if later.is_empty() {
        return HashMap::new();
    }
    let action = |id| action(drafts, id, pipeline_seed, |source| incumbents.origin(source));
    let mut alike: HashMap<Signature, Vec<StageId>> = HashMap::new();
    for id in 0..drafts.len() {
        if let Some(stages) = action(id).map(|action| alike.entry(action).or_default())
            && stages.len() < MAX_ALIKE
        {
            stages.push(id);
        }
    }
    let repeated = |later| {
        let mut stages = alike.get(&action(later)?)?.iter();
        let found = stages.find_map(|earlier| Some((*earlier, incumbents.gate(drafts, *earlier, later)?)))?;
        Some((later, found))
    };
    later.into_iter().filter_map(repeated).collect()
}

/// The identity of a stage's action, with sources in place of contents.
#[derive(PartialEq, Eq, Hash)]
struct Signature<'a> {
    kind: &'static str,
    parameters: &'a Canonical,
    /// Only for a kind that draws random numbers.
    seed: Option<u64>,
    /// `(port, is a list, sources)`, sorted by port.
    inputs: Vec<(&'a str, bool, Vec<&'a Source>)>,
    /// The options with which the rows of each port are read, sorted by port.
    readings: Vec<String>,
}

/// `None` for a stage without an action of its own, or with a mistake in its parameters.
fn action<'a>(
    drafts: &'a [Draft],
    id: StageId,
    pipeline_seed: u64,
    meant: impl Fn(&'a Source) -> &'a Source,
) -> Option<Signature<'a>> {
    let draft = &drafts[id];
    let (kind, parameters) = (draft.kind.filter(|kind| matches!(kind.work, Work::Run(_)))?, draft.parameters.as_ref()?);
    let input = |input: &'a Input| (input.port.as_str(), input.is_list, input.sources.iter().map(&meant).collect());
    let mut inputs: Vec<_> = draft.inputs.iter().map(input).collect();
    inputs.sort_unstable_by_key(|(port, _, _)| *port);
    let readings = inputs.iter().filter_map(|(port, ..)| draft.inputs.iter().find(|input| input.port == *port));
    let readings = readings.map(|input| format!("{:?}", input.readings)).collect();
    let seed = || draft.spec.seed.as_ref().map_or(pipeline_seed, |seed| seed.value);
    Some(Signature { kind: kind.name, parameters, seed: kind.draws.then(seed), inputs, readings })
}

/// The artifacts that may replace each other because gates keep incumbents: a forest of the stages with such a gate,
/// each below the stage whose artifact it may keep.
struct Incumbents<'a> {
    /// For each stage with such a gate, the source at the root of its tree.
    origins: Vec<Option<&'a Source>>,
    /// Entry and exit numbers of a depth-first walk: a stage's descendants have numbers between its two.
    numbers: Vec<(usize, usize)>,
}

impl<'a> Incumbents<'a> {
    fn of(drafts: &'a [Draft]) -> Incumbents<'a> {
        let kept: Vec<Option<&Source>> = drafts.iter().map(kept).collect();
        let mut below = vec![Vec::new(); drafts.len()];
        let mut open = Vec::new();
        let mut origins = vec![None; drafts.len()];
        for (stage, source) in kept.iter().enumerate() {
            match source {
                Some(Source::Stage { stage: above, pin: Pin::Open }) if kept[*above].is_some() => {
                    below[*above].push(stage)
                }
                Some(source) => {
                    origins[stage] = Some(*source);
                    open.push((stage, true));
                }
                None => {}
            }
        }
        let mut numbers = vec![(0, 0); drafts.len()];
        let mut number = 0;
        while let Some((stage, is_first)) = open.pop() {
            number += 1;
            if is_first {
                numbers[stage].0 = number;
                open.push((stage, false));
                for next in std::mem::take(&mut below[stage]) {
                    origins[next] = origins[stage];
                    open.push((next, true));
                }
            } else {
                numbers[stage].1 = number;
            }
        }
        Incumbents { origins, numbers }
    }

    fn is_kept(&self, source: &Source) -> bool {
        matches!(source, Source::Stage { stage, pin: Pin::Open } if self.origins[*stage].is_some())
    }

    /// The origin of a source: sources that may become equal have the same origin.
    fn origin(&self, source: &'a Source) -> &'a Source {
        match source {
            Source::Stage { stage, pin: Pin::Open } => self.origins[*stage].unwrap_or(source),
            _ => source,
        }
    }

    /// The stage whose gate must keep its incumbent for `later` to get the inputs of `earlier`, which have the same
    /// origins; `None` also if the inputs are equal anyway.
    fn gate(&self, drafts: &[Draft], earlier: StageId, later: StageId) -> Option<StageId> {
        let mut gate = None;
        for input in &drafts[later].inputs {
            let other = drafts[earlier].inputs.iter().find(|other| other.port == input.port)?;
            for (source, wanted) in input.sources.iter().zip(&other.sources) {
                if source != wanted {
                    gate = gate.or(Some(self.first_gate(source, wanted)?));
                }
            }
        }
        gate
    }

    /// The first gate on the path from `source` back to `wanted`, if every stage between them may keep its incumbent.
    fn first_gate(&self, source: &Source, wanted: &Source) -> Option<StageId> {
        let Source::Stage { stage, pin: Pin::Open } = source else { return None };
        let origin = self.origins[*stage]?;
        let (first, last) = self.numbers[*stage];
        let is_above = |above: StageId| self.numbers[above].0 < first && last < self.numbers[above].1;
        let is_on_way = match wanted {
            Source::Stage { stage: above, pin: Pin::Open } if self.origins[*above].is_some() => is_above(*above),
            _ => wanted == origin,
        };
        is_on_way.then_some(*stage)
    }
}

/// The source that carries the stage's name if its gate keeps the incumbent.
fn kept<'a>(draft: &'a Draft) -> Option<&'a Source> {
    let keeps = draft.spec.gate.as_ref().is_some_and(|gate| gate.on_fail == OnFail::Keep);
    let port = draft.incumbent.as_ref().filter(|_| keeps)?;
    draft.inputs.iter().find(|input| input.port == *port)?.sources.first()
}
