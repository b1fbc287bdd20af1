//! Gathers the evidence for the gate of one stage, and lets `decide` say what goes on. How a stage ends is in
//! `advance`.

use super::classes;
use super::decide::{self, Successor, Tables};
use super::lookup::{self, Lookup, Step, all, fails};
use super::measure::{self, Judge};
use super::state::{Artifact, AskedLook, Measurement, TakenLook};
use crate::event::{ArtifactEvidence, Evidence, HumanDecision, RuleVerdict, Table, Verdict};
use crate::failure::Failure;
use crate::gate::{self, Choice, Decision, Who};
use crate::ledger::Permission;
use crate::plan::{ArtifactName, Gate, OnFail, Pin, Source, Stage, StageId};
use stages::stage::Work;
use std::collections::{BTreeMap, BTreeSet};

pub struct GateResult {
    pub verdict: Verdict,
    pub way: Passage,
    /// The index of the candidate that the rules judged.
    pub chosen: Option<usize>,
    /// Candidates as measured by a judge.
    pub judged: Vec<(StageId, usize, Measurement)>,
    /// The incumbent and stages named in rules, as measured by a judge.
    pub others: Vec<(StageId, Artifact, Measurement)>,
}

/// The result of a gate: the artifact that goes on, if any.
#[expect(clippy::large_enum_variant, reason = "there is one for each gate that is judged")]
pub enum Passage {
    Candidate,
    Incumbent(Artifact),
    Nothing,
    /// Nothing until a person decides.
    Held,
    Error(Box<Failure>),
}

/// Whether everything the gate compares with is there, apart from what depends on the candidates.
pub fn can_judge(lookup: &mut Lookup, gate: &Gate) -> Step<()> {
    let judges = all(gate.judges.iter().map(|eval| measure::judge(lookup, *eval).map(drop)));
    lookup::both(judges, named(lookup, gate).map(drop)).map(drop)
}

/// The stages that the rules of a gate name.
#[derive(Default)]
struct NamedStages {
    artifacts: Vec<(String, Artifact)>,
    /// The stages of a `for` that failed, each with the reason.
    failed: BTreeMap<String, String>,
}

fn named(lookup: &mut Lookup, gate: &Gate) -> Step<NamedStages> {
    let mut found = Vec::new();
    for (name, id) in &gate.stages {
        let source = Source::Stage { stage: *id, pin: Pin::Open };
        let artifact = match gate.members.contains(name) {
            true => lookup.if_not_failed(&source),
            false => lookup.artifact(&source).map(Ok),
        };
        found.push(artifact.map(|artifact| (name.clone(), artifact)));
    }
    let mut named = NamedStages::default();
    for (name, artifact) in all(found)? {
        match artifact {
            Ok(artifact) => named.artifacts.push((name, artifact)),
            Err(reason) => drop(named.failed.insert(name, reason)),
        }
    }
    Ok(named)
}

