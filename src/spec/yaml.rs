//! YAML text → a tree of values, in one pass over the events of the parser. YAML 1.2 core schema; anchors and aliases
//! are resolved within bounds; merge keys are refused.

mod scalar;

use crate::canonical::EXACT;
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::node::{Map, Node, Value, WithSpan};
use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use scalar::{has_idle_zeros, integer, plain, without_quotes};
use stages::stage::lookalike;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A limit above any file that a person or a short script writes; larger input is a mistake or an attack.
const MAX_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 2_000_000;
/// The limit on nodes repeated by aliases: a few lines of anchors can stand for any number of nodes.
const MAX_REPEATED: usize = 100_000;
/// The limit on the bytes of texts repeated by aliases.
const MAX_REPEATED_BYTES: usize = 64 << 20;

/// The reading of `.nan` and `.inf`.
#[derive(Clone, Copy, PartialEq)]
enum NotFinite {
    Mistake,
    Null,
}

/// Reads `text`, whose first byte is at `start` of the source. Text that is not YAML is one mistake; duplicate keys,
/// merge keys and numbers that JSON cannot hold are all collected.
pub fn parse(text: &str, start: usize, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    parse_with(NotFinite::Mistake, text, start, mistakes)
}

/// Reads measurements: `.nan` and `.inf` become null, as in a record.
pub fn parse_measurements(text: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    parse_with(NotFinite::Null, text, 0, mistakes)
}

fn parse_with(not_finite: NotFinite, text: &str, start: usize, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        mistakes.push(Diagnostic::error(Span::new(start, start), format!("larger than {MAX_BYTES} bytes")));
        return None;
    }
    match read(text, start, not_finite, mistakes) {
        Ok(node) => Some(node),
        Err(wrong) => {
            let at = start + wrong.at;
            let diagnostic = Diagnostic::error(Span::new(at, at), format!("not YAML: {}", wrong.message));
            let help = help(text, wrong.at, &wrong.message);
            mistakes.push(Diagnostic { help, ..diagnostic });
            None
        }
    }
}

