//! Turns the evidence of a gate into its decision, and into the artifact that carries the stage's name afterwards.
//! Pure: the tables are passed in. `gate what-if` uses it for earlier runs, and `gate test` for handwritten evidence.

use crate::event::{ArtifactEvidence, Evidence, RuleVerdict, Table};
use crate::gate::{self, Choice, Decision, Items, Readings, RecordOrigin, Rule, Select, Subject, Subjects, Who};
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

/// The tables that the rules read.
pub fn tables_to_weigh(gate: &Gate, evidence: &Evidence, chosen: usize) -> Vec<Table> {
    let asked = rules(gate).flat_map(|(_, rule)| rule.itemised());
    let of = |(who, origin): (Who, RecordOrigin)| {
        let seen = match &who {
            Who::Candidate => evidence.candidates.get(chosen),
            Who::Incumbent => evidence.incumbent.as_ref(),
            Who::Stage(stage) => evidence.stages.get(stage),
        };
        seen.map(|seen| tables_of(gate, seen, origin)).unwrap_or_default()
    };
    asked.flat_map(of).collect()
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

/// Judges the evidence when all tables can be read at once. A table for which `read` returns nothing is missing.
pub fn judge(gate: &Gate, evidence: &Evidence, read: impl Fn(&Table) -> Option<Arc<Items>>) -> GateVerdict {
    let known = |wanted: Vec<Table>| wanted.into_iter().filter_map(|table| Some((table.clone(), read(&table)?)));
    let mut tables: Tables = known(tables_to_choose(gate, evidence)).collect();
    let chosen = choose(gate, evidence, &tables);
    let rules = match chosen.index {
        None => Vec::new(),
        Some(at) => {
            tables.extend(known(tables_to_weigh(gate, evidence, at)));
            rule_verdicts(gate, evidence, at, &tables)
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
    gate::survivors(select(gate), &candidates.collect::<Vec<_>>()).unwrap_or_default()
}

/// The verdict of every rule on the chosen candidate.
pub fn rule_verdicts(gate: &Gate, evidence: &Evidence, chosen: usize, tables: &Tables) -> Vec<RuleVerdict> {
    let subject = |seen: &ArtifactEvidence| subject(gate, seen, tables);
    let checkpoints = evidence.candidates[..=chosen].iter().map(|seen| (step(seen), subject(seen)));
    let checkpoints = checkpoints.collect::<Vec<_>>();
    let incumbent = evidence.incumbent.as_ref().map(subject);
    let stages = evidence.stages.iter().map(|(name, seen)| (name.clone(), subject(seen)));
    let stages = stages.collect::<BTreeMap<_, _>>();
    let count = evidence.candidates.len();
    let chosen_among: Vec<(RecordOrigin, usize)> =
        select(gate).chosen_by().into_iter().map(|origin| (origin, count)).collect();
    let subjects = Subjects {
        candidate: &checkpoints[chosen].1,
        incumbent: incumbent.as_ref(),
        stages: &stages,
        checkpoints: &checkpoints,
        chosen_among: &chosen_among,
    };
    let said = |(role, rule): (&str, &Rule)| {
        let judgement = gate::evaluate(rule, &subjects);
        let (decision, explanation) = (judgement.decision, judgement.explanation);
        RuleVerdict { role: role.to_owned(), text: rule.text.clone(), decision, explanation }
    };
    rules(gate).map(said).collect()
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
    Subject { own, judged: judged.collect() }
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
    let called = |name: &str| match (evidence.stages.get(name), gate.scope.judge(name)) {
        (_, Some(judge)) => format!("judge {judge}"),
        (Some(seen), None) => seen.content.to_string(),
        (None, None) => name.to_owned(),
    };
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
    digest(&json!({
        "candidate": evidence.chosen.map(|at| measured(&evidence.candidates[at])),
        "incumbent": evidence.incumbent.as_ref().map(measured),
        "stages": stages,
        "rules": gate.require.iter().map(|rule| rule.resolved(&called)).collect::<Vec<_>>(),
    }))
}

/// The key under which verdicts are remembered. Rules count as they were typed, since the explanations repeat them.
pub fn memory_key(gate: &Gate, evidence: &Evidence) -> Result<Digest> {
    let judges: Vec<&str> = gate.scope.judges.iter().map(|judge| judge.name.as_str()).collect();
    let rules: Vec<(&str, &str)> = rules(gate).map(|(role, rule)| (role, rule.text.as_str())).collect();
    digest(&json!({
        "statistics": gate::statistics::VERSION,
        "rules": rules,
        "select": select(gate).text(),
        "judges": judges,
        "evidence": evidence,
    }))
}

fn digest(value: &Value) -> Result<Digest> {
    let bytes = serde_json_canonicalizer::to_vec(value).context("write what a gate saw as canonical JSON")?;
    Ok(Digest::of(&bytes))
}
