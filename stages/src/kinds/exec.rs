//! `exec`: any command on declared inputs. It runs in a directory of its own and finds its inputs under `in/`. It
//! writes the files it declared as outputs, its numbers to `metrics.json`, and the rows that those are means of to
//! `items.jsonl`; points of a curve to `metrics.jsonl`, and progress to `events.jsonl`. When asked to stop, it may write to `resume/` the state that the next attempt goes on from. Its
//! environment holds a few fixed variables, those that name its GPUs, those of `env`, and the stage's secrets.

use crate::audit;
use crate::io::{Interruption, Io};
use crate::orphans;
use crate::sandbox::{self, View};
use crate::secret::Secrets;
use crate::stage::{self, Call, Gives, Kind, ParameterMistake, Parameters, Work};
use crate::work;
use anyhow::{Context, Result, bail};
use files::Beneath;
use forward::Forwarder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

pub mod forward;
pub mod results;
mod typed;

use typed::{Line, Text};

pub const KIND: Kind = Kind {
    name: "exec",
    version: 3,
    doc: "run any command on declared inputs; `metrics.json` is read back, and `items.jsonl`",
    takes_any_port: true,
    computes: false,
    gives: Gives::Any,
    ..Kind::of::<Exec>(Work::Run(run))
};

/// The environment of every command, unless `env` says otherwise, beside HOME and TMPDIR, which are directories of its
/// own. Changing it makes another version of the kind.
const BASE: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// The time to wait for the rest of the output after the command ended: where orphans cannot be ended, one may hold the
/// pipe.
const REST: Duration = Duration::from_secs(1);
/// The number of undeclared reads that are named; the others are counted.
const NAMED: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    /// a list: program and arguments, as they are; a text: for `/bin/sh -eu -c`; inputs lie under in/<port> (a file as
    /// in/<port>.<format>)
    pub command: Line,
    /// files or directories the command writes: the stage's artifact
    pub outputs: Vec<String>,
    /// its environment, `{NAME: value}`, beside PATH, LANG, HOME and TMPDIR, which have fixed values, and the variables
    /// that name its GPUs where it has `resources: {gpu: 1}`; nothing else is passed on (the stage's `secret: [NAME]` is)
    pub env: BTreeMap<String, Text>,
    /// it sees its own directory, its inputs (read-only), the programs of the system and nothing else: no home
    /// directory, no files and sockets of others, no network; Linux with user namespaces
    pub sandbox: bool,
    /// it has the network all the same
    pub network: bool,
    /// files and directories that it may read all the same, such as the environment of its Python; absolute, or below
    /// your home directory: `~/…`; what lies there is not in the key
    pub readable: Vec<String>,
}

