//! Calls of Slurm's commands, each in its time, by threads of their own: a scheduler that hangs keeps nobody waiting. A command
//! that fails says nothing about a job.

use super::array;
use super::listing::{self, BOOK_FIELDS, ListedJob, QUEUE_FIELDS};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The time limit of a command: a controller that is down takes 18 seconds to say so.
const PATIENCE: Duration = Duration::from_secs(30);
/// The interval at which its end is looked for.
const TICK: Duration = Duration::from_millis(5);

/// The commands that are called.
pub const COMMANDS: [&str; 5] = ["sbatch", "squeue", "scancel", "scontrol", "sinfo"];

#[derive(Debug)]
pub enum SlurmQuestion {
    /// Submit one job, or several as tasks of an array. They are known by their names.
    Submit {
        names: Vec<String>,
        arguments: Vec<OsString>,
    },
    Queue,
    /// The books about these names, from so many days ago on.
    Books {
        names: Vec<String>,
        days: u64,
    },
    /// The job of this id.
    Exit {
        id: String,
    },
    Cancel {
        name: String,
    },
}

#[derive(Debug)]
pub enum SlurmAnswer {
    Submitted { names: Vec<String>, answer: Submission },
    Queue(Result<Vec<ListedJob>>),
    Books { names: Vec<String>, found: Result<Vec<ListedJob>> },
    Exit(Option<ListedJob>),
    Cancelled,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Submission {
    Accepted(String),
    /// It can never be.
    Refused(String),
    /// There are too many jobs now.
    Full(String),
    /// The cluster takes no array of this size.
    TooLarge(String),
    /// It may have been heard.
    Unclear(String),
}

/// A thread that asks one question after the other.
pub struct Clients {
    /// `None` at the end.
    questions: Option<Sender<SlurmQuestion>>,
    answers: Receiver<SlurmAnswer>,
    thread: JoinHandle<()>,
}

/// The time in which what was asked last is carried out: a job is cancelled, or submitted.
const LAST: Duration = Duration::from_secs(10);

impl Drop for Clients {
    fn drop(&mut self) {
        self.questions = None;
        let until = Instant::now() + LAST;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(TICK);
        }
    }
}

impl Clients {
    pub fn start() -> Result<Clients> {
        let (questions, asked) = mpsc::channel::<SlurmQuestion>();
        let (answer, answers) = mpsc::channel();
        let work = move || {
            for question in asked {
                // What is asked last has nobody to hear the answer.
                let _ = answer.send(self::answer(question));
            }
        };
        let thread = thread::Builder::new().spawn(work).context("start a thread for the commands of Slurm")?;
        Ok(Clients { questions: Some(questions), answers, thread })
    }

    pub fn ask(&self, question: SlurmQuestion) {
        if let Some(questions) = &self.questions {
            // The thread is gone only with the executor.
            let _ = questions.send(question);
        }
    }

    pub fn answers(&self) -> impl Iterator<Item = SlurmAnswer> {
        self.answers.try_iter()
    }
}

fn answer(question: SlurmQuestion) -> SlurmAnswer {
    match question {
        SlurmQuestion::Submit { names, arguments } => SlurmAnswer::Submitted { names, answer: submit(&arguments) },
        SlurmQuestion::Queue => SlurmAnswer::Queue(queue()),
        SlurmQuestion::Books { names, days } => {
            let found = books(&names, days);
            SlurmAnswer::Books { names, found }
        }
        SlurmQuestion::Exit { id } => {
            let shown = call("scontrol", &["show", "job", &id].map(Into::into));
            SlurmAnswer::Exit(shown.ok().filter(|said| said.is_good).and_then(|said| listing::shown(&said.output)))
        }
        SlurmQuestion::Cancel { name } => {
            if let Err(error) = cancel(&[&name]) {
                tracing::debug!("{error:#}");
            }
            SlurmAnswer::Cancelled
        }
    }
}

