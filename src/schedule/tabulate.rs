//! The table of the study: every model that was put before an eval, against its baseline. Rules have no part in it.

use super::classes;
use super::lookup::{Lookup, Step, all, both, fails};
use super::measure::{self, Judge};
use super::state::{Artifact, StageEnd, State, StudyEntry};
use crate::event::{BaselineComparison, Event, Metrics, ModelAnswer, Outcome, StudyRow};
use crate::failure::Failure;
use crate::gate::{self, Counts, Items};
use crate::plan::ArtifactName;
use cache::Content;
use stages::kinds::study_columns;
use stages::stage::Work;
use std::collections::BTreeMap;

/// The number of prompts shown side by side.
const COMPARED: usize = 6;

/// The table of an eval that runs, and its policy's answers beside the baseline's.
pub fn table(lookup: &mut Lookup, judge: &Judge, policy: &Artifact) -> Step<Vec<Event>> {
    let baseline = judge.baseline().map(|artifact| compared(lookup, judge, artifact)).transpose();
    let (baseline, policy) = both(baseline, compared(lookup, judge, policy))?;
    let mut rows = rows(lookup, judge, baseline.as_ref(), Some(&policy));
    let measured_rows = rows.iter().map(|row| (row.label.clone(), row.measurement.clone())).collect();
    let alike = classes::alike(lookup, judge, measured_rows)?;
    rows.iter_mut().zip(alike).for_each(|(row, measurement)| row.measurement = measurement);
    let in_table = |entry: StudyEntry| {
        let row = rows.iter().find(|row| row.content == entry.content);
        let measurement = row.map_or(entry.measurement, |row| row.measurement.clone());
        StudyEntry { measurement, ..entry }
    };
    let (baseline, policy) = (baseline.map(in_table), in_table(policy));
    let further = rows.iter().map(|row| measure::further(lookup, judge, &row.measurement, &row.label));
    let further: Vec<Metrics> = all(further.collect::<Vec<_>>())?.into_iter().map(|further| further.metrics).collect();
    let eval = lookup.plan.stages[judge.stage].name.clone();
    let rewards = judge.labels(lookup);
    let mut events = Vec::new();
    if !rewards.is_empty() {
        events.push(Event::ScoredBy { eval, rewards });
    }
    let told = rows.iter().zip(further).map(|(row, more)| measured(lookup, judge, row, baseline.as_ref(), more));
    events.extend(all(told.collect::<Vec<_>>())?);
    if let Some(baseline) = &baseline {
        // The policy may be known under the name of the stage whose candidate it is.
        let label = rows.iter().rfind(|row| row.content == policy.content && !row.is_rejected).map(|row| &row.label);
        events.extend(side_by_side(lookup, judge, baseline, &policy, label.unwrap_or(&policy.label))?);
    }
    Ok(events)
}

/// The table of an eval that cannot run: what others put before it is still a result.
pub fn as_far_as_known(lookup: &mut Lookup) -> Vec<Event> {
    if !matches!(lookup.stage().kind.work, Work::Measure(_)) {
        return Vec::new();
    }
    let id = lookup.id;
    let Ok(judge) = measure::judge(lookup, id) else { return Vec::new() };
    let baseline = judge.baseline().and_then(|artifact| compared(lookup, &judge, artifact).ok());
    let rows = rows(lookup, &judge, baseline.as_ref(), None);
    let is_study = rows.iter().any(|row| row.is_candidate);
    if !is_study {
        return Vec::new();
    }
    let events: Vec<Step<Event>> =
        rows.iter().map(|row| measured(lookup, &judge, row, baseline.as_ref(), Metrics::new())).collect();
    events.into_iter().flatten().collect()
}

/// The row of a stage that measures itself (`exec`) and declares the headline of a study. The counts are its own claim,
/// and only it knows what they were counted against.
pub fn reported_row(lookup: &Lookup, end: &StageEnd) -> Option<Event> {
    let stage = Some(lookup.stage()).filter(|stage| stage.kind.is_command())?;
    study_columns(|name| stage.metrics.iter().any(|metric| metric.name == name))?;
    let candidate = end.record.as_ref()?.last();
    let count = |name: &str| {
        let value = candidate.metrics.get(name).copied().flatten()?;
        (value >= 0.0 && value.fract() == 0.0).then_some(value as u64)
    };
    let counts: Option<Vec<u64>> = Counts::NAMES.into_iter().map(count).collect();
    let counts = counts.and_then(|counts| counts.try_into().ok()).map(Counts::named);
    let versus = counts.map(|counts| BaselineComparison::of(ArtifactName::open("the baseline"), counts));
    let carries = matches!(end.outcome, Outcome::Done { kept: false, .. });
    // Of one that is held a person decides.
    let is_rejected = !carries && !matches!(end.outcome, Outcome::Held { .. });
    let model = if carries { ArtifactName::open(&stage.name) } else { ArtifactName::last(&stage.name) };
    let row = StudyRow { model, is_rejected, metrics: candidate.metrics.clone(), versus };
    Some(Event::Measured { eval: lookup.plan.name.clone(), row })
}

