//! `for`: one stage for each value. Gives each its name, its body as typed, and the variables it may use; and the families
//! that they form.

use crate::canonical::EXACT;
use crate::diagnostic::Diagnostic;
use crate::spec::expect;
use crate::spec::node::{Map, Node, Value, WithSpan};
use crate::spec::template::{self, Scope, is_identifier};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

/// The limit on stages; more is a typing error such as `1..10000000`.
const MAX_STAGES: usize = 100_000;

pub struct ExpandedStage {
    pub name: WithSpan<String>,
    /// Not templated yet, so that `--set` can change it. Shared by the stages of one `for`.
    pub body: Rc<Node>,
    pub scope: Scope,
}

/// The stages of one `for`, by the name without the variables that tell them apart: `ppo` of `ppo_${seed}`. Of several
/// variables the last ones are left out, or all: `ppo_${rate}_${seed}` makes `ppo_0` and `ppo_1`, the seeds of each rate, and `ppo`.
pub type Families = BTreeMap<String, Vec<String>>;

/// The stages in the order of the file; of two with the same name, the first.
pub fn stages(map: Map, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> (Vec<ExpandedStage>, Families) {
    let mut written: Vec<ExpandedStage> = Vec::with_capacity(map.len());
    let mut seen: HashSet<String> = HashSet::with_capacity(map.len());
    let mut families = Families::new();
    for (name, body) in map {
        let variants = match body.get("for") {
            Some(values) => variants(&name, values, scope, mistakes),
            None => vec![Variant::default()],
        };
        let body = Rc::new(body);
        let mut known = None;
        for variant in variants {
            let all = variant.scope(scope, |_| true);
            let Some(filled) = filled(&name, &all, mistakes) else { break };
            if written.len() == MAX_STAGES {
                mistakes.push(Diagnostic::error(name.span, format!("more than {MAX_STAGES} stages")));
                return (written, families);
            }
            if !seen.insert(filled.value.clone()) {
                mistakes.push(Diagnostic::error(name.span, format!("a second stage named `{}`", filled.value)));
                continue;
            }
            for family in variant.families(&name, scope, &mut known) {
                families.entry(family).or_default().push(filled.value.clone());
            }
            written.push(ExpandedStage { name: filled, body: Rc::clone(&body), scope: all });
        }
    }
    (written, families)
}

/// One combination of the values of a `for`.
#[derive(Clone, Default)]
struct Variant {
    values: Vec<(Rc<str>, Node)>,
}

impl Variant {
    /// The scope with these values; `is_told` says of the place of a variable whether its value is, or else nothing.
    fn scope(&self, file: &Scope, is_told: impl Fn(usize) -> bool) -> Scope {
        let mut scope = file.clone();
        for (at, (variable, value)) in self.values.iter().enumerate() {
            match is_told(at) {
                true => scope.add_loop_variable(variable, value),
                false => scope.add_loop_variable(variable, &Node::new(value.span, Value::String(String::new()))),
            }
        }
        scope
    }

    /// The names of its families: without its last variable, its last two, … and all. `known` has the last of these,
    /// which is that of all combinations.
    fn families(&self, name: &WithSpan<String>, file: &Scope, known: &mut Option<Option<String>>) -> Vec<String> {
        let family = |told: usize| {
            // A name that computes with the variable has no such part.
            let mut ignored = Vec::new();
            let family = filled(name, &self.scope(file, |at| at < told), &mut ignored)?.value;
            let family = family.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
            is_identifier(&family).then_some(family)
        };
        let of_all = (!self.values.is_empty()).then(|| known.get_or_insert_with(|| family(0)).clone()).flatten();
        let mut families: Vec<String> = (1..self.values.len()).filter_map(family).chain(of_all).collect();
        families.sort();
        families.dedup();
        families
    }
}

fn filled(name: &WithSpan<String>, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Option<WithSpan<String>> {
    if !name.value.contains("${") {
        return Some(name.clone());
    }
    expect::text(&template::fill_text(&name.value, name.span, scope, mistakes), mistakes)
}

/// The combinations of values; the first variable varies slowest.
fn variants(name: &WithSpan<String>, values: &Node, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Vec<Variant> {
    let values = template::fill(values, scope, mistakes);
    let Some(map) = expect::map(&values, "a mapping such as `{k: 1..4}`", mistakes) else { return Vec::new() };
    let named = template::variables_of(&name.value);
    let mut variants = vec![Variant::default()];
    for (variable, values) in map {
        if !template::check_variable_name(variable, mistakes) {
            return Vec::new();
        }
        let Some(values) = range(values, mistakes) else { return Vec::new() };
        if !named.contains(&variable.value) {
            let message = format!("the name of this stage must hold `${{{}}}`", variable.value);
            let help = format!("else all of them would be called `{}`", name.value);
            mistakes.push(Diagnostic::error(name.span, message).help(help));
            return Vec::new();
        }
        if variants.len().saturating_mul(values.len()) > MAX_STAGES {
            mistakes.push(Diagnostic::error(variable.span, format!("more than {MAX_STAGES} stages")));
            return Vec::new();
        }
        let name: Rc<str> = Rc::from(variable.value.as_str());
        let with = |variant: &Variant, value: &Node| {
            let mut variant = variant.clone();
            variant.values.push((Rc::clone(&name), value.clone()));
            variant
        };
        variants = variants.iter().flat_map(|variant| values.iter().map(|value| with(variant, value))).collect();
    }
    variants
}

fn bound(text: &str) -> Option<i64> {
    text.trim().parse::<i64>().ok().filter(|bound| bound.unsigned_abs() <= EXACT)
}

/// The values of `1..4` (4 included), or of a list.
fn range(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Vec<Node>> {
    let bounds = match &node.value {
        Value::List(items) if !items.is_empty() => return Some(items.clone()),
        Value::String(text) => text.split_once("..").and_then(|(first, last)| Some((bound(first)?, bound(last)?))),
        _ => None,
    };
    match bounds {
        Some((first, last)) if last.saturating_sub(first) > MAX_STAGES as i64 => {
            mistakes.push(Diagnostic::error(node.span, format!("more than {MAX_STAGES} stages")));
            None
        }
        Some((first, last)) if first <= last => {
            Some((first..=last).map(|value| Node::new(node.span, Value::Int(value))).collect())
        }
        Some(_) => {
            mistakes.push(Diagnostic::error(node.span, "this range is empty").help("the smaller number stands first"));
            None
        }
        None => {
            if node.value != Value::Broken {
                let message = "expected a range or a list of values";
                mistakes.push(Diagnostic::error(node.span, message).help("`1..4` (4 included), or `[a, b]`"));
            }
            None
        }
    }
}
