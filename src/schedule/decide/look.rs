//! The look that a gate takes at items: which of its rules look, at what, and by what name the ledger knows it.

use super::{Tables, called, digest, rules, subject, tables_to_choose, tables_to_weigh};
use crate::event::{Evidence, RuleVerdict, Table};
use crate::gate::{Decision, DeclaredLooks, LookTerms, RecordOrigin, Rule};
use crate::ledger::items::ItemSet;
use crate::ledger::{LookKey, LookVerdict, Permission};
use crate::plan::Gate;
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeSet;

/// Whether a gate looks at items: whether any of its rules is confident, or the one that filters its checkpoints.
pub fn looks(gate: &Gate) -> bool {
    confident(gate).next().is_some()
}

/// The confident rules with their roles.
fn confident(gate: &Gate) -> impl Iterator<Item = (&'static str, &Rule)> {
    let filter = gate.select.iter().filter_map(|select| Some(("where", select.where_.as_ref()?)));
    filter.chain(rules(gate)).filter(|(_, rule)| rule.looks_at_items())
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
        .filter(|((_, rule), _)| rule.looks_at_items())
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
