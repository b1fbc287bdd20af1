//! The gate under test: that of a stage of the pipeline, or one that is written in the test itself.

use crate::diagnostic::{Diagnostic, Span};
use crate::gate::{self, JudgeScope, MetricName, RuleScope};
use crate::plan::{self, Gate, Plan};
use crate::schedule::decide;
use crate::spec::node::{Map, Node, Value, WithSpan};
use crate::spec::{self, expect};
use stages::kinds::{self, KINDS};
use stages::stage::{Gives, Kind, Work, did_you_mean};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct GateUnderTest {
    pub gate: Gate,
    /// The stage is an eval: it measures its candidate itself, as its own judge.
    pub is_eval: bool,
}

impl GateUnderTest {
    /// The stages named in its rules.
    pub fn stages(&self) -> BTreeSet<String> {
        let named = decide::rules(&self.gate).flat_map(|(_, rule)| rule.stages());
        let is_judge = |name: &str| self.gate.scope.judge(name).is_some();
        named.filter(|(name, _)| !is_judge(name)).map(|(name, _)| name.to_owned()).collect()
    }

    pub fn names_incumbent(&self) -> bool {
        decide::rules(&self.gate).any(|(_, rule)| rule.names_incumbent())
    }
}

/// The gates of a pipeline.
pub enum Pipeline {
    /// The file names no pipeline.
    None,
    /// Its mistakes have been reported.
    Mistaken,
    Known {
        gates: BTreeMap<String, Arc<GateUnderTest>>,
        without_gate: BTreeSet<String>,
    },
}

impl Pipeline {
    pub fn of(plan: Plan) -> Pipeline {
        let (mut gates, mut without_gate) = (BTreeMap::new(), BTreeSet::new());
        for stage in plan.stages {
            let is_eval = measures(stage.kind);
            match stage.gate {
                Some(gate) => drop(gates.insert(stage.name, Arc::new(GateUnderTest { gate: *gate, is_eval }))),
                None => drop(without_gate.insert(stage.name)),
            }
        }
        Pipeline::Known { gates, without_gate }
    }

    fn gate_of(&self, stage: &WithSpan<String>, mistakes: &mut Vec<Diagnostic>) -> Option<Arc<GateUnderTest>> {
        let mut refuse = |message: String, help: String| {
            mistakes.push(Diagnostic::error(stage.span, message).help(help));
            None
        };
        let name = &stage.value;
        match self {
            Pipeline::Mistaken => None,
            Pipeline::None => refuse(
                format!("there is no pipeline to take the gate of `{name}` from"),
                "name one at the top, `pipeline: rlhf.yaml`, or write the `gate` here".to_owned(),
            ),
            Pipeline::Known { gates, without_gate } => {
                let known: Vec<&str> = gates.keys().map(String::as_str).collect();
                match gates.get(name) {
                    Some(tested) => Some(tested.clone()),
                    None if without_gate.contains(name) => {
                        refuse(format!("stage `{name}` has no gate"), format!("those with one: {}", known.join(", ")))
                    }
                    None => refuse(format!("unknown stage `{name}`"), did_you_mean(name, &known)),
                }
            }
        }
    }
}

fn measures(kind: &Kind) -> bool {
    matches!(kind.work, Work::Measure(_))
}

