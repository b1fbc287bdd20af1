//! Judges a case exactly as a run would, and compares the result with the expectation.

use super::expectation::Expectation;
use super::file::Case;
use crate::event::RuleVerdict;
use crate::gate::Decision;
use crate::schedule::decide::{self, GateVerdict, Successor};

pub struct CaseResult {
    pub decision: Decision,
    /// The step of the candidate that was chosen.
    pub step: Option<u64>,
    /// The reason why `select` takes this one, or none.
    pub select: Option<String>,
    /// Empty when none was chosen.
    pub rules: Vec<RuleVerdict>,
    pub successor: Successor,
}

/// One expectation that was not met.
#[derive(Debug, PartialEq)]
pub struct Mismatch {
    pub what: &'static str,
    pub expected: String,
    pub said: String,
}

pub fn judge(case: &Case) -> CaseResult {
    let (gate, evidence) = (&case.tested.gate, &case.evidence);
    // As in a run, a rule sees only the tables that are read for it.
    let GateVerdict { chosen, rules, decision } =
        decide::judge(gate, evidence, None, |table| case.tables.get(table).cloned());
    let has_incumbent = evidence.incumbent.is_some();
    let successor =
        decide::successor(decision, decide::otherwise(gate, decision), None, chosen.index.is_some(), has_incumbent);
    let step = chosen.index.and_then(|at| evidence.candidates[at].step);
    let select = gate.select.as_ref().map(|_| chosen.explanation);
    CaseResult { decision, step, select, rules, successor }
}

/// Empty when the test passes.
pub fn mismatches(expected: &Expectation, result: &CaseResult) -> Vec<Mismatch> {
    let mut all = Vec::new();
    let mut compare = |what, expected: Option<String>, said: String| {
        all.extend(expected.filter(|expected| *expected != said).map(|expected| Mismatch { what, expected, said }));
    };
    compare("gate", expected.gate.map(|says| says.word().to_owned()), result.decision.word().to_owned());
    let step = result.step.map_or_else(|| "none".to_owned(), |step| step.to_string());
    compare("step", expected.step.as_ref().map(|step| step.value.to_string()), step);
    let list = |says: &[Decision]| says.iter().map(|says| says.word()).collect::<Vec<_>>().join(", ");
    let required = result.rules.iter().filter(|rule| rule.is_required()).map(|rule| rule.decision);
    let required = match result.rules.is_empty() {
        true if !expected.rules.as_ref().is_none_or(|rules| rules.value.is_empty()) => "none was asked".to_owned(),
        _ => list(&required.collect::<Vec<_>>()),
    };
    compare("rules", expected.rules.as_ref().map(|rules| list(&rules.value)), required);
    compare("carries", expected.carries.map(|who| who.word().to_owned()), result.successor.word().to_owned());
    for text in &expected.explains {
        let mut explanations = result.rules.iter().map(|rule| &rule.explanation).chain(&result.select);
        if !explanations.any(|explanation| explanation.contains(text)) {
            let (expected, said) = (format!("\"{text}\""), "in no explanation".to_owned());
            all.push(Mismatch { what: "explains", expected, said });
        }
    }
    all
}
