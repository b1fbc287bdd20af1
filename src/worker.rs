//! The worker process: `pipeline worker DIR` turns `action.json` into `outcome.json`. With `-` for the directory it waits
//! to be told one, and may then be told more (`executor/line.rs`): it keeps its device, compiled kernels and the bases that
//! it has loaded from one action to the next. It never outlives the process at the other end of its standard input.

mod node;

use crate::action::Action;
use crate::executor::line::{self, WAITS, done, told};
use crate::executor::process::end_with_the_parent;
use crate::executor::slurm::NODE;
use crate::inheritance::hide_environment;
use crate::run::death;
use anyhow::{Context, Error, Result, anyhow, bail};
use stages::io::{Handover, Host, Interruption, Io};
use stages::secret::Secrets;
use stages::stage::{Call, Work};
use stages::work;
use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// The most bytes of an action.
const MOST: u64 = 256 << 20;

/// The exit code with which a shell reports that SIGTERM ended a command.
const TERMINATED: u8 = 143;

/// Does the work if this is the command line of a worker. A run starts one worker for every stage, and parsing a
/// command line with clap takes longer than anything else that the worker of a small command does.
pub fn asked(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    match (words.next(), words.next(), words.next()) {
        (Some(verb), Some(option), Some(attempt)) if verb == "worker" && option == NODE => {
            install_tracing();
            Some(ExitCode::from(node::work(attempt.as_ref())))
        }
        (Some(verb), Some(directory), None) if verb == "worker" => {
            hide_environment();
            let code = if directory == WAITS { serve() } else { work(directory.as_ref()) };
            Some(ExitCode::from(code))
        }
        _ => None,
    }
}

/// Works in a directory and returns the exit code.
pub fn work(directory: &Path) -> u8 {
    install_tracing();
    let told = end_with_the_parent().and_then(|line| line::read(line.as_bytes()));
    End::of(directory, told.map(|told| told.handover).unwrap_or_default()).code()
}

/// Works in every directory that it is told, until one is the last or the work there fails. An action that may have failed
/// of what those before it left behind, as a device that is lost, ends the process as a crash would: it is then tried
/// once more by another.
fn serve() -> u8 {
    install_tracing();
    for (earlier, told) in told().enumerate() {
        tracing::debug!("process {}, {earlier} actions before", std::process::id());
        match End::of(&told.directory, told.handover) {
            End::Done if told.stays && done().is_ok() => {}
            End::Broken if earlier > 0 => std::process::abort(),
            end => return end.code(),
        }
    }
    0
}

/// The end of an action in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// It stopped because it was asked to, which is no failure.
    Stopped,
    Failed,
    /// It failed by a panic, or its device is lost.
    Broken,
}

impl End {
    /// Works in a directory. On failure, `error.txt` holds the cause, and so does the end of the log, after `error:`.
    fn of(directory: &Path, handover: Handover) -> End {
        let Err(error) = attempt(directory, handover) else { return End::Done };
        if let Some(interrupted) = error.downcast_ref::<Interruption>() {
            eprintln!("{interrupted}");
            return End::Stopped;
        }
        let is_broken = error.is::<Panic>() || stages::device::is_lost();
        tell(directory, &error);
        if is_broken { End::Broken } else { End::Failed }
    }

    fn code(self) -> u8 {
        match self {
            End::Done => 0,
            End::Stopped => TERMINATED,
            End::Failed | End::Broken => 1,
        }
    }
}

fn tell(directory: &Path, error: &Error) {
    let cause = death::of_error(directory, cut(format!("{error:#}")), stages::device::asked::last()).to_string();
    // The log may be on a full disk, so failing to write it must not be an error.
    let mut log = std::io::stderr();
    let _ = writeln!(log, "error: {cause}");
    let path = directory.join(work::ERROR);
    if let Err(error) = files::write(&path, cause.as_bytes()) {
        let _ = writeln!(log, "error: write {}: {error}", path.display());
    }
}

/// An error that may quote what somebody else wrote, up to where nobody reads on.
fn cut(text: String) -> String {
    const MOST: usize = 4000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… and {} more bytes", &text[..end], text.len() - end),
        None => text,
    }
}