/// `candidates` are in step order and not empty. `judges` are the gate's, or the stage itself if it is an eval.
pub fn gate(lookup: &mut Lookup, gate: &Gate, judges: &[StageId], candidates: &[Artifact]) -> Step<GateResult> {
    let stage = lookup.stage();
    let resolved = all(judges.iter().map(|eval| measure::judge(lookup, *eval)))?;
    let names: Vec<String> = judges.iter().map(|eval| lookup.plan.stages[*eval].name.clone()).collect();
    let incumbent = stage.incumbent.as_ref().map(|port| lookup.on_port(stage, port)).transpose()?.flatten();
    let NamedStages { artifacts: named, failed } = named(lookup, gate)?;

    // 1. What is known before any judging; this alone may be enough to choose a candidate.
    let mut evidence = Evidence {
        candidates: candidates.iter().map(seen).collect(),
        incumbent: incumbent.as_ref().map(seen),
        stages: named.iter().map(|(name, artifact)| (name.clone(), seen(artifact))).collect(),
        failed,
        failed_candidates: lookup.failed_candidates.clone(),
        ..Evidence::default()
    };
    let select_judges = gate.select.as_ref().map(gate::Select::judges).unwrap_or_default();
    let mut own_tables = Tables::new();
    if select_judges.is_empty() {
        read(lookup, decide::tables_to_choose(gate, &evidence), &mut own_tables)?;
    }

    // 2. Every judgement is asked for before any is waited for.
    let models: Vec<usize> = match select_judges.is_empty() {
        true => decide::choose(gate, &evidence, &own_tables).index.into_iter().collect(),
        // Other judges are asked about every survivor at once, since each may be chosen.
        false => decide::survivors(gate, &evidence, &own_tables),
    };
    let who: BTreeSet<(Who, usize)> = decide::rules(gate).flat_map(|(_, rule)| rule.judged()).collect();
    let mut asked: Vec<(usize, Who, usize)> = Vec::new();
    for judge in 0..resolved.len() {
        asked.extend(models.iter().map(|at| (judge, Who::Candidate, *at)));
        let incumbent = incumbent.iter().map(|_| (judge, Who::Incumbent, 0));
        let stages = named.iter().enumerate().map(|(at, (name, _))| (judge, Who::Stage(name.clone()), at));
        asked.extend(incumbent.chain(stages).filter(|(judge, other, _)| who.contains(&(other.clone(), *judge))));
    }
    let artifact = |who: &Who, at: usize| match who {
        Who::Candidate => Some(&candidates[at]),
        Who::Incumbent => incumbent.as_ref(),
        Who::Stage(_) => Some(&named[at].1),
    };
    let measured = asked.iter().map(|(judge, who, at)| match artifact(who, *at) {
        Some(artifact) => measure_artifact(lookup, &resolved[*judge], artifact),
        None => fails("judge what is not there".to_owned()),
    });
    let measured = all(measured.collect::<Vec<_>>())?;
    let measured = alike(lookup, &resolved, &asked, measured)?;
    let (mut judged, mut others) = (Vec::new(), Vec::new());
    for ((judge, who, at), measurement) in asked.into_iter().zip(measured) {
        let by = measurement.seen.clone();
        let seen = match &who {
            Who::Candidate => Some(&mut evidence.candidates[at]),
            Who::Incumbent => evidence.incumbent.as_mut(),
            Who::Stage(name) => evidence.stages.get_mut(name),
        };
        seen.into_iter().for_each(|seen| drop(seen.judged.insert(names[judge].clone(), by.clone())));
        match (&who, artifact(&who, at)) {
            (Who::Candidate, _) => judged.push((judges[judge], at, measurement)),
            (_, Some(artifact)) => others.push((judges[judge], artifact.clone(), measurement)),
            (_, None) => {}
        }
    }

    // 3. The choice, and the rules' verdicts on it: remembered, or computed from the items.
    let mut tables = own_tables;
    read(lookup, decide::tables_to_choose(gate, &evidence), &mut tables)?;
    let chosen = decide::choose(gate, &evidence, &tables);
    evidence.chosen = chosen.index;
    let rules = match chosen.index {
        None => Vec::new(),
        Some(at) => said(lookup, gate, &evidence, at, tables)?,
    };
    evidence.question = match decide::question(gate, &evidence) {
        Ok(question) => question.to_string(),
        Err(error) => return fails(error),
    };
    let decision = decide::decision(&chosen, &rules);
    let look = lookup.look.as_mut().and_then(|look| {
        // Where nothing was left to spend, nothing was entered.
        let is_entered = look.permission.as_ref().is_some_and(|permission| !permission.is_spent());
        look.judged = is_entered.then(|| decide::judged(gate, &look.claim, decision, &rules));
        look.permission.clone()
    });
    let on = decide::otherwise(gate, decision);
    let is_left_to_a_person = on == OnFail::Hold && matches!(decision, Decision::Fail | Decision::Unsure);
    let decided = lookup.decisions.get(&evidence.question).filter(|_| is_left_to_a_person).cloned();
    let (way, carries) = way(decision, on, decided.as_ref(), incumbent, &chosen, &rules, candidates);
    let failed: String = evidence.failed_candidates.iter().map(|reason| format!("; {reason}")).collect();
    let select = gate.select.as_ref().map(|_| format!("{}{failed}", chosen.explanation));
    let chosen_by = gate.select.iter().flat_map(gate::Select::metrics).map(str::to_owned).collect();
    let verdict = Verdict { decision, rules, select, chosen_by, carries, decided, look, evidence };
    Ok(GateResult { verdict, way, chosen: chosen.index, judged, others })
}

