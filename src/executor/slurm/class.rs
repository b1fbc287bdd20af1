//! The table of classes: what the state, the exit and the reason of a job mean for the work. The state alone says nothing
//! about success, and the exit nothing without the state.

use super::book::StartEnd;
use super::listing::ListedJob;

use crate::failure::{Exit, Loss};

/// The class of a job that has ended without a good outcome.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// It may still work.
    Alive,
    Lost(Loss),
    /// The work failed, by the stage's own fault.
    Failed(Exit),
}

/// Reasons for which a job may wait for ever.
const NEVER: [&str; 12] = [
    "BadConstraints",
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionDown",
    "PartitionInactive",
    "DependencyNeverSatisfied",
    "JobHeldUser",
    "JobHeldAdmin",
    "InvalidAccount",
    "InvalidQOS",
    "AccountNotAllowed",
    "QOSNotAllowed",
];

/// Whether a job that waits for this reason may wait until somebody changes the cluster, or the request.
pub fn may_wait_for_ever(reason: &str) -> bool {
    NEVER.contains(&reason) || reason.contains("PerJob")
}

/// The last start of a job by its own files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remains {
    /// Whether it was started at all.
    pub has_started: bool,
    pub end: Option<StartEnd>,
    /// Whether the output of the job speaks of memory that was used up.
    pub tells_of_memory: bool,
}

/// `SIGKILL`, and what Slurm writes for a job that the kernel ended for its memory, and for one whose files it could not open.
const KILLED: i32 = 9;
const OF_MEMORY: i32 = 125;
const OF_FILES: i32 = 53;
const TERMINATED: i32 = 143;

pub fn class(job: &ListedJob, remains: &Remains) -> Class {
    let [code, signal] = job.exit.unwrap_or_default();
    let reason = if job.reason.is_empty() { String::new() } else { format!(", {}", job.reason) };
    let on = if job.node.is_empty() { String::new() } else { format!(" on {}", job.node) };
    let said = format!("{}{reason}{on}", job.state);
    match job.state.as_str() {
        "COMPLETED" => match &remains.end {
            // The batch script ends as the worker did, so the books of the two disagree only where one is late.
            Some(end) if end.exit != Exit::Code(0) => of_end(end),
            _ => Class::Lost(Loss::Output),
        },
        "OUT_OF_MEMORY" => Class::Lost(Loss::Memory(said)),
        "TIMEOUT" | "DEADLINE" => Class::Lost(Loss::TimeLimit),
        "CANCELLED" => Class::Lost(Loss::Cancelled(said)),
        "NODE_FAIL" | "BOOT_FAIL" => Class::Lost(Loss::Infrastructure(said)),
        "PREEMPTED" => Class::Lost(Loss::Preempted),
        "FAILED" if signal == OF_MEMORY || job.reason == "OutOfMemory" => Class::Lost(Loss::Memory(said)),
        "FAILED" if signal == OF_FILES && !remains.has_started => Class::Lost(Loss::Impossible(format!(
            "the node {} cannot open the directory of the job or its output: it must see the same files as this machine",
            job.node
        ))),
        "FAILED" => match &remains.end {
            Some(end) => of_end(end),
            None if signal == KILLED && remains.tells_of_memory => Class::Lost(Loss::Memory(said)),
            // A node that dies may report the death of the process before its own.
            None if signal != 0 || code == TERMINATED => Class::Lost(Loss::Infrastructure(said)),
            None if remains.has_started => Class::Lost(Loss::Infrastructure(said)),
            None => Class::Failed(Exit::Code(code)),
        },
        _ => Class::Alive,
    }
}

/// A job of which only its files are left.
pub fn of_remains(remains: &Remains) -> Class {
    match &remains.end {
        Some(end) if end.exit == Exit::Code(0) => Class::Lost(Loss::Output),
        Some(end) => of_end(end),
        None => Class::Lost(Loss::Infrastructure("Slurm knows nothing of it any more".to_owned())),
    }
}

fn of_end(end: &StartEnd) -> Class {
    // SIGTERM comes before the limit, and the worker has written its checkpoint then. Whoever else sends it is told by the state.
    let is_stopped = end.is_warned && matches!(end.exit, Exit::Code(TERMINATED) | Exit::Signal(15));
    if is_stopped { Class::Lost(Loss::TimeLimit) } else { Class::Failed(end.exit) }
}

#[cfg(test)]
mod tests {
    use super::super::listing;
    use super::*;
    use expect_test::expect;
    use std::fmt::Write;