/// Submits a job.
pub fn submit(arguments: &[OsString]) -> Submission {
    match call("sbatch", arguments) {
        Ok(said) => submission(&said),
        Err(error) => Submission::Unclear(format!("{error:#}")),
    }
}

/// All jobs of this user, those that ended a while ago included, and each task of an array by itself.
pub fn queue() -> Result<Vec<ListedJob>> {
    let user = rustix::process::getuid().as_raw().to_string();
    let said = call("squeue", &["-r", "-h", "-t", "all", "-u", &user, "-o", QUEUE_FIELDS].map(Into::into))?;
    said.good("squeue").map(|output| listing::queue(&output))
}

/// The rows of the books; none where there are no books.
fn books(names: &[String], days: u64) -> Result<Vec<ListedJob>> {
    let submitted: BTreeSet<&str> = names.iter().map(|name| array::submitted_name(name)).collect();
    let (names, since) = (Vec::from_iter(submitted).join(","), format!("now-{days}days"));
    let arguments = ["-nPX", "-D", "-o", BOOK_FIELDS, "-S", &since, "--name", &names];
    let said = match call("sacct", &arguments.map(Into::into)) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        said => said?,
    };
    if said.errors.contains("accounting storage is disabled") {
        return Ok(Vec::new());
    }
    said.good("sacct").map(|output| listing::books(&output))
}

/// Ends jobs by their names. Tasks of an array have one for all of them, and `scancel` by a name and an id ends all that wait:
/// so they are looked for, and ended by the ids that they have at this moment.
pub fn cancel(names: &[&str]) -> Result<()> {
    let (tasks, alone): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| array::parts(name).is_some());
    let by_name =
        alone.iter().map(|name| call("scancel", &["--name", name].map(Into::into))?.good("scancel").map(drop));
    let mut done: Vec<Result<()>> = by_name.collect();
    if !tasks.is_empty() {
        let rows = queue()?;
        let is_asked = |row: &&ListedJob| tasks.contains(&&*row.name) && listing::may_live(&row.state);
        let ids: Vec<OsString> = rows.iter().filter(is_asked).map(|row| row.id.clone().into()).collect();
        if !ids.is_empty() {
            done.push(call("scancel", &ids)?.good("scancel").map(drop));
        }
    }
    done.into_iter().collect()
}

fn is_absent(error: &anyhow::Error) -> bool {
    let of_system = error.root_cause().downcast_ref::<std::io::Error>();
    of_system.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub is_good: bool,
    pub output: String,
    pub errors: String,
}

impl CommandOutput {
    pub fn good(self, command: &str) -> Result<String> {
        if !self.is_good {
            bail!("{command}: {}", self.errors.trim());
        }
        Ok(self.output)
    }
}

/// Calls a command without what a job of Slurm hands on to it: inside a job it would inherit its memory and its nodes.
pub fn call(command: &str, arguments: &[OsString]) -> Result<CommandOutput> {
    let mut called = Command::new(command);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_str().is_some_and(is_of_a_job)) {
        called.env_remove(name);
    }
    called.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = called.spawn().with_context(|| format!("start {command}"))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        let (sender, receiver) = mpsc::channel();
        let work = move || {
            let mut bytes = Vec::new();
            // After an error the output so far is used.
            from.into_iter().for_each(|mut from| drop(from.read_to_end(&mut bytes)));
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        };
        thread::Builder::new().spawn(work).map(|_| receiver).context("start a thread")
    };
    let output = read(output.map(|pipe| Box::new(pipe) as Box<_>))?;
    let errors = read(errors.map(|pipe| Box::new(pipe) as Box<_>))?;
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().with_context(|| format!("wait for {command}"))? {
            Some(status) => break status,
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("{command} gave no answer in {} s", PATIENCE.as_secs());
            }
            None => thread::sleep(TICK),
        }
    };
    let text = |from: Receiver<String>| from.recv_timeout(PATIENCE).unwrap_or_default();
    Ok(CommandOutput { is_good: status.success(), output: text(output), errors: text(errors) })
}

