//! `for`: one stage for each value. Gives each its name, its body as typed, and the variables it may use.

use crate::canonical::EXACT;
use crate::diagnostic::Diagnostic;
use crate::spec::expect;
use crate::spec::node::{Map, Node, Value, WithSpan};
use crate::spec::template::{self, Scope};
use std::collections::HashSet;
use std::rc::Rc;

/// The limit on stages; more is a typing error such as `1..10000000`.
const MAX_STAGES: usize = 100_000;

pub struct ExpandedStage {
    pub name: WithSpan<String>,
    /// Not templated yet, so that `--set` can change it. Shared by the stages of one `for`.
    pub body: Rc<Node>,
    pub scope: Scope,
}

/// The stages in the order of the file; of two with the same name, the first.
pub fn stages(map: Map, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Vec<ExpandedStage> {
    let mut written: Vec<ExpandedStage> = Vec::with_capacity(map.len());
    let mut seen: HashSet<String> = HashSet::with_capacity(map.len());
    for (name, body) in map {
        let scopes = match body.get("for") {
            Some(values) => scopes(&name, values, scope, mistakes),
            None => vec![scope.clone()],
        };
        let body = Rc::new(body);
        for scope in scopes {
            let Some(filled) = filled(&name, &scope, mistakes) else { break };
            if written.len() == MAX_STAGES {
                mistakes.push(Diagnostic::error(name.span, format!("more than {MAX_STAGES} stages")));
                return written;
            }
            if !seen.insert(filled.value.clone()) {
                mistakes.push(Diagnostic::error(name.span, format!("a second stage named `{}`", filled.value)));
                continue;
            }
            written.push(ExpandedStage { name: filled, body: Rc::clone(&body), scope });
        }
    }
    written
}

fn filled(name: &WithSpan<String>, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Option<WithSpan<String>> {
    if !name.value.contains("${") {
        return Some(name.clone());
    }
    expect::text(&template::fill_text(&name.value, name.span, scope, mistakes), mistakes)
}

/// One scope for each combination of values; the first variable varies slowest.
fn scopes(name: &WithSpan<String>, values: &Node, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Vec<Scope> {
    let values = template::fill(values, scope, mistakes);
    let Some(map) = expect::map(&values, "a mapping such as `{k: 1..4}`", mistakes) else { return Vec::new() };
    let named = template::variables_of(&name.value);
    let mut scopes = vec![scope.clone()];
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
        if scopes.len().saturating_mul(values.len()) > MAX_STAGES {
            mistakes.push(Diagnostic::error(variable.span, format!("more than {MAX_STAGES} stages")));
            return Vec::new();
        }
        let name = Rc::from(variable.value.as_str());
        scopes = scopes.iter().flat_map(|scope| values.iter().map(|value| with(scope, &name, value))).collect();
    }
    scopes
}

fn with(scope: &Scope, variable: &Rc<str>, value: &Node) -> Scope {
    let mut scope = scope.clone();
    scope.add_loop_variable(variable, value);
    scope
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