/// Help for a text that is not YAML at this byte: by what stands there, then by what the reader says.
fn help(text: &str, at: usize, message: &str) -> Option<String> {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    // A key without its colon is noticed in the line after it.
    let before = text[..start].trim_end().rfind('\n').map_or(0, |at| at + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let is_variable = text[..at].ends_with('$') && text[at..].starts_with('{');
    if is_variable && message.contains("while parsing a flow") {
        return Some("inside `{…}` and `[…]` a `${…}` stands in quotes: `\"${steps}\"`".to_owned());
    }
    let unquoted = |line: &str| line.split(['"', '\'', '#']).next().map(str::to_owned).unwrap_or_default();
    let lines: Vec<String> = text[before..end].lines().map(unquoted).collect();
    let is_colon = message.contains("mapping values are not allowed");
    lines
        .iter()
        .find_map(|line| lookalike(line))
        .or_else(|| is_colon.then(|| "quote a text that holds `: `".to_owned()))
}

/// Why a text cannot be read as YAML, and the byte at which the reader stopped.
struct YamlError {
    at: usize,
    message: String,
}

/// The only document of a text whose first byte is at `start` of the source.
fn read(text: &str, start: usize, not_finite: NotFinite, mistakes: &mut Vec<Diagnostic>) -> Result<Node, YamlError> {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
        emit_unresolved_aliases: true,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let anchors = HashMap::new();
    let (nodes, kept, repeated, repeated_bytes, line_starts) = (0, 0, 0, 0, Vec::new());
    let mut reader = Reader {
        text,
        start,
        not_finite,
        parser,
        anchors,
        nodes,
        kept,
        repeated,
        repeated_bytes,
        line_starts,
        mistakes,
    };
    reader.document()
}

struct Reader<'a> {
    text: &'a str,
    start: usize,
    not_finite: NotFinite,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    /// Numbers of nodes read, kept for aliases, and repeated by aliases.
    nodes: usize,
    kept: usize,
    repeated: usize,
    repeated_bytes: usize,
    /// The starts of all lines; empty until a message needs a line number.
    line_starts: Vec<usize>,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next() {
            Some(Ok((event, place))) => {
                let bytes = place.byte_range().unwrap_or_default();
                Ok((event, Span::new(bytes.start, bytes.end)))
            }
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
                Err(YamlError { at, message: error.info() })
            }
            None => Ok((Event::StreamEnd, Span::new(self.text.len(), self.text.len()))),
        }
    }

    fn document(&mut self) -> Result<Node, YamlError> {
        let mut document = None;
        loop {
            match (self.next()?, &document) {
                ((Event::StreamEnd, _), _) => break,
                ((Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _), _) => {}
                ((event, span), None) => document = Some(self.node(event, span, 0)?),
                ((_, span), Some(_)) => {
                    return Err(wrong(span, "multiple YAML documents detected"));
                }
            }
        }
        Ok(document.unwrap_or_else(|| Node::new(Span::new(self.start, self.start), Value::Null)))
    }

    /// The node that begins with this event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(wrong(span, format!("more than {MAX_NODES} values")));
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(span));
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.repeat(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let (span, value) = self.scalar(text.into_owned(), style, tag.as_deref(), span);
                return self.anchored(anchor, Node::new(span, value), span);
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::UnresolvedAlias(_) => return Err(wrong(span, "alias references unknown anchor")),
            _ => return Err(wrong(span, "expected a value")),
        };
        self.anchored(anchor, Node::new(self.shifted(span), value), span)
    }

    fn anchored(&mut self, anchor: usize, node: Node, span: Span) -> Result<Node, YamlError> {
        if anchor != 0 {
            // Anchors may stand inside anchors.
            self.kept += size(&node).0;
            if self.kept > MAX_NODES {
                return Err(wrong(span, format!("anchors stand for more than {MAX_NODES} values")));
            }
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// The node of an alias, with the place of the anchor, where a mistake in it must be corrected.
    fn repeat(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, YamlError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(wrong(span, "this alias stands inside its own anchor"));
        };
        let (nodes, height) = size(node);
        self.repeated += nodes;
        if self.repeated > MAX_REPEATED {
            return Err(wrong(span, format!("aliases repeat more than {MAX_REPEATED} values")));
        }
        self.repeated_bytes += text_bytes(node);
        if self.repeated_bytes > MAX_REPEATED_BYTES {
            return Err(wrong(span, format!("aliases repeat more than {MAX_REPEATED_BYTES} bytes")));
        }
        if depth + height > MAX_DEPTH {
            return Err(too_deep(span));
        }
        Ok(node.clone())
    }

    fn list(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => {
                    // Spare capacity would be half of a large file's tree.
                    items.shrink_to_fit();
                    return Ok(Value::List(items));
                }
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut map = Map::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.key(event, span)?,
            };
            let (event, span) = self.next()?;
            let known = self.mistakes.len();
            let node = self.node(event, span, depth + 1)?;
            if key.value == "<<" {
                self.mistakes.truncate(known);
                self.mistakes.push(
                    Diagnostic::error(key.span, "merge keys are not part of YAML 1.2")
                        .help("alias the whole value, `gate: *promote`, or write it out with `for`"),
                );
            } else {
                map.push((key, node));
            }
        }
        self.refuse_repeated_keys(&mut map);
        map.shrink_to_fit();
        Ok(Value::Map(map))
    }

    fn key(&mut self, event: Event<'a>, span: Span) -> Result<WithSpan<String>, YamlError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                if style == ScalarStyle::Plain && plain(&text) == Some(Value::Null) {
                    return Err(wrong(span, "a key must be a text"));
                }
                let key_span = self.shifted(without_quotes(span, &text, self.text));
                let key = WithSpan { value: text.into_owned(), span: key_span };
                if anchor != 0 {
                    self.anchors.insert(anchor, Node::new(key_span, Value::String(key.value.clone())));
                }
                Ok(key)
            }
            Event::Alias(anchor) => match self.repeat(anchor, span, 0)? {
                Node { span, value: Value::String(value), .. } => Ok(WithSpan { value, span }),
                _ => Err(wrong(span, "a key must be a text")),
            },
            Event::UnresolvedAlias(_) => Err(wrong(span, "alias references unknown anchor")),
            _ => Err(wrong(span, "a key must be a text")),
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> (Span, Value) {
        let span = self.shifted(without_quotes(span, &text, self.text));
        let tag = tag.and_then(|tag| if tag.to_string() == "!" { Some("str") } else { tag.core_suffix() });
        let is_number = style == ScalarStyle::Plain && tag.is_none() && self.not_finite == NotFinite::Mistake;
        if is_number && has_idle_zeros(&text) {
            let message = format!("`{text}` is one number to some readers of YAML and another, or a text, to others");
            let help = "write it without the zeros in front, or in quotes if it is a text";
            self.mistakes.push(Diagnostic::error(span, message).help(help));
            return (span, Value::Broken);
        }
        // A number from 2^53 has at least sixteen characters.
        let may_be_beyond = text.len() >= 16 && is_number;
        let is_beyond = may_be_beyond && integer(&text).is_some_and(|value| value.unsigned_abs() > EXACT.into());
        let value = match (tag, style) {
            (Some("str"), _) => Value::String(text),
            (Some(wanted @ ("null" | "bool" | "int" | "float")), _) => match (wanted, plain(&text)) {
                ("null", Some(Value::Null)) => Value::Null,
                ("bool", Some(Value::Bool(value))) => Value::Bool(value),
                ("int", Some(Value::Int(value))) => Value::Int(value),
                ("float", Some(Value::Int(value))) => Value::Float(value as f64),
                ("float", Some(Value::Float(value))) => Value::Float(value),
                _ => {
                    self.mistakes.push(Diagnostic::error(span, format!("`{text}` is no `!!{wanted}`")));
                    Value::Broken
                }
            },
            (_, ScalarStyle::Plain) => plain(&text).unwrap_or(Value::String(text)),
            _ => Value::String(text),
        };
        match value {
            Value::Float(_) if is_beyond => {
                let message = "a whole number beyond 2^53 is not exact where keys are made";
                let help = "write it in quotes where a text will do";
                self.mistakes.push(Diagnostic::error(span, message).help(help));
                (span, Value::Broken)
            }
            Value::Float(number) if !number.is_finite() => match self.not_finite {
                NotFinite::Null => (span, Value::Null),
                NotFinite::Mistake => {
                    let message = "expected a finite number of at most 64 bits";
                    self.mistakes.push(Diagnostic::error(span, message));
                    (span, Value::Broken)
                }
            },
            value => (span, value),
        }
    }

    fn shifted(&self, span: Span) -> Span {
        Span::new(self.start + span.start, self.start + span.end)
    }

    /// Reports repeated keys and keeps the first of each.
    fn refuse_repeated_keys(&mut self, map: &mut Map) {
        let repeated = repeated(map);
        for (again, first) in &repeated {
            let help = format!("it is already set in line {}", self.line(map[*first].0.span.start));
            let key = &map[*again].0;
            self.mistakes.push(Diagnostic::error(key.span, format!("duplicate key `{}`", key.value)).help(help));
        }
        if !repeated.is_empty() {
            let mut repeated = repeated.into_iter().map(|(again, _)| again).peekable();
            let mut seen = 0;
            map.retain(|_| {
                seen += 1;
                repeated.next_if_eq(&(seen - 1)).is_none()
            });
        }
    }

    /// The line, counted from 1, of a place in the source.
    fn line(&mut self, at: usize) -> usize {
        if self.line_starts.is_empty() {
            let breaks = self.text.match_indices('\n').map(|(at, _)| at + 1);
            self.line_starts = std::iter::once(0).chain(breaks).collect();
        }
        self.line_starts.partition_point(|start| *start + self.start <= at)
    }
}