fn compared(lookup: &mut Lookup, judge: &Judge, artifact: &Artifact) -> Step<StudyEntry> {
    Ok(StudyEntry {
        eval: judge.stage,
        label: artifact.label.clone(),
        is_rejected: false,
        is_candidate: false,
        content: artifact.content.clone(),
        measurement: measure::measure(lookup, judge, &artifact.content, &artifact.label, None)?,
    })
}

/// The baseline, then what each stage put there, then the policy. A content is listed once, unless another stage made
/// it again.
fn rows(lookup: &Lookup, judge: &Judge, baseline: Option<&StudyEntry>, policy: Option<&StudyEntry>) -> Vec<StudyEntry> {
    let put_before = lookup
        .states
        .iter()
        .filter_map(State::end)
        .flat_map(|end| &end.put_before)
        .filter(|row| row.eval == judge.stage);
    // Keyed by content and then name: thousands of stages may share one eval.
    let mut labels: BTreeMap<&Content, Vec<&ArtifactName>> = BTreeMap::new();
    let mut rows = Vec::new();
    for row in baseline.into_iter().chain(put_before).chain(policy) {
        let known = labels.entry(&row.content).or_default();
        if known.is_empty() || (row.is_candidate && !known.contains(&&row.label)) {
            known.push(&row.label);
            rows.push(row.clone());
        }
    }
    rows
}

fn measured(
    lookup: &mut Lookup,
    judge: &Judge,
    row: &StudyEntry,
    baseline: Option<&StudyEntry>,
    further: Metrics,
) -> Step<Event> {
    let mut metrics = row.measurement.seen.metrics.clone();
    metrics.extend(further);
    let other = baseline.filter(|baseline| baseline.label != row.label);
    let other = other.and_then(|other| {
        let (mine, theirs) = (row.measurement.compared.as_ref()?, other.measurement.compared.as_ref()?);
        let items = both(lookup.items(mine), lookup.items(theirs));
        Some(items.map(|(mine, theirs)| (other, Counts::between(&mine, &theirs))))
    });
    let versus = match other.transpose()? {
        None => None,
        Some((other, Ok(counts))) => Some(BaselineComparison::of(other.label.clone(), counts)),
        Some((other, Err(reason))) => return fails(Failure::incomparable(&row.label, &other.label, reason)),
    };
    let row = StudyRow { model: row.label.clone(), is_rejected: row.is_rejected, metrics, versus };
    Ok(Event::Measured { eval: lookup.plan.stages[judge.stage].name.clone(), row })
}

/// Prompts whose answer changed, spread over the set.
fn side_by_side(
    lookup: &mut Lookup,
    judge: &Judge,
    baseline: &StudyEntry,
    policy: &StudyEntry,
    label: &ArtifactName,
) -> Step<Vec<Event>> {
    let (Some(before), Some(after)) = (&baseline.measurement.compared, &policy.measurement.compared) else {
        return Ok(Vec::new());
    };
    let (before, after) = both(lookup.items(before), lookup.items(after))?;
    let pairs = match gate::pair(&before, &after) {
        Ok(pairs) => pairs,
        Err(reason) => return fails(Failure::incomparable(label, &baseline.label, reason)),
    };
    let changed: Vec<(usize, usize)> =
        pairs.into_iter().filter(|(old, new)| before.rows[*old].text != after.rows[*new].text).collect();
    let shown = changed.len().min(COMPARED);
    let answer = |model: &ArtifactName, items: &Items, row: usize| ModelAnswer {
        model: model.clone(),
        text: items.rows[row].text.clone().unwrap_or_default(),
        score: items.number("score", row).ok(),
    };
    let eval = &lookup.plan.stages[judge.stage].name;
    let compared = (0..shown).map(|n| changed[n * changed.len() / shown]).map(|(old, new)| Event::Compared {
        eval: eval.clone(),
        prompt: after.rows[new].prompt.clone(),
        answers: vec![answer(&baseline.label, &before, old), answer(label, &after, new)],
    });
    Ok(compared.collect())
}
