//! The gate of one stage: which candidate, measured how, and what the rules make of it. The rule language itself is
//! `gate.rs`; here its facts are gathered. Knows nothing of how a stage ends.

use super::Artifact;
use super::desk::{Desk, Step, all};
use super::measure::{self, Measurement, Yardstick};
use crate::event::{Decision, RuleVerdict, Verdict};
use crate::gate::{self, Chosen, Facts, Rule, Subject, Who};
use crate::plan::{Gate, OnFail, StageId};
use std::collections::{BTreeMap, BTreeSet};

pub struct Gated {
    pub verdict: Verdict,
    pub way: Way,
    /// The candidate that was put to the rules; an index.
    pub chosen: Option<usize>,
    /// Candidates under the judge.
    pub judged: BTreeMap<usize, Measurement>,
    /// The incumbent and stages named in rules, under the judge.
    pub others: Vec<(Artifact, Measurement)>,
    pub judge: Option<StageId>,
}

/// What goes on.
pub enum Way {
    Candidate,
    Incumbent(Artifact),
    Nothing,
    Error(String),
}

/// Whether everything the gate compares with is there, as far as it does not depend on the candidates.
pub fn can_judge(desk: &Desk, gate: &Gate) -> Step<()> {
    let judge = gate.judge.map(|eval| measure::yardstick(desk, eval).map(drop));
    let named = gate.stages.iter().map(|(_, id)| desk.carried(*id).map(drop));
    all(judge.into_iter().chain(named)).map(drop)
}

/// `candidates` are in step order and not empty. `judge` is the gate's, or the stage itself when it is an eval.
pub fn gate(desk: &mut Desk, gate: &Gate, judge: Option<StageId>, candidates: &[Artifact]) -> Step<Gated> {
    let stage = desk.stage();
    let yardstick = judge.map(|eval| measure::yardstick(desk, eval)).transpose()?;
    let incumbent = stage.incumbent.as_ref().map(|port| desk.on_port(stage, port)).transpose()?.flatten();
    let named = gate.stages.iter().map(|(name, id)| Ok((name.as_str(), desk.carried(*id)?)));
    let named = all(named.collect::<Vec<_>>())?;

    let subject = |artifact: &Artifact| Subject { metrics: artifact.metrics.clone(), ..Subject::default() };
    let mut subjects: Vec<(u64, Subject)> =
        candidates.iter().map(|candidate| (candidate.step.unwrap_or_default(), subject(candidate))).collect();
    let mut incumbent_subject = incumbent.as_ref().map(subject);
    let mut stages: BTreeMap<String, Subject> =
        named.iter().map(|(name, artifact)| ((*name).to_owned(), subject(artifact))).collect();
    let mut judged = BTreeMap::new();
    let mut others = Vec::new();
    if let Some(yardstick) = &yardstick {
        // Everything is asked for before anything is waited for.
        let models: Vec<usize> = to_judge(gate, &subjects);
        let measured_models =
            models.iter().map(|at| measure_artifact(desk, yardstick, &candidates[*at])).collect::<Vec<_>>();
        let who: BTreeSet<Who> = rules(gate).flat_map(|(_, rule)| rule.judged()).collect();
        let mut asked: Vec<(Who, &Artifact)> = Vec::new();
        asked.extend(incumbent.as_ref().map(|artifact| (Who::Incumbent, artifact)));
        asked.extend(named.iter().map(|(name, artifact)| (Who::Stage((*name).to_owned()), artifact)));
        asked.retain(|(artifact, _)| who.contains(artifact));
        let measured_others =
            asked.iter().map(|(_, artifact)| measure_artifact(desk, yardstick, artifact)).collect::<Vec<_>>();
        let (mut measured, count) = (all(measured_models.into_iter().chain(measured_others))?, models.len());
        for ((who, artifact), measurement) in asked.into_iter().zip(measured.split_off(count)) {
            let subject = match &who {
                Who::Stage(name) => stages.get_mut(name),
                Who::Incumbent | Who::Candidate => incumbent_subject.as_mut(),
            };
            subject.into_iter().for_each(|subject| put(subject, &measurement));
            others.push((artifact.clone(), measurement));
        }
        for (at, measurement) in models.into_iter().zip(measured) {
            put(&mut subjects[at].1, &measurement);
            judged.insert(at, measurement);
        }
    }

    let chosen = choose(gate, &subjects);
    let facts = chosen.index.map(|at| Facts {
        candidate: &subjects[at].1,
        incumbent: incumbent_subject.as_ref(),
        stages: &stages,
    });
    let rules: Vec<RuleVerdict> =
        facts.iter().flat_map(|facts| rules(gate).map(|(role, rule)| said(role, rule, facts))).collect();
    let required = rules.iter().filter(|rule| rule.role == "require").map(|rule| rule.decision);
    let decision = weightiest(required.chain([chosen.outcome]));
    let (way, carries) = match (decision, gate.on_fail, incumbent) {
        (Decision::Pass, ..) => (Way::Candidate, chosen.index.map_or_else(String::new, |at| carried(&candidates[at]))),
        (Decision::Error, ..) => (Way::Error(error(&chosen, &rules)), "nothing".to_owned()),
        (_, OnFail::Keep, Some(incumbent)) => {
            let carries = format!("the incumbent ({})", incumbent.label);
            (Way::Incumbent(incumbent), carries)
        }
        (_, OnFail::Keep | OnFail::Stop, _) => (Way::Nothing, "nothing".to_owned()),
    };
    let select = gate.select.as_ref().map(|_| chosen.explanation.clone());
    let verdict = Verdict { decision, rules, select, carries };
    Ok(Gated { verdict, way, chosen: chosen.index, judged, others, judge })
}

