//! Turns the evidence of a gate into its decision, and into the artifact that carries the stage's name afterwards.
//! Pure: the tables are passed in. `gate what-if` uses it for earlier runs, and `gate test` for handwritten evidence.

mod look;

pub use look::{declared, is_growing, items, judged, look_key, looks, tables_looked_at, terms};

use crate::event::{ArtifactEvidence, Evidence, RuleVerdict, Table};
use crate::gate::{
    self, Choice, Decision, Items, Judgement, LookTerms, Readings, RecordOrigin, Rule, Select, Subject, Subjects, Who,
};
use crate::plan::{Gate, OnFail};
use anyhow::{Context, Result};
use cache::Digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub type Tables = HashMap<Table, Arc<Items>>;

/// All rules as `(role, rule)`; those that decide come first.
pub fn rules(gate: &Gate) -> impl Iterator<Item = (&'static str, &Rule)> {
    let require = gate.require.iter().map(|rule| ("require", rule));
    let warn = gate.warn.iter().map(|rule| ("warn", rule));
    require.chain(warn).chain(gate.observe.iter().map(|rule| ("observe", rule)))
}

fn select(gate: &Gate) -> &Select {
    // Without `select` the last candidate is chosen.
    static LAST: Select = Select { best: None, where_: None, within: None };
    gate.select.as_ref().unwrap_or(&LAST)
}

/// The tables that the choice among the candidates reads.
pub fn tables_to_choose(gate: &Gate, evidence: &Evidence) -> Vec<Table> {
    let origins = select(gate).itemised();
    let of =
        |seen: &ArtifactEvidence| origins.iter().flat_map(|origin| tables_of(gate, seen, *origin)).collect::<Vec<_>>();
    evidence.candidates.iter().flat_map(of).collect()
}

/// The tables that the rules read. Of a choice among several candidates also those of all that it was made by and that
/// rules read: they tell which rules see the luck of the best, and how much it is.
pub fn tables_to_weigh(gate: &Gate, evidence: &Evidence, chosen: usize) -> Vec<Table> {
    let asked: Vec<(Who, RecordOrigin)> = rules(gate).flat_map(|(_, rule)| rule.itemised()).collect();
    let rivals = if evidence.candidates.len() > 1 { &evidence.candidates[..] } else { &[] };
    let mut seen_of_rivals = select(gate).chosen_by();
    if !seen_of_rivals.is_empty() {
        seen_of_rivals.extend(asked.iter().filter(|(who, _)| *who == Who::Candidate).map(|(_, origin)| *origin));
        seen_of_rivals.sort_unstable();
        seen_of_rivals.dedup();
    }
    let of_rivals = rivals.iter().flat_map(|seen| seen_of_rivals.iter().map(move |origin| (seen, *origin)));
    let of_rivals: Vec<Table> = of_rivals.flat_map(|(seen, origin)| tables_of(gate, seen, origin)).collect();
    let of = |(who, origin): (Who, RecordOrigin)| {
        let seen = match &who {
            Who::Candidate => evidence.candidates.get(chosen),
            Who::Incumbent => evidence.incumbent.as_ref(),
            Who::Stage(stage) => evidence.stages.get(stage),
        };
        seen.map(|seen| tables_of(gate, seen, origin)).unwrap_or_default()
    };
    asked.into_iter().flat_map(of).chain(of_rivals).collect()
}

fn tables_of(gate: &Gate, seen: &ArtifactEvidence, origin: RecordOrigin) -> Vec<Table> {
    match origin {
        RecordOrigin::Own => seen.table.iter().cloned().collect(),
        RecordOrigin::Judge(judge) => {
            let judge = gate.scope.judges.get(judge).and_then(|judge| seen.judged.get(&judge.name));
            judge.map(|seen| seen.tables.clone()).unwrap_or_default()
        }
    }
}

/// The decision of a gate, and the candidate that it is about.
pub struct GateVerdict {
    pub chosen: Choice,
    /// Empty if no candidate was chosen.
    pub rules: Vec<RuleVerdict>,
    pub decision: Decision,
}

