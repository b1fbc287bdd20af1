//! The `gate:` of a stage: text, a list of texts, or a mapping → [`GateSpec`]. Sees to it that each rule arrives
//! in one piece; what a rule says is read by `crate::gate`.

use crate::diagnostic::{Diagnostic, Span};
use crate::spec::expect;
use crate::spec::node::{Map, Node, Spanned, Value};
use crate::spec::{GateSpec, OnFail, SelectSpec};
use stages::stage::did_you_mean;

const KEYS: &[&str] = &["judge", "select", "require", "warn", "observe", "on_fail", "on_unsure"];

/// `key` is the span of the word `gate`.
pub fn lower(key: Span, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<GateSpec> {
    let mut gate = GateSpec {
        span: key,
        judge: None,
        select: None,
        require: Vec::new(),
        warn: Vec::new(),
        observe: Vec::new(),
        on_fail: OnFail::Stop,
    };
    let Value::Map(map) = &node.value else {
        gate.require = rules(node, mistakes);
        return Some(gate);
    };
    let map = &without_split_rules(map, mistakes);
    for (key, value) in map {
        match key.value.as_str() {
            "judge" => gate.judge = judge(value, mistakes),
            "select" => gate.select = select(key.span, value, mistakes),
            "require" => gate.require = rules(value, mistakes),
            "warn" => gate.warn = rules(value, mistakes),
            "observe" => gate.observe = rules(value, mistakes),
            "on_fail" => gate.on_fail = on_fail(value, mistakes).unwrap_or(OnFail::Stop),
            "on_unsure" => {
                let message = "`on_unsure` is not available yet";
                mistakes.push(
                    Diagnostic::error(key.span, message)
                        .help("what is unsure is treated like a fail: `on_fail` says what then"),
                );
            }
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

fn judge(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Spanned<String>> {
    if let Value::List(_) = node.value {
        let message = "a list of judges is not available yet";
        mistakes.push(Diagnostic::error(node.span, message).help("name one eval stage"));
        return None;
    }
    expect::text(node, mistakes)
}

fn on_fail(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<OnFail> {
    if let Value::String(text) = &node.value
        && text == "hold"
    {
        let message = "`on_fail: hold` is not available yet";
        mistakes.push(Diagnostic::error(node.span, message).help("use `stop` or `keep`"));
        return None;
    }
    expect::word(node, &[("stop", OnFail::Stop), ("keep", OnFail::Keep)], mistakes)
}

fn select(key: Span, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<SelectSpec> {
    let map = expect::map(node, "a mapping such as `{best: accuracy, where: ece < 0.25}`", mistakes)?;
    let map = &without_split_rules(map, mistakes);
    let mut select = SelectSpec { best: None, where_: None };
    for (key, value) in map {
        match key.value.as_str() {
            "best" => select.best = rule(value, mistakes),
            "where" => select.where_ = rules(value, mistakes).into_iter().reduce(both),
            "within" => {
                let message = "`within` is not available yet";
                mistakes.push(
                    Diagnostic::error(key.span, message).help("`best` takes the best one; ties go to the earlier"),
                );
            }
            _ => {}
        }
    }
    expect::known_keys(map, "`select`", &["best", "where", "within"], mistakes);
    if map.is_empty() {
        mistakes.push(Diagnostic::error(key, "`select` needs `best` or `where`"));
    }
    Some(select)
}

/// A list under `where` means all of them.
fn both(first: Spanned<String>, second: Spanned<String>) -> Spanned<String> {
    Spanned { value: format!("({}) and ({})", first.value, second.value), span: first.span }
}

/// One rule, or a list of them.
fn rules(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<Spanned<String>> {
    let Value::List(items) = &node.value else { return rule(node, mistakes).into_iter().collect() };
    let mut rules: Vec<Spanned<String>> = Vec::new();
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

fn rule(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Spanned<String>> {
    match &node.value {
        Value::String(text) => Some(Spanned { value: text.trim_end().to_owned(), span: node.span }),
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
    let mut open: Option<Spanned<String>> = None;
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
                open = Some(Spanned { value: text.clone(), span: node.span });
                whole.push((key.clone(), Node::new(node.span, Value::Broken)));
            }
            _ => whole.push((key.clone(), node.clone())),
        }
    }
    mistakes.extend(open.map(|rule| split(&rule)));
    whole
}

fn split(rule: &Spanned<String>) -> Diagnostic {
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
