//! JSON files: one way to read them and one to write them.

use crate::unreadable::Reading;
use crate::whole;
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Reads a file that Python may have written, with NaN and Infinity. They become texts: where a number is read they are
/// refused as such, and everywhere else they are kept.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = whole::read(path)?;
    let strict = |error: serde_json::Error| {
        let text =
            std::str::from_utf8(&bytes).ok().and_then(|text| in_place_of_python_numbers(text, PythonNumber::Text));
        match text {
            Some(text) => serde_json::from_str(&text).map_err(|_| fault(&bytes, path, error)),
            None => Err(fault(&bytes, path, error)),
        }
    };
    serde_json::from_slice(&bytes).or_else(strict).reading(path)
}

/// Refuses what is no JSON at all, where another library reads it and says less.
///
/// # Errors
/// The bytes are no JSON: the error says why.
pub(crate) fn check(bytes: &[u8], path: &Path) -> Result<()> {
    let read = serde_json::from_slice::<IgnoredAny>(bytes);
    // What is passed over need not be UTF-8.
    let is_text = std::str::from_utf8(bytes).map_err(|odd| whole::not_utf8(bytes, path, odd));
    read.map_err(|error| fault(bytes, path, error)).and(is_text).map(drop).reading(path)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The reason why a file holds no JSON, or JSON of another form.
fn fault(bytes: &[u8], path: &Path, error: serde_json::Error) -> anyhow::Error {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    if error.is_data() {
        return error.into();
    }
    if bytes.starts_with(BOM) {
        return anyhow!(
            "it begins with a byte order mark, with which `transformers` does not read it; save it as UTF-8 without one"
        );
    }
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..]) && !bytes.starts_with(&[0, 0]) {
        return anyhow!("it is UTF-16; save it as UTF-8");
    }
    if bytes.trim_ascii().is_empty() {
        return whole::empty(path);
    }
    if zeros > 0 {
        let place = format!(", and its last {zeros} bytes are zero");
        return whole::cut(path, &place, bytes.len() - zeros, Some(bytes.len()));
    }
    if let Err(odd) = std::str::from_utf8(bytes) {
        return whole::not_utf8(bytes, path, odd);
    }
    if error.is_eof() {
        return whole::cut(path, " within a value", bytes.len(), None);
    }
    let lines: usize = bytes.split_inclusive(|byte| *byte == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
    // Columns count from 1, and point at the letter or behind it.
    let at = |back: usize| bytes.get((lines + error.column()).saturating_sub(back)..).unwrap_or_default();
    if (1..=BOM.len()).any(|back| at(back).starts_with(BOM)) {
        return anyhow!(
            "a byte order mark stands at line {}, column {}, as where files were joined; take it out, with what does not \
             belong there",
            error.line(),
            error.column()
        );
    }
    if NUMBERS.iter().any(|(number, _)| at(1).starts_with(number.as_bytes())) {
        return anyhow!("{error}: NaN and Infinity are no numbers of JSON");
    }
    error.into()
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
    serde_json::from_str(text).or_else(|error| match in_place_of_python_numbers(text, PythonNumber::Null) {
        Some(strict) => serde_json::from_str(&strict).map_err(|_| error),
        None => Err(error),
    })
}

/// Numbers that JSON lacks, and their names in quotes.
const NUMBERS: [(&str, &str); 3] = [("NaN", "\"NaN\""), ("Infinity", "\"Infinity\""), ("-Infinity", "\"-Infinity\"")];

/// The form in which a number that JSON lacks is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PythonNumber {
    Null,
    /// Its name in quotes.
    Text,
}

/// The text with another form of each NaN and Infinity outside quotes; `None` if it has none.
fn in_place_of_python_numbers(text: &str, form: PythonNumber) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut is_quoted = false;
    let mut has_some = false;
    while let Some(letter) = rest.chars().next() {
        let is_value = |number: &str| !rest[number.len()..].trim_start().starts_with(':');
        let number = NUMBERS.iter().find(|(number, _)| !is_quoted && rest.starts_with(number) && is_value(number));
        let (new, used) = match (letter, number) {
            (_, Some((number, text))) => (if form == PythonNumber::Text { *text } else { "null" }, number.len()),
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
