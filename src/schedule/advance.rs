//! Advances one stage from what is known: it asks for more, or it ends. Other stages count only once they have ended.

use super::gather::{self, GateResult, Passage};
use super::lookup::{self, LabelsThere, Lookup, Obstacle, Query, Step};
use super::measure::Judge;
use super::state::{Artifact, ChosenBest, KeyedAction, StageEnd, StudyEntry};
use super::{draw, measure, tabulate};
use crate::action::{Action, ActionInput, Record};
use crate::cause::EvalPart;
use crate::event::{Event, Metrics, Outcome, WaitReason};
use crate::failure::Failure;
use crate::plan::{ArtifactName, StageId};
use stages::stage::{AskingActions, Measure, Work};
use std::sync::Arc;

/// If there is no end, the queries of the lookup are what is missing.
pub fn advance(lookup: &mut Lookup) -> (Vec<Event>, Option<StageEnd>) {
    let mut record = None;
    let mut events = Vec::new();
    let ended = match lookup.stage().kind.work {
        Work::Run(_) => run(lookup, &mut record, &mut events),
        Work::Measure(measure) => measured(lookup, measure, &mut events),
        Work::Ask(actions) => asked(lookup, actions, &mut record, &mut events),
        Work::Draw(actions) => {
            draw::joining(lookup, actions).and_then(|action| judged(lookup, action, &mut record, &mut events))
        }
        Work::Choose { port } => chosen(lookup, port, &mut events),
    };
    match ended {
        Ok(end) => (events, Some(end)),
        Err(Obstacle::Waiting) => (Vec::new(), None),
        Err(Obstacle::Ends(outcome)) => {
            if matches!(outcome, Outcome::Failed { .. } | Outcome::Skipped { .. }) {
                lookup.queries.clear();
                events.extend(tabulate::as_far_as_known(lookup));
                // Existing tables are waited for; nothing more is executed.
                lookup.queries.retain(|query| matches!(query, Query::Table(_)));
                if !lookup.queries.is_empty() {
                    return (Vec::new(), None);
                }
            }
            (events, Some(StageEnd { outcome, artifact: None, record, put_before: Vec::new(), look: None }))
        }
    }
}

/// A stage with an action of its own: its candidates come from its record.
fn run(lookup: &mut Lookup, known: &mut Option<Arc<Record>>, events: &mut Vec<Event>) -> Step<StageEnd> {
    let stage = lookup.stage();
    // Work that cannot be judged is not begun.
    let can_judge = stage.gate.as_ref().map_or(Ok(()), |gate| gather::can_judge(lookup, gate));
    let (action, ()) = lookup::both(lookup.own_action(), can_judge)?;
    judged(lookup, action, known, events)
}

/// A stage that asks people: its worklist is made, and once there are labels enough, what they make of it.
fn asked(
    lookup: &mut Lookup,
    actions: &AskingActions,
    known: &mut Option<Arc<Record>>,
    events: &mut Vec<Event>,
) -> Step<StageEnd> {
    let stage = lookup.stage();
    let can_judge = stage.gate.as_ref().map_or(Ok(()), |gate| gather::can_judge(lookup, gate));
    let scores = if stage.inputs.iter().any(|input| input.port == actions.scored_by) {
        let action = lookup.action_of(Some(actions.scores))?;
        let part = EvalPart::of_kind(actions.scores.name);
        // How the answers are scored does not depend on how people are asked.
        let action = Action { parameters: (actions.scores.defaults)().into(), seed: None, ..action };
        Some(lookup.obtain(Some(part), lookup::keyed(action)?, lookup.id)?.record.last().content.clone())
    } else {
        None
    };
    let (mut action, ()) = lookup::both(lookup.action_of(Some(actions.worklist)), can_judge)?;
    action.inputs.extend(scores.map(|scores| ("scores".to_owned(), ActionInput::One(scores))));
    let part = EvalPart::of_kind(actions.worklist.name);
    let worklist = lookup.obtain(Some(part), lookup::keyed(action)?, lookup.id)?.record.last().content.clone();
    let LabelsThere { set, done, needed, later } = lookup.labels(&worklist)?;
    if done < needed {
        return Err(Obstacle::Ends(Outcome::Waits { done, needed, on: WaitReason::Labels }));
    }
    if later > 0 {
        let message = format!("{later} later labels change nothing until they are adopted: `pipeline label --adopt`");
        events.push(Event::Noted { stage: stage.name.clone(), part: None, message });
    }
    let inputs = [("worklist", worklist), ("labels", set)];
    let action = lookup::keyed(Action {
        kind: actions.labels.name.to_owned(),
        version: actions.labels.version,
        parameters: (actions.labels.defaults)().into(),
        seed: stage.seed,
        inputs: inputs.map(|(port, content)| (port.to_owned(), ActionInput::One(content))).into(),
        salt: lookup.plan.salt.clone(),
    })?;
    judged(lookup, action, known, events)
}