/// Judges the evidence when all tables can be read at once. A table for which `read` returns nothing is missing. Without
/// a look, rules that declare looks have the stake of the first.
pub fn judge(
    gate: &Gate,
    evidence: &Evidence,
    look: Option<&LookTerms>,
    read: impl Fn(&Table) -> Option<Arc<Items>>,
) -> GateVerdict {
    let known = |wanted: Vec<Table>| wanted.into_iter().filter_map(|table| Some((table.clone(), read(&table)?)));
    let mut tables: Tables = known(tables_to_choose(gate, evidence)).collect();
    let chosen = choose(gate, evidence, &tables);
    let rules = match chosen.index {
        None => Vec::new(),
        Some(at) => {
            tables.extend(known(tables_to_weigh(gate, evidence, at)));
            rule_verdicts(gate, evidence, at, &tables, look)
        }
    };
    let decision = decision(&chosen, &rules);
    GateVerdict { chosen, rules, decision }
}

/// Chooses the candidate that the rules are about.
pub fn choose(gate: &Gate, evidence: &Evidence, tables: &Tables) -> Choice {
    let candidates = evidence.candidates.iter().map(|seen| (step(seen), subject(gate, seen, tables)));
    gate::choose(select(gate), &candidates.collect::<Vec<_>>())
}

/// The candidates that may be chosen; none if `where` cannot tell, which the choice then reports.
pub fn survivors(gate: &Gate, evidence: &Evidence, tables: &Tables) -> Vec<usize> {
    let candidates = evidence.candidates.iter().map(|seen| (step(seen), subject(gate, seen, tables)));
    gate::survivors(select(gate), &candidates.collect::<Vec<_>>()).map(|left| left.indices).unwrap_or_default()
}

/// The verdict of every rule on the chosen candidate.
pub fn rule_verdicts(
    gate: &Gate,
    evidence: &Evidence,
    chosen: usize,
    tables: &Tables,
    look: Option<&LookTerms>,
) -> Vec<RuleVerdict> {
    let subject = |seen: &ArtifactEvidence| subject(gate, seen, tables);
    let candidates: Vec<(u64, Subject)> = evidence.candidates.iter().map(|seen| (step(seen), subject(seen))).collect();
    let incumbent = evidence.incumbent.as_ref().map(subject);
    // A stage that kept its incumbent carries the name of another.
    let named = |seen: &ArtifactEvidence| Subject { called: seen.label.to_string(), ..subject(seen) };
    let stages = evidence.stages.iter().map(|(name, seen)| (name.clone(), named(seen)));
    let stages = stages.collect::<BTreeMap<_, _>>();
    let chosen_among = chosen_among(gate, evidence);
    let left = gate::survivors(select(gate), &candidates).map(|left| left.indices).unwrap_or_default();
    let rivals: Vec<(u64, Subject)> = left.into_iter().map(|at| candidates[at].clone()).collect();
    let subjects = Subjects {
        look,
        candidate: &candidates[chosen].1,
        incumbent: incumbent.as_ref(),
        stages: &stages,
        failed: &evidence.failed,
        checkpoints: &candidates[..=chosen],
        chosen_among: &chosen_among,
        rivals: select(gate).rivals(&rivals),
    };
    let said = |(role, rule): (&str, &Rule)| {
        let judgement = gate::evaluate(rule, &subjects);
        let Judgement { decision, explanation, nearest, is_within_noise } = judgement;
        let (role, text) = (role.to_owned(), rule.text.clone());
        RuleVerdict { role, text, decision, explanation, nearest, is_within_noise }
    };
    let mut verdicts: Vec<RuleVerdict> = rules(gate).map(said).collect();
    if let Some(yardstick) = &gate.yardstick {
        let verdict = verdicts.get_mut(yardstick.rule).filter(|verdict| verdict.decision != Decision::Error);
        verdict.into_iter().for_each(|verdict| verdict.explanation += &format!("; {}", yardstick.note));
    }
    verdicts
}

