//! YAML text → a tree of values that know where they stand. YAML 1.2 core schema; anchors and aliases are
//! resolved, merge keys are not part of it. Knows nothing of what the keys mean.

mod raw;

use crate::diagnostic::{Diagnostic, Span};
use raw::{Located, Raw};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use std::collections::BTreeMap;

/// A pipeline file is written by hand; anything larger is a mistake or an attack.
const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// `span` is the scalar without its quotes where it stands in one piece in the file, else the scalar as written;
/// of a list or mapping, its first character.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    /// The variables of the `${…}` a value was made from: `vars.steps`, `k`, `env.HOME`.
    pub variables: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Its mistake has been reported; what it would have been is not known. Whoever meets it says nothing.
    Broken,
    Null,
    Bool(bool),
    /// Between i64::MIN and u64::MAX, so that JSON can hold it.
    Int(i128),
    /// Finite.
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Map),
}

pub type Map = Vec<(Spanned<String>, Node)>;

impl Node {
    pub fn new(span: Span, value: Value) -> Node {
        Node { span, value, variables: Vec::new() }
    }

    /// Keys with broken values are left out.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Broken | Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => serde_json::Number::from_i128(*value).map_or(serde_json::Value::Null, Into::into),
            Value::Float(value) => (*value).into(),
            Value::String(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(map) => {
                let whole = map.iter().filter(|(_, node)| node.value != Value::Broken);
                whole.map(|(key, node)| (key.value.clone(), node.to_json())).collect()
            }
        }
    }

    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(map) = &self.value else { return None };
        map.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    /// `a text`, `a list`: what a message calls it.
    pub fn what(&self) -> &'static str {
        match self.value {
            Value::Broken => "a mistake",
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::String(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The spans of key and value at a path such as `lora.rank` or `command[0]`, or of the last part of it that
    /// is there.
    pub fn find(&self, path: &str) -> Found {
        let mut found = Found { key: self.span, value: self.span, is_broken: false };
        let mut here = self;
        for part in path.split(['.', '[']).map(|part| part.trim_end_matches(']')) {
            let next = match &here.value {
                Value::Map(map) => map.iter().find(|(key, _)| key.value == part).map(|(key, node)| (key.span, node)),
                Value::List(items) => {
                    part.parse().ok().and_then(|index: usize| items.get(index)).map(|node| (node.span, node))
                }
                _ => None,
            };
            let Some((key, node)) = next else { break };
            found = Found { key, value: node.span, is_broken: node.value == Value::Broken };
            here = node;
        }
        found
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub key: Span,
    pub value: Span,
    pub is_broken: bool,
}

/// What `.nan` and `.inf` read as.
#[derive(Clone, Copy, PartialEq)]
enum NotFinite {
    Mistake,
    Null,
}

/// Reads `text`, whose first byte stands at `start` of the source. A text that is no YAML is one mistake;
/// duplicate keys, merge keys and numbers that JSON cannot hold are collected.
pub fn parse(text: &str, start: usize, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    parse_with(NotFinite::Mistake, text, start, mistakes)
}

/// The same of a text that holds measurements: `.nan` and `.inf` read as null, which is what a record makes of them.
pub fn parse_measurements(text: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    parse_with(NotFinite::Null, text, 0, mistakes)
}

fn parse_with(not_finite: NotFinite, text: &str, start: usize, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        mistakes.push(Diagnostic::error(Span::new(start, start), format!("larger than {MAX_BYTES} bytes")));
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH, max_nodes: MAX_NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        // Collected below, so that the first one does not hide the other mistakes.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options::<Located>(text, options) {
        Ok(located) => Some(node_of(located, not_finite, text, start, mistakes)),
        Err(error) => {
            mistakes.push(syntax_mistake(&error, text, start));
            None
        }
    }
}

fn syntax_mistake(error: &serde_saphyr::Error, text: &str, start: usize) -> Diagnostic {
    let mut message = error.without_snippet().to_string();
    // The place is shown below; advice for programmers stands behind a semicolon.
    for end in [" at line ", ";"] {
        message.truncate(message.find(end).unwrap_or(message.len()));
    }
    let at = error.location().map_or(0, |location| {
        // The scanner counts characters, not bytes.
        let characters = location.span().offset() as usize;
        text.char_indices().nth(characters).map_or(text.len(), |(byte, _)| byte)
    });
    let diagnostic = Diagnostic::error(Span::new(start + at, start + at), format!("not YAML: {message}"));
    match message.contains("mapping values are not allowed") {
        true => diagnostic.help("quote a text that holds `: `"),
        false => diagnostic,
    }
}

fn node_of(located: Located, not_finite: NotFinite, text: &str, start: usize, mistakes: &mut Vec<Diagnostic>) -> Node {
    let span = span_of(&located.0.defined);
    let shift = |span: Span| Span::new(start + span.start, start + span.end);
    let value = match located.0.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Int(value) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value) => Value::Int(value),
        Raw::Float(value) if value.is_finite() => Value::Float(value),
        Raw::Float(_) if not_finite == NotFinite::Null => Value::Null,
        Raw::Int(_) | Raw::Float(_) => {
            mistakes.push(Diagnostic::error(shift(span), "expected a finite number of at most 64 bits"));
            Value::Broken
        }
        Raw::String(value) => {
            let span = shift(without_quotes(span, &value, text));
            return Node::new(span, Value::String(value));
        }
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| node_of(item, not_finite, text, start, mistakes)).collect())
        }
        Raw::Map(entries) => {
            let mut seen: BTreeMap<String, Span> = BTreeMap::new();
            let mut map = Map::new();
            for (key, item) in entries {
                let key_span = shift(without_quotes(span_of(&key.defined), &key.value, text));
                if key.value == "<<" {
                    mistakes.push(
                        Diagnostic::error(key_span, "merge keys are not part of YAML 1.2")
                            .help("alias the whole value, `gate: *promote`, or write it out with `for`"),
                    );
                    continue;
                }
                let node = node_of(item, not_finite, text, start, mistakes);
                match seen.get(&key.value) {
                    Some(first) => mistakes.push(duplicate(&key.value, key_span, *first, text, start)),
                    None => {
                        seen.insert(key.value.clone(), key_span);
                        map.push((Spanned { value: key.value, span: key_span }, node));
                    }
                }
            }
            Value::Map(map)
        }
    };
    Node::new(shift(span), value)
}