/// Every survivor when `best` compares by the judge, else only the one that is chosen by the stage's own metrics.
fn to_judge(gate: &Gate, subjects: &[(u64, Subject)]) -> Vec<usize> {
    match &gate.select {
        // An error of `where` is told by `choose`.
        Some(select) if select.names_judge() => gate::survivors(select, subjects).unwrap_or_default(),
        _ => choose(gate, subjects).index.into_iter().collect(),
    }
}

fn choose(gate: &Gate, subjects: &[(u64, Subject)]) -> Chosen {
    // Without `select` the last candidate is the one.
    gate::choose(gate.select.as_ref().unwrap_or(&gate::Select::default()), subjects)
}

fn measure_artifact(desk: &mut Desk, yardstick: &Yardstick, artifact: &Artifact) -> Step<Measurement> {
    let mut measurement = measure::measure(desk, yardstick, &artifact.content, &artifact.label)?;
    if yardstick.eval == desk.id {
        // Only the first reward judges others; an eval that judges by itself has the scores of all.
        let further = measure::further_scores(desk, yardstick, &measurement.answers, &artifact.label)?;
        measurement.metrics.extend(further);
    }
    Ok(measurement)
}

fn put(subject: &mut Subject, measurement: &Measurement) {
    subject.judged = measurement.metrics.clone();
    subject.items = Some(measurement.items.clone());
}

fn rules(gate: &Gate) -> impl Iterator<Item = (&'static str, &Rule)> {
    let require = gate.require.iter().map(|rule| ("require", rule));
    let warn = gate.warn.iter().map(|rule| ("warn", rule));
    require.chain(warn).chain(gate.observe.iter().map(|rule| ("observe", rule)))
}

fn said(role: &str, rule: &Rule, facts: &Facts) -> RuleVerdict {
    let judgement = gate::evaluate(rule, facts);
    let (decision, explanation) = (judgement.outcome, judgement.explanation);
    RuleVerdict { role: role.to_owned(), text: rule.text.clone(), decision, explanation }
}

/// All must pass: any error wins, then any fail, then any doubt.
fn weightiest(decisions: impl Iterator<Item = Decision>) -> Decision {
    let weight = |decision: &Decision| match decision {
        Decision::Error => 3,
        Decision::Fail => 2,
        Decision::Unsure => 1,
        Decision::Pass => 0,
    };
    decisions.max_by_key(weight).unwrap_or(Decision::Pass)
}

fn error(chosen: &Chosen, rules: &[RuleVerdict]) -> String {
    let erred = rules.iter().filter(|rule| rule.role == "require" && rule.decision == Decision::Error);
    let select = (chosen.outcome == Decision::Error).then(|| format!("select: {}", chosen.explanation));
    let lines: Vec<String> = select.into_iter().chain(erred.map(|rule| rule.explanation.clone())).collect();
    format!("the gate cannot tell: {}", lines.join("; "))
}

/// `step 150`, or the name of a model that has no step of its own.
fn carried(artifact: &Artifact) -> String {
    artifact.step.map_or_else(|| artifact.label.clone(), |step| format!("step {step}"))
}
