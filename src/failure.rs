//! Why an action or a stage failed: a value with one text. Journals store the texts; one that is read back stays a text.

use crate::cause::EvalPart;
use crate::plan::ArtifactName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Large values are boxed: a failure is a part of every outcome, of which there may be thousands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Failure {
    /// The work on a cluster was lost, and is not tried again.
    Lost(Loss),
    /// A part of the stage's measurement failed.
    Part(Box<EvalPart>, Box<Failure>),
    /// The worker ended without an outcome.
    Died(Box<Death>),
    /// The gate cannot decide: explanations of its rules and its choice that erred.
    Gate(Vec<String>),
    /// The action has no result, and `--only` and `--from` leave it out.
    LeftOut,
    /// The measured answers of a model cannot be compared with those of another.
    Incomparable { models: Box<[ArtifactName; 2]>, reason: String },
    /// A stage has no checkpoint of the step that was asked for; these it has.
    NoStep { stage: String, step: u64, known: Vec<u64> },
    /// A stage makes nothing that another could take.
    NothingToTake(String),
    /// All that a stage could have chosen failed: why each did.
    NothingToChoose(Vec<String>),
    /// An error without more to know about it, and every failure that was read from a journal.
    Error(String),
}

impl Failure {
    pub fn incomparable(model: &ArtifactName, with: &ArtifactName, reason: String) -> Failure {
        Failure::Incomparable { models: Box::new([model.clone(), with.clone()]), reason }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Death {
    pub cause: DeathCause,
    /// The last lines of its log that say more than the cause.
    pub log: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DeathCause {
    /// The stage's `timeout` ended it.
    TimedOut(Duration),
    /// The worker gave the reason itself, in `error.txt`.
    Error(String),
    /// The worker's device was full: what it was asked for last, the memory the stage expected to take, and the backend's
    /// error.
    OutOfMemory { asked: Option<String>, expected: Option<String>, error: String },
    /// The driver gave the worker's device up: the backend's error.
    DeviceLost(String),
    /// The worker ended without giving a reason.
    Silent {
        exit: Exit,
        /// The work directory, if its disk is full: then a worker cannot even write its reason.
        full_disk: Option<PathBuf>,
        /// The memory the stage expected to take, if it may have died of that.
        expected_memory: Option<String>,
    },
}

/// The loss of work on a cluster, which has no outcome. What is in a text is what the cluster said.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// A node, its disk or the scheduler failed.
    Infrastructure(String),
    /// It made room for other work.
    Preempted,
    /// It ended well, and what it wrote is not seen here.
    Output,
    TimeLimit,
    Memory(String),
    /// Somebody ended it.
    Cancelled(String),
    /// The cluster refuses what is asked of it.
    Impossible(String),
    /// Files that a job needs cannot be written here.
    Unprepared(String),
}

/// The end of a process. Whether its work succeeded is up to `outcome.json`, not to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    TimedOut(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Part(part, failure) => write!(text, "{part}: {failure}"),
            Failure::Died(death) => write!(text, "{death}"),
            Failure::Lost(loss) => write!(text, "{loss}"),
            Failure::Gate(explanations) => write!(text, "the gate cannot tell: {}", explanations.join("; ")),
            Failure::LeftOut => text.write_str("it is not done, and `--only` and `--from` leave it out: run it first"),
            Failure::Incomparable { models, reason } => {
                let [model, with] = &**models;
                write!(text, "compare {model} with {with}: {reason}")
            }
            Failure::NoStep { stage, step, known } => {
                let known: Vec<String> = known.iter().map(u64::to_string).collect();
                write!(text, "find `{stage}@{step}`: `{stage}` has steps {}", known.join(", "))
            }
            Failure::NothingToChoose(reasons) => write!(text, "there is nothing to choose: {}", reasons.join("; ")),
            Failure::NothingToTake(stage) => write!(text, "find what `{stage}` gave: it makes nothing to take"),
            Failure::Error(error) => text.write_str(error),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Loss::Infrastructure(said) => write!(text, "the cluster lost the work: {said}"),
            Loss::Preempted => text.write_str("the job was preempted"),
            Loss::Output => text.write_str(
                "the job completed, but its output is not seen here: do its nodes and this machine have the same files?",
            ),
            Loss::TimeLimit => text.write_str("the time limit of the job passed: `resources: {time: …}` gives it more"),
            Loss::Memory(said) => write!(text, "the job ran out of memory ({said}): `resources: {{memory: …}}` gives it more"),
            Loss::Cancelled(said) => write!(text, "the job was cancelled ({said})"),
            Loss::Impossible(said) => write!(text, "the cluster refuses the job: {said}"),
            Loss::Unprepared(error) => write!(text, "prepare the job: {error}"),
        }
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Failure {
        Failure::Error(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Error(format!("{error:#}"))
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> String {
        failure.to_string()
    }
}

impl fmt::Display for Death {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        write!(text, "{}", self.cause)?;
        self.log.iter().try_for_each(|line| write!(text, "\n  {line}"))
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DeathCause::TimedOut(after) => {
                let after = Duration::from_secs(after.as_secs().max(1));
                write!(text, "the worker was ended after {after:?}, the stage's `timeout`")
            }
            DeathCause::Error(error) => text.write_str(error),
            DeathCause::OutOfMemory { asked, expected, error } => {
                text.write_str("out of memory on the device")?;
                asked.iter().try_for_each(|asked| write!(text, ", which was asked for {asked}"))?;
                expected.iter().try_for_each(|expected| write!(text, "; {expected}"))?;
                write!(text, "\n  ({error})")
            }
            DeathCause::DeviceLost(error) => write!(
                text,
                "the device was lost: its driver gave it up, after a fault, a reset or a time-out, or for want of memory; the next \
                 run goes on from the last checkpoint\n  ({})",
                error.lines().next().unwrap_or_default()
            ),
            DeathCause::Silent { exit, full_disk, expected_memory } => {
                silent(*exit, text)?;
                if let Some(directory) = full_disk {
                    write!(text, "; the disk that {} lies on is full", directory.display())?;
                }
                expected_memory.iter().try_for_each(|expected| write!(text, "; {expected}"))
            }
        }
    }
}

