//! `pipeline`: one file describes the training; one command runs it; nothing runs twice; a written rule, not code,
//! decides what goes on.
//!
//! ```text
//! file → Spec → Plan → per ready stage: Action → Key → store hit, or worker process → Record
//!                  → select → Candidate, judge → Verdict → Outcome → dependants become ready
//!                  → Event → journal → progress (live) / status / explain / report
//! ```
//!
//! Invariants:
//!
//! * Gates are not in keys: editing a rule never trains anything.
//! * `run` is the only verb that computes, and running again is resuming.
//! * An executor knows only a directory, a command, and which jobs may share a process.
//! * NaN or a missing metric never opens a gate.
//! * A record is written once, last, and never overwritten.
//! * Timings never change a key.
//!
//! Exit codes: 0 all done · 1 a stage failed or a gate erred · 2 the file or the command is wrong · 3 stopped or held by a
//! gate, or waiting for labels · 130 interrupted. Where several hold: 130, 2, 1, 3.

// What stands on nothing: how JSON is hashed, the rule language, and how often items were looked at.
mod canonical;
pub mod gate;
mod ledger;
// What the user typed.
mod diagnostic;
mod hub;
mod settings;
mod spec;
// What it means.
mod plan;
mod schema;
// What is to be done: pure.
mod action;
mod cause;
mod event;
mod failure;
mod schedule;
// Doing it: the world.
mod approvals;
mod executor;
mod gate_test;
mod inheritance;
mod journal;
mod labels;
mod live;
mod retention;
mod run;
mod tail;
mod worker;
// Showing it.
mod chapter;
mod progress;
mod report;
// The verbs.
mod cli;

#[cfg(test)]
#[path = "../fuzz/targets/table.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../tests/support/wait.rs"]
mod wait;

pub use cli::command;

/// A worker, or what a person asks for.
pub fn main() -> std::process::ExitCode {
    inheritance::receive();
    worker::asked(std::env::args_os().skip(1)).unwrap_or_else(cli::main)
}
