//! YAML text → a tree of values that know where they stand. YAML 1.2 core schema; anchors and aliases are
//! resolved, merge keys are not part of it. Knows nothing of what the keys mean.

mod yaml;

use crate::diagnostic::{Diagnostic, Span};

/// A pipeline file is written by hand or by a short script; anything larger is a mistake or an attack.
const MAX_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 2_000_000;
/// Nodes that aliases repeat: a few lines of anchors can stand for any number of them.
const MAX_REPEATED: usize = 100_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// Whole numbers up to here, and as far below zero, are all different in canonical JSON, whose numbers are doubles
/// (RFC 8785, 3.2.2.3): two larger ones could give one key.
pub const EXACT: u64 = 1 << 53;

/// `span` is the scalar without its quotes where it stands in one piece in the file, else the scalar as written;
/// of a list or mapping, its first character.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    /// The variables of the `${…}` a value was made from: `vars.steps`, `k`, `env.HOME`.
    pub variables: Box<[String]>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Its mistake has been reported; what it would have been is not known. Whoever meets it says nothing.
    Broken,
    Null,
    Bool(bool),
    /// Within [`EXACT`].
    Int(i64),
    /// Finite.
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Map),
}

pub type Map = Vec<(Spanned<String>, Node)>;

impl Node {
    pub fn new(span: Span, value: Value) -> Node {
        Node { span, value, variables: Box::default() }
    }

    /// Keys with broken values are left out.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Broken | Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
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

    /// Takes the value of a key out, and leaves nothing in its place.
    pub fn take(&mut self, key: &str) -> Option<(Span, Node)> {
        let Value::Map(map) = &mut self.value else { return None };
        let (name, node) = map.iter_mut().find(|(name, _)| name.value == key)?;
        let nothing = Node::new(node.span, Value::Null);
        Some((name.span, std::mem::replace(node, nothing)))
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
    match yaml::read(text, start, not_finite, mistakes) {
        Ok(node) => Some(node),
        Err(wrong) => {
            let at = start + wrong.at;
            let diagnostic = Diagnostic::error(Span::new(at, at), format!("not YAML: {}", wrong.message));
            mistakes.push(match wrong.message.contains("mapping values are not allowed") {
                true => diagnostic.help("quote a text that holds `: `"),
                false => diagnostic,
            });
            None
        }
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
            "[yes, no, on, True, false, ~, null, 7, -7, 0x1f, 1e-5, 3., 1_000, 1..4, 2001-01-01, '7', 9007199254740992]",
            expect![[r#"
                ["yes","no","on",true,false,null,null,7,-7,31,0.00001,3.0,"1_000","1..4","2001-01-01","7",9007199254740992]
            "#]],
        );
    }

    #[test]
    fn duplicate_keys_merge_keys_and_infinite_numbers_are_all_reported() {
        check(
            "a: &x {b: 1, b: 2}\n'a': 3\nc:\n  <<: *x\nd: .inf\ne: -9007199254740993\nf: !!float 9007199254740993\ng: 007\nh: -00\ni: 0.5\nj: 1701411834604692317316873037158841057280\n",
            expect![[r#"
                {"a":{"b":1},"c":{},"f":9007199254740992.0,"i":0.5}
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

                error: a whole number beyond 2^53 is not exact where keys are made
                 --> rlhf.yaml:6:4
                  |
                6 | e: -9007199254740993
                  |    ^^^^^^^^^^^^^^^^^
                  |
                  = help: write it in quotes where a text will do

                error: `007` is one number to some readers of YAML and another, or a text, to others
                 --> rlhf.yaml:8:4
                  |
                8 | g: 007
                  |    ^^^
                  |
                  = help: write it without the zeros in front, or in quotes if it is a text

                error: `-00` is one number to some readers of YAML and another, or a text, to others
                 --> rlhf.yaml:9:4
                  |
                9 | h: -00
                  |    ^^^
                  |
                  = help: write it without the zeros in front, or in quotes if it is a text

                error: a whole number beyond 2^53 is not exact where keys are made
                  --> rlhf.yaml:11:4
                   |
                11 | j: 1701411834604692317316873037158841057280
                   |    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
                   |
                   = help: write it in quotes where a text will do

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
        expect!["not YAML: aliases repeat more than 100000 values"].assert_eq(&mistakes[0].message);
    }

    #[test]
    fn aliases_may_neither_nest_without_end_nor_stand_in_themselves() {
        let message = |text: &str| {
            let mut mistakes = Vec::new();
            assert!(parse(text, 0, &mut mistakes).is_none());
            mistakes.remove(0).message
        };
        let mut tower = "a0: &a0 [x]\n".to_owned();
        for level in 1..70 {
            tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        expect!["not YAML: nested more than 64 deep"].assert_eq(&message(&tower));
        expect!["not YAML: this alias stands inside its own anchor"].assert_eq(&message("a: &a [*a]"));
        let anchors = (0..60).map(|level| format!("&b{level} [")).collect::<String>();
        let bomb = format!("a: {anchors}{}{}", "x, ".repeat(50_000), "]".repeat(60));
        expect!["not YAML: anchors stand for more than 2000000 values"].assert_eq(&message(&bomb));
    }

    #[test]
    fn tags_of_the_core_schema_say_what_a_scalar_is_and_others_say_nothing() {
        check(
            "[!!str 7, ! 7, !!int '7', !!float 7, !!bool 'true', !!null '', !mine 7, !!int x]",
            expect![[r#"
            ["7","7",7,7.0,true,null,7,null]
            error: `x` is no `!!int`
             --> rlhf.yaml:1:79
              |
            1 | [!!str 7, ! 7, !!int '7', !!float 7, !!bool 'true', !!null '', !mine 7, !!int x]
              |                                                                               ^

        "#]],
        );
    }

    #[test]
    fn a_key_is_a_text() {
        check(
            "{1: a, true: b, 1.50: c, 'null': d}",
            expect![[r#"
            {"1":"a","1.50":"c","null":"d","true":"b"}
        "#]],
        );
        check(
            "{null: a}",
            expect![[r#"

            error: not YAML: a key must be a text
             --> rlhf.yaml:1:2
              |
            1 | {null: a}
              |  ^

        "#]],
        );
        check(
            "{[a]: b}",
            expect![[r#"

            error: not YAML: a key must be a text
             --> rlhf.yaml:1:2
              |
            1 | {[a]: b}
              |  ^

        "#]],
        );
    }

    #[test]
    fn of_many_keys_each_that_is_repeated_is_a_mistake() {
        let mut text = (0..20).map(|key| format!("k{key}: {key}\n")).collect::<String>();
        text.push_str("k3: a\nk4: b\nk3: c\nlast: d\n");
        let mut mistakes = Vec::new();
        let node = parse(&text, 0, &mut mistakes).unwrap();
        let told: Vec<_> =
            mistakes.iter().map(|mistake| (mistake.span.unwrap().start, mistake.help.as_deref())).collect();
        let at = |line: usize| text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
        let (third, fourth) = (Some("it is already set in line 4"), Some("it is already set in line 5"));
        assert_eq!(told, [(at(21), third), (at(22), fourth), (at(23), third)]);
        let Value::Map(map) = &node.value else { panic!("a mapping") };
        assert_eq!((map.len(), node.get("k3").map(|node| &node.value)), (21, Some(&Value::Int(3))));
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
