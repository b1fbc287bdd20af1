//! `exec`: any command on declared inputs. It runs in a directory of its own and finds its inputs under `in/`. It
//! writes the files it declared as outputs, its numbers to `metrics.json`, and the rows that those are means of to
//! `items.jsonl`; points of a curve to `metrics.jsonl`, and progress to `events.jsonl`. When asked to stop, it may write to `resume/` the state that the next attempt goes on from. Its
//! environment holds a few fixed variables, those that name its GPUs, those of `env`, and the stage's secrets.

use crate::audit;
use crate::command::{CommandLog, CommandPlace, ReadyCommand, UserCommand};
use crate::io::{Interruption, Io};
use crate::orphans;
use crate::secret::Secrets;
use crate::stage::{Call, Gives, Kind, ParameterMistake, Parameters, Work};
use crate::work;
use anyhow::{Context, Result, bail};
use files::Beneath;
use forward::Forwarder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

pub mod forward;
pub mod results;

pub const KIND: Kind = Kind {
    name: "exec",
    version: 3,
    doc: "run any command on declared inputs; `metrics.json` is read back, and `items.jsonl`",
    takes_any_port: true,
    computes: false,
    gives: Gives::Any,
    ..Kind::of::<Exec>(Work::Run(run))
};

/// The time to wait for the rest of the output after the command ended: where orphans cannot be ended, one may hold the
/// pipe.
const REST: Duration = Duration::from_secs(1);
/// The number of undeclared reads that are named; the others are counted.
const NAMED: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Exec {
    #[serde(flatten)]
    pub command: UserCommand,
    /// files or directories the command writes: the stage's artifact
    #[schemars(extend("printed-after" = "command"))]
    pub outputs: Vec<String>,
}

impl Parameters for Exec {
    const LATER: &[&str] = &["sandbox", "network", "readable"];

    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = Vec::new();
        if self.command.is_empty() {
            let mut mistake = ParameterMistake::new("command", "no command to run");
            mistake.help = Some("write `command: [program, argument, …]`, or a text for the shell".to_owned());
            mistakes.push(mistake);
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if output.is_empty() || !Path::new(output).components().all(|part| matches!(part, Component::Normal(_))) {
                mistakes.push(ParameterMistake::new(
                    &format!("outputs.{index}"),
                    format!("`{output}` is no plain path below the stage's directory"),
                ));
            } else if let Some(own) = work::RESERVED.iter().find(|own| Path::new(output).starts_with(own)) {
                mistakes.push(ParameterMistake::new(
                    &format!("outputs.{index}"),
                    format!("`{own}` is not the command's to write: the stage keeps its own things there"),
                ));
            }
        }
        mistakes.extend(self.command.mistakes());
        mistakes
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Exec = call.parameters()?;
    let UserCommand { command: line, sandbox, .. } = &parameters.command;
    let secrets = io.secrets();
    let books = std::path::absolute(io.work()).context("find the stage's directory")?;
    let work = books.join(work::COMMAND);
    std::fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    // What is put in the place of the directory from now on leads nowhere.
    let desk = Beneath::open(&work).with_context(|| format!("open {}", work.display()))?;
    // The command gets SIGTERM as well, and may take its time: the next attempt finds what it writes to `resume/`.
    io.defer_sigterm();
    orphans::adopt();
    let forwarder = Forwarder::start(&desk, &books, Arc::clone(&secrets));
    let place = CommandPlace { work: &work, root: &books.join(work::VIEW) };
    let ReadyCommand { command, path, scratch } = parameters.command.ready(&place, io.gpus(), &secrets)?;
    let status = execute(command, io, &work, &secrets).with_context(|| match sandbox {
        true => {
            format!("run {line} in a sandbox, where programs are those of the system and those that `readable` names")
        }
        false => format!("run {line}"),
    });
    drop(scratch);
    if let Some(forwarder) = forwarder {
        forwarder.end();
    }
    let status = status?;
    match status.code() {
        Some(0) => {}
        _ if io.is_to_stop() => return Err(Interruption { step: None }.into()),
        // The exit code of a shell, and of other programs after it, for a program that is not there.
        Some(127) => {
            let hint = match sandbox {
                true => {
                    "another is given by `with: {env: {PATH: …}}`; a sandbox shows those of the system, and what `readable` names"
                }
                false => "another is given by `with: {env: {PATH: …}}`",
            };
            bail!("run {line}: {status}; programs are looked for in {} ({hint})", path.display());
        }
        _ => bail!("run {line}: {status}"),
    }
    let items = results::read(&desk, work::ITEMS, results::MOST_ITEMS, &secrets)?;
    let items = items.map_or(Ok(Vec::new()), |text| results::items(&text))?;
    let metrics = results::read(&desk, work::METRICS, results::MOST_METRICS, &secrets)?;
    let metrics = metrics.map_or(Ok(BTreeMap::new()), |text| results::metrics(&text))?;
    results::curve(&desk, work::CURVE, &books.join(work::CURVE), &secrets)?;
    io.clear_candidates()?;
    let directory = io.candidate_dir(0)?;
    parameters.outputs.iter().try_for_each(|output| results::collect(output, &desk, &directory, &secrets))?;
    if !items.is_empty() {
        io.table(0, "items", &items)?;
    }
    io.candidate_with(0, metrics)
}

