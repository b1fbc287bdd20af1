//! A text as plain parts and the expressions between them.

use std::ops::Range;

pub(super) enum Piece {
    Text(String),
    /// The range of `${…}` in the text, and the text between the braces.
    Expression(Range<usize>, String),
}

/// Splits a text at its `${…}`. An expression may contain braces and quoted texts. `Err` is the place of a `${` that is
/// never closed.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Range<usize>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut position = 0;
    while let Some(found) = text[position..].find('$') {
        let dollar = position + found;
        plain.push_str(&text[position..dollar]);
        let rest = &text[dollar..];
        if rest.starts_with("$${") {
            plain.push_str("${");
            position = dollar + 3;
        } else if let Some(inside) = rest.strip_prefix("${") {
            let length = expression_length(inside).ok_or(dollar..dollar + 2)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            position = dollar + 2 + length + 1;
            pieces.push(Piece::Expression(dollar..position, inside[..length].to_owned()));
        } else {
            plain.push('$');
            position = dollar + 1;
        }
    }
    plain.push_str(&text[position..]);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// The length of an expression, up to its closing brace.
fn expression_length(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    let mut is_escaped = false;
    for (position, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(position),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}
