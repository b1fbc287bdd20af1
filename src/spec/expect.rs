//! Typed access to values: a text, a number, one of several words. A value of another type is a mistake that names both
//! types; a broken value has been reported already and adds no mistake.

use crate::diagnostic::Diagnostic;
use crate::spec::node::{Map, Node, Value, WithSpan};
use stages::stage::{did_you_mean, lookalike};
use std::time::Duration;

pub fn wrong(node: &Node, expected: &str, mistakes: &mut Vec<Diagnostic>) {
    if node.value != Value::Broken {
        let help = if let Value::String(text) = &node.value { lookalike(text) } else { None };
        let mistake = Diagnostic::error(node.span, format!("expected {expected}, found {}", node.what()));
        mistakes.push(Diagnostic { help, ..mistake });
    }
}

pub fn text(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<WithSpan<String>> {
    match &node.value {
        Value::String(text) => Some(WithSpan { value: text.clone(), span: node.span }),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            let message = format!("expected a text, found {}", node.what());
            mistakes.push(Diagnostic::error(node.span, message).help(format!("quote it: \"{}\"", node.to_json())));
            None
        }
        _ => {
            wrong(node, "a text", mistakes);
            None
        }
    }
}

pub fn whole_number(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<u64> {
    match node.value {
        Value::Int(value) if value >= 0 => u64::try_from(value).ok(),
        Value::Int(_) => {
            mistakes.push(Diagnostic::error(node.span, "expected a whole number from 0, found a negative one"));
            None
        }
        _ => {
            wrong(node, "a whole number", mistakes);
            None
        }
    }
}

/// A command with its arguments, as a list of texts.
pub fn command(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Vec<String>> {
    match &node.value {
        Value::List(words) if !words.is_empty() => words.iter().map(|word| Some(text(word, mistakes)?.value)).collect(),
        _ => {
            wrong(node, "a command such as `[sh, -c, \"cat >> notices.jsonl\"]`", mistakes);
            None
        }
    }
}

pub fn boolean(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<bool> {
    if let Value::Bool(value) = node.value {
        return Some(value);
    }
    wrong(node, "true or false", mistakes);
    None
}

pub fn map<'a>(node: &'a Node, expected: &str, mistakes: &mut Vec<Diagnostic>) -> Option<&'a Map> {
    match &node.value {
        Value::Map(map) => Some(map),
        _ => {
            wrong(node, expected, mistakes);
            None
        }
    }
}

/// One of several words.
pub fn word<T: Copy>(node: &Node, words: &[(&str, T)], mistakes: &mut Vec<Diagnostic>) -> Option<T> {
    let typed = text(node, mistakes)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == typed.value) {
        return Some(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let (last, others) = names.split_last().expect("a word is one of some");
    let words = if others.is_empty() { (*last).to_owned() } else { format!("{} or {last}", others.join(", ")) };
    let message = format!("expected {words}, found `{}`", typed.value);
    mistakes.push(Diagnostic { help: nearest(&typed.value, &names), ..Diagnostic::error(typed.span, message) });
    None
}

/// A length of time: `90s`, `30m`, `2h`, `1d`, or a number of seconds.
pub fn duration(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Duration> {
    let seconds = match &node.value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::String(text) => {
            let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
            let unit = match text[digits.len()..].trim() {
                "" | "s" => Some(1.0),
                "m" => Some(60.0),
                "h" => Some(3600.0),
                "d" => Some(86400.0),
                _ => None,
            };
            digits.trim().parse::<f64>().ok().zip(unit).map(|(count, unit)| count * unit)
        }
        _ => None,
    };
    let duration =
        seconds.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if duration.is_none() && node.value != Value::Broken {
        let message = format!("expected a length of time, found {}", node.what());
        mistakes.push(Diagnostic::error(node.span, message).help("30m, 2h, or a number of seconds"));
    }
    duration
}

pub fn known_keys(map: &Map, what: &str, names: &[&str], mistakes: &mut Vec<Diagnostic>) {
    known(map.iter().map(|(key, _)| key), what, names, mistakes);
}

/// Reports every key that is not in `known`.
pub fn known<'a>(
    keys: impl Iterator<Item = &'a WithSpan<String>>,
    what: &str,
    known: &[&str],
    mistakes: &mut Vec<Diagnostic>,
) {
    for key in keys.filter(|key| !known.contains(&key.value.as_str())) {
        let message = format!("unknown key `{}` of {what}", key.value);
        mistakes.push(Diagnostic::error(key.span, message).help(did_you_mean(&key.value, known)));
    }
}

/// The nearest name, if one is near; the message itself lists all.
fn nearest(typed: &str, names: &[&str]) -> Option<String> {
    stages::stage::nearest(typed, names).map(|name| format!("did you mean `{name}`?"))
}