/// The number of artifacts that the candidate is the best of, by each record that it was chosen by: those of this stage,
/// and those that each of them was the best of before. One that failed was one of them.
fn chosen_among(gate: &Gate, evidence: &Evidence) -> Vec<(RecordOrigin, usize)> {
    let among = evidence.among();
    let mut by = select(gate).chosen_by();
    if by.is_empty() && among > 1 {
        // Only a judge that measures on the same rows takes it as one of several.
        by = (0..gate.scope.judges.len()).map(RecordOrigin::Judge).collect();
    }
    by.into_iter().map(|origin| (origin, among)).collect()
}

/// The decision of rules that must all pass: any error wins, then any fail, then any unsure.
fn weightiest(decisions: impl Iterator<Item = Decision>) -> Decision {
    let weight = |decision: &Decision| match decision {
        Decision::Error => 3,
        Decision::Fail => 2,
        Decision::Unsure => 1,
        Decision::Pass => 0,
    };
    decisions.max_by_key(weight).unwrap_or(Decision::Pass)
}

/// The decision of the gate as a whole.
pub fn decision(chosen: &Choice, rules: &[RuleVerdict]) -> Decision {
    let required = rules.iter().filter(|rule| rule.is_required()).map(|rule| rule.decision);
    weightiest(required.chain([chosen.decision]))
}

/// The artifact that carries the stage's name after the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    Candidate,
    Incumbent,
    Nobody,
    /// None until a person decides.
    Held,
}

impl Successor {
    /// The word for it in the tests of gates.
    pub fn word(self) -> &'static str {
        match self {
            Successor::Candidate => "candidate",
            Successor::Incumbent => "incumbent",
            Successor::Nobody => "nothing",
            Successor::Held => "held",
        }
    }
}

/// The `on_fail` or `on_unsure` of a gate that does not pass.
pub fn otherwise(gate: &Gate, decision: Decision) -> OnFail {
    match decision {
        Decision::Unsure => gate.on_unsure,
        Decision::Pass | Decision::Fail | Decision::Error => gate.on_fail,
    }
}

/// The artifact that goes on. `is_approved` is a person's decision, if there is one; `is_chosen` says whether `select`
/// left a candidate.
pub fn successor(
    decision: Decision,
    otherwise: OnFail,
    is_approved: Option<bool>,
    is_chosen: bool,
    has_incumbent: bool,
) -> Successor {
    let incumbent = if has_incumbent { Successor::Incumbent } else { Successor::Nobody };
    match (decision, otherwise) {
        (Decision::Pass, _) => Successor::Candidate,
        (Decision::Error, _) | (_, OnFail::Stop) => Successor::Nobody,
        (_, OnFail::Keep) => incumbent,
        (_, OnFail::Hold) => match (is_approved, is_chosen) {
            (Some(true), true) => Successor::Candidate,
            // If no candidate was left, there is nothing to approve.
            (Some(_), _) | (None, false) => incumbent,
            (None, true) => Successor::Held,
        },
    }
}

fn step(seen: &ArtifactEvidence) -> u64 {
    seen.step.unwrap_or_default()
}

/// The artifact as rules see it. Tables that were not read are left out.
fn subject(gate: &Gate, seen: &ArtifactEvidence, tables: &Tables) -> Subject {
    let own = Readings {
        metrics: seen.metrics.clone(),
        items: seen.table.as_ref().and_then(|table| tables.get(table)).cloned(),
    };
    let judged = gate.scope.judges.iter().map(|judge| match seen.judged.get(&judge.name) {
        None => Readings::default(),
        Some(by) => {
            let parts: Option<Vec<&Arc<Items>>> = by.tables.iter().map(|table| tables.get(table)).collect();
            let suffixes = by.tables.iter().map(|table| table.suffix.as_str());
            let items = parts.filter(|parts| !parts.is_empty()).map(|parts| Arc::new(joined(&parts, suffixes)));
            Readings { metrics: by.metrics.clone(), items }
        }
    });
    let called = seen.step.map_or_else(|| seen.label.to_string(), |step| format!("step {step}"));
    Subject { called, own, judged: judged.collect() }
}

