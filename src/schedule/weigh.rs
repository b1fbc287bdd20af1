//! What the rules of a gate make of its evidence, and who goes on by it. Pure: the tables it asks for are handed in.
//! Knows nothing of how the evidence came about; `gate what-if` asks it about runs of long ago, `gate test` about
//! evidence that somebody wrote down.

use crate::event::{Evidence, RuleVerdict, Seen, Table};
use crate::gate::{self, Choice, Decision, Items, Readings, RecordOrigin, Rule, Select, Subject, Subjects, Who};
use crate::plan::{Gate, OnFail};
use anyhow::{Context, Result};
use cache::Digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub type Tables = HashMap<Table, Arc<Items>>;

/// `(role, rule)`, those that decide first.
pub fn rules(gate: &Gate) -> impl Iterator<Item = (&'static str, &Rule)> {
    let require = gate.require.iter().map(|rule| ("require", rule));
    let warn = gate.warn.iter().map(|rule| ("warn", rule));
    require.chain(warn).chain(gate.observe.iter().map(|rule| ("observe", rule)))
}

fn select(gate: &Gate) -> &Select {
    // Without `select` the last candidate is the one.
    static LAST: Select = Select { best: None, where_: None, within: None };
    gate.select.as_ref().unwrap_or(&LAST)
}

/// The tables that the choice among the candidates looks at.
pub fn tables_to_choose(gate: &Gate, evidence: &Evidence) -> Vec<Table> {
    let origins = select(gate).itemised();
    let of = |seen: &Seen| origins.iter().flat_map(|origin| tables_of(gate, seen, *origin)).collect::<Vec<_>>();
    evidence.candidates.iter().flat_map(of).collect()
}

/// The tables that the rules look at.
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

fn tables_of(gate: &Gate, seen: &Seen, origin: RecordOrigin) -> Vec<Table> {
    match origin {
        RecordOrigin::Own => seen.table.iter().cloned().collect(),
        RecordOrigin::Judge(judge) => {
            let judge = gate.scope.judges.get(judge).and_then(|judge| seen.judged.get(&judge.name));
            judge.map(|seen| seen.tables.clone()).unwrap_or_default()
        }
    }
}

/// What a gate says, and of which candidate.
pub struct Judged {
    pub chosen: Choice,
    /// Empty when none was chosen.
    pub rules: Vec<RuleVerdict>,
    pub decision: Decision,
}

/// The whole way from evidence to decision, where tables are to be had at once. What `read` gives nothing for is not
/// there.
pub fn judge(gate: &Gate, evidence: &Evidence, read: impl Fn(&Table) -> Option<Arc<Items>>) -> Judged {
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
    Judged { chosen, rules, decision }
}

/// Which candidate the rules are about.
pub fn choose(gate: &Gate, evidence: &Evidence, tables: &Tables) -> Choice {
    let candidates = evidence.candidates.iter().map(|seen| (step(seen), subject(gate, seen, tables)));
    gate::choose(select(gate), &candidates.collect::<Vec<_>>())
}

/// Every candidate that may be chosen; none where `where` cannot tell, which the choice then says.
pub fn survivors(gate: &Gate, evidence: &Evidence, tables: &Tables) -> Vec<usize> {
    let candidates = evidence.candidates.iter().map(|seen| (step(seen), subject(gate, seen, tables)));
    gate::survivors(select(gate), &candidates.collect::<Vec<_>>()).unwrap_or_default()
}

/// What every rule says of the chosen candidate.
pub fn rule_verdicts(gate: &Gate, evidence: &Evidence, chosen: usize, tables: &Tables) -> Vec<RuleVerdict> {
    let subject = |seen: &Seen| subject(gate, seen, tables);
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

/// What the gate as a whole says.
pub fn decision(chosen: &Choice, rules: &[RuleVerdict]) -> Decision {
    let required = rules.iter().filter(|rule| rule.is_required()).map(|rule| rule.decision);
    weightiest(required.chain([chosen.decision]))
}

/// Who carries the stage's name from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heir {
    Candidate,
    Incumbent,
    Nobody,
    /// Nobody until a person decides.
    Held,
}

impl Heir {
    /// As a test of a gate names it.
    pub fn word(self) -> &'static str {
        match self {
            Heir::Candidate => "candidate",
            Heir::Incumbent => "incumbent",
            Heir::Nobody => "nothing",
            Heir::Held => "held",
        }
    }
}

/// What the file says for the case that the gate does not pass.
pub fn otherwise(gate: &Gate, decision: Decision) -> OnFail {
    match decision {
        Decision::Unsure => gate.on_unsure,
        Decision::Pass | Decision::Fail | Decision::Error => gate.on_fail,
    }
}

/// `is_approved`: what a person decided, where one did. `is_chosen`: whether `select` left a candidate.
pub fn heir(
    decision: Decision,
    otherwise: OnFail,
    is_approved: Option<bool>,
    is_chosen: bool,
    has_incumbent: bool,
) -> Heir {
    let incumbent = if has_incumbent { Heir::Incumbent } else { Heir::Nobody };
    match (decision, otherwise) {
        (Decision::Pass, _) => Heir::Candidate,
        (Decision::Error, _) | (_, OnFail::Stop) => Heir::Nobody,
        (_, OnFail::Keep) => incumbent,
        (_, OnFail::Hold) => match (is_approved, is_chosen) {
            (Some(true), true) => Heir::Candidate,
            // Where nothing was left to choose there is nothing to approve, either.
            (Some(_), _) | (None, false) => incumbent,
            (None, true) => Heir::Held,
        },
    }
}

fn step(seen: &Seen) -> u64 {
    seen.step.unwrap_or_default()
}

/// Tables that were not asked for are left out.
fn subject(gate: &Gate, seen: &Seen, tables: &Tables) -> Subject {
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

/// The parts of one measurement as one table.
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

/// Digest of what a person decides about: the candidate, what was measured of it and of what it is compared with, and
/// the rules that must pass. Names of stages stand for their contents and those of judges for their place in the list,
/// so that renaming one changes nothing; what only `warn` and `observe` look at does not count.
pub fn question(gate: &Gate, evidence: &Evidence) -> Result<Digest> {
    let called = |name: &str| match (evidence.stages.get(name), gate.scope.judge(name)) {
        (_, Some(judge)) => format!("judge {judge}"),
        (Some(seen), None) => seen.content.to_string(),
        (None, None) => name.to_owned(),
    };
    let measured = |seen: &Seen| {
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

/// What the rules say is remembered under this. Rules count as they were typed, since the explanations repeat them.
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