fn attempt(directory: &Path, handover: Handover) -> Result<()> {
    let action: Action = read_json(&directory.join(work::ACTION))?;
    let host: Host = read_json(&directory.join(work::HOST))?;
    let kind = stages::kinds::kind_or_part(&action.kind)
        .with_context(|| format!("find the kind `{}`: this program has none of that name", action.kind))?;
    if kind.version != action.version {
        bail!("call `{}`: the action is of version {}, this program has {}", kind.name, action.version, kind.version);
    }
    let Work::Run(run) = kind.work else { bail!("call `{}`: it has no action of its own", kind.name) };
    let mut parameters = action.parameters.value();
    stages::stage::put_back(&mut parameters, &host.parameters);
    let call = Call { parameters, seed: action.seed.unwrap_or_default() };
    let secrets = Arc::new(Secrets::read(&host.secrets, |name| handover.secret(name))?);
    let of_inputs = work::of_inputs(directory, kind.takes_any_port);
    let io = Io::open(directory, action.sources(&of_inputs), host)?;
    let mut io = io.entrusted(handover.nonce, Arc::clone(&secrets));
    let result = catch(|| run(&call, &mut io)).and_then(|()| io.finish());
    match result {
        // The error may quote what the command wrote.
        Err(error) if !secrets.is_empty() && !error.is::<Interruption>() => {
            Err(anyhow!(secrets.redacted(&format!("{error:#}"))))
        }
        result => result,
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = files::read(path, MOST).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}

/// The error of a stage that panicked.
#[derive(Debug)]
struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(&self.0)
    }
}

impl std::error::Error for Panic {}

/// Runs a stage. A panic becomes an error that says where it happened; burn reports some ordinary failures by a panic.
fn catch(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let place = Arc::new(Mutex::new(None));
    let default = panic::take_hook();
    panic::set_hook({
        let place = Arc::clone(&place);
        Box::new(move |info| {
            if let (Ok(mut place), Some(location)) = (place.lock(), info.location()) {
                // The first of several panics is the cause.
                place.get_or_insert_with(|| location.to_string());
            }
            default(info);
        })
    });
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    drop(panic::take_hook());
    result.unwrap_or_else(|payload| {
        let place =
            place.lock().ok().and_then(|mut place| place.take()).unwrap_or_else(|| "an unknown place".to_owned());
        Err(Panic(format!("the stage panicked at {place}: {}", message(&*payload))).into())
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Logs as `RUST_LOG` says. Without it no filter is built, which saves the regular expressions that parse it.
fn install_tracing() {
    let log = || tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    // A second worker in one process (tests) keeps the first subscriber.
    let _ = match tracing_subscriber::EnvFilter::try_from_default_env() {
        Ok(filter) => log().with_env_filter(filter).try_init(),
        Err(_) => log().with_max_level(tracing::Level::WARN).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fs;

    fn cause_of(action: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("action.json"), action).unwrap();
        fs::write(directory.path().join("host.json"), r#"{"device":"cpu"}"#).unwrap();
        assert_eq!(work(directory.path()), 1);
        let cause = fs::read_to_string(directory.path().join("error.txt")).unwrap();
        cause.replace(&directory.path().display().to_string(), "DIR")
    }

    #[test]
    fn an_action_that_this_program_cannot_do_is_refused_with_the_reason() {
        let version = stages::kinds::kind("ppo").unwrap().version;
        let causes = [
            cause_of("{"),
            cause_of(r#"{"kind":"poo","version":1,"parameters":{},"inputs":{}}"#),
            cause_of(r#"{"kind":"ppo","version":999,"parameters":{},"inputs":{}}"#)
                .replace(&format!("has {version}"), "has N"),
            cause_of(r#"{"kind":"eval","version":1,"parameters":{},"inputs":{}}"#),
        ];
        expect![[r#"
            read DIR/action.json: EOF while parsing an object at line 1 column 1
            find the kind `poo`: this program has none of that name
            call `ppo`: the action is of version 999, this program has N
            call `eval`: it has no action of its own"#]]
        .assert_eq(&causes.join("\n"));
    }

    #[test]
    fn a_panic_is_an_error_that_names_its_place() {
        let error = catch(|| panic!("row 7 holds no token")).unwrap_err();
        // After others in one process, it is tried once more by another.
        assert!(error.is::<Panic>() && !catch(|| bail!("row 7 holds no prompt")).unwrap_err().is::<Panic>());
        let error = error.to_string();
        assert!(error.starts_with("the stage panicked at "), "{error}");
        assert!(error.contains("worker.rs:") && error.ends_with(": row 7 holds no token"), "{error}");
        assert!(catch(|| Ok(())).is_ok());
    }
}
