//! Warnings that are proposed to a gate whose judge measures a policy, and which has none of their sort. A policy that is
//! trained to please a judge may come to repeat itself, to say one thing to everybody, to fall silent or never to end; a
//! mean score hides that where a reward model likes it. The rules are text, to be pasted: they block nothing.

use super::draft::Draft;
use super::gates::Gate;
use crate::diagnostic::Diagnostic;
use crate::gate::{Rule, RuleScope, Who};

/// A warning that every gate with a judge gets.
struct DefaultWarning {
    /// The metric of the judge that it is about.
    metric: &'static str,
    compares_with_incumbent: bool,
    /// The rule, after the name of the judge with its dot.
    rule: fn(judge: &str) -> String,
    what: &'static str,
}

/// The numbers leave room for what healthy policies do. Of those in docs/results.md and of the main job, healthy ones have a
/// `distinct_2` of 0.70 to 0.99, and one that repeats itself 0.10 to 0.17.
const DEFAULTS: [DefaultWarning; 5] = [
    // Distinct pairs: Li et al. 2016, by answer. Half of the pairs repeated is far more than people do (Welleck et al. 2020).
    DefaultWarning {
        metric: "distinct_2",
        compares_with_incumbent: false,
        rule: |judge| format!("{judge}distinct_2 > 0.5"),
        what: "answers that repeat themselves",
    },
    DefaultWarning {
        metric: "same_answer_share",
        compares_with_incumbent: false,
        rule: |judge| format!("{judge}same_answer_share <= 0.5"),
        what: "one answer for most prompts",
    },
    // Against the incumbent: with few tokens to answer in, healthy answers may not end either.
    DefaultWarning {
        metric: "eos_share",
        compares_with_incumbent: true,
        rule: |judge| format!("delta({judge}eos_share, incumbent) > -0.3"),
        what: "answers that no longer end",
    },
    // Length is the first thing that a reward model is pleased by (Singhal et al. 2024). In the main job healthy answers are
    // three times as long as those they grew from.
    DefaultWarning {
        metric: "length",
        compares_with_incumbent: true,
        rule: |judge| format!("ratio({judge}length, incumbent) between 0.5 and 4"),
        what: "silence or padding",
    },
    // Ziegler et al. 2019 aim at 6 nats for 24 tokens, a quarter of one for each.
    DefaultWarning {
        metric: "kl",
        compares_with_incumbent: false,
        rule: |judge| format!("{judge}kl < 0.3 * {judge}length"),
        what: "a policy far from the baseline, in nats a token",
    },
];

/// A note for each gate that has a judge and reads none of these metrics from it.
pub fn notes(drafts: &[Draft], gates: &[Option<Box<Gate>>]) -> Vec<Diagnostic> {
    let judged = drafts.iter().zip(gates).filter_map(|(draft, gate)| Some((draft, gate.as_deref()?)));
    judged.filter(|(_, gate)| !gate.judges.is_empty()).filter_map(|(draft, gate)| note(draft, gate)).collect()
}

fn note(draft: &Draft, gate: &Gate) -> Option<Diagnostic> {
    let rules = gate.require.iter().chain(&gate.warn).chain(&gate.observe);
    if rules.flat_map(Rule::judge_readings).any(|reading| {
        let is_one = |what: &str| DEFAULTS.iter().any(|default| default.metric == what);
        *reading.who == Who::Candidate && reading.what.is_some_and(is_one)
    }) {
        return None;
    }
    let proposed = proposed(&gate.scope);
    let widest = proposed.iter().map(|(rule, _)| rule.len()).max()?;
    let lines = proposed.iter().map(|(rule, what)| format!("\n    - {rule:widest$}  # {what}"));
    let whats: Vec<&str> = proposed.iter().map(|(_, what)| *what).collect();
    let spec = draft.spec.gate.as_ref()?;
    let span = spec.judges.first().map_or(spec.span, |judge| judge.span);
    let message = format!("no rule of this gate would notice answers that degenerate: {}", whats.join(", "));
    let add = if spec.warn.is_empty() { "warnings block nothing; add" } else { "warnings block nothing; add to" };
    Some(Diagnostic::note(span, message).help(format!("{add}\n  warn:{}", lines.collect::<String>())))
}

/// The rules that this scope has the names for, each with what it is about.
fn proposed(scope: &RuleScope) -> Vec<(String, &'static str)> {
    let rule = |default: &DefaultWarning| {
        let has_it =
            |metric: &str| scope.judges.iter().find(|judge| judge.metrics.iter().any(|known| known.name == metric));
        let judge = has_it(default.metric)?;
        let judge = if scope.judges.len() == 1 { "judge." } else { &format!("{}.", judge.name) };
        let is_comparable = !default.compares_with_incumbent || scope.incumbent.is_some();
        is_comparable.then(|| ((default.rule)(judge), default.what))
    };
    DEFAULTS.iter().filter_map(rule).collect()
}
