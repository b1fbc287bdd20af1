//! The `gate:` of a stage: text, a list of texts, or a mapping → [`GateSpec`]. Makes sure that each rule arrives in one
//! piece; `crate::gate` parses it.

use crate::diagnostic::{Diagnostic, Span};
use crate::spec::expect;
use crate::spec::node::{Map, Node, Value, WithSpan};
use stages::stage::did_you_mean;

pub const KEYS: &[&str] = &["judge", "select", "require", "warn", "observe", "on_fail", "on_unsure"];
pub const SELECT_KEYS: &[&str] = &["best", "where", "within"];

/// A gate as typed: the texts of its rules with their spans.
pub struct GateSpec {
    /// The span of the key `gate`.
    pub span: Span,
    pub judges: Vec<WithSpan<String>>,
    pub select: Option<SelectSpec>,
    pub require: Vec<WithSpan<String>>,
    pub warn: Vec<WithSpan<String>>,
    pub observe: Vec<WithSpan<String>>,
    pub on_fail: OnFail,
    /// `None`: the same as `on_fail`.
    pub on_unsure: Option<OnFail>,
}

impl GateSpec {
    /// A gate without rules.
    pub fn empty(span: Span) -> GateSpec {
        GateSpec {
            span,
            judges: Vec::new(),
            select: None,
            require: Vec::new(),
            warn: Vec::new(),
            observe: Vec::new(),
            on_fail: OnFail::Stop,
            on_unsure: None,
        }
    }
}

pub struct SelectSpec {
    pub best: Option<WithSpan<String>>,
    pub where_: Option<WithSpan<String>>,
    /// The tolerance in standard errors.
    pub within: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    Stop,
    Keep,
    /// A person decides.
    Hold,
}