/// Writes what ended the process, and the likeliest reason.
fn silent(exit: Exit, text: &mut fmt::Formatter) -> fmt::Result {
    let words = match exit {
        Exit::TimedOut(after) => return write!(text, "{}", DeathCause::TimedOut(after)),
        Exit::Code(0) => "ended without an outcome",
        // A shell's code for a signal that ended its last command; 143 is also a worker that first wrote a checkpoint.
        Exit::Code(code @ (134 | 137 | 139 | 143)) => return silent(Exit::Signal(code - 128), text),
        Exit::Code(code) => return write!(text, "the worker ended with exit code {code}"),
        Exit::Signal(4) => "died of an illegal instruction (SIGILL): built for another processor",
        Exit::Signal(6) => "aborted (SIGABRT): out of memory, or an abort in native code",
        Exit::Signal(7) => "died of a bus error (SIGBUS): a full disk, or a crash of the driver",
        Exit::Signal(9) => "was killed (SIGKILL): probably out of memory",
        Exit::Signal(11) => "crashed (SIGSEGV): probably the graphics driver",
        Exit::Signal(15) => "was ended from outside (SIGTERM)",
        Exit::Signal(signal) => return write!(text, "the worker died of signal {signal}"),
    };
    write!(text, "the worker {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_journal_keeps_the_text_of_a_failure() {
        let died = Death { cause: DeathCause::Error("NaN loss".to_owned()), log: Vec::new() };
        let part = EvalPart::new("scores", &ArtifactName::step("ppo_1", 20), None, Some("eval"));
        let failures = [
            Failure::Part(Box::new(part), Box::new(Failure::Died(Box::new(died)))),
            Failure::Gate(vec!["`kl` was not measured".to_owned(), "step 20: no items".to_owned()]),
            Failure::LeftOut,
            Failure::incomparable(&ArtifactName::open("ppo_1"), &ArtifactName::open("sft"), "no items".to_owned()),
            Failure::NoStep { stage: "rm".to_owned(), step: 15, known: vec![10, 20] },
            Failure::NothingToTake("eval".to_owned()),
            Failure::NothingToChoose(vec!["`ppo_a` failed".to_owned(), "the gate of `ppo_b` is closed".to_owned()]),
            Failure::Error("no space left".to_owned()),
        ];
        let written = failures.map(|failure| {
            let json = serde_json::to_value(&failure).unwrap();
            let text = failure.to_string();
            assert_eq!(
                (json.as_str(), serde_json::from_value(json.clone()).ok()),
                (Some(&*text), Some(Failure::Error(text.clone())))
            );
            text
        });
        expect![[r#"
            scores of ppo_1@20 for eval: NaN loss
            the gate cannot tell: `kl` was not measured; step 20: no items
            it is not done, and `--only` and `--from` leave it out: run it first
            compare ppo_1 with sft: no items
            find `rm@15`: `rm` has steps 10, 20
            find what `eval` gave: it makes nothing to take
            there is nothing to choose: `ppo_a` failed; the gate of `ppo_b` is closed
            no space left"#]]
        .assert_eq(&written.join("\n"));
    }

    #[test]
    fn every_end_of_a_process_has_its_words() {
        let codes = [0, 3, 134, 137, 139, 143].map(Exit::Code);
        let signals = [4, 6, 7, 9, 11, 15, 2].map(Exit::Signal);
        let silent = |exit| DeathCause::Silent { exit, full_disk: None, expected_memory: None };
        let told = codes.into_iter().chain(signals).map(|exit| format!("{exit:?}: {}", silent(exit)));
        expect![[r#"
            Code(0): the worker ended without an outcome
            Code(3): the worker ended with exit code 3
            Code(134): the worker aborted (SIGABRT): out of memory, or an abort in native code
            Code(137): the worker was killed (SIGKILL): probably out of memory
            Code(139): the worker crashed (SIGSEGV): probably the graphics driver
            Code(143): the worker was ended from outside (SIGTERM)
            Signal(4): the worker died of an illegal instruction (SIGILL): built for another processor
            Signal(6): the worker aborted (SIGABRT): out of memory, or an abort in native code
            Signal(7): the worker died of a bus error (SIGBUS): a full disk, or a crash of the driver
            Signal(9): the worker was killed (SIGKILL): probably out of memory
            Signal(11): the worker crashed (SIGSEGV): probably the graphics driver
            Signal(15): the worker was ended from outside (SIGTERM)
            Signal(2): the worker died of signal 2"#]]
        .assert_eq(&told.collect::<Vec<_>>().join("\n"));
    }
}