fn way(
    decision: Decision,
    on: OnFail,
    decided: Option<&HumanDecision>,
    incumbent: Option<Artifact>,
    chosen: &Choice,
    rules: &[RuleVerdict],
    candidates: &[Artifact],
) -> (Passage, String) {
    let is_approved = decided.map(|decided| decided.is_approved);
    let successor = decide::successor(decision, on, is_approved, chosen.index.is_some(), incumbent.is_some());
    match (decision, successor, incumbent) {
        (Decision::Error, ..) => (Passage::Error(Box::new(error(chosen, rules))), "nothing".to_owned()),
        (_, Successor::Candidate, _) => {
            (Passage::Candidate, chosen.index.map_or_else(String::new, |at| carried(&candidates[at])))
        }
        (_, Successor::Incumbent, Some(incumbent)) => {
            let carries = format!("the incumbent ({})", incumbent.label);
            (Passage::Incumbent(incumbent), carries)
        }
        (_, Successor::Held, _) => (Passage::Held, "nothing yet".to_owned()),
        (_, Successor::Nobody | Successor::Incumbent, _) => (Passage::Nothing, "nothing".to_owned()),
    }
}

/// The verdict of every rule, from memory or from the tables.
fn said(
    lookup: &mut Lookup,
    gate: &Gate,
    evidence: &Evidence,
    chosen: usize,
    mut tables: Tables,
) -> Step<Vec<RuleVerdict>> {
    let look = look(lookup, gate, evidence, chosen, &mut tables)?;
    if decide::rules(gate).next().is_none() {
        return Ok(Vec::new());
    }
    let terms = look.map(|look| decide::terms(gate, &look));
    let key = match decide::memory_key(gate, evidence, terms.as_ref()) {
        Ok(key) => key,
        Err(error) => return fails(error),
    };
    if let Some(rules) = lookup.recall(key)? {
        return Ok(rules);
    }
    read(lookup, decide::tables_to_weigh(gate, evidence, chosen), &mut tables)?;
    let rules = decide::rule_verdicts(gate, evidence, chosen, &tables, terms.as_ref());
    lookup.learned = Some((key, rules.clone()));
    Ok(rules)
}

/// The look that this gate takes at its items, if a rule of it is confident: one that stands in the ledger, or a new one.
fn look(
    lookup: &mut Lookup,
    gate: &Gate,
    evidence: &Evidence,
    chosen: usize,
    tables: &mut Tables,
) -> Step<Option<Permission>> {
    let key = match decide::look_key(gate, evidence, chosen) {
        Ok(Some(key)) => key,
        Ok(None) => return Ok(None),
        Err(error) => return fails(error),
    };
    let candidate = &evidence.candidates[chosen];
    let confident = decide::rules(gate).map(|(_, rule)| rule).filter(|rule| rule.looks_at_items());
    let mut asked = AskedLook {
        key: key.clone(),
        is_growing: decide::is_growing(gate),
        after: before(lookup),
        items: None,
        count: 0,
        stage: lookup.stage().name.clone(),
        candidate: candidate.label.to_string(),
        content: candidate.content.to_string(),
        rules: confident.map(|rule| rule.text.clone()).collect(),
    };
    let mut permission = lookup.permission(asked.clone())?;
    if permission.is_none() {
        // Only what is new needs its items: a run that finds everything reads no table.
        read(lookup, decide::tables_looked_at(gate, evidence, chosen), tables)?;
        (asked.items, asked.count) = {
            let (items, count) = decide::items(gate, evidence, chosen, tables);
            (Some(items), count)
        };
        permission = lookup.permission(asked)?;
    }
    lookup.look = Some(TakenLook { claim: key.claim, permission: permission.clone(), judged: None });
    Ok(permission)
}