/// Reads a gate. `key` is the span of the key `gate`.
pub fn lower(key: Span, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<GateSpec> {
    let mut gate = GateSpec::empty(key);
    let Value::Map(map) = &node.value else {
        gate.require = rules(node, mistakes);
        return Some(gate);
    };
    let map = &without_split_rules(map, mistakes);
    for (key, value) in map {
        match key.value.as_str() {
            "judge" => gate.judges = judges(value, mistakes),
            "select" => gate.select = select(key.span, value, mistakes),
            "require" => gate.require = rules(value, mistakes),
            "warn" => gate.warn = rules(value, mistakes),
            "observe" => gate.observe = rules(value, mistakes),
            "on_fail" => gate.on_fail = on_fail(value, mistakes).unwrap_or(OnFail::Stop),
            "on_unsure" => gate.on_unsure = on_fail(value, mistakes),
            unknown => {
                let message = format!("unknown key `{unknown}` of a gate");
                let help = match is_rule_like(unknown) {
                    true => format!("if this is a rule, quote this rule: `require: \"{unknown}\"`"),
                    false => did_you_mean(unknown, KEYS),
                };
                mistakes.push(Diagnostic::error(key.span, message).help(help));
            }
        }
    }
    let says_something = ["select", "require", "warn", "observe"];
    if !map.iter().any(|(key, _)| says_something.contains(&key.value.as_str()) || !KEYS.contains(&key.value.as_str())) {
        let message = "this gate lets everything through";
        mistakes.push(Diagnostic::error(key, message).help("give it `require`, `select`, `warn` or `observe`"));
    }
    Some(gate)
}

/// One judge, or a list of them.
fn judges(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<WithSpan<String>> {
    let Value::List(items) = &node.value else { return expect::text(node, mistakes).into_iter().collect() };
    if items.is_empty() {
        mistakes.push(Diagnostic::error(node.span, "expected an eval stage, found an empty list"));
    }
    let mut judges: Vec<WithSpan<String>> = Vec::new();
    for item in items {
        let Some(judge) = expect::text(item, mistakes) else { continue };
        if judges.iter().any(|known| known.value == judge.value) {
            mistakes.push(Diagnostic::error(judge.span, format!("`{}` judges already", judge.value)));
        } else {
            judges.push(judge);
        }
    }
    judges
}

fn on_fail(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<OnFail> {
    expect::word(node, &[("stop", OnFail::Stop), ("keep", OnFail::Keep), ("hold", OnFail::Hold)], mistakes)
}

fn select(key: Span, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<SelectSpec> {
    let map = expect::map(node, "a mapping such as `{best: accuracy, where: ece < 0.25}`", mistakes)?;
    let map = &without_split_rules(map, mistakes);
    let mut select = SelectSpec { best: None, where_: None, within: None };
    for (key, value) in map {
        match key.value.as_str() {
            "best" => select.best = rule(value, mistakes),
            "where" => select.where_ = rules(value, mistakes).into_iter().reduce(both),
            "within" => select.within = standard_errors(value, mistakes),
            _ => {}
        }
    }
    expect::known_keys(map, "`select`", SELECT_KEYS, mistakes);
    if map.is_empty() {
        mistakes.push(Diagnostic::error(key, "`select` needs `best` or `where`"));
    }
    if let (Some((key, _)), None) = (map.iter().find(|(key, _)| key.value == "within"), &select.best)
        && !map.iter().any(|(key, _)| key.value == "best")
    {
        let message = "`within` says how near to the best, and there is no `best`";
        mistakes.push(Diagnostic::error(key.span, message).help("add `best: METRIC`"));
    }
    Some(select)
}

/// A tolerance: `1 se`.
fn standard_errors(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<f64> {
    let text = match &node.value {
        Value::String(text) => text.as_str(),
        Value::Broken => return None,
        _ => "",
    };
    let number = text.strip_suffix("se").map(str::trim).and_then(|number| number.parse::<f64>().ok());
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    if number.is_none() {
        let message = format!("expected a number of standard errors, found {}", node.what());
        mistakes.push(Diagnostic::error(node.span, message).help("write `within: 1 se`"));
    }
    number
}

/// A list under `where` means all of them.
fn both(first: WithSpan<String>, second: WithSpan<String>) -> WithSpan<String> {
    WithSpan { value: format!("({}) and ({})", first.value, second.value), span: first.span }
}

/// One rule, or a list of them.
fn rules(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<WithSpan<String>> {
    let Value::List(items) = &node.value else { return rule(node, mistakes).into_iter().collect() };
    let mut rules: Vec<WithSpan<String>> = Vec::new();
    let mut items = items.iter();
    while let Some(item) = items.next() {
        let Some(mut rule) = rule(item, mistakes) else { continue };
        if open_parentheses(&rule.value) > 0 {
            // `[best(a, b) > 1]` arrives as `best(a` and `b) > 1`.
            let rest = items.by_ref().map_while(|item| match &item.value {
                Value::String(text) => Some(text.clone()),
                _ => None,
            });
            for text in rest {
                rule.value = format!("{}, {text}", rule.value);
                if open_parentheses(&rule.value) <= 0 {
                    break;
                }
            }
            mistakes.push(split(&rule));
            continue;
        }
        rules.push(rule);
    }
    if rules.is_empty() && items.len() == 0 && matches!(&node.value, Value::List(items) if items.is_empty()) {
        mistakes.push(Diagnostic::error(node.span, "expected a rule, found an empty list"));
    }
    rules
}

fn rule(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<WithSpan<String>> {
    match &node.value {
        Value::String(text) => Some(WithSpan { value: text.trim_end().to_owned(), span: node.span }),
        Value::Map(map) => {
            let message = "expected a rule, found a mapping";
            let span = map.first().map_or(node.span, |(key, _)| key.span);
            mistakes.push(
                Diagnostic::error(span, message).help("quote this rule: a text that holds `:` or `{` needs quotes"),
            );
            None
        }
        _ => {
            expect::wrong(node, "a rule", mistakes);
            None
        }
    }
}

/// `{require: best(a, b) > 1}` arrives as `require: best(a` and a key `b) > 1` without a value: one mistake, not two.
fn without_split_rules(map: &Map, mistakes: &mut Vec<Diagnostic>) -> Map {
    let mut whole = Map::new();
    let mut open: Option<WithSpan<String>> = None;
    for (key, node) in map {
        if let Some(rule) = &mut open
            && node.value == Value::Null
        {
            rule.value = format!("{}, {}", rule.value, key.value);
            continue;
        }
        match &node.value {
            Value::String(text) if open_parentheses(text) > 0 => {
                mistakes.extend(open.take().map(|rule| split(&rule)));
                open = Some(WithSpan { value: text.clone(), span: node.span });
                whole.push((key.clone(), Node::new(node.span, Value::Broken)));
            }
            _ => whole.push((key.clone(), node.clone())),
        }
    }
    mistakes.extend(open.map(|rule| split(&rule)));
    whole
}

fn split(rule: &WithSpan<String>) -> Diagnostic {
    match open_parentheses(&rule.value) {
        0 => Diagnostic::error(rule.span, "this rule was split at a comma")
            .help(format!("quote this rule: \"{}\"", rule.value)),
        _ => Diagnostic::error(rule.span, "this rule has a `(` without its `)`"),
    }
}

fn open_parentheses(text: &str) -> i64 {
    text.chars().map(|character| i64::from(character == '(') - i64::from(character == ')')).sum()
}

fn is_rule_like(key: &str) -> bool {
    key.contains(['<', '>', '=', '(', ' '])
}
