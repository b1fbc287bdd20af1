//! The child: `pipeline worker DIR` turns `action.json` into `outcome.json`. Knows nothing of stage names, the store
//! or who started it; it never outlives whoever holds the other end of its standard input.

use crate::action::Action;
use crate::executor::SPARE;
use crate::run::death;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
use stages::io::{Host, Interrupted, Io};
use stages::secret::Secrets;
use stages::stage::{Call, Work};
use std::any::Any;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// What a shell says of a command that SIGTERM ended.
const TERMINATED: u8 = 143;

/// Does the work if this is the command line of a worker. A run starts one for every stage, and reading a command line
/// for people takes longer than all else that the worker of a small command does by itself.
pub fn asked(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    match (words.next(), words.next(), words.next()) {
        (Some(verb), Some(directory), None) if verb == "worker" => {
            // One that is not needed after all ends in silence.
            let directory = if directory == SPARE { told() } else { Some(directory.into()) };
            Some(ExitCode::from(directory.map_or(0, |directory| work(&directory))))
        }
        _ => None,
    }
}

/// Waits to be told where to work, and goes there: see [`Executor::expect`](crate::executor::Executor::expect).
fn told() -> Option<PathBuf> {
    let mut path = Vec::new();
    std::io::stdin().lock().read_until(b'\n', &mut path).ok()?;
    let directory = PathBuf::from(OsString::from_vec(path.strip_suffix(b"\n")?.to_vec()));
    std::env::set_current_dir(&directory).ok()?;
    Some(directory)
}

/// The exit code. On failure the cause stands in `error.txt`, and after `error:` at the end of the log. A stage that
/// stopped because it was asked to has not failed.
pub fn work(directory: &Path) -> u8 {
    install_tracing();
    end_with_the_parent();
    let Err(error) = attempt(directory) else { return 0 };
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        eprintln!("{interrupted}");
        return TERMINATED;
    }
    let cause = death::of_error(directory, format!("{error:#}")).to_string();
    // The log may lie on a disk that is full, so nothing here may insist on being heard.
    let mut log = std::io::stderr();
    let _ = writeln!(log, "error: {cause}");
    if let Err(error) = fs::write(directory.join("error.txt"), &cause) {
        let _ = writeln!(log, "error: write {}: {error}", directory.join("error.txt").display());
    }
    1
}

fn attempt(directory: &Path) -> Result<()> {
    let action: Action = read_json(&directory.join("action.json"))?;
    let host: Host = read_json(&directory.join("host.json"))?;
    let kind = stages::kinds::kind_or_part(&action.kind)
        .with_context(|| format!("find the kind `{}`: this program has none of that name", action.kind))?;
    if kind.version != action.version {
        bail!("call `{}`: the action is of version {}, this program has {}", kind.name, action.version, kind.version);
    }
    let Work::Run(run) = kind.work else { bail!("call `{}`: it has no action of its own", kind.name) };
    let call = Call { parameters: action.parameters.value(), seed: action.seed.unwrap_or_default() };
    let secrets = Secrets::read(&host.secrets, |name| std::env::var_os(name))?;
    let mut io = Io::open(directory, inputs(&action, directory), host)?;
    let result = catch(|| run(&call, &mut io)).and_then(|()| io.finish());
    match result {
        // What went wrong may quote what the command wrote.
        Err(error) if !secrets.is_empty() => Err(anyhow!(secrets.masked(&format!("{error:#}")))),
        result => result,
    }
}

/// The files and directories behind each port.
fn inputs(action: &Action, directory: &Path) -> std::collections::BTreeMap<String, Vec<PathBuf>> {
    let mut inputs = std::collections::BTreeMap::<String, Vec<PathBuf>>::new();
    for (port, path, _) in action.placements() {
        inputs.entry(port.to_owned()).or_default().push(directory.join(path));
    }
    inputs
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}

/// A panic becomes an error that says where it happened; burn reports some plain failures in this way.
fn catch(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let place = Arc::new(Mutex::new(None));
    let default = panic::take_hook();
    panic::set_hook({
        let place = Arc::clone(&place);
        Box::new(move |info| {
            if let (Ok(mut place), Some(location)) = (place.lock(), info.location()) {
                // Of several panics the first is the cause.
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
        Err(anyhow!("the stage panicked at {place}: {}", message(&*payload)))
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// As `RUST_LOG` says; where it says nothing no filter is built, which saves the regular expressions that read it.
fn install_tracing() {
    let log = || tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    // A second worker in one process (tests) keeps the first subscriber.
    let _ = match tracing_subscriber::EnvFilter::try_from_default_env() {
        Ok(filter) => log().with_env_filter(filter).try_init(),
        Err(_) => log().with_max_level(tracing::Level::WARN).try_init(),
    };
}

/// Ends this process and its group as soon as standard input closes. Only for a pipe: a worker started by hand, or
/// by a cluster engine with nothing on its input, is nobody's child in this sense.
fn end_with_the_parent() {
    let is_pipe = rustix::fs::fstat(std::io::stdin())
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo);
    if !is_pipe {
        return;
    }
    std::thread::spawn(|| {
        let mut byte = [0];
        while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        if getpgrp() == getpid() {
            // This process is of the group as well.
            let _ = kill_process_group(getpgrp(), Signal::KILL);
        }
        std::process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

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
        let error = catch(|| panic!("row 7 holds no token")).unwrap_err().to_string();
        assert!(error.starts_with("the stage panicked at "), "{error}");
        assert!(error.contains("worker.rs:") && error.ends_with(": row 7 holds no token"), "{error}");
        assert!(catch(|| Ok(())).is_ok());
    }
}
