//! Text in UTF-8 or Shift_JIS.

use anyhow::{Context, Result, bail};
use encoding_rs::{Encoding, SHIFT_JIS};
use std::borrow::Cow;

/// Shift_JIS, if most lines with other letters than those of ASCII are not UTF-8 and are Shift_JIS. A few bad lines are
/// bad rows: read as Shift_JIS, they would be other letters than were written.
pub fn encoding_of(lines: &[(usize, &[u8])]) -> Option<&'static Encoding> {
    let foreign = || lines.iter().map(|(_, line)| *line).filter(|line| !line.is_ascii());
    let bad = foreign().filter(|line| std::str::from_utf8(line).is_err()).count();
    (2 * bad > foreign().count() && foreign().all(is_shift_jis)).then_some(SHIFT_JIS)
}

fn is_shift_jis(bytes: &[u8]) -> bool {
    SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes).is_some()
}

pub fn decoded<'a>(bytes: &'a [u8], other: Option<&'static Encoding>) -> Result<Cow<'a, str>> {
    match (std::str::from_utf8(bytes), other) {
        (Ok(text), None) => Ok(Cow::Borrowed(text)),
        (_, Some(encoding)) => encoding
            .decode_without_bom_handling_and_without_replacement(bytes)
            .context("not Shift_JIS, as other lines are"),
        (Err(error), None) if error.error_len().is_none() => {
            bail!("not UTF-8: it is cut, as it ends within a character")
        }
        (Err(_), None) => bail!("not UTF-8"),
    }
}

/// A whole file as text.
pub fn whole_text(bytes: &[u8]) -> Result<Cow<'_, str>> {
    let lines: Vec<(usize, &[u8])> = bytes.split(|byte| *byte == b'\n').enumerate().collect();
    decoded(bytes, encoding_of(&lines))
}
