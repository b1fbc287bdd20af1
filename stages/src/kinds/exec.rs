//! `exec`: any command on declared inputs. It runs in the stage's own directory, finds its inputs under `in/`,
//! writes the files it declared as outputs, its numbers to `metrics.json`, and the rows they are means of to
//! `items.jsonl`.

use crate::io::Io;
use crate::stage::{self, Call, Gives, Kind, ParameterMistake, Parameters, Work};
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};
use std::process::{Command, Stdio};

pub const KIND: Kind = Kind {
    name: "exec",
    version: 2,
    doc: "run any command on declared inputs; `metrics.json` is read back, and `items.jsonl`",
    ports: &[],
    takes_any_port: true,
    gives: Gives::Any,
    metrics: &[],
    means: &[],
    incumbent: None,
    draws: false,
    parse: stage::parse::<Exec>,
    defaults: stage::defaults::<Exec>,
    parameter_docs: &[
        ("command", "program and arguments; inputs lie under in/<port> (a file as in/<port>.<format>)"),
        ("outputs", "files or directories the command writes: the stage's artifact"),
    ],
    work: Work::Run(run),
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    pub command: Vec<String>,
    pub outputs: Vec<String>,
}

impl Parameters for Exec {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = Vec::new();
        if self.command.is_empty() {
            let mut mistake = ParameterMistake::new("command", "no command to run");
            mistake.help = Some("write `command: [program, argument, …]`".to_owned());
            mistakes.push(mistake);
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if output.is_empty() || !Path::new(output).components().all(|part| matches!(part, Component::Normal(_))) {
                mistakes.push(ParameterMistake::new(
                    &format!("outputs.{index}"),
                    format!("`{output}` is no plain path below the stage's directory"),
                ));
            }
        }
        mistakes
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Exec = call.parameters()?;
    let (program, arguments) = parameters.command.split_first().context("run the command: it is empty")?;
    let status = Command::new(program)
        .args(arguments)
        .current_dir(io.work())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("run `{program}`"))?;
    if !status.success() {
        bail!("run `{program}`: {status}");
    }
    let directory = io.candidate_dir(0)?;
    for output in &parameters.outputs {
        let (from, to) = (io.work().join(output), directory.join(output));
        if !from.exists() {
            bail!("collect the outputs: the command ended well but did not write `{output}`");
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        fs::rename(&from, &to).with_context(|| format!("collect `{output}`"))?;
    }
    let items = items(&io.work().join("items.jsonl"))?;
    if !items.is_empty() {
        io.table(0, "items", &items)?;
    }
    io.candidate_with(0, metrics(&io.work().join("metrics.json"))?)
}

/// The rows behind the command's numbers: `id`, and one field a metric, which is the mean of that field.
fn items(path: &Path) -> Result<Vec<Map<String, Value>>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).context("read items.jsonl")?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(number, line): (usize, &str)| {
        strict(line).with_context(|| format!("read items.jsonl: line {}: expected one object", number + 1))
    };
    lines.map(row).collect()
}

/// Python writes NaN and Infinity, which are not JSON.
fn strict<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| {
        let strict: String = text.split_inclusive([',', '}', ':']).map(without_python_numbers).collect();
        serde_json::from_str(&strict).map_err(|_| error)
    })
}

/// The command's numbers; a file that is absent is none, a value that is no finite number is kept as such,
/// so that a gate that asks for it errs instead of opening.
fn metrics(path: &Path) -> Result<BTreeMap<String, Option<f64>>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(path).context("read metrics.json")?;
    let values: BTreeMap<String, Value> =
        strict(&text).context("read metrics.json: expected one object of names and numbers")?;
    let number = |(name, value): (String, Value)| match value {
        Value::Null => Ok((name, None)),
        Value::Number(number) => Ok((name, number.as_f64().filter(|number| number.is_finite()))),
        other => bail!("read metrics.json: `{name}` is {other}, not a number"),
    };
    values.into_iter().map(number).collect()
}

fn without_python_numbers(piece: &str) -> String {
    let bare = piece.trim_end_matches([',', '}']).trim();
    match bare {
        "NaN" | "Infinity" | "-Infinity" => piece.replace(bare, "null"),
        _ => piece.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_python_writes_but_json_lacks_become_missing_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.json");
        fs::write(&path, r#"{"loss": NaN, "worst": -Infinity, "text, NaN": 1.5, "gone": null}"#).unwrap();
        let read = metrics(&path).unwrap();
        let expected = [("loss", None), ("worst", None), ("text, NaN", Some(1.5)), ("gone", None)];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value)).into());
        fs::write(&path, r#"{"loss": "low"}"#).unwrap();
        assert_eq!(metrics(&path).unwrap_err().to_string(), "read metrics.json: `loss` is \"low\", not a number");
    }
}