fn duplicate(key: &str, span: Span, first: Span, text: &str, start: usize) -> Diagnostic {
    let line = text[..first.start - start].matches('\n').count() + 1;
    Diagnostic::error(span, format!("duplicate key `{key}`")).help(format!("it is already set in line {line}"))
}

/// serde-saphyr gives the place of the definition also for what an alias repeats: that is where a mistake is mended.
fn span_of(location: &serde_saphyr::Location) -> Span {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0) as usize;
    Span::new(start, start + span.byte_len().unwrap_or(0) as usize)
}

/// `"a b"` → `a b`, when what stands between the quotes is the value: then an offset into the value is one into the
/// file.
fn without_quotes(span: Span, value: &str, text: &str) -> Span {
    let written = text.get(span.start..span.end).unwrap_or("");
    let is_quoted = written.len() == value.len() + 2 && written.starts_with(['"', '\'']);
    if is_quoted && &written[1..written.len() - 1] == value {
        Span::new(span.start + 1, span.end - 1)
    } else {
        Span::new(span.start, span.start + written.trim_end().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Source, render};
    use expect_test::{Expect, expect};
    use std::path::PathBuf;

    fn check(text: &str, expected: Expect) {
        let mut mistakes = Vec::new();
        let node = parse(text, 0, &mut mistakes);
        let source =
            Source { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides: Vec::new(), rule: None };
        let json = node.map(|node| node.to_json().to_string()).unwrap_or_default();
        expected.assert_eq(&format!("{json}\n{}", render(&source, &mistakes, false)));
    }

    #[test]
    fn scalars_follow_the_core_schema_of_yaml_1_2() {
        check(
            "[yes, no, on, True, false, ~, null, 7, -7, 0x1f, 1e-5, 3., 1_000, 1..4, 2001-01-01, '7', 18446744073709551615]",
            expect![[r#"
                ["yes","no","on",true,false,null,null,7,-7,31,0.00001,3.0,"1_000","1..4","2001-01-01","7",18446744073709551615]
            "#]],
        );
    }

    #[test]
    fn duplicate_keys_merge_keys_and_infinite_numbers_are_all_reported() {
        check(
            "a: &x {b: 1, b: 2}\n'a': 3\nc:\n  <<: *x\nd: .inf\ne: 18446744073709551616\n",
            expect![[r#"
            {"a":{"b":1},"c":{},"e":1.8446744073709552e+19}
            error: duplicate key `b`
             --> rlhf.yaml:1:14
              |
            1 | a: &x {b: 1, b: 2}
              |              ^
              |
              = help: it is already set in line 1

            error: duplicate key `a`
             --> rlhf.yaml:2:2
              |
            2 | 'a': 3
              |  ^
              |
              = help: it is already set in line 1

            error: merge keys are not part of YAML 1.2
             --> rlhf.yaml:4:3
              |
            4 |   <<: *x
              |   ^^
              |
              = help: alias the whole value, `gate: *promote`, or write it out with `for`

            error: expected a finite number of at most 64 bits
             --> rlhf.yaml:5:4
              |
            5 | d: .inf
              |    ^^^^

        "#]],
        );
    }

    #[test]
    fn what_is_no_yaml_is_shown_where_the_scanner_stopped() {
        check(
            "a: 日本 [\nb: c: d\n",
            expect![[r#"

            error: not YAML: mapping values are not allowed in this context
             --> rlhf.yaml:2:5
              |
            2 | b: c: d
              |     ^
              |
              = help: quote a text that holds `: `

        "#]],
        );
        check(
            "a: [1, 2\nb: 3\n",
            expect![[r#"

            error: not YAML: illegal placement of ':' indicator
             --> rlhf.yaml:2:2
              |
            2 | b: 3
              |  ^

        "#]],
        );
        check(
            "a: *nothing\n",
            expect![[r#"

            error: not YAML: alias references unknown anchor
             --> rlhf.yaml:1:4
              |
            1 | a: *nothing
              |    ^

        "#]],
        );
        check(
            "a: 1\n---\nb: 2\n",
            expect![[r#"

            error: not YAML: multiple YAML documents detected
             --> rlhf.yaml:3:1
              |
            3 | b: 2
              | ^

        "#]],
        );
    }

    #[test]
    fn nesting_and_the_repetition_of_anchors_are_bounded() {
        check(
            &"[".repeat(70),
            expect![[r#"

            error: not YAML: recursion limit exceeded
             --> rlhf.yaml:1:65
              |
            1 | [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
              |                                                                 ^

        "#]],
        );
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..30 {
            bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1));
        }
        let mut mistakes = Vec::new();
        assert!(parse(&bomb, 0, &mut mistakes).is_none());
        expect!["not YAML: alias replay limit exceeded: total_replayed_events=100001 > 100000"]
            .assert_eq(&mistakes[0].message);
    }

    #[test]
    fn the_span_of_a_quoted_scalar_is_its_inside_so_that_offsets_into_the_value_are_offsets_into_the_file() {
        let text = "a: 'x > y'\nb: \"t\\n\"\nc: |\n  z\n";
        let node = parse(text, 0, &mut Vec::new()).unwrap();
        let written = |path: &str| &text[node.find(path).value.start..node.find(path).value.end];
        assert_eq!((written("a"), written("b"), written("c")), ("x > y", "\"t\\n\"", "z"));
    }

    #[test]
    fn a_path_finds_the_deepest_part_that_is_there() {
        let text = "lora: {rank: 8}\ncommand: [a, b]\n";
        let node = parse(text, 0, &mut Vec::new()).unwrap();
        let written = |path: &str| {
            let found = node.find(path);
            (&text[found.key.start..found.key.end], &text[found.value.start..found.value.end])
        };
        assert_eq!(written("lora.rank"), ("rank", "8"));
        assert_eq!(written("lora.alpha"), ("lora", "{"));
        assert_eq!(written("command[1]"), ("b", "b"));
    }
}
