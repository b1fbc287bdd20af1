//! Turns the evidence of a gate into its decision, and into the artifact that carries the stage's name afterwards.
//! Pure: the tables are passed in. `gate what-if` uses it for earlier runs, and `gate test` for handwritten evidence.

use crate::event::{ArtifactEvidence, Evidence, RuleVerdict, Table};
use crate::gate::{
    self, Choice, Decision, DeclaredLooks, Items, Judgement, LookTerms, Readings, RecordOrigin, Rule, Select, Subject,
    Subjects, Who,
};
use crate::ledger::items::ItemSet;
use crate::ledger::{LookKey, LookVerdict, Permission};
use crate::plan::{Gate, OnFail};
use anyhow::{Context, Result};
use cache::Digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    let stages = evidence.stages.iter().map(|(name, seen)| (name.clone(), subject(seen)));
    let stages = stages.collect::<BTreeMap<_, _>>();
    let chosen_among: Vec<(RecordOrigin, usize)> =
        select(gate).chosen_by().into_iter().map(|origin| (origin, candidates.len())).collect();
    let left = gate::survivors(select(gate), &candidates).map(|left| left.indices).unwrap_or_default();
    let rivals: Vec<(u64, Subject)> = left.into_iter().map(|at| candidates[at].clone()).collect();
    let subjects = Subjects {
        look,
        candidate: &candidates[chosen].1,
        incumbent: incumbent.as_ref(),
        stages: &stages,
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
    digest(&json!({
        "candidate": evidence.chosen.map(|at| measured(&evidence.candidates[at])),
        "incumbent": evidence.incumbent.as_ref().map(measured),
        "stages": stages,
        "rules": gate.require.iter().map(|rule| rule.resolved(&called)).collect::<Vec<_>>(),
    }))
}

/// Whether a gate looks at items: whether any of its rules is confident, or the one that filters its checkpoints.
pub fn looks(gate: &Gate) -> bool {
    confident(gate).next().is_some()
}

/// The confident rules with their roles.
fn confident(gate: &Gate) -> impl Iterator<Item = (&'static str, &Rule)> {
    let filter = gate.select.iter().filter_map(|select| Some(("where", select.where_.as_ref()?)));
    filter.chain(rules(gate)).filter(|(_, rule)| rule.is_confident())
}

/// The looks that the rules of a gate declare. The check has seen that they agree.
pub fn declared(gate: &Gate) -> Option<DeclaredLooks> {
    rules(gate).flat_map(|(_, rule)| rule.looks()).find_map(|(looks, _)| looks)
}

/// The terms of a look, for the rules and their sentences.
pub fn terms(gate: &Gate, look: &Permission) -> LookTerms {
    // The rule that allows the largest chance of a false claim.
    let level = rules(gate).flat_map(|(_, rule)| rule.levels()).fold(0.0, f64::max);
    LookTerms { stake: look.stake, note: look.note(&gate.prompts, level), earlier: look.earlier.clone() }
}

/// The verdict of a look, for the ledger.
pub fn judged(gate: &Gate, claim: &str, decision: Decision, said: &[RuleVerdict]) -> LookVerdict {
    let confident: Vec<(&str, &Rule, &RuleVerdict)> = rules(gate)
        .zip(said)
        .filter(|((_, rule), _)| rule.is_confident())
        .map(|((role, rule), said)| (role, rule, said))
        .collect();
    // A promotion that some other rule decided has shown nothing by which the level could be handed on.
    let is_shown = confident.iter().any(|(role, rule, _)| *role == "require" && rule.needs_confidence());
    LookVerdict {
        claim: claim.to_owned(),
        decision,
        hands_on: decision == Decision::Pass && is_shown,
        is_void: !confident.is_empty() && confident.iter().all(|(_, _, said)| said.decision == Decision::Error),
        because: confident.into_iter().map(|(_, _, said)| said.explanation.clone()).collect(),
    }
}

/// Whether a further look at more items is a look of the same claim.
pub fn is_growing(gate: &Gate) -> bool {
    confident(gate).flat_map(|(_, rule)| rule.growth()).any(|(growth, _)| growth.is_some())
}

/// The key of a look: the claims of the confident rules, the candidate, and the tables that they read. `None`: no rule
/// is confident, and nothing is looked at.
pub fn look_key(gate: &Gate, evidence: &Evidence, chosen: usize) -> Result<Option<LookKey>> {
    if !looks(gate) {
        return Ok(None);
    }
    let called = called(gate, evidence);
    // Whether a rule must pass is part of the claim: else the best of several could be required after it was observed.
    let mut claims: Vec<String> =
        confident(gate).map(|(role, rule)| format!("{role}: {}", rule.claim(&called))).collect();
    claims.sort();
    claims.dedup();
    let mut tables: Vec<String> =
        tables_looked_at(gate, evidence, chosen).iter().map(|table| json!(table).to_string()).collect();
    tables.sort();
    tables.dedup();
    let numbers = digest(&json!(tables))?.to_string();
    let incumbent = evidence.incumbent.as_ref().map(|seen| &seen.content);
    let meanings: BTreeSet<String> = confident(gate).flat_map(|(_, rule)| rule.meanings()).collect();
    // A table that grows has no digest to tell its judge by.
    let judges: Vec<&str> = gate.scope.judges.iter().map(|judge| judge.name.as_str()).collect();
    let claim = digest(&json!({
        "candidate": &evidence.candidates[chosen].content,
        "incumbent": incumbent,
        "claims": claims,
        "numbers": if is_growing(gate) { json!(judges) } else { json!(numbers) },
        "meanings": meanings,
    }))?;
    Ok(Some(LookKey { claim: claim.to_string(), numbers, over: declared(gate) }))
}

/// The names of stages and judges in rules by what they stand for: contents, and places in the list of judges.
fn called<'a>(gate: &'a Gate, evidence: &'a Evidence) -> impl Fn(&str) -> String + 'a {
    |name| match (evidence.stages.get(name), gate.scope.judge(name)) {
        (_, Some(judge)) => format!("judge {judge}"),
        (Some(seen), None) => seen.content.to_string(),
        (None, None) => name.to_owned(),
    }
}

/// The tables that must be read to take a look.
pub fn tables_looked_at(gate: &Gate, evidence: &Evidence, chosen: usize) -> Vec<Table> {
    [tables_to_choose(gate, evidence), tables_to_weigh(gate, evidence, chosen)].concat()
}

/// The items that the confident rules look at, and the number of rows of the shortest table with them.
pub fn items(gate: &Gate, evidence: &Evidence, chosen: usize, tables: &Tables) -> (ItemSet, usize) {
    let (mut all, mut count) = (ItemSet::default(), None);
    let candidate = subject(gate, &evidence.candidates[chosen], tables);
    let itemised = confident(gate).flat_map(|(_, rule)| rule.itemised());
    let mut origins: Vec<RecordOrigin> = itemised.map(|(_, origin)| origin).collect();
    origins.sort_unstable();
    origins.dedup();
    for origin in origins {
        let owner = match origin {
            RecordOrigin::Own => "",
            RecordOrigin::Judge(judge) => gate.scope.judges.get(judge).map_or("", |judge| judge.name.as_str()),
        };
        let Some(items) = &candidate.readings(origin).items else { continue };
        let rows = items.rows.iter().map(|row| (row.id.as_str(), row.prompt.as_str()));
        all.join(ItemSet::of(rows, owner));
        count = Some(count.map_or(items.rows.len(), |least: usize| least.min(items.rows.len())));
    }
    (all, count.unwrap_or_default())
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
