//! Takes over what a command wrote: its numbers, their rows, its curve, and the outputs it declared. None of it may hold a
//! secret. This is the one way from the directory of the command into the books of the worker: it follows no link, waits
//! for nothing, and reads plain files up to a bound.

use crate::secret::Secrets;
use anyhow::{Context, Result, bail};
use files::Beneath;
use formats::json;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// The most bytes of `metrics.json`.
pub const MOST_METRICS: u64 = 16 << 20;
/// The most bytes of `items.jsonl`: some millions of rows.
pub const MOST_ITEMS: u64 = 1 << 30;
/// The most bytes of `metrics.jsonl`.
pub const MOST_CURVE: u64 = 256 << 20;

/// The most characters of a value that an error quotes.
const QUOTED: usize = 60;

/// Reads a file of the command; `None` if there is none.
pub fn read(desk: &Beneath, name: &str, most: u64, secrets: &Secrets) -> Result<Option<String>> {
    let read = || format!("read {name}");
    let Some(bytes) = files::found(desk.read(Path::new(name), most)).with_context(read)? else { return Ok(None) };
    if let Some(secret) = secrets.found_in(&bytes) {
        return Err(refusal(secret, name));
    }
    String::from_utf8(bytes).map(Some).with_context(read)
}

/// Takes over the curve, with `***` for secrets: nothing is computed from it.
pub fn curve(desk: &Beneath, name: &str, to: &Path, secrets: &Secrets) -> Result<()> {
    let found = files::found(desk.read(Path::new(name), MOST_CURVE)).with_context(|| format!("read {name}"))?;
    let Some(bytes) = found else { return Ok(()) };
    files::write(to, &secrets.redacted_bytes(&bytes)).with_context(|| format!("write {}", to.display()))
}

fn refusal(secret: &str, name: &str) -> anyhow::Error {
    anyhow::anyhow!("keep what the command wrote: it writes the secret {secret} into {name}")
}

/// Moves an output into the artifact.
pub fn collect(output: &str, desk: &Beneath, directory: &Path, secrets: &Secrets) -> Result<()> {
    let collect = || format!("collect `{output}`");
    let path = Path::new(output);
    let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
    let missing = || format!("collect the outputs: the command ended well but did not write `{output}`");
    let from = match desk.below(parent) {
        Ok(from) => from,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(missing()),
        Err(error) if files::is_not_a_file(&error) || error.kind() == std::io::ErrorKind::NotADirectory => {
            bail!("{}: a symbolic link, or a file, in place of a directory on the way", collect());
        }
        Err(error) => return Err(error).with_context(collect),
    };
    let kind = files::found(from.file_type(name)).with_context(collect)?.with_context(missing)?;
    if kind.is_symlink() {
        bail!("{}: a symbolic link; put what it points to in its place (`cp -RL`)", collect());
    }
    if !secrets.is_empty() {
        search(&from, name, output, secrets)?;
    }
    let place = directory.join(parent);
    fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    let to = Beneath::open(&place).with_context(collect)?;
    if kind.is_dir() {
        // A directory that must not be written to cannot be moved, either.
        from.below(Path::new(name)).and_then(|output| output.make_writable()).with_context(collect)?;
    }
    from.rename(name, &to, name).with_context(collect)
}

/// Searches a file, or every file of a directory, for secrets.
fn search(from: &Beneath, name: &OsStr, shown: &str, secrets: &Secrets) -> Result<()> {
    let read = || format!("read {shown}");
    let kind = from.file_type(name).with_context(read)?;
    if kind.is_dir() {
        let directory = from.below(Path::new(name)).with_context(read)?;
        for entry in directory.names().with_context(read)? {
            if let Some(secret) = secrets.found_in(entry.as_encoded_bytes()) {
                return Err(refusal(secret, &format!("a name in {shown}")));
            }
            search(&directory, &entry, &format!("{shown}/{}", entry.display()), secrets)?;
        }
    } else if kind.is_file() {
        let (file, _) = from.file(Path::new(name)).with_context(read)?;
        if let Some(secret) = secrets.found_in_file(file).with_context(read)? {
            return Err(refusal(secret, shown));
        }
    }
    Ok(())
}

/// Parses the rows behind the command's numbers: `id`, and one field for each metric, which is the mean of that field.
pub fn items(text: &str) -> Result<Vec<Map<String, Value>>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(number, line): (usize, &str)| {
        json::from_python(line).with_context(|| format!("read items.jsonl: line {}: expected one object", number + 1))
    };
    lines.map(row).collect()
}

/// Parses the command's numbers. A value that is not a finite number is kept as `None`, so that a gate that asks for it
/// errs instead of opening.
pub fn metrics(text: &str) -> Result<BTreeMap<String, Option<f64>>> {
    let values: BTreeMap<String, Value> =
        json::from_python(text).context("read metrics.json: expected one object of names and numbers")?;
    let number = |(name, value): (String, Value)| match value {
        Value::Null => Ok((name, None)),
        Value::Number(number) => Ok((name, number.as_f64().filter(|number| number.is_finite()))),
        other => bail!("read metrics.json: `{}` is {}, not a number", cut(&name), cut(&other.to_string())),
    };
    values.into_iter().map(number).collect()
}

/// The beginning of a text that may be long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_python_writes_but_json_lacks_become_missing_values() {
        let read = metrics(r#"{"loss": NaN, "worst": -Infinity, "text, NaN": 1.5, "gone": null}"#).unwrap();
        let expected = [("loss", None), ("worst", None), ("text, NaN", Some(1.5)), ("gone", None)];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value)).into());
        let error = metrics(r#"{"loss": "low"}"#).unwrap_err().to_string();
        assert_eq!(error, "read metrics.json: `loss` is \"low\", not a number");
        let error = metrics(&format!(r#"{{"loss": "{}"}}"#, "a".repeat(400_000))).unwrap_err().to_string();
        assert!(error.len() < 200, "a long value is cut");
    }
}