    #[test]
    fn a_reason_that_nobody_but_people_can_change_is_known() {
        assert!(["BadConstraints", "QOSMaxGRESPerJob", "PartitionTimeLimit"].into_iter().all(may_wait_for_ever));
        assert!(!["Resources", "Priority", "BeginTime", ""].into_iter().any(may_wait_for_ever));
    }

    #[test]
    fn every_end_that_was_seen_has_its_class() {
        let nothing = Remains::default();
        let started = Remains { has_started: true, ..Remains::default() };
        let ended = |exit, is_warned| Remains { end: Some(StartEnd { exit, is_warned }), ..started.clone() };
        let of_memory = Remains { tells_of_memory: true, ..started.clone() };
        let rows = [
            ("RUNNING|0:0|None|n1", &started),
            ("REQUEUE_HOLD|0:0|None|", &started),
            ("SOMETHING_NEW|0:0|None|", &started),
            ("COMPLETED|0:0|None|n1", &started),
            ("COMPLETED|0:0|None|n1", &ended(Exit::Code(3), false)),
            ("NODE_FAIL|0:0|None|n1", &started),
            ("FAILED|0:9|None|n1", &started),
            ("FAILED|0:9|JobLaunchFailure|n1", &of_memory),
            ("FAILED|0:125|OutOfMemory|n1", &started),
            ("OUT_OF_MEMORY|0:125|OutOfMemory|n1", &started),
            ("TIMEOUT|0:15|TimeLimit|n1", &started),
            ("DEADLINE|0:0|DeadLine|", &nothing),
            ("FAILED|143:0|NonZeroExitCode|n1", &ended(Exit::Code(143), true)),
            ("FAILED|1:0|NonZeroExitCode|n1", &ended(Exit::Code(1), true)),
            ("FAILED|1:0|NonZeroExitCode|n1", &ended(Exit::Code(1), false)),
            ("FAILED|137:0|NonZeroExitCode|n1", &ended(Exit::Signal(9), false)),
            ("FAILED|127:0|NonZeroExitCode|n1", &nothing),
            ("FAILED|0:53|NonZeroExitCode|n1", &nothing),
            ("CANCELLED by 0|0:15|None|n1", &started),
            ("PREEMPTED|143:0|None|n1", &started),
        ];
        let mut told = String::new();
        for (text, remains) in rows {
            let job = listing::books(&format!("1|pl-a|{text}")).remove(0);
            writeln!(told, "{text}: {:?}", class(&job, remains)).unwrap();
        }
        writeln!(told, "gone: {:?}", of_remains(&started)).unwrap();
        writeln!(told, "gone: {:?}", of_remains(&ended(Exit::Code(0), false))).unwrap();
        expect![[r#"
            RUNNING|0:0|None|n1: Alive
            REQUEUE_HOLD|0:0|None|: Alive
            SOMETHING_NEW|0:0|None|: Alive
            COMPLETED|0:0|None|n1: Lost(Output)
            COMPLETED|0:0|None|n1: Failed(Code(3))
            NODE_FAIL|0:0|None|n1: Lost(Infrastructure("NODE_FAIL on n1"))
            FAILED|0:9|None|n1: Lost(Infrastructure("FAILED on n1"))
            FAILED|0:9|JobLaunchFailure|n1: Lost(Memory("FAILED, JobLaunchFailure on n1"))
            FAILED|0:125|OutOfMemory|n1: Lost(Memory("FAILED, OutOfMemory on n1"))
            OUT_OF_MEMORY|0:125|OutOfMemory|n1: Lost(Memory("OUT_OF_MEMORY, OutOfMemory on n1"))
            TIMEOUT|0:15|TimeLimit|n1: Lost(TimeLimit)
            DEADLINE|0:0|DeadLine|: Lost(TimeLimit)
            FAILED|143:0|NonZeroExitCode|n1: Lost(TimeLimit)
            FAILED|1:0|NonZeroExitCode|n1: Failed(Code(1))
            FAILED|1:0|NonZeroExitCode|n1: Failed(Code(1))
            FAILED|137:0|NonZeroExitCode|n1: Failed(Signal(9))
            FAILED|127:0|NonZeroExitCode|n1: Failed(Code(127))
            FAILED|0:53|NonZeroExitCode|n1: Lost(Impossible("the node n1 cannot open the directory of the job or its output: it must see the same files as this machine"))
            CANCELLED by 0|0:15|None|n1: Lost(Cancelled("CANCELLED on n1"))
            PREEMPTED|143:0|None|n1: Lost(Preempted)
            gone: Lost(Infrastructure("Slurm knows nothing of it any more"))
            gone: Lost(Output)
        "#]]
        .assert_eq(&told);
    }
}