fn wrong(span: Span, message: impl Into<String>) -> YamlError {
    YamlError { at: span.start, message: message.into() }
}

fn too_deep(span: Span) -> YamlError {
    wrong(span, format!("nested more than {MAX_DEPTH} deep"))
}

/// The bytes of the texts of a tree.
fn text_bytes(node: &Node) -> usize {
    match &node.value {
        Value::String(text) => text.len(),
        Value::List(items) => items.iter().map(text_bytes).sum(),
        Value::Map(map) => map.iter().map(|(key, item)| key.value.len() + text_bytes(item)).sum(),
        _ => 0,
    }
}

/// The number of nodes and the depth of a tree.
fn size(node: &Node) -> (usize, usize) {
    let (mut nodes, mut height) = (1, 0);
    let mut add = |(more, below): (usize, usize)| {
        nodes += more;
        height = height.max(below + 1);
    };
    match &node.value {
        Value::List(items) => items.iter().map(size).for_each(&mut add),
        Value::Map(map) => map.iter().map(|(_, item)| size(item)).for_each(&mut add),
        _ => {}
    }
    (nodes, height)
}

/// The index of each repeated key, with that of its first occurrence.
fn repeated(map: &Map) -> Vec<(usize, usize)> {
    let mut repeated = Vec::new();
    // Most mappings have few keys, and comparing them is cheaper than hashing.
    if map.len() <= 8 {
        for (again, (key, _)) in map.iter().enumerate() {
            let first = map[..again].iter().position(|(before, _)| before.value == key.value);
            repeated.extend(first.map(|first| (again, first)));
        }
        return repeated;
    }
    let mut firsts: HashMap<&str, usize> = HashMap::with_capacity(map.len());
    for (again, (key, _)) in map.iter().enumerate() {
        match firsts.entry(key.value.as_str()) {
            Entry::Occupied(first) => repeated.push((again, *first.get())),
            Entry::Vacant(place) => {
                place.insert(again);
            }
        }
    }
    repeated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceText, render};
    use expect_test::{Expect, expect};
    use std::path::PathBuf;

    fn check(text: &str, expected: Expect) {
        let mut mistakes = Vec::new();
        let node = parse(text, 0, &mut mistakes);
        let source =
            SourceText { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides: Vec::new(), rule: None };
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
