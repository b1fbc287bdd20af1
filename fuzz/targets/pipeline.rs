//! The pipeline file.

use crate::diagnostic::{Diagnostic, SourceText, render};
use crate::hub::Asset;
use crate::spec::node::{Node, Value};
use crate::spec::{self, yaml as reader};

fn source(text: &str) -> SourceText {
    SourceText { path: "fuzzed.yaml".into(), text: text.to_owned(), overrides: Vec::new(), rule: None }
}

/// Every mistake lies in what was typed, begins and ends between two letters, and can be shown.
fn check_mistakes(source: &SourceText, mistakes: &[Diagnostic]) {
    let typed = [&source.text].into_iter().chain(&source.overrides).cloned().collect::<Vec<_>>().join("\n");
    for mistake in mistakes {
        if let Some(span) = mistake.span {
            assert!(typed.get(span.start..span.end).is_some(), "{mistake:?} is no part of {typed:?}");
        }
    }
    render(source, mistakes, false);
}

/// A node lies in the text, as do the nodes in it.
fn check_node(node: &Node, text: &str) {
    assert!(text.get(node.span.start..node.span.end).is_some(), "{:?} is no part of {text:?}", node.span);
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| check_node(item, text)),
        Value::Map(map) => map.iter().for_each(|(key, value)| {
            assert!(text.get(key.span.start..key.span.end).is_some(), "{key:?}");
            check_node(value, text);
        }),
        _ => {}
    }
}

/// What is read can be written as JSON, which is YAML, and reads the same.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (mut mistakes, mut of_numbers) = (Vec::new(), Vec::new());
    let node = reader::parse(text, 0, &mut mistakes);
    check_mistakes(&source(text), &mistakes);
    let measurements = reader::parse_measurements(text, &mut of_numbers);
    assert_eq!(node.is_some(), measurements.is_some());
    let Some(node) = node else { return };
    check_node(&node, text);
    if mistakes.is_empty() {
        let json = node.to_json();
        let written = json.to_string();
        let again = reader::parse(&written, 0, &mut mistakes);
        if mistakes.is_empty() {
            assert_eq!(again.map(|node| node.to_json()), Some(json), "{written}");
        }
    }
}

/// The text of a file, and `--set` arguments behind it, one a line after a zero byte.
pub fn spec(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (text, overrides) = text.split_once('\0').unwrap_or((text, ""));
    let overrides = overrides.split('\0').filter(|text| !text.is_empty()).map(str::to_owned).collect();
    let source = SourceText { overrides, ..source(text) };
    let environment = |name: &str| (name != "UNSET").then(|| "value".to_owned());
    match spec::read(&source, &environment) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "a file that says nothing has a reason");
            check_mistakes(&source, &mistakes);
        }
        Ok(spec) => {
            check_mistakes(&source, &spec.mistakes);
            spec.hub_assets();
        }
    }
}

/// A text with `${…}` in it, as a value among variables of every type.
pub fn template(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let quoted = serde_json::Value::from(text);
    let file = format!(
        "{{vars: {{steps: 200, rate: 1.0e-5, word: ねこ, list: [1, b, {{c: 3}}], map: {{k: v}}, yes: true, none: null}}, \
         env: {{HOME: here}}, stages: {{a: {{kind: exec, for: {{seed: [1, 2]}}, with: {{command: [{quoted}]}}}}}}}}"
    );
    spec(file.as_bytes());
}

/// The reference of a model or of data: what is understood is written in a way that means the same.
pub fn hub(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(asset) = Asset::parse(text) {
        let written = asset.to_string();
        assert_eq!(Asset::parse(&written).ok(), Some(asset), "{text:?} is written as {written:?}");
    }
}