/// Joins the parts of one measurement into one table.
fn joined<'a>(parts: &[&Arc<Items>], suffixes: impl Iterator<Item = &'a str>) -> Items {
    if let Some(fault) = parts.iter().find_map(|part| part.fault.clone()) {
        return Items::broken(fault);
    }
    let mut items = (*parts[0]).as_ref().clone();
    let mut others = parts.iter().zip(suffixes).skip(1);
    match others.try_for_each(|(part, suffix)| items.join(part, suffix)) {
        Ok(()) => items,
        Err(reason) => Items::broken(reason),
    }
}

/// The digest of what a person decides about: the candidate, the measurements of it and of the models it is compared
/// with, and the rules that must pass. Contents replace the names of stages, and list positions those of judges, so
/// that a renaming changes nothing; what only `warn` and `observe` read does not count.
pub fn question(gate: &Gate, evidence: &Evidence) -> Result<Digest> {
    let called = called(gate, evidence);
    let measured = |seen: &ArtifactEvidence| {
        let judged = gate.scope.judges.iter().map(|judge| seen.judged.get(&judge.name));
        let judged = judged.map(|by| by.map(|by| json!({"metrics": by.metrics, "tables": by.tables})));
        let judged: Vec<Option<Value>> = judged.collect();
        json!({"content": seen.content, "metrics": seen.metrics, "table": seen.table, "judged": judged})
    };
    let named = gate.require.iter().flat_map(|rule| rule.stages());
    let named = named.filter_map(|(name, _)| evidence.stages.get(name));
    let mut stages: Vec<String> = named.map(|seen| measured(seen).to_string()).collect();
    stages.sort();
    stages.dedup();
    let mut question = json!({
        "candidate": evidence.chosen.map(|at| measured(&evidence.candidates[at])),
        "incumbent": evidence.incumbent.as_ref().map(measured),
        "stages": stages,
        "rules": gate.require.iter().map(|rule| rule.resolved(&called)).collect::<Vec<_>>(),
    });
    // Only where there are any: decisions of before stay bound to what they were about.
    let failed = evidence.failed.len() + evidence.failed_candidates.len();
    if failed > 0 {
        question["failed"] = json!(failed);
    }
    digest(&question)
}

/// The names of stages and judges in rules by what they stand for: contents, and places in the list of judges.
fn called<'a>(gate: &'a Gate, evidence: &'a Evidence) -> impl Fn(&str) -> String + 'a {
    |name| match (evidence.stages.get(name), gate.scope.judge(name)) {
        (_, Some(judge)) => format!("judge {judge}"),
        (Some(seen), None) => seen.content.to_string(),
        (None, None) => name.to_owned(),
    }
}

/// The key under which verdicts are remembered. Rules count as they were typed, since the explanations repeat them.
pub fn memory_key(gate: &Gate, evidence: &Evidence, look: Option<&LookTerms>) -> Result<Digest> {
    let judges: Vec<&str> = gate.scope.judges.iter().map(|judge| judge.name.as_str()).collect();
    let rules: Vec<(&str, &str)> = rules(gate).map(|(role, rule)| (role, rule.text.as_str())).collect();
    digest(&json!({
        "statistics": gate::statistics::VERSION,
        // What a verdict says beside its decision: those of before had no nearest rule.
        "form": 2,
        "rules": rules,
        "select": select(gate).text(),
        "judges": judges,
        "evidence": evidence,
        "yardstick": gate.yardstick.as_ref().map(|yardstick| (yardstick.rule, &yardstick.note)),
        "look": look,
    }))
}

fn digest(value: &Value) -> Result<Digest> {
    let bytes = serde_json_canonicalizer::to_vec(value).context("write what a gate saw as canonical JSON")?;
    Ok(Digest::of(&bytes))
}
