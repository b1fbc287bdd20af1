//! One stage, from what is known: what it still asks for, or how it ends. Knows nothing of other stages' progress.

use super::desk::{self, Blocked, Desk, Query, Step};
use super::state::{Artifact, Entry, StageEnd};
use super::verdict::{self, Gated, Way};
use super::{measure, study};
use crate::action::Record;
use crate::event::{Event, Metrics, Outcome};
use crate::plan::ArtifactName;
use stages::stage::{Measure, Work};
use std::sync::Arc;

/// No end means that the desk holds what is missing.
pub fn advance(desk: &mut Desk) -> (Vec<Event>, Option<StageEnd>) {
    let mut record = None;
    let mut events = Vec::new();
    let ended = match desk.stage().kind.work {
        Work::Run(_) => run(desk, &mut record, &mut events),
        Work::Measure(measure) => measured(desk, measure, &mut events),
    };
    match ended {
        Ok(end) => (events, Some(end)),
        Err(Blocked::Waiting) => (Vec::new(), None),
        Err(Blocked::Ends(outcome)) => {
            if matches!(outcome, Outcome::Failed { .. } | Outcome::Skipped { .. }) {
                desk.queries.clear();
                events.extend(study::as_far_as_known(desk));
                // Tables that are there are waited for; nothing more is executed.
                desk.queries.retain(|query| matches!(query, Query::Table(_)));
                if !desk.queries.is_empty() {
                    return (Vec::new(), None);
                }
            }
            (events, Some(StageEnd { outcome, artifact: None, record, put_before: Vec::new() }))
        }
    }
}

/// A stage with an action of its own: its candidates come from its record.
fn run(desk: &mut Desk, known: &mut Option<Arc<Record>>, events: &mut Vec<Event>) -> Step<StageEnd> {
    let stage = desk.stage();
    // Work that could not be judged is not begun.
    let can_judge = stage.gate.as_ref().map_or(Ok(()), |gate| verdict::can_judge(desk, gate));
    let (action, ()) = desk::both(desk.own_action(), can_judge)?;
    let record = desk.obtain(None, action, desk.id)?.record;
    *known = Some(record.clone());
    let candidates: Vec<Artifact> = record
        .candidates
        .iter()
        .map(|candidate| Artifact::of(candidate, ArtifactName::step(&stage.name, candidate.step)))
        .collect();
    let gated = gate(desk, &candidates)?;
    let end = end(desk, &candidates, gated, Some(record), events);
    events.extend(study::of_own_words(desk, &end));
    Ok(end)
}

/// An eval: it measures its policy, and shows every model that was put before it.
fn measured(desk: &mut Desk, measure: &Measure, events: &mut Vec<Event>) -> Step<StageEnd> {
    let stage = desk.stage();
    let (judge, policy) = desk::both(measure::judge(desk, desk.id), desk.on_port(stage, measure.port))?;
    let Some(mut policy) = policy else {
        return desk::fails(format!("measure nothing: the port `{}` is not connected", measure.port));
    };
    let measurement = measure::measure(desk, &judge, &policy.content, &policy.label);
    let table = study::table(desk, &judge, &policy);
    let (mut measurement, table) = desk::both(measurement, table)?;
    let further = measure::further(desk, &judge, &measurement, &policy.label)?;
    measurement.seen.metrics.extend(further.metrics);
    // An eval has no own action; that any of its parts was executed is what it means to have run.
    desk.is_executed = desk.seconds > 0.0;
    policy.metrics = measurement.seen.metrics.clone();
    policy.table = None;
    policy.step = None;
    let candidates = [policy];
    let gated = gate(desk, &candidates)?;
    events.extend(table);
    let mut end = end(desk, &candidates, gated, None, events);
    // What its name carries is the measurement: the policy already has a name.
    if let (Outcome::Done { content, .. }, Some(artifact)) = (&mut end.outcome, &mut end.artifact) {
        *content = measurement.content.to_string();
        artifact.content = measurement.content;
    }
    end.put_before.clear();
    Ok(end)
}