impl Parameters for Exec {
    const LATER: &[&str] = &["sandbox", "network", "readable"];

    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = Vec::new();
        let is_empty = match &self.command {
            Line::Shell(text) => text.trim().is_empty(),
            Line::Program(words) => words.first().is_none_or(String::is_empty),
        };
        if is_empty {
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
        for name in self.env.keys().filter(|name| !stage::is_variable(name)) {
            let mut mistake = ParameterMistake::new(
                &format!("env.{name}"),
                format!("`{name}` cannot name a variable of the environment"),
            );
            mistake.help = Some("names match [A-Za-z_][A-Za-z0-9_]*".to_owned());
            mistakes.push(mistake);
        }
        let opened = [("network", self.network), ("readable", !self.readable.is_empty())];
        for (name, _) in opened.into_iter().filter(|(_, is_given)| *is_given && !self.sandbox) {
            let mut mistake = ParameterMistake::new(name, format!("`{name}` says what a sandbox lets through"));
            mistake.help =
                Some("write `sandbox: true` beside it; without one a command may do what you may".to_owned());
            mistakes.push(mistake);
        }
        for (index, path) in self.readable.iter().enumerate() {
            if !path.starts_with('/') && !path.starts_with("~/") {
                let mut mistake = ParameterMistake::new(
                    &format!("readable.{index}"),
                    format!("`{path}` is neither absolute nor below the home directory"),
                );
                mistake.help =
                    Some("write `/…` or `~/…`; files of the pipeline are inputs: `from: {port: path}`".to_owned());
                mistakes.push(mistake);
            }
        }
        mistakes
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Exec = call.parameters()?;
    let secrets = io.secrets();
    let books = std::path::absolute(io.work()).context("find the stage's directory")?;
    let work = books.join(work::COMMAND);
    let scratch = Scratch::make(&work)?;
    // What is put in the place of the directory from now on leads nowhere.
    let desk = Beneath::open(&work).with_context(|| format!("open {}", work.display()))?;
    let mut variables = variables(&parameters, io.gpus(), &scratch, &secrets);
    if parameters.sandbox {
        // Nobody else's files are there.
        variables.insert("TMPDIR".into(), "/tmp".into());
    }
    // The command gets SIGTERM as well, and may take its time: the next attempt finds what it writes to `resume/`.
    io.defer_sigterm();
    orphans::adopt();
    let forwarder = Forwarder::start(&desk, &books, Arc::clone(&secrets));
    let mut command = command(&parameters.command, &variables, &work)?;
    if parameters.sandbox {
        confine(&mut command, &parameters, &books, &work)?;
    }
    let status = execute(command, io, &work, &secrets).with_context(|| match parameters.sandbox {
        true => format!(
            "run {} in a sandbox, where programs are those of the system and those that `readable` names",
            parameters.command
        ),
        false => format!("run {}", parameters.command),
    });
    if let Some(forwarder) = forwarder {
        forwarder.end();
    }
    let status = status?;
    match status.code() {
        Some(0) => {}
        _ if io.is_to_stop() => return Err(Interruption { step: None }.into()),
        // The exit code of a shell, and of other programs after it, for a program that is not there.
        Some(127) => {
            let path = variables.get(OsStr::new("PATH")).cloned().unwrap_or_default();
            let hint = match parameters.sandbox {
                true => {
                    "another is given by `with: {env: {PATH: …}}`; a sandbox shows those of the system, and what `readable` names"
                }
                false => "another is given by `with: {env: {PATH: …}}`",
            };
            bail!("run {}: {status}; programs are looked for in {} ({hint})", parameters.command, path.display());
        }
        _ => bail!("run {}: {status}", parameters.command),
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

/// The home directory and the directory for temporary files, empty at first. They go with the directory of the command.
struct Scratch {
    home: PathBuf,
    /// A short name of the directory for temporary files.
    shown: PathBuf,
    /// Kept open as long as `shown` is needed.
    _directory: File,
}

impl Scratch {
    /// Makes both directories. Temporary files may be sockets, whose paths are at most 108 bytes long (`sun_path`), and
    /// the path of a work directory is nearly that long. The short name is that of a file which this process holds
    /// open.
    fn make(work: &Path) -> Result<Scratch> {
        let (home, temporary) = (work.join(work::HOME), work.join(work::TEMPORARY));
        for directory in [&home, &temporary] {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        let directory = File::open(&temporary).with_context(|| format!("open {}", temporary.display()))?;
        let shown = match cfg!(target_os = "linux") {
            true => format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd()).into(),
            false => temporary,
        };
        Ok(Scratch { home, shown, _directory: directory })
    }
}

fn variables(
    parameters: &Exec,
    gpus: &BTreeMap<String, String>,
    scratch: &Scratch,
    secrets: &Secrets,
) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> =
        BASE.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    variables.insert("HOME".into(), scratch.home.clone().into());
    variables.insert("TMPDIR".into(), scratch.shown.clone().into());
    variables.extend(gpus.iter().map(|(name, value)| (name.into(), value.into())));
    variables.extend(parameters.env.iter().map(|(name, Text(value))| (name.into(), value.into())));
    variables.extend(secrets.variables().map(|(name, value)| (name.into(), value.into())));
    variables
}

fn confine(command: &mut Command, parameters: &Exec, books: &Path, work: &Path) -> Result<()> {
    let root = books.join(work::VIEW);
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    let readable: Vec<PathBuf> = parameters.readable.iter().map(|path| at_home(path)).collect::<Result<_>>()?;
    let (inputs, temporary) = (work.join(work::INPUTS), work.join(work::TEMPORARY));
    let view = View {
        work,
        inputs: &inputs,
        temporary: &temporary,
        root: &root,
        readable: &readable,
        has_network: parameters.network,
    };
    sandbox::confine(command, &view)
}

/// A path of which `~/` is the home directory of who runs this.
fn at_home(path: &str) -> Result<PathBuf> {
    match path.strip_prefix("~/") {
        Some(below) => {
            Ok(env::home_dir().with_context(|| format!("find {path}: there is no home directory"))?.join(below))
        }
        None => Ok(path.into()),
    }
}

fn command(line: &Line, variables: &BTreeMap<OsString, OsString>, work: &Path) -> Result<Command> {
    let mut command = match line {
        Line::Shell(text) => {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-eu", "-c", text]);
            shell
        }
        Line::Program(words) => {
            let (program, arguments) = words.split_first().context("run the command: it is empty")?;
            let path = variables.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
            let mut command = Command::new(find(program, path, work).with_context(|| format!("run `{program}`"))?);
            command.arg0(program).args(arguments);
            command
        }
    };
    command.env_clear().envs(variables).current_dir(work).stdin(Stdio::null());
    Ok(command)
}

/// Finds the program of a command. A name without `/` is looked up in the PATH of the stage, which is not that of the
/// runner.
fn find(program: &str, path: &OsStr, work: &Path) -> Result<PathBuf> {
    if program.contains('/') {
        return Ok(work.join(program));
    }
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let found = env::split_paths(path).map(|directory| work.join(directory).join(program)).find(is_program);
    found.with_context(|| {
        format!(
            "no such program in {}, the stage's PATH; give its path, or another PATH: `with: {{env: {{PATH: …}}}}`",
            path.display()
        )
    })
}

fn execute(mut command: Command, io: &mut Io, work: &Path, secrets: &Secrets) -> Result<ExitStatus> {
    let log = match secrets.is_empty() {
        true => None,
        false => {
            let (reader, writer) = std::io::pipe().context("make a pipe")?;
            command.stdout(writer.try_clone().context("make a pipe")?).stderr(writer);
            Some(reader)
        }
    };
    if io.is_audited() {
        audit::prepare(&mut command);
    }
    let mut child = command.spawn()?;
    // This closes its ends of the pipe: the log ends when the last one is closed.
    drop(command);
    let log = log.map(|reader| redacted(reader, secrets)).transpose()?;
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

/// Copies the output to the log without the secrets in it, and signals its end.
fn redacted(mut reader: PipeReader, secrets: &Secrets) -> Result<Receiver<()>> {
    let (ended, wait) = mpsc::channel();
    let mut redaction = secrets.redaction();
    let copy = move || {
        let mut chunk = vec![0; 1 << 16];
        let show = |bytes: &[u8]| {
            let mut log = std::io::stdout().lock();
            // A log that cannot be written (a full disk) does not end the command.
            let _ = log.write_all(bytes).and_then(|()| log.flush());
        };
        while let Ok(length @ 1..) = reader.read(&mut chunk) {
            show(&redaction.pass(&chunk[..length]));
        }
        show(&redaction.end());
        let _ = ended.send(());
    };
    thread::Builder::new().spawn(copy).context("start a thread for the log")?;
    Ok(wait)
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
