//! A worker on a node of a cluster: `pipeline worker --node ATTEMPT`. It makes a work directory of its own below the attempt's,
//! lets a worker work there, and notes how that ended. The same job may be started twice at a time, since a node that is
//! taken for dead may go on: it never writes anywhere else.

use crate::action::Action;
use crate::executor::process::{self, kill, reap, wait_for_the_end};
use crate::executor::slurm::book::{self, JobBook, StartBook, StartEnd};
use crate::executor::{Job, local};
use crate::failure::Exit;
use crate::run::{gpus, now};
use anyhow::{Context, Result};
use rustix::process::Signal;
use stages::io::{DeviceChoice, Host};
use stages::{orphans, work};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The interval at which it writes that it lives.
const HEART: Duration = Duration::from_secs(60);
/// The interval at which SIGTERM and the time are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Works for an attempt and returns the exit code.
pub fn work(attempt: &Path) -> u8 {
    match start(attempt) {
        Ok(Exit::Code(code)) => u8::try_from(code).unwrap_or(1),
        Ok(Exit::Signal(signal)) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        Ok(Exit::TimedOut(_)) => 124,
        Err(error) => {
            eprintln!("error: {error:#}");
            1
        }
    }
}

fn start(attempt: &Path) -> Result<Exit> {
    // From here on SIGTERM, which comes before the time limit, is the worker's business.
    let is_warned = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&is_warned)).context("listen for SIGTERM")?;
    let asked: JobBook = book::read(attempt).context("read the book of the job")?;
    let handover = files::text(&attempt.join(book::HANDOVER), book::MOST);
    let handover = handover.context("read the handover of the job, which is gone when nobody waits for it any more")?;
    let earlier = book::starts(attempt);
    let directory = make(attempt, &earlier)?;
    settle(&directory)?;
    beat(&directory)?;
    let started = StartBook { host: host(), job: id(), restart: restart(), at: jiff::Timestamp::now().to_string() };
    book::write(&directory.join(book::STARTED), &serde_json::to_vec(&started).context("write the start of a job")?)?;
    let program = std::env::current_exe().context("find this program")?;
    let command = [program.into(), "worker".into()].to_vec();
    // What the worker leaves behind comes to this process.
    orphans::adopt();
    let worker = local::start(&Job { directory: directory.clone(), command, handover, ..Job::default() })?;
    let exit = wait(worker, &directory, asked.timeout.map(Duration::from_secs_f64), &is_warned)?;
    if files::is_file(&directory.join(work::OUTCOME)).unwrap_or(false) {
        let mut made = BTreeMap::new();
        for name in [work::CANDIDATES, work::TABLES] {
            sizes(&directory, Path::new(name), &mut made)?;
        }
        let text = serde_json::to_vec(&made).context("write the sizes of what was made")?;
        book::write(&directory.join(book::MADE), &text)?;
    }
    let end = StartEnd { exit, is_warned: is_warned.load(Ordering::Relaxed) };
    book::write(&directory.join(book::ENDED), &serde_json::to_vec(&end).context("write the end of a job")?)?;
    Ok(exit)
}

/// The id of the job, as the queue lists it: a task of an array has one of its own beside it.
fn id() -> String {
    let told = |name| std::env::var(name).ok();
    match (told("SLURM_ARRAY_JOB_ID"), told("SLURM_ARRAY_TASK_ID")) {
        (Some(array), Some(number)) => format!("{array}_{number}"),
        _ => told("SLURM_JOB_ID").unwrap_or_default(),
    }
}

/// The name of this node.
fn host() -> String {
    let of_system = || fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    std::env::var("SLURMD_NODENAME").ok().or_else(|| of_system().ok()).unwrap_or_default()
}

