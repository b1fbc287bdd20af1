//! The gates of all stages: rules are parsed and checked, judges found, edges added to the graph. A gate must not
//! depend on a stage downstream of it. `crate::gate` knows the language; this file knows what its names mean.

use super::draft::Draft;
use super::graph::{Graph, StageId};
use super::metrics::kind_metrics;
use super::source::Source;
use crate::canonical::Canonical;
use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::gate::{self, JudgeScope, MetricName, Mistake, Rule, RuleScope, Select, Who};
use crate::spec::{Families, GateSpec, OnFail, SelectSpec, WithSpan, part_of};
use stages::stage::{Gives, Work, did_you_mean};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A gate whose rules were checked against the names they may use.
pub struct Gate {
    /// In file order. Empty for an eval stage, which judges itself: its names are those of the judge.
    pub judges: Vec<StageId>,
    pub select: Option<Select>,
    pub require: Vec<Rule>,
    pub warn: Vec<Rule>,
    pub observe: Vec<Rule>,
    pub on_fail: OnFail,
    pub on_unsure: OnFail,
    /// The stages named in its rules.
    pub stages: Vec<(String, StageId)>,
    /// Those of them that are named only as stages of a `for`: any may fail, and the rules still say something.
    pub members: BTreeSet<String>,
    /// The meaning of its names. An eval stage without judges is its own judge.
    pub scope: RuleScope,
    /// The name of the prompts that its judges measure on, as people call them.
    pub prompts: String,
    /// Set where the reward model of a judge trained the candidate.
    pub yardstick: Option<Yardstick>,
}

/// The rule of a gate that says that its judge's reward model trained the candidate: the first one that weighs scores of it.
pub struct Yardstick {
    /// Its place among all rules: first those that must pass, then `warn`, then `observe`.
    pub rule: usize,
    /// The sentence that its verdict says.
    pub note: String,
}

/// The name of prompts that come from no file or stage.
pub const UNNAMED_PROMPTS: &str = "these prompts";

/// The gates of all stages, in the order of the drafts.
pub fn resolve(
    drafts: &[Draft],
    ids: &HashMap<&str, StageId>,
    families: &Families,
    graph: &mut Graph,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Option<Box<Gate>>> {
    if drafts.iter().all(|draft| draft.spec.gate.is_none()) {
        return drafts.iter().map(|_| None).collect();
    }
    let metrics = drafts.iter().map(|draft| (draft.spec.name.value.clone(), draft.metrics.clone()));
    let metrics = Arc::new(metrics.collect());
    let measures = |draft: &&Draft| draft.kind.is_some_and(|kind| matches!(kind.work, Work::Measure(_)));
    let measuring = drafts.iter().filter(measures).map(|draft| (draft.spec.name.value.clone(), measured_by(draft)));
    let measuring = Arc::new(measuring.collect());
    let families = Arc::new(families.clone());
    let all = |ways: Ways, graph: &mut Graph, mistakes: &mut Vec<Diagnostic>| {
        let gate = |id: StageId| {
            let spec = drafts[id].spec.gate.as_ref()?;
            // Without a kind there are no metrics to check against.
            drafts[id].kind?;
            let site =
                GateSite { id, drafts, ids, metrics: &metrics, measuring: &measuring, families: &families, ways };
            Some(Box::new(resolve_one(&site, spec, graph, mistakes)))
        };
        (0..drafts.len()).map(gate).collect()
    };
    // If all edges together close no cycle, none of them does. Otherwise each is checked before it is added, which
    // takes a search of the graph.
    if !graph.has_cycle() {
        let (edges, known) = (graph.edge_count(), mistakes.len());
        let gates = all(Ways::Free, graph, mistakes);
        if !graph.has_cycle() {
            return gates;
        }
        graph.shrink_to(edges);
        mistakes.truncate(known);
    }
    all(Ways::Searched, graph, mistakes)
}

/// Whether paths downstream of a gate are searched for, or assumed not to exist.
#[derive(Clone, Copy)]
enum Ways {
    Free,
    Searched,
}

struct GateSite<'a> {
    id: StageId,
    drafts: &'a [Draft<'a>],
    ids: &'a HashMap<&'a str, StageId>,
    /// The metrics of every stage, which rules may name.
    metrics: &'a Arc<BTreeMap<String, Vec<MetricName>>>,
    /// The metrics that the stages measure which may judge.
    measuring: &'a Arc<BTreeMap<String, Vec<MetricName>>>,
    families: &'a Arc<Families>,
    ways: Ways,
}

