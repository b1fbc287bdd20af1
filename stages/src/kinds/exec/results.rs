//! Collects what a command wrote: its numbers, their rows, and the outputs it declared. None of it may hold a secret.

use crate::secret::Secrets;
use anyhow::{Context, Result, bail};
use formats::json;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The size up to which outputs are searched for secrets.
const SEARCHED: u64 = 1 << 20;

/// Reads a file of the command; `None` if there is none.
pub fn read(work: &Path, name: &str, secrets: &Secrets) -> Result<Option<String>> {
    let path = work.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).with_context(|| format!("read {name}"))?;
    refuse_secrets(text.as_bytes(), name, secrets)?;
    Ok(Some(text))
}

fn refuse_secrets(bytes: &[u8], name: &str, secrets: &Secrets) -> Result<()> {
    match secrets.found_in(bytes) {
        Some(secret) => bail!("keep what the command wrote: it writes the secret {secret} into {name}"),
        None => Ok(()),
    }
}

/// Moves an output into the artifact. If it is a link, the store refuses it later.
pub fn collect(output: &str, work: &Path, directory: &Path, secrets: &Secrets) -> Result<()> {
    let (from, to) = (work.join(output), directory.join(output));
    let is_inside = || -> std::io::Result<bool> {
        let parent = from.parent().unwrap_or(work);
        Ok(parent.canonicalize()?.starts_with(work.canonicalize()?))
    };
    if from.symlink_metadata().is_err() {
        bail!("collect the outputs: the command ended well but did not write `{output}`");
    }
    if !is_inside().with_context(|| format!("collect `{output}`"))? {
        bail!("collect `{output}`: a symbolic link on the way leads out of the stage's directory");
    }
    if !secrets.is_empty() {
        search(&from, output, secrets)?;
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    fs::rename(&from, &to).with_context(|| format!("collect `{output}`"))
}

/// Searches a file, or every file of a directory, for secrets. Large files are left out: searching them takes long, and
/// nobody writes a secret among weights by accident.
fn search(path: &Path, name: &str, secrets: &Secrets) -> Result<()> {
    let metadata = path.symlink_metadata().with_context(|| format!("read {name}"))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("read {name}"))? {
            let entry = entry.with_context(|| format!("read {name}"))?;
            refuse_secrets(entry.file_name().as_encoded_bytes(), &format!("a name in {name}"), secrets)?;
            search(&entry.path(), &format!("{name}/{}", entry.file_name().display()), secrets)?;
        }
    } else if metadata.is_file() && metadata.len() <= SEARCHED {
        refuse_secrets(&fs::read(path).with_context(|| format!("read {name}"))?, name, secrets)?;
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
        other => bail!("read metrics.json: `{name}` is {other}, not a number"),
    };
    values.into_iter().map(number).collect()
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
    }
}
