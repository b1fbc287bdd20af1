//! What the gate says of a case, exactly as a run would; and what of that was expected otherwise. Knows nothing of the
//! file.

use super::{Case, Expected, heir};
use crate::event::RuleVerdict;
use crate::gate::Decision;
use crate::schedule::weigh::{self, Heir, Judged};

pub struct Said {
    pub decision: Decision,
    /// Of the candidate that was chosen.
    pub step: Option<u64>,
    /// Why `select` takes this one, or none.
    pub select: Option<String>,
    /// Empty when none was chosen.
    pub rules: Vec<RuleVerdict>,
    pub heir: Heir,
}

/// One thing that was expected and is not so.
#[derive(Debug, PartialEq)]
pub struct Unmet {
    pub what: &'static str,
    pub expected: String,
    pub said: String,
}

pub fn judge(case: &Case) -> Said {
    let (gate, evidence) = (&case.tested.gate, &case.evidence);
    // As in a run, a rule sees the tables that are read for it and no others.
    let Judged { chosen, rules, decision } = weigh::judge(gate, evidence, |table| case.tables.get(table).cloned());
    let has_incumbent = evidence.incumbent.is_some();
    let heir = weigh::heir(decision, weigh::otherwise(gate, decision), None, chosen.index.is_some(), has_incumbent);
    let step = chosen.index.and_then(|at| evidence.candidates[at].step);
    let select = gate.select.as_ref().map(|_| chosen.explanation);
    Said { decision, step, select, rules, heir }
}

/// Empty when the test passes.
pub fn unmet(expected: &Expected, said: &Said) -> Vec<Unmet> {
    let mut all = Vec::new();
    let mut compare = |what, expected: Option<String>, said: String| {
        all.extend(expected.filter(|expected| *expected != said).map(|expected| Unmet { what, expected, said }));
    };
    compare("gate", expected.gate.map(|says| says.word().to_owned()), said.decision.word().to_owned());
    let step = said.step.map_or_else(|| "none".to_owned(), |step| step.to_string());
    compare("step", expected.step.as_ref().map(|step| step.value.to_string()), step);
    let list = |says: &[Decision]| says.iter().map(|says| says.word()).collect::<Vec<_>>().join(", ");
    let required = said.rules.iter().filter(|rule| rule.is_required()).map(|rule| rule.decision);
    let required = match said.rules.is_empty() {
        true if !expected.rules.as_ref().is_none_or(|rules| rules.value.is_empty()) => "none was asked".to_owned(),
        _ => list(&required.collect::<Vec<_>>()),
    };
    compare("rules", expected.rules.as_ref().map(|rules| list(&rules.value)), required);
    compare("carries", expected.carries.map(|who| heir(who).to_owned()), heir(said.heir).to_owned());
    for text in &expected.explains {
        let mut explanations = said.rules.iter().map(|rule| &rule.explanation).chain(&said.select);
        if !explanations.any(|explanation| explanation.contains(text)) {
            let (expected, said) = (format!("\"{text}\""), "in no explanation".to_owned());
            all.push(Unmet { what: "explains", expected, said });
        }
    }
    all
}
