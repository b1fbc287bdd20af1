//! `--set a.b=c`: values from the command line, written into the tree before it is templated.

use crate::diagnostic::{Diagnostic, SourceText, Span};
use crate::spec::node::{Node, Value, WithSpan};
use crate::spec::yaml;

pub struct Override {
    pub path: Vec<WithSpan<String>>,
    pub value: Node,
}

/// Reads the `--set` arguments; values are YAML.
pub fn read(source: &SourceText, mistakes: &mut Vec<Diagnostic>) -> Vec<Override> {
    let mut overrides = Vec::new();
    for (index, text) in source.overrides.iter().enumerate() {
        let start = source.override_start(index);
        let whole = Span::new(start, start + text.len());
        let Some((path, value)) = text.split_once('=') else {
            mistakes.push(Diagnostic::error(whole, "expected PATH=VALUE").help("--set ppo_1.with.lr=1e-5"));
            continue;
        };
        let mut position = start;
        let mut parts = Vec::new();
        for part in path.split('.') {
            parts.push(WithSpan { value: part.to_owned(), span: Span::new(position, position + part.len()) });
            position += part.len() + 1;
        }
        if parts.iter().any(|part| part.value.is_empty()) {
            mistakes.push(Diagnostic::error(whole, "expected names joined by dots before the `=`"));
            continue;
        }
        if let Some(value) = yaml::parse(value, start + path.len() + 1, mistakes) {
            overrides.push(Override { path: parts, value });
        }
    }
    overrides
}

/// Writes `value` at `path` below `node`, and creates missing keys.
pub fn assign(node: &mut Node, path: &[WithSpan<String>], value: Node, mistakes: &mut Vec<Diagnostic>) {
    let Some((part, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    if node.value == Value::Null {
        *node = Node::new(part.span, Value::Map(Vec::new()));
    }
    let what = node.what();
    match &mut node.value {
        Value::Map(map) => {
            let index = map.iter().position(|(key, _)| key.value == part.value).unwrap_or_else(|| {
                map.push((part.clone(), Node::new(part.span, Value::Null)));
                map.len() - 1
            });
            // A mistake in the key or value is now a mistake in the argument.
            map[index].0.span = if rest.is_empty() { part.span } else { map[index].0.span };
            assign(&mut map[index].1, rest, value, mistakes);
        }
        Value::List(items) => match part.value.parse().ok().and_then(|index: usize| items.get_mut(index)) {
            Some(item) => assign(item, rest, value, mistakes),
            None => {
                let message = format!("a list of {} has no item `{}`", items.len(), part.value);
                mistakes.push(Diagnostic::error(part.span, message).help("items are counted from 0"));
            }
        },
        Value::Broken => {}
        _ => {
            let message = format!("nothing can be set inside {what}");
            mistakes.push(Diagnostic::error(part.span, message).help("set the whole value"));
        }
    }
}