/// The candidates of an action, before the gate of its stage.
fn judged(
    lookup: &mut Lookup,
    action: KeyedAction,
    known: &mut Option<Arc<Record>>,
    events: &mut Vec<Event>,
) -> Step<StageEnd> {
    let stage = lookup.stage();
    let record = lookup.obtain(None, action, lookup.id)?.record;
    *known = Some(record.clone());
    let candidates: Vec<Artifact> = record
        .candidates
        .iter()
        .map(|candidate| Artifact::of(candidate, ArtifactName::step(&stage.name, candidate.step)))
        .collect();
    let gated = gate(lookup, &candidates)?;
    let end = end(lookup, &candidates, gated, Some(record), events);
    events.extend(tabulate::reported_row(lookup, &end));
    Ok(end)
}

/// An eval: measures its policy and shows every model that was put before it.
fn measured(lookup: &mut Lookup, measure: &Measure, events: &mut Vec<Event>) -> Step<StageEnd> {
    let (stage, id) = (lookup.stage(), lookup.id);
    let (judge, policy) = lookup::both(measure::judge(lookup, id), lookup.on_port(stage, measure.port))?;
    let Some(mut policy) = policy else {
        return lookup::fails(format!("measure nothing: the port `{}` is not connected", measure.port));
    };
    let measurement = measure::measure(lookup, &judge, &policy.content, &policy.label, None);
    let table = tabulate::table(lookup, &judge, &policy);
    let (mut measurement, table) = lookup::both(measurement, table)?;
    let further = measure::further(lookup, &judge, &measurement, &policy.label)?;
    measurement.seen.metrics.extend(further.metrics);
    // An eval has no action of its own: it counts as executed if any of its parts was.
    lookup.is_executed = lookup.seconds > 0.0;
    policy.chosen = seen_luck(lookup, &judge, policy.chosen)?;
    policy.metrics = measurement.seen.metrics.clone();
    policy.table = None;
    policy.step = None;
    let candidates = [policy];
    let gated = gate(lookup, &candidates)?;
    events.extend(table);
    let mut end = end(lookup, &candidates, gated, None, events);
    // Its name carries the measurement, because the policy already has a name.
    if let (Outcome::Done { content, .. }, Some(artifact)) = (&mut end.outcome, &mut end.artifact) {
        *content = measurement.content.to_string();
        artifact.content = measurement.content;
    }
    end.put_before.clear();
    Ok(end)
}

/// The choice that a model came out of, if measuring by this judge sees its luck: on the prompts that it was made on.
fn seen_luck(lookup: &mut Lookup, judge: &Judge, chosen: Option<ChosenBest>) -> Step<Option<ChosenBest>> {
    let made_by = chosen.iter().flat_map(|chosen| &chosen.judges);
    let made_by = made_by.map(|by| Ok(measure::judge(lookup, *by)?.has_rows_of(judge))).collect::<Vec<_>>();
    let is_seen = lookup::all(made_by)?.contains(&true);
    Ok(chosen.filter(|_| is_seen))
}

/// A stage that chooses: its candidates are what other stages gave. Those that failed are not among them, and count.
fn chosen(lookup: &mut Lookup, port: &str, events: &mut Vec<Event>) -> Step<StageEnd> {
    let stage = lookup.stage();
    let can_judge = stage.gate.as_ref().map_or(Ok(()), |gate| gather::can_judge(lookup, gate));
    let sources = stage.inputs.iter().filter(|input| input.port == port).flat_map(|input| &input.sources);
    let found = sources.map(|source| lookup.if_not_failed(source)).collect::<Vec<_>>();
    let (found, ()) = lookup::both(lookup::all(found), can_judge)?;
    let (mut candidates, mut failed) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Ok(artifact) => candidates.push(Artifact { step: None, ..artifact }),
            Err(reason) => failed.push(reason),
        }
    }
    if candidates.is_empty() {
        return lookup::fails(Failure::NothingToChoose(failed));
    }
    lookup.failed_candidates = failed;
    let gated = gate(lookup, &candidates)?;
    lookup.is_executed = lookup.seconds > 0.0;
    let mut end = end(lookup, &candidates, gated, None, events);
    // They are models of the stages that made them, and no other stage's candidates.
    for row in &mut end.put_before {
        let made = candidates.iter().find(|candidate| candidate.content == row.content);
        row.label = made.map_or(&row.label, |made| &made.label).clone();
        (row.is_candidate, row.is_rejected) = (false, false);
    }
    Ok(end)
}

fn gate(lookup: &mut Lookup, candidates: &[Artifact]) -> Step<Option<GateResult>> {
    let stage = lookup.stage();
    let Some(gate) = &stage.gate else { return Ok(None) };
    // An eval without a judge is its own judge.
    let is_eval = matches!(stage.kind.work, Work::Measure(_));
    let judges = if is_eval { vec![lookup.id] } else { gate.judges.clone() };
    gather::gate(lookup, gate, &judges, candidates).map(Some)
}