fn gate(desk: &mut Desk, candidates: &[Artifact]) -> Step<Option<Gated>> {
    let stage = desk.stage();
    let Some(gate) = &stage.gate else { return Ok(None) };
    // Without a judge an eval judges by itself.
    let is_eval = matches!(stage.kind.work, Work::Measure(_));
    let judges = if is_eval { vec![desk.id] } else { gate.judges.clone() };
    verdict::gate(desk, gate, &judges, candidates).map(Some)
}

fn end(
    desk: &Desk,
    candidates: &[Artifact],
    gated: Option<Gated>,
    record: Option<Arc<Record>>,
    events: &mut Vec<Event>,
) -> StageEnd {
    let stage = desk.stage();
    let (executed, seconds) = (desk.is_executed, desk.seconds);
    let last = candidates.len() - 1;
    let chosen = gated.as_ref().and_then(|gated| gated.chosen).unwrap_or(last);
    let metrics = shown(&candidates[chosen], gated.as_ref(), chosen);
    let put_before = gated.as_ref().map(|gated| rows(desk, candidates, gated)).unwrap_or_default();
    let promoted = || Artifact { label: ArtifactName::open(&stage.name), ..candidates[chosen].clone() };
    let (way, verdict) = match gated {
        None => (Way::Candidate, None),
        Some(gated) => (gated.way, Some(gated.verdict)),
    };
    if let Some(verdict) = verdict {
        events.push(Event::Judged { stage: stage.name.clone(), verdict: Box::new(verdict) });
    }
    let (artifact, kept) = match way {
        Way::Candidate => (promoted(), false),
        Way::Incumbent(incumbent) => (incumbent, true),
        Way::Nothing => {
            let outcome = Outcome::Stopped { executed, seconds, metrics };
            return StageEnd { outcome, artifact: None, record, put_before };
        }
        Way::Held => {
            let outcome = Outcome::Held { executed, seconds, metrics };
            return StageEnd { outcome, artifact: None, record, put_before };
        }
        Way::Error(cause) => {
            return StageEnd { outcome: Outcome::Failed { cause }, artifact: None, record, put_before };
        }
    };
    let step = artifact.step.filter(|_| !kept);
    let outcome = Outcome::Done { content: artifact.content.to_string(), step, kept, executed, seconds, metrics };
    StageEnd { outcome, artifact: Some(artifact), record, put_before }
}

/// The stage's own metrics, and the judges' where no own metric has the name; of several judges the first.
fn shown(candidate: &Artifact, gated: Option<&Gated>, chosen: usize) -> Metrics {
    let judged = gated.iter().flat_map(|gated| gated.judged.iter().rev()).filter(|(_, at, _)| *at == chosen);
    let mut metrics: Metrics = judged.flat_map(|(_, _, measurement)| measurement.seen.metrics.clone()).collect();
    metrics.extend(candidate.metrics.clone());
    metrics
}

/// Models that this gate put before its judge, for the table of that eval.
fn rows(desk: &Desk, candidates: &[Artifact], gated: &Gated) -> Vec<Entry> {
    let name = &desk.stage().name;
    let others = gated.others.iter().map(|(eval, artifact, measurement)| Entry {
        eval: *eval,
        label: artifact.label.clone(),
        is_rejected: false,
        is_candidate: false,
        content: artifact.content.clone(),
        measurement: measurement.clone(),
    });
    let candidates_judged = gated.judged.iter().map(|(eval, at, measurement)| {
        let is_chosen = gated.chosen == Some(*at);
        let is_held = matches!(gated.way, Way::Held) && is_chosen;
        let carries = matches!(gated.way, Way::Candidate) && is_chosen;
        let is_rejected = !(carries || is_held);
        let label = match (carries, is_rejected && *at + 1 == candidates.len()) {
            (true, _) => ArtifactName::open(name),
            (false, true) => ArtifactName::last(name),
            (false, false) => candidates[*at].label.clone(),
        };
        let (content, measurement) = (candidates[*at].content.clone(), measurement.clone());
        Entry { eval: *eval, label, is_rejected, is_candidate: true, content, measurement }
    });
    others.chain(candidates_judged).collect()
}
