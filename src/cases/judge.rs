//! What the gate says of a case, exactly as a run would; and what of that was expected otherwise. Knows nothing of the
//! file.

use super::{Case, Expected, decision, heir};
use crate::event::{Decision, RuleVerdict, Table};
use crate::schedule::weigh::{self, Heir, Tables};

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
    let judges = case.tested.judges();
    // As in a run, a rule sees the tables that are read for it and no others.
    let known = |wanted: Vec<Table>| -> Tables {
        let of = |table: Table| case.tables.get(&table).map(|items| (table.clone(), items.clone()));
        wanted.into_iter().filter_map(of).collect()
    };
    let tables = known(weigh::tables_to_choose(gate, &judges, evidence));
    let has_incumbent = evidence.incumbent.is_some();
    let chosen = weigh::choose(gate, &judges, evidence, &tables);
    let rules = match chosen.index {
        None => Vec::new(),
        Some(at) => {
            let mut tables = tables;
            tables.extend(known(weigh::tables_to_weigh(gate, &judges, evidence, at)));
            weigh::weigh(gate, &judges, evidence, at, &tables)
        }
    };
    let decision = weigh::decision(&chosen, &rules);
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
    compare("gate", expected.gate.map(|says| decision(says).to_owned()), decision(said.decision).to_owned());
    let step = said.step.map_or_else(|| "none".to_owned(), |step| step.to_string());
    compare("step", expected.step.as_ref().map(|step| step.value.to_string()), step);
    let list = |says: &[Decision]| says.iter().map(|says| decision(*says)).collect::<Vec<_>>().join(", ");
    let required = said.rules.iter().filter(|rule| rule.role == "require").map(|rule| rule.decision);
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