/// The claim of the look before this one in its chain: that of the stage whose artifact it takes, if it is the first in
/// the file of those that take it and look at items. A stake is handed on once, and no order of running may matter.
fn before(lookup: &Lookup) -> Option<String> {
    let taken = |stage: &Stage| {
        let port = match stage.kind.work {
            Work::Measure(measure) => Some(measure.port),
            Work::Run(_) | Work::Ask(_) | Work::Draw(_) | Work::Choose { .. } => stage.incumbent.as_deref(),
        }?;
        stage.inputs.iter().find(|input| input.port == port)?.sources.first()?.stage()
    };
    let before = taken(lookup.stage())?;
    let looks = |stage: &Stage| stage.gate.as_ref().is_some_and(|gate| decide::looks(gate));
    let first = lookup.plan.stages.iter().position(|stage| looks(stage) && taken(stage) == Some(before))?;
    if first != lookup.id {
        return None;
    }
    lookup.states[before].end()?.look.clone()
}

/// Reads all of these tables, or asks for them.
fn read(lookup: &mut Lookup, wanted: Vec<Table>, tables: &mut Tables) -> Step<()> {
    let read = wanted.into_iter().map(|table| lookup.table(&table).map(|items| (table, items)));
    tables.extend(all(read.collect::<Vec<_>>())?);
    Ok(())
}

/// The measurements by each judge, of one device class each.
fn alike(
    lookup: &mut Lookup,
    judges: &[Judge],
    asked: &[(usize, Who, usize)],
    measured: Vec<(ArtifactName, Measurement)>,
) -> Step<Vec<Measurement>> {
    // The questions go by judge.
    let (mut left, mut alike) = (measured.into_iter(), Vec::new());
    for (at, judge) in judges.iter().enumerate() {
        let count = asked.iter().filter(|(judge, ..)| *judge == at).count();
        let own: Vec<(ArtifactName, Measurement)> = left.by_ref().take(count).collect();
        let labels: Vec<ArtifactName> = own.iter().map(|(label, _)| label.clone()).collect();
        let all_of_judge = classes::alike(lookup, judge, own);
        alike.push(all_of_judge.and_then(|measured| {
            all(labels
                .iter()
                .zip(measured)
                .map(|(label, one)| with_further(lookup, judge, label, one))
                .collect::<Vec<_>>())
        }));
    }
    Ok(all(alike)?.into_iter().flatten().collect())
}

fn with_further(
    lookup: &mut Lookup,
    judge: &Judge,
    label: &ArtifactName,
    mut measurement: Measurement,
) -> Step<Measurement> {
    if judge.stage == lookup.id {
        // Only the first reward judges others; an eval that is its own judge has the scores of all.
        let further = measure::further(lookup, judge, &measurement, label)?;
        measurement.seen.metrics.extend(further.metrics);
        measurement.seen.tables.extend(further.tables);
    }
    Ok(measurement)
}

fn measure_artifact(lookup: &mut Lookup, judge: &Judge, artifact: &Artifact) -> Step<(ArtifactName, Measurement)> {
    let measurement = measure::measure(lookup, judge, &artifact.content, &artifact.label, None)?;
    Ok((artifact.label.clone(), measurement))
}

fn seen(artifact: &Artifact) -> ArtifactEvidence {
    ArtifactEvidence {
        label: artifact.label.clone(),
        step: artifact.step,
        content: artifact.content.clone(),
        metrics: artifact.metrics.clone(),
        table: artifact.table.clone(),
        judged: BTreeMap::new(),
        among: artifact.among(),
    }
}

fn error(chosen: &Choice, rules: &[RuleVerdict]) -> Failure {
    let erred = rules.iter().filter(|rule| rule.is_required() && rule.decision == Decision::Error);
    let select = (chosen.decision == Decision::Error).then(|| format!("select: {}", chosen.explanation));
    Failure::Gate(select.into_iter().chain(erred.map(|rule| rule.explanation.clone())).collect())
}

/// `step 150`, or the name of a model that has no step.
fn carried(artifact: &Artifact) -> String {
    artifact.step.map_or_else(|| artifact.label.to_string(), |step| format!("step {step}"))
}