fn execute(mut command: Command, io: &mut Io, work: &Path, secrets: &Secrets) -> Result<ExitStatus> {
    let log = match CommandLog::open(secrets)? {
        None => None,
        Some(CommandLog { writer, ended }) => {
            command.stdout(writer.try_clone().context("make a pipe")?).stderr(writer);
            Some(ended)
        }
    };
    if io.is_audited() {
        audit::prepare(&mut command);
    }
    let mut child = command.spawn()?;
    // This closes its ends of the pipe: the log ends when the last one is closed.
    drop(command);
    let (status, audit) = match io.is_audited() {
        true => audit::follow(child, work).map(|(status, audit)| (status, Some(audit)))?,
        false => (child.wait()?, None),
    };
    // Whatever it left running would change what it left behind.
    orphans::end(|_| true);
    if let Some(log) = log {
        let _ = log.recv_timeout(REST);
    }
    if let Some(audit) = audit {
        report(&audit, io);
    }
    Ok(status)
}

fn report(audit: &audit::Audit, io: &mut Io) {
    if let Some(gap) = &audit.gap {
        println!("audit: {gap}");
        io.telemetry("audit", gap.as_str());
        if audit.reads.is_empty() {
            return;
        }
    }
    let named: Vec<String> = audit.reads.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    named.iter().for_each(|path| println!("audit: read and not declared: {path}"));
    if audit.reads.len() > NAMED {
        println!("audit: and {} more", audit.reads.len() - NAMED);
    }
    io.telemetry("undeclared_reads", json!({"count": audit.reads.len(), "paths": named}));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parsed(with: Value) -> Result<Value, Vec<ParameterMistake>> {
        (KIND.parse)(with.as_object().unwrap())
    }

    #[test]
    fn a_command_stays_as_typed_and_values_of_env_become_texts() {
        let text =
            parsed(json!({"command": "make all", "env": {"N": 2, "RATE": 0.5, "FAST": true, "A": "b"}})).unwrap();
        assert_eq!(
            text,
            json!({"command": "make all", "outputs": [], "env": {"N": "2", "RATE": "0.5", "FAST": "true", "A": "b"}})
        );
        assert_eq!(parsed(json!({"command": ["make", "all"]})).unwrap()["command"], json!(["make", "all"]));
    }

    #[test]
    fn mistakes_of_command_and_env_are_found_at_their_place() {
        let told = |with: Value| {
            let mistakes = parsed(with).unwrap_err();
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect::<Vec<_>>()
        };
        assert_eq!(
            told(json!({"command": 3, "env": {"A": [1]}})),
            [
                "command: invalid type: integer `3`, expected a list of program and arguments, or a text for the shell",
                "env.A: invalid type: sequence, expected a text, a number, true or false",
            ]
        );
        assert_eq!(
            told(json!({"command": ["sleep", 3]})),
            ["command[1]: invalid type: integer `3`, expected a string"]
        );
        assert_eq!(
            told(json!({"command": "  ", "env": {"A-B": 1}})),
            ["command: no command to run", "env.A-B: `A-B` cannot name a variable of the environment"]
        );
        assert_eq!(
            told(json!({"command": "ls", "outputs": ["../x", "resume", "in/a", "outer"]})),
            [
                "outputs.0: `../x` is no plain path below the stage's directory",
                "outputs.1: `resume` is not the command's to write: the stage keeps its own things there",
                "outputs.2: `in` is not the command's to write: the stage keeps its own things there",
            ]
        );
        // The misspelt name is reported, and nothing that follows from it.
        assert_eq!(told(json!({"comand": ["ls"]})), ["comand: unknown parameter `comand`"]);
    }
}