/// The gate of the test, and the place where the test names it; `None` after a mistake.
pub fn read(
    test: &Node,
    map: &Map,
    span: Span,
    pipeline: &Pipeline,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<(Arc<GateUnderTest>, Span)> {
    let key_of = |name: &str| map.iter().find(|(key, _)| key.value == name).map(|(key, _)| key.span);
    let (stage, gate) = (test.get("stage"), test.get("gate"));
    if gate.is_none() {
        for key in ["kind", "metrics"] {
            if let Some(span) = key_of(key) {
                let message = format!("`{key}` says whose metrics a gate written here sees, and there is no `gate`");
                mistakes.push(Diagnostic::error(span, message).help("a stage of the pipeline has its kind there"));
            }
        }
    }
    match (stage, gate) {
        (Some(stage), None) => {
            let stage = expect::text(stage, mistakes)?;
            Some((pipeline.gate_of(&stage, mistakes)?, stage.span))
        }
        (None, Some(gate)) => {
            let span = key_of("gate").unwrap_or(span);
            Some((Arc::new(written_here(test, span, gate, mistakes)?), span))
        }
        (Some(_), Some(_)) => {
            let message = "this test has a `stage` and a `gate`: which of the two gates is meant?";
            let help = "leave one out; with `gate`, `kind` says whose metrics it sees";
            mistakes.push(Diagnostic::error(key_of("gate").unwrap_or(span), message).help(help));
            None
        }
        (None, None) => {
            let message = "this test says no gate: it needs `stage` or `gate`";
            mistakes.push(Diagnostic::error(span, message).help("stage: ppo_1"));
            None
        }
    }
}

/// Reads a `gate` in the syntax of pipelines; `key` is the span of that word. Names mean what they would mean in a
/// pipeline that consists of what the test mentions.
fn written_here(test: &Node, key: Span, gate: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<GateUnderTest> {
    let kind = match test.get("kind") {
        Some(typed) => kind(typed, mistakes),
        None => {
            let help = "add `kind: rm`, or another of `pipeline kinds`";
            mistakes.push(Diagnostic::error(key, "a gate written here needs a `kind`").help(help));
            None
        }
    };
    let declared = match (test.get("metrics"), kind) {
        (Some(node), Some(kind)) if !kind.is_command() => {
            let message = format!("`{}` declares its metrics itself", kind.name);
            mistakes.push(Diagnostic::error(node.span, message).help("`metrics` is for the kind `exec`"));
            Vec::new()
        }
        (Some(node), _) => spec::declared_metrics(node, mistakes),
        (None, _) => Vec::new(),
    };
    let spec = spec::gate::lower(key, gate, mistakes)?;
    let kind = kind?;
    let mut own = plan::declared_metrics(kind);
    own.extend(declared.iter().map(plan::written_metric));
    // The test does not name the kinds of the other stages, so they may have any metric.
    let mut of_others = own.clone();
    for metric in KINDS.iter().flat_map(|kind| plan::declared_metrics(kind)) {
        if !of_others.iter().any(|known| known.name == metric.name) {
            of_others.push(metric);
        }
    }
    let judges: Vec<JudgeScope> = match measures(kind) {
        false => spec.judges.iter().filter_map(|judge| judge_of(kind, judge, mistakes)).collect(),
        true => {
            let refuse = |judge: &WithSpan<String>| {
                Diagnostic::error(judge.span, "an eval stage judges by itself").help("leave `judge` out")
            };
            mistakes.extend(spec.judges.iter().map(refuse));
            vec![JudgeScope { name: kind.name.to_owned(), metrics: std::mem::take(&mut own), has_items: true }]
        }
    };
    // The metrics of a refused judge are not known, and one mistake is enough.
    if !measures(kind) && judges.len() < spec.judges.len() {
        return None;
    }
    let compared = compared_with(test);
    let has_incumbent = kind.incumbent.is_some() || test.get("incumbent").is_some() || compared.contains(&"incumbent");
    let mut stages: BTreeMap<String, Vec<MetricName>> = BTreeMap::new();
    if let Some(Node { value: Value::Map(map), .. }) = test.get("stages") {
        for (name, _) in map {
            if gate::is_word(&name.value) {
                let message = format!("`{}` cannot name a stage: it is a word of the rule language", name.value);
                mistakes.push(Diagnostic::error(name.span, message));
            }
            stages.insert(name.value.clone(), of_others.clone());
        }
    }
    let names = compared.into_iter().filter(|name| *name != "incumbent");
    stages.extend(names.map(|name| (name.to_owned(), of_others.clone())));
    let scope = RuleScope {
        own,
        judges,
        incumbent: has_incumbent.then_some(of_others),
        stages: stages.into(),
        ..RuleScope::default()
    };
    Some(GateUnderTest { gate: plan::gate_alone(&spec, scope, mistakes), is_eval: measures(kind) })
}

fn kind(typed: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<&'static Kind> {
    let typed = expect::text(typed, mistakes)?;
    let found = kinds::kind(&typed.value);
    if found.is_none() {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let mistake = Diagnostic::error(typed.span, format!("unknown kind `{}`", typed.value));
        mistakes.push(mistake.help(did_you_mean(&typed.value, &names)));
    }
    found
}

/// The judge of that name, which has the metrics of an eval, since only an eval can judge.
fn judge_of(kind: &Kind, judge: &WithSpan<String>, mistakes: &mut Vec<Diagnostic>) -> Option<JudgeScope> {
    if !matches!(kind.gives, Gives::Model | Gives::Any) {
        let message = format!("`{}` measures language models, and the kind `{}` gives none", judge.value, kind.name);
        let help = "leave `judge` out: the rules then see the stage's own metrics";
        mistakes.push(Diagnostic::error(judge.span, message).help(help));
        return None;
    }
    let eval = KINDS.iter().find(|kind| measures(kind))?;
    Some(JudgeScope { name: judge.value.clone(), metrics: plan::declared_metrics(eval), has_items: true })
}

/// The names under every `versus`.
fn compared_with(test: &Node) -> Vec<&str> {
    let Some(Node { value: Value::Map(candidate), .. }) = test.get("candidate") else { return Vec::new() };
    let parts = candidate.iter().map(|(key, node)| if key.value == "versus" { Some(node) } else { node.get("versus") });
    let maps = parts.flatten().filter_map(|versus| match &versus.value {
        Value::Map(map) => Some(map),
        _ => None,
    });
    maps.flatten().map(|(name, _)| name.value.as_str()).collect()
}
