//! The events of the YAML parser → a tree, in one pass. Bounded in depth and in what aliases repeat; the core schema of
//! YAML 1.2 says what a plain scalar is. Does not know what the keys mean.

use super::{EXACT, MAX_DEPTH, MAX_NODES, MAX_REPEATED, Map, Node, NotFinite, Spanned, Value};
use crate::diagnostic::{Diagnostic, Span};
use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::IntErrorKind;

/// Why a text is no YAML that can be read, and the byte where that shows.
pub struct Wrong {
    pub at: usize,
    pub message: String,
}

/// The one document of a text whose first byte stands at `start` of the source.
pub fn read(text: &str, start: usize, not_finite: NotFinite, mistakes: &mut Vec<Diagnostic>) -> Result<Node, Wrong> {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
        emit_unresolved_aliases: true,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let anchors = HashMap::new();
    let (nodes, kept, repeated, line_starts) = (0, 0, 0, Vec::new());
    let mut reader = Reader { text, start, not_finite, parser, anchors, nodes, kept, repeated, line_starts, mistakes };
    reader.document()
}

struct Reader<'a> {
    text: &'a str,
    start: usize,
    not_finite: NotFinite,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    /// Read, kept for aliases, and repeated by them.
    nodes: usize,
    kept: usize,
    repeated: usize,
    /// Where the lines of the text begin; empty until a message needs one.
    line_starts: Vec<usize>,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Wrong> {
        match self.parser.next() {
            Some(Ok((event, place))) => {
                let bytes = place.byte_range().unwrap_or_default();
                Ok((event, Span::new(bytes.start, bytes.end)))
            }
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
                Err(Wrong { at, message: error.info() })
            }
            None => Ok((Event::StreamEnd, Span::new(self.text.len(), self.text.len()))),
        }
    }

    fn document(&mut self) -> Result<Node, Wrong> {
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
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Wrong> {
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

    fn anchored(&mut self, anchor: usize, node: Node, span: Span) -> Result<Node, Wrong> {
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

    /// What an alias stands for has the place of the anchor: that is where a mistake is mended.
    fn repeat(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, Wrong> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(wrong(span, "this alias stands inside its own anchor"));
        };
        let (nodes, height) = size(node);
        self.repeated += nodes;
        if self.repeated > MAX_REPEATED {
            return Err(wrong(span, format!("aliases repeat more than {MAX_REPEATED} values")));
        }
        if depth + height > MAX_DEPTH {
            return Err(too_deep(span));
        }
        Ok(node.clone())
    }

    fn list(&mut self, depth: usize) -> Result<Value, Wrong> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => {
                    // The room for more than there are would be half of a large file's tree.
                    items.shrink_to_fit();
                    return Ok(Value::List(items));
                }
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Wrong> {
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

    fn key(&mut self, event: Event<'a>, span: Span) -> Result<Spanned<String>, Wrong> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                if style == ScalarStyle::Plain && plain(&text) == Some(Value::Null) {
                    return Err(wrong(span, "a key must be a text"));
                }
                let key_span = self.shifted(without_quotes(span, &text, self.text));
                let key = Spanned { value: text.into_owned(), span: key_span };
                if anchor != 0 {
                    self.anchors.insert(anchor, Node::new(key_span, Value::String(key.value.clone())));
                }
                Ok(key)
            }
            Event::Alias(anchor) => match self.repeat(anchor, span, 0)? {
                Node { span, value: Value::String(value), .. } => Ok(Spanned { value, span }),
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
        // All of 2^53 and more have sixteen characters.
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

    /// The first one stays.
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

fn wrong(span: Span, message: impl Into<String>) -> Wrong {
    Wrong { at: span.start, message: message.into() }
}

fn too_deep(span: Span) -> Wrong {
    wrong(span, format!("nested more than {MAX_DEPTH} deep"))
}

/// How many nodes, and how deep.
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

/// Each key that is there already: its index, and that of the first.
fn repeated(map: &Map) -> Vec<(usize, usize)> {
    let mut repeated = Vec::new();
    // Most mappings have a handful of keys, and to compare them is cheaper than to remember them.
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

/// What a scalar without quotes is when it is no text.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || ['+', '-', '.'].contains(&first)) {
        return None;
    }
    match integer(text) {
        Some(value) if value.unsigned_abs() <= EXACT.into() => i64::try_from(value).ok().map(Value::Int),
        Some(value) => Some(Value::Float(value as f64)),
        None => float(text).map(Value::Float),
    }
}

fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let based = prefixes.iter().find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = based.unwrap_or((digits, 10));
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = match i128::from_str_radix(digits, radix) {
        Ok(value) => value,
        // Beyond any bound here.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => i128::MAX,
        Err(_) => return None,
    };
    Some(if text.starts_with('-') { -value } else { value })
}

/// `007`, but not `0`, `0.5`, `0x7` or `00:30`.
fn has_idle_zeros(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit())
}

fn float(text: &str) -> Option<f64> {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        // Of which sign does not matter: it is refused, or read as no number.
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        _ => {}
    }
    // Rust also reads `inf` and `infinity`.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|_| is_number)
}