impl<'a> GateSite<'a> {
    fn draft(&self) -> &Draft<'a> {
        &self.drafts[self.id]
    }
    /// The path from this gate to another stage, if that stage is downstream.
    fn way(&self, to: StageId, graph: &Graph) -> Option<String> {
        match self.ways {
            Ways::Free => None,
            Ways::Searched => graph.path(self.id, to),
        }
    }
    fn name(&self, id: StageId) -> &str {
        &self.drafts[id].spec.name.value
    }
}

fn resolve_one(site: &GateSite, spec: &GateSpec, graph: &mut Graph, mistakes: &mut Vec<Diagnostic>) -> Gate {
    if site.draft().incumbent.is_none() {
        nothing_to_keep(spec, &format!("stage `{}`", site.name(site.id)), mistakes);
    }
    let mut judges = Vec::new();
    for typed in &spec.judges {
        if let Some(judge) = find_judge(site, typed, mistakes) {
            draw_judge_edges(site, judge, typed.span, graph, mistakes);
            judges.push(judge);
        }
    }
    // A judge that was not found has been reported; without its metrics, names are not checked.
    let scope = (spec.judges.len() == judges.len()).then(|| scope(site, &judges));
    let mut stages = BTreeMap::new();
    let read = |text: &WithSpan<String>, scope: Option<&RuleScope>, mistakes: &mut Vec<Diagnostic>| {
        rule(site, text, scope, &mut stages, graph, mistakes)
    };
    let gate = of_rules(spec, scope, read, mistakes);
    let rules = gate.require.iter().chain(&gate.warn).chain(&gate.observe);
    let alone = rules.flat_map(|rule| {
        let members = rule.members();
        rule.stages().into_iter().map(|(name, _)| name).filter(move |name| !members.contains(name))
    });
    let alone: BTreeSet<&str> = alone.collect();
    let members = stages.keys().filter(|stage| !alone.contains(stage.as_str())).cloned().collect();
    Gate { judges, stages: stages.into_iter().collect(), members, ..gate }
}

/// A gate outside any pipeline: `scope` gives its names their meaning, without stages.
pub fn alone(spec: &GateSpec, scope: RuleScope, mistakes: &mut Vec<Diagnostic>) -> Gate {
    if scope.incumbent.is_none() {
        nothing_to_keep(spec, "the stage", mistakes);
    }
    let read = |text: &WithSpan<String>, scope: Option<&RuleScope>, mistakes: &mut Vec<Diagnostic>| {
        Some(checked(text, scope, mistakes)?.0)
    };
    of_rules(spec, Some(scope), read, mistakes)
}

/// A gate without judges and stages. `read` reads a rule; without a scope, names are not checked.
fn of_rules(
    spec: &GateSpec,
    scope: Option<RuleScope>,
    mut read: impl FnMut(&WithSpan<String>, Option<&RuleScope>, &mut Vec<Diagnostic>) -> Option<Rule>,
    mistakes: &mut Vec<Diagnostic>,
) -> Gate {
    let mut rules = |texts: &[WithSpan<String>]| -> Vec<Rule> {
        texts.iter().filter_map(|text| read(text, scope.as_ref(), mistakes)).collect()
    };
    let (require, warn, observe) = (rules(&spec.require), rules(&spec.warn), rules(&spec.observe));
    Gate {
        judges: Vec::new(),
        select: spec.select.as_ref().map(|spec| select(spec, scope.as_ref(), mistakes)),
        require,
        warn,
        observe,
        on_fail: spec.on_fail,
        on_unsure: spec.on_unsure.unwrap_or(spec.on_fail),
        stages: Vec::new(),
        members: BTreeSet::new(),
        scope: scope.unwrap_or_default(),
        prompts: UNNAMED_PROMPTS.to_owned(),
        yardstick: None,
    }
}

fn nothing_to_keep(spec: &GateSpec, stage: &str, mistakes: &mut Vec<Diagnostic>) {
    for (key, way) in [("on_fail", Some(spec.on_fail)), ("on_unsure", spec.on_unsure)] {
        if way == Some(OnFail::Keep) {
            let message = format!("`{key}: keep`: {stage} has no incumbent to keep");
            mistakes.push(Diagnostic::error(spec.span, message).help(format!("use `{key}: stop`")));
        }
    }
}

