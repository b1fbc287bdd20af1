//! JSON files: one way to read them and one to write them.

use crate::pointer;
use crate::unreadable::Reading;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// # Errors
/// The file cannot be read, or holds something else.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&pointer::read(path)?).reading(path)
}

/// `None` where there is no such file.
///
/// # Errors
/// As [`read`].
pub fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => read(path).map(Some),
    }
}

/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?).with_context(|| format!("write {}", path.display()))
}

/// Parses JSON in which Python may have written NaN and Infinity, which JSON lacks. They become null.
///
/// # Errors
/// The text is no JSON apart from that.
pub fn from_python<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| match without_python_numbers(text) {
        Some(strict) => serde_json::from_str(&strict).map_err(|_| error),
        None => Err(error),
    })
}

/// The text with null for each NaN and Infinity outside quotes; `None` if it has none.
fn without_python_numbers(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut is_quoted = false;
    let mut has_some = false;
    while let Some(letter) = rest.chars().next() {
        let number = ["NaN", "Infinity", "-Infinity"].iter().find(|number| !is_quoted && rest.starts_with(**number));
        let (new, used) = match (letter, number) {
            (_, Some(number)) => ("null", number.len()),
            // The letter after a backslash ends no text.
            ('\\', _) if is_quoted => {
                let used = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                (&rest[..used], used)
            }
            _ => (&rest[..letter.len_utf8()], letter.len_utf8()),
        };
        is_quoted ^= letter == '"' && number.is_none();
        has_some |= number.is_some();
        out.push_str(new);
        rest = &rest[used..];
    }
    has_some.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn numbers_python_writes_but_json_lacks_become_null() {
        let text = r#"{"loss": NaN, "worst": [-Infinity,Infinity], "text": "NaN, \": Infinity }", "gone": null}"#;
        let read: Value = from_python(text).unwrap();
        let expected = json!({"loss": null, "worst": [null, null], "text": "NaN, \": Infinity }", "gone": null});
        assert_eq!(read, expected);
        assert_eq!(from_python::<Value>("{\"a\": Nan}").unwrap_err().column(), 7, "the column is that of the text");
    }
}