/// The number of times that Slurm has started the job again.
fn restart() -> u32 {
    std::env::var("SLURM_RESTART_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn wait(mut worker: Child, directory: &Path, timeout: Option<Duration>, is_warned: &AtomicBool) -> Result<Exit> {
    let pid = process::pid(&worker);
    let (sender, ended) = mpsc::channel();
    thread::Builder::new()
        .spawn(move || {
            wait_for_the_end(pid);
            // The receiver is gone only with the process.
            let _ = sender.send(());
        })
        .context("start a thread for the worker")?;
    let started = Instant::now();
    let (mut beaten, mut is_told, mut is_late) = (started, false, false);
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if is_warned.load(Ordering::Relaxed) && !is_told {
            is_told = true;
            kill(&worker, Signal::TERM);
        }
        if timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            is_late = true;
            kill(&worker, Signal::KILL);
        }
        if beaten.elapsed() >= HEART {
            beaten = Instant::now();
            // A file system that is away for a while ends no work.
            if let Err(error) = beat(directory) {
                tracing::warn!("{error:#}");
            }
        }
    }
    kill(&worker, Signal::KILL);
    let status = reap(&mut worker).context("wait for the worker")?;
    orphans::end(|_| true);
    Ok(match (timeout.filter(|_| is_late && status.signal() == Some(9)), status.code()) {
        (Some(timeout), _) => Exit::TimedOut(timeout),
        (None, Some(code)) => Exit::Code(code),
        (None, None) => Exit::Signal(status.signal().unwrap_or_default()),
    })
}

fn beat(directory: &Path) -> Result<()> {
    let path = directory.join(book::ALIVE);
    fs::write(&path, now()).with_context(|| format!("write {}", path.display()))
}

/// Makes the work directory of this start: what was given, and the last checkpoint of an earlier start of the same job.
fn make(attempt: &Path, earlier: &[(PathBuf, StartBook)]) -> Result<PathBuf> {
    let starts = attempt.join(work::STARTS);
    files::make_directory(&starts, false).with_context(|| format!("create {}", starts.display()))?;
    let directory = starts.join(format!("{}-{:08x}", restart(), book::random()?));
    link(&attempt.join(work::GIVEN), &directory, &[])?;
    for (start, _) in earlier {
        if take_over(start, &directory)? {
            break;
        }
    }
    Ok(directory)
}

/// Takes over a copy of the checkpoint of another start, which may still be alive and write the next one. False if it has none.
fn take_over(from: &Path, to: &Path) -> Result<bool> {
    let of_stage = work::checkpoint(from).context("look for a checkpoint")?;
    let of_command = work::command_checkpoint(from).context("look for a checkpoint")?;
    let Some(checkpoint) = of_stage.as_ref().or(of_command.as_ref()) else { return Ok(false) };
    let place = if of_stage.is_some() { to.to_owned() } else { to.join(work::COMMAND) };
    let partial = place.join(work::PARTIAL_CHECKPOINT);
    if link(checkpoint, &partial, &[]).is_err() {
        // It was replaced meanwhile.
        remove(&partial)?;
        return Ok(false);
    }
    for name in [work::CANDIDATES, work::TABLES] {
        if of_stage.is_some() && files::is_directory(&from.join(name)).unwrap_or(false) {
            remove(&to.join(name))?;
            link(&from.join(name), &to.join(name), &[])?;
        }
    }
    if files::is_file(&from.join(work::CURVE)).unwrap_or(false) {
        let copied = fs::copy(from.join(work::CURVE), to.join(work::CURVE));
        copied.context("copy the curve of an earlier start")?;
    }
    let kept = place.join(work::CHECKPOINT);
    remove(&kept)?;
    fs::rename(&partial, &kept).with_context(|| format!("write {}", kept.display()))?;
    Ok(true)
}

fn remove(directory: &Path) -> Result<()> {
    let removed = files::found(fs::remove_dir_all(directory));
    removed.map(drop).with_context(|| format!("remove {}", directory.display()))
}

/// Files that a worker or a command changes in their place.
const CHANGED: [&str; 2] = [work::CURVE, work::HOST];