fn find_judge(site: &GateSite, typed: &WithSpan<String>, mistakes: &mut Vec<Diagnostic>) -> Option<StageId> {
    let is_eval = |id: StageId| site.drafts[id].kind.is_some_and(|kind| matches!(kind.work, Work::Measure(_)));
    let nearest_eval = || {
        let mut evals: Vec<&str> = site.ids.iter().filter(|(_, id)| is_eval(**id)).map(|(name, _)| *name).collect();
        evals.sort_unstable();
        did_you_mean(&typed.value, &evals)
    };
    let mut refuse = |message: String, help: String| mistakes.push(Diagnostic::error(typed.span, message).help(help));
    let Some(judge) = site.ids.get(typed.value.as_str()).copied() else {
        refuse(format!("unknown stage `{}`", typed.value), nearest_eval());
        return None;
    };
    let kind = site.drafts[judge].kind?;
    if !is_eval(judge) {
        let message = format!("`{}` (kind `{}`) cannot judge: a judge is an eval stage", typed.value, kind.name);
        refuse(message, nearest_eval());
        return None;
    }
    if judge == site.id {
        refuse("an eval stage judges by itself".to_owned(), "leave `judge` out".to_owned());
        return None;
    }
    if !gives_model(site, site.id) {
        let message = format!("`{}` measures language models, and `{}` gives none", typed.value, site.name(site.id));
        refuse(message, "leave `judge` out: the rules then see the stage's own metrics".to_owned());
        return None;
    }
    Some(judge)
}

fn gives_model(site: &GateSite, id: StageId) -> bool {
    // An unknown kind has been reported already.
    site.drafts[id].kind.is_none_or(|kind| matches!(kind.gives, Gives::Model | Gives::Any))
}

/// Adds edges from the sources of the judge's other ports, which the gate needs; for a port that takes several, only
/// the first source judges.
fn draw_judge_edges(site: &GateSite, judge: StageId, span: Span, graph: &mut Graph, mistakes: &mut Vec<Diagnostic>) {
    let Some(Work::Measure(measure)) = site.drafts[judge].kind.map(|kind| kind.work) else { return };
    let others = site.drafts[judge].inputs.iter().filter(|input| input.port != measure.port);
    for input in others {
        let takes_many = |kind: &stages::stage::Kind| kind.port(&input.port).is_some_and(|port| port.takes_many);
        let count = if site.drafts[judge].kind.is_some_and(takes_many) { 1 } else { usize::MAX };
        for source in input.sources.iter().take(count) {
            let Some(stage) = source.stage() else { continue };
            match site.way(stage, graph) {
                None => graph.add(stage, site.id, span),
                Some(path) => {
                    let (judge, gate) = (site.name(judge), site.name(site.id));
                    let message =
                        format!("`{judge}` cannot judge `{gate}`: its `{}` comes after that gate", input.port);
                    let way = format!("{path} -> {judge}.{}", input.port);
                    mistakes.push(Diagnostic::error(span, message).help(way));
                }
            }
        }
    }
}

/// The metrics that a stage measures as a judge.
fn measured_by(judge: &Draft) -> Vec<MetricName> {
    let parameters = judge.parameters.as_ref().map(Canonical::value);
    judge.kind.map_or_else(Vec::new, |kind| kind_metrics(kind, &judge.inputs, parameters.as_ref()))
}

fn scope(site: &GateSite, judges: &[StageId]) -> RuleScope {
    let draft = site.draft();
    let judges_itself = draft.kind.is_some_and(|kind| matches!(kind.work, Work::Measure(_)));
    let judge = |id: &StageId| {
        let judge = &site.drafts[*id];
        JudgeScope { name: judge.spec.name.value.clone(), metrics: measured_by(judge), has_items: true }
    };
    let itself = judges_itself.then(|| {
        let (name, metrics) = (draft.spec.name.value.clone(), draft.metrics.clone());
        JudgeScope { name, metrics, has_items: true }
    });
    let judges = judges.iter().map(judge).chain(itself).collect();
    let record_of = |port: &String| {
        let source = draft.inputs.iter().find(|input| input.port == *port).and_then(|input| input.sources.first());
        match source {
            Some(Source::Stage { stage, .. }) => site.drafts[*stage].metrics.clone(),
            _ => Vec::new(),
        }
    };
    RuleScope {
        own: if judges_itself { Vec::new() } else { draft.metrics.clone() },
        judges,
        incumbent: draft.incumbent.as_ref().map(record_of),
        stages: Arc::clone(site.metrics),
        measuring: Arc::clone(site.measuring),
        families: Arc::clone(site.families),
    }
}