/// Whether a variable says something about one job, or about what is submitted. Where Slurm is configured is said by others.
fn is_of_a_job(name: &str) -> bool {
    let is_of_slurm =
        ["SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_"].iter().any(|prefix| name.starts_with(prefix));
    is_of_slurm && !["SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS"].contains(&name)
}

/// Words of `sbatch` for a request that can never be met.
const NEVER: [&str; 22] = [
    "Requested node configuration is not available",
    "Invalid partition",
    "invalid partition",
    "Invalid account",
    "Invalid qos",
    "Invalid generic resource",
    "Requested time limit is invalid",
    "Requested partition configuration not available",
    "Invalid feature specification",
    "Invalid constraint",
    "Memory specification can not be satisfied",
    "CPU count per node can not be satisfied",
    "Node count specification invalid",
    "More processors requested than permitted",
    "Access/permission denied",
    "User's group not permitted",
    "Invalid --",
    "invalid option",
    "unrecognized option",
    "unrecognised option",
    "Unable to open file",
    "Invalid wckey",
];

/// Words of `sbatch` for an array with a number that is too large, or any, where there are no arrays.
const TOO_LARGE: &str = "Invalid job array specification";

/// Words of `sbatch` when there are too many jobs.
const FULL: [&str; 5] = [
    "AssocMaxSubmitJobLimit",
    "QOSMaxSubmitJobPerUserLimit",
    "Job violates accounting/QOS policy",
    "Slurm temporarily unable to accept job",
    "job limit",
];

fn submission(said: &CommandOutput) -> Submission {
    let errors = said.errors.trim().to_owned();
    match listing::submitted(&said.output) {
        Some(id) if said.is_good => Submission::Accepted(id),
        _ if errors.contains(TOO_LARGE) => Submission::TooLarge(errors),
        _ if NEVER.iter().any(|known| errors.contains(known)) => Submission::Refused(errors),
        _ if FULL.iter().any(|known| errors.contains(known)) => Submission::Full(errors),
        _ => Submission::Unclear(errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_clear_only_where_it_was_taken_or_can_never_be() {
        let said = |is_good, output: &str, errors: &str| {
            submission(&CommandOutput { is_good, output: output.to_owned(), errors: errors.to_owned() })
        };
        assert_eq!(said(true, "12\n", ""), Submission::Accepted("12".to_owned()));
        let refused = "sbatch: error: Batch job submission failed: Requested node configuration is not available";
        assert_eq!(said(false, "", refused), Submission::Refused(refused.to_owned()));
        let refused = "sbatch: error: invalid partition specified: gpus\nsbatch: error: Batch job submission failed: Invalid partition name specified";
        assert!(matches!(said(false, "", refused), Submission::Refused(_)));
        let full = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
        assert!(matches!(said(false, "", full), Submission::Full(_)));
        let large = "sbatch: error: Batch job submission failed: Invalid job array specification";
        assert_eq!(said(false, "", large), Submission::TooLarge(large.to_owned()));
        for unclear in [
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            "sbatch: error: Unable to contact slurm controller (connect failure)",
            "",
        ] {
            assert_eq!(said(false, "", unclear), Submission::Unclear(unclear.to_owned()));
        }
        // It says that it is good, and gives no id.
        assert!(matches!(said(true, "welcome\n", ""), Submission::Unclear(_)));
    }

    #[test]
    fn a_job_inside_a_job_inherits_nothing_but_where_slurm_is() {
        assert!(["SLURM_JOB_ID", "SLURM_MEM_PER_NODE", "SBATCH_PARTITION"].into_iter().all(is_of_a_job));
        assert!(!["SLURM_CONF", "PATH", "SLURMD"].into_iter().any(is_of_a_job));
    }
}
