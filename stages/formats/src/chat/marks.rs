//! The parts of a rendered dialogue that a template says are the assistant's.

use std::ops::Range;

/// The filter that stands for `{% generation %}`, and what it puts around the assistant's turns: two letters that Unicode
/// keeps for use inside programs.
pub(super) const MARKED: &str = "marked_as_generated";
pub(super) const MARK_START: char = '\u{fdd0}';
pub(super) const MARK_END: char = '\u{fdd1}';

/// Replaces `{% generation %}`, which minijinja does not know, by a block that marks its text.
pub(super) fn with_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // The `%` of `{%}` begins a block, and does not end one.
        let Some(length) = rest[start + 2..].find("%}") else { break };
        let tag = &rest[start + 2..start + 2 + length];
        let word = tag.trim_matches(|letter: char| letter.is_whitespace() || letter == '-' || letter == '+');
        out.push_str(&rest[..start + 2]);
        match word {
            "generation" => out.push_str(&tag.replace(word, &format!("filter {MARKED}"))),
            "endgeneration" => out.push_str(&tag.replace(word, "endfilter")),
            _ => out.push_str(tag),
        }
        rest = &rest[start + 2 + length..];
    }
    out + rest
}

/// The text without marks, and the ranges between them.
pub(super) fn without_marks(text: &str) -> (String, Vec<Range<usize>>) {
    let mut out = String::with_capacity(text.len());
    let mut marked: Vec<Range<usize>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find([MARK_START, MARK_END]) {
        out.push_str(&rest[..at]);
        match (rest[at..].starts_with(MARK_START), marked.last_mut()) {
            (true, _) => marked.push(out.len()..out.len()),
            (false, Some(open)) => open.end = out.len(),
            (false, None) => {}
        }
        rest = &rest[at + MARK_START.len_utf8()..];
    }
    out.push_str(rest);
    (out, marked)
}
