//! Scalars without quotes by the core schema of YAML 1.2: null, booleans, numbers, else text.

use crate::canonical::EXACT;
use crate::diagnostic::Span;
use crate::spec::node::Value;
use std::num::IntErrorKind;

/// The span of a scalar without its quotes, `"a b"` → `a b`, if the text between them is the value unescaped: offsets
/// into the value are then offsets into the file.
pub fn without_quotes(span: Span, value: &str, text: &str) -> Span {
    let written = text.get(span.start..span.end).unwrap_or("");
    let is_quoted = written.len() == value.len() + 2 && written.starts_with(['"', '\'']);
    if is_quoted && &written[1..written.len() - 1] == value {
        Span::new(span.start + 1, span.end - 1)
    } else {
        Span::new(span.start, span.start + written.trim_end().len())
    }
}

/// The value of a scalar without quotes; `None` if it is a text.
pub fn plain(text: &str) -> Option<Value> {
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

pub fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let based = prefixes.iter().find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = based.unwrap_or((digits, 10));
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = match i128::from_str_radix(digits, radix) {
        Ok(value) => value,
        // Larger than any bound used here.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => i128::MAX,
        Err(_) => return None,
    };
    Some(if text.starts_with('-') { -value } else { value })
}

/// Whether a number begins with needless zeros: `007`, but not `0`, `0.5`, `0x7` or `00:30`.
pub fn has_idle_zeros(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit())
}

fn float(text: &str) -> Option<f64> {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        // The sign does not matter: it is refused, or read as null.
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        _ => {}
    }
    // Rust also reads `inf` and `infinity`.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|_| is_number)
}