fn end(
    lookup: &Lookup,
    candidates: &[Artifact],
    gated: Option<GateResult>,
    record: Option<Arc<Record>>,
    events: &mut Vec<Event>,
) -> StageEnd {
    let stage = lookup.stage();
    let (executed, seconds) = (lookup.is_executed, lookup.seconds);
    let last = candidates.len() - 1;
    let chosen = gated.as_ref().and_then(|gated| gated.chosen).unwrap_or(last);
    let metrics = shown(&candidates[chosen], gated.as_ref(), chosen);
    let look = lookup.look.as_ref().map(|look| look.claim.clone());
    let put_before = gated.as_ref().map(|gated| rows(lookup, candidates, gated)).unwrap_or_default();
    let best = gated.as_ref().and_then(|gated| best_of(lookup, candidates, gated.verdict.evidence.among()));
    let promoted = || Artifact {
        label: ArtifactName::open(&stage.name),
        chosen: best.or_else(|| candidates[chosen].chosen.clone()),
        ..candidates[chosen].clone()
    };
    let (way, verdict) = match gated {
        None => (Passage::Candidate, None),
        Some(gated) => (gated.way, Some(gated.verdict)),
    };
    if let Some(verdict) = verdict {
        events.push(Event::Judged { stage: stage.name.clone(), verdict: Box::new(verdict) });
    }
    let (artifact, kept) = match way {
        Passage::Candidate => (promoted(), false),
        Passage::Incumbent(incumbent) => (incumbent, true),
        Passage::Nothing => {
            let outcome = Outcome::Stopped { executed, seconds, metrics };
            return StageEnd { outcome, artifact: None, record, put_before, look };
        }
        Passage::Held => {
            let outcome = Outcome::Held { executed, seconds, metrics };
            return StageEnd { outcome, artifact: None, record, put_before, look };
        }
        Passage::Error(cause) => {
            return StageEnd { outcome: Outcome::Failed { cause: *cause }, artifact: None, record, put_before, look };
        }
    };
    let step = artifact.step.filter(|_| !kept);
    let outcome = Outcome::Done { content: artifact.content.to_string(), step, kept, executed, seconds, metrics };
    StageEnd { outcome, artifact: Some(artifact), record, put_before, look }
}

/// The choice by judges that the promoted candidate came out of, with those that the candidates came out of.
fn best_of(lookup: &Lookup, candidates: &[Artifact], among: usize) -> Option<ChosenBest> {
    let gate = lookup.stage().gate.as_ref()?;
    let chosen_by = gate.select.as_ref()?.judges();
    // An eval that judges itself has none in its list.
    let mut judges: Vec<StageId> = chosen_by.iter().filter_map(|judge| gate.judges.get(*judge).copied()).collect();
    let before = candidates.iter().filter_map(|candidate| candidate.chosen.as_ref());
    judges.extend(before.flat_map(|chosen| &chosen.judges));
    (among > 1 && !chosen_by.is_empty()).then_some(ChosenBest { among, judges })
}

/// The stage's own metrics, and the judges' metrics under other names; the first judge wins.
fn shown(candidate: &Artifact, gated: Option<&GateResult>, chosen: usize) -> Metrics {
    let judged = gated.iter().flat_map(|gated| gated.judged.iter().rev()).filter(|(_, at, _)| *at == chosen);
    let mut metrics: Metrics = judged.flat_map(|(_, _, measurement)| measurement.seen.metrics.clone()).collect();
    metrics.extend(candidate.metrics.clone());
    metrics
}

/// The models that this gate put before its judge, for the table of that eval.
fn rows(lookup: &Lookup, candidates: &[Artifact], gated: &GateResult) -> Vec<StudyEntry> {
    let name = &lookup.stage().name;
    let others = gated.others.iter().map(|(eval, artifact, measurement)| StudyEntry {
        eval: *eval,
        label: artifact.label.clone(),
        is_rejected: false,
        is_candidate: false,
        content: artifact.content.clone(),
        measurement: measurement.clone(),
    });
    let candidates_judged = gated.judged.iter().map(|(eval, at, measurement)| {
        let is_chosen = gated.chosen == Some(*at);
        let is_held = matches!(gated.way, Passage::Held) && is_chosen;
        let carries = matches!(gated.way, Passage::Candidate) && is_chosen;
        let is_rejected = !(carries || is_held);
        let label = match (carries, is_rejected && *at + 1 == candidates.len()) {
            (true, _) => ArtifactName::open(name),
            (false, true) => ArtifactName::last(name),
            (false, false) => candidates[*at].label.clone(),
        };
        let (content, measurement) = (candidates[*at].content.clone(), measurement.clone());
        StudyEntry { eval: *eval, label, is_rejected, is_candidate: true, content, measurement }
    });
    others.chain(candidates_judged).collect()
}