/// Refuses confidence across stages that stand on each other: they are no repetitions, and their spread says nothing.
fn refuse_chains(site: &GateSite, text: &WithSpan<String>, rule: &Rule, graph: &Graph, mistakes: &mut Vec<Diagnostic>) {
    if rule.is_confident() == rule.looks_at_items() {
        return;
    }
    for (family, _) in rule.families() {
        let members = site.families.get(family).map_or(&[][..], Vec::as_slice);
        let ids = members.iter().filter_map(|name| site.ids.get(name.as_str()).copied());
        let pairs = ids.clone().zip(ids.skip(1));
        let Some(path) =
            pairs.into_iter().find_map(|(one, next)| graph.path(one, next).or_else(|| graph.path(next, one)))
        else {
            continue;
        };
        let message = format!("the stages of `{family}` stand on each other, so that they are no repetitions");
        mistakes.push(Diagnostic::error(text.span, message).help(format!("{path}; leave the confidence out")));
    }
}

/// A checked rule; `None` if it cannot be parsed. Adds the stages it names, and their edges.
fn rule(
    site: &GateSite,
    text: &WithSpan<String>,
    scope: Option<&RuleScope>,
    stages: &mut BTreeMap<String, StageId>,
    graph: &mut Graph,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Rule> {
    let (rule, is_whole) = checked(text, scope, mistakes)?;
    let scope = scope?;
    refuse_chains(site, text, &rule, graph, mistakes);
    for (name, range) in rule.stages() {
        let Some(id) = site.ids.get(name).copied() else { continue };
        let span = part_of(text.span, &text.value, &range);
        if scope.judge(name).is_some() {
            continue;
        }
        if id == site.id {
            let message = format!("`{name}` is the stage of this gate");
            mistakes.push(Diagnostic::error(span, message).help("write `self.METRIC`, or the metric alone"));
        } else if let Some(path) = site.way(id, graph) {
            let message = format!("`{name}` comes after the gate of `{}`", site.name(site.id));
            mistakes.push(Diagnostic::error(span, message).help(path));
        } else if stages.insert(name.to_owned(), id).is_none() {
            graph.add(id, site.id, span);
        }
        let judged = rule.judged().into_iter().find(|(who, _)| *who == Who::Stage(name.to_owned()));
        if let Some((_, judge)) = judged.filter(|_| is_whole && !gives_model(site, id)) {
            let judge = &scope.judges[judge].name;
            let message = format!("`{judge}` measures language models, and `{name}` gives none");
            mistakes.push(Diagnostic::error(span, message).help("name a stage that makes a language model"));
        }
    }
    Some(rule)
}

/// The rule, and whether it has no mistakes; without a scope it is only parsed.
fn checked(text: &WithSpan<String>, scope: Option<&RuleScope>, mistakes: &mut Vec<Diagnostic>) -> Option<(Rule, bool)> {
    let mut rule = gate::parse(&text.value).map_err(|mistake| mistakes.push(shown(text, mistake))).ok()?;
    let found = gate::check(&mut rule, scope?);
    let is_whole = found.is_empty();
    mistakes.extend(found.into_iter().map(|mistake| shown(text, mistake)));
    let warning = |mistake| Diagnostic { level: Severity::Warning, ..shown(text, mistake) };
    mistakes.extend(gate::warnings(&rule).into_iter().map(warning));
    Some((rule, is_whole))
}

fn select(spec: &SelectSpec, scope: Option<&RuleScope>, mistakes: &mut Vec<Diagnostic>) -> Select {
    let mut select = Select { within: spec.within, ..Select::default() };
    if let Some(text) = &spec.best {
        match gate::parse_expression(&text.value) {
            Err(mistake) => mistakes.push(shown(text, mistake)),
            Ok(mut best) => {
                let found =
                    scope.map_or_else(Vec::new, |scope| gate::check_best(&mut best, spec.within.is_some(), scope));
                mistakes.extend(found.into_iter().map(|mistake| shown(text, mistake)));
                select.best = Some(best);
            }
        }
    }
    if let Some(text) = &spec.where_ {
        match gate::parse(&text.value) {
            Err(mistake) => mistakes.push(shown(text, mistake)),
            Ok(mut rule) => {
                let found = scope.map_or_else(Vec::new, |scope| gate::check_where(&mut rule, scope));
                mistakes.extend(found.into_iter().map(|mistake| shown(text, mistake)));
                select.where_ = Some(rule);
            }
        }
    }
    select
}

fn shown(text: &WithSpan<String>, mistake: Mistake) -> Diagnostic {
    Diagnostic {
        help: mistake.help,
        ..Diagnostic::error(part_of(text.span, &text.value, &mistake.range), mistake.message)
    }
}
