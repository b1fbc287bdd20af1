//! Commands of users: what they are told, what they see, and the directory of their own in which they run.

mod typed;

pub use typed::{Line, Text};

use crate::sandbox::{self, View};
use crate::secret::Secrets;
use crate::stage::{self, ParameterMistake};
use crate::work;
use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// The environment of every command, unless `env` says otherwise, beside HOME and TMPDIR, which are directories of its
/// own. Changing it makes another version of the kinds that start one.
const BASE: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// A command as the file has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserCommand {
    /// a list: program and arguments, as they are; a text: for `/bin/sh -eu -c`; inputs lie under in/<port> (a file as
    /// in/<port>.<format>)
    pub command: Line,
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

/// The directories of a command, absolute.
pub struct CommandPlace<'a> {
    /// Its own, with its inputs below it.
    pub work: &'a Path,
    /// An empty one or none: where the root directory of a command in a sandbox is put together.
    pub root: &'a Path,
}

/// A command that is ready to be started.
pub struct ReadyCommand {
    pub command: Command,
    /// Where its program was looked for.
    pub path: OsString,
    /// Directories that it needs as long as it runs.
    pub scratch: Scratch,
}

impl UserCommand {
    /// Whether there is no program to run.
    pub fn is_empty(&self) -> bool {
        match &self.command {
            Line::Shell(text) => text.trim().is_empty(),
            Line::Program(words) => words.first().is_none_or(String::is_empty),
        }
    }

    /// The mistake that its program is not on this machine, where it is looked up by its name.
    pub fn missing_program(&self) -> Option<ParameterMistake> {
        let Line::Program(words) = &self.command else { return None };
        let program = words.first().filter(|program| !program.is_empty() && !program.contains('/'))?;
        let [(name, path), _] = BASE;
        let path = self.env.get(name).map_or(path, |Text(path)| path);
        let error = find(program, OsStr::new(path), Path::new("")).err()?;
        Some(ParameterMistake::new("command", format!("run `{program}`: {error:#}")))
    }

    /// Mistakes of single values.
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = Vec::new();
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

    /// Makes the command ready to be started in its directory. `gpus` are variables that name its GPUs.
    ///
    /// # Errors
    /// A directory cannot be made, the program is not found, or the machine cannot confine a command.
    pub fn ready(
        &self,
        place: &CommandPlace,
        gpus: &BTreeMap<String, String>,
        secrets: &Secrets,
    ) -> Result<ReadyCommand> {
        let scratch = Scratch::make(place.work)?;
        let mut variables: BTreeMap<OsString, OsString> =
            BASE.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        variables.insert("HOME".into(), scratch.home.clone().into());
        // In a sandbox nobody else's files are there.
        let temporary = if self.sandbox { Path::new("/tmp") } else { &scratch.shown };
        variables.insert("TMPDIR".into(), temporary.into());
        variables.extend(gpus.iter().map(|(name, value)| (name.into(), value.into())));
        variables.extend(self.env.iter().map(|(name, Text(value))| (name.into(), value.into())));
        variables.extend(secrets.variables().map(|(name, value)| (name.into(), value.into())));
        let path = variables.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let mut command = match &self.command {
            Line::Shell(text) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-eu", "-c", text]);
                shell
            }
            Line::Program(words) => {
                let (program, arguments) = words.split_first().context("run the command: it is empty")?;
                let found = find(program, &path, place.work).with_context(|| format!("run `{program}`"))?;
                let mut command = Command::new(found);
                command.arg0(program).args(arguments);
                command
            }
        };
        command.env_clear().envs(&variables).current_dir(place.work).stdin(Stdio::null());
        if self.sandbox {
            self.confine(&mut command, place)?;
        }
        Ok(ReadyCommand { command, path, scratch })
    }

    fn confine(&self, command: &mut Command, place: &CommandPlace) -> Result<()> {
        let CommandPlace { work, root } = *place;
        fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
        let readable: Vec<PathBuf> = self.readable.iter().map(|path| at_home(path)).collect::<Result<_>>()?;
        let (inputs, temporary) = (work.join(work::INPUTS), work.join(work::TEMPORARY));
        let has_network = self.network;
        let view = View { work, inputs: &inputs, temporary: &temporary, root, readable: &readable, has_network };
        sandbox::confine(command, &view)
    }
}

/// The home directory and the directory for temporary files, empty at first. They go with the directory of the command.
pub struct Scratch {
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

/// A path of which `~/` is the home directory of who runs this.
fn at_home(path: &str) -> Result<PathBuf> {
    match path.strip_prefix("~/") {
        Some(below) => {
            Ok(env::home_dir().with_context(|| format!("find {path}: there is no home directory"))?.join(below))
        }
        None => Ok(path.into()),
    }
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

/// A pipe to the log of the stage, on which the secrets in it are left out.
pub struct CommandLog {
    /// The end that a command writes to.
    pub writer: PipeWriter,
    /// Told once everybody has closed that end, and all is in the log.
    pub ended: Receiver<()>,
}

impl CommandLog {
    /// Opens one; without secrets a command writes to the log itself.
    ///
    /// # Errors
    /// The system makes no pipe or no thread.
    pub fn open(secrets: &Secrets) -> Result<Option<CommandLog>> {
        if secrets.is_empty() { Ok(None) } else { CommandLog::bounded(secrets, u64::MAX).map(Some) }
    }

    /// Opens one that takes so many bytes; what comes after them is left out.
    ///
    /// # Errors
    /// The system makes no pipe or no thread.
    pub fn bounded(secrets: &Secrets, most: u64) -> Result<CommandLog> {
        let (mut reader, writer) = std::io::pipe().context("make a pipe")?;
        let (told, ended) = mpsc::channel();
        let mut redaction = secrets.redaction();
        let copy = move || {
            let mut chunk = vec![0; 1 << 16];
            let mut left = most;
            let show = |bytes: &[u8]| {
                let mut log = std::io::stdout().lock();
                // A log that cannot be written (a full disk) does not end the command.
                let _ = log.write_all(bytes).and_then(|()| log.flush());
            };
            while let Ok(length @ 1..) = reader.read(&mut chunk) {
                let shown = (length as u64).min(left);
                show(&redaction.pass(&chunk[..shown as usize]));
                if left > 0 && shown == left {
                    show(b"\n(the rest is left out)\n");
                }
                left -= shown;
            }
            show(&redaction.end());
            let _ = told.send(());
        };
        thread::Builder::new().spawn(copy).context("start a thread for the log")?;
        Ok(CommandLog { writer, ended })
    }
}