/// Makes a directory of the same files: links to those that nobody changes, copies of the others.
fn link(from: &Path, to: &Path, above: &[&OsStr]) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let (name, path) = (entry.file_name(), entry.path());
        let kind = entry.file_type().with_context(|| format!("read {}", path.display()))?;
        if kind.is_dir() {
            link(&path, &to.join(&name), &[above, &[&name]].concat())?;
            continue;
        }
        // What a command kept for itself it may change.
        let is_of_command = above.starts_with(&[work::COMMAND.as_ref(), work::CHECKPOINT.as_ref()])
            || from.ends_with(Path::new(work::COMMAND).join(work::CHECKPOINT));
        let is_changed = is_of_command || CHANGED.iter().any(|changed| name == *changed);
        let linked = match is_changed {
            true => Err(ErrorKind::Unsupported.into()),
            false => fs::hard_link(&path, to.join(&name)),
        };
        if linked.is_err() {
            fs::copy(&path, to.join(&name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// Adds the sizes of all files below a directory, by their paths from the top.
fn sizes(top: &Path, below: &Path, made: &mut BTreeMap<PathBuf, u64>) -> Result<()> {
    let read = || format!("read {}", below.display());
    for entry in files::found(fs::read_dir(top.join(below))).with_context(read)?.into_iter().flatten() {
        let entry = entry.with_context(read)?;
        let path = below.join(entry.file_name());
        let metadata = fs::symlink_metadata(entry.path()).with_context(read)?;
        if metadata.is_dir() {
            sizes(top, &path, made)?;
        } else {
            made.insert(path, metadata.len());
        }
    }
    Ok(())
}

/// Settles what nobody elsewhere can know: the device that the work has here, and whether the folder of replies is seen. One
/// that the worker made itself would be this node's alone, and what it paid for would be lost.
fn settle(directory: &Path) -> Result<()> {
    let path = directory.join(work::HOST);
    let mut host: Host = book::json(&path).with_context(|| format!("read {}", path.display()))?;
    let action: Action = book::json(&directory.join(work::ACTION)).context("read the action")?;
    let computes = stages::kinds::kind_or_part(&action.kind).is_some_and(|kind| kind.computes);
    if !computes {
        host.gpus = gpus::of_node();
    } else if host.device != DeviceChoice::Cpu {
        let found = gpus::resolve(&host.device, None)?;
        found.remark.iter().for_each(|remark| eprintln!("{remark}"));
        host.device = found.device;
        let more = found.gpus.iter().filter(|gpu| gpu.computes).skip(1).take(host.beside.len());
        host.beside = more.map(|gpu| DeviceChoice::Adapter(gpu.number)).collect();
    }
    host.replies = host.replies.filter(|replies| files::is_directory(replies).unwrap_or(false));
    let text = serde_json::to_vec(&host).context("write host.json")?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), text).unwrap();
    }

    #[test]
    fn a_start_has_what_was_given_and_changes_none_of_it() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let given = directory.path().join(work::GIVEN);
        let names =
            ["action.json", "host.json", "in/model/weights", "metrics.jsonl", "command/resume/state", "resume/step"];
        names.iter().for_each(|name| write(&given, name, name));
        let start = make(directory.path(), &[]).unwrap();
        let inode = |root: &Path, name: &str| fs::metadata(root.join(name)).unwrap().ino();
        for name in names {
            assert_eq!(fs::read_to_string(start.join(name)).unwrap(), name);
            let is_shared = inode(&given, name) == inode(&start, name);
            assert_eq!(is_shared, ["action.json", "in/model/weights", "resume/step"].contains(&name), "{name}");
        }
    }

    #[test]
    fn a_folder_of_replies_that_is_not_seen_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let replies = directory.path().join("replies");
        let settled = || {
            let host = Host { replies: Some(replies.clone()), ..Host::default() };
            write(directory.path(), work::HOST, &serde_json::to_string(&host).unwrap());
            settle(directory.path()).unwrap();
            book::json::<Host>(&directory.path().join(work::HOST)).unwrap().replies
        };
        let action = r#"{"kind":"exec","version":1,"parameters":{},"inputs":{}}"#;
        write(directory.path(), work::ACTION, action);
        assert_eq!(settled(), None);
        fs::create_dir(&replies).unwrap();
        assert_eq!(settled(), Some(replies.clone()));
    }

    #[test]
    fn a_job_that_is_started_again_goes_on_from_the_checkpoint_of_the_start_before() {
        let directory = tempfile::tempdir().unwrap();
        let given = directory.path().join(work::GIVEN);
        [("action.json", "{}"), ("resume/step", "10")].iter().for_each(|(name, text)| write(&given, name, text));
        let first = make(directory.path(), &[]).unwrap();
        fs::remove_dir_all(first.join("resume")).unwrap();
        [("resume/step", "20"), ("out/20/adapter", "weights"), ("metrics.jsonl", "{}\n")]
            .iter()
            .for_each(|(name, text)| write(&first, name, text));
        let book = StartBook { host: "n1".to_owned(), job: "1".to_owned(), restart: 0, at: now() };
        let second = make(directory.path(), &[(first.clone(), book)]).unwrap();
        let text = |root: &Path, name: &str| fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(text(&second, "resume/step"), "20");
        assert_eq!(text(&second, "out/20/adapter"), "weights");
        fs::write(second.join("metrics.jsonl"), "").unwrap();
        assert_eq!((text(&first, "metrics.jsonl"), text(&given, "resume/step")), ("{}\n".to_owned(), "10".to_owned()));
    }
}
