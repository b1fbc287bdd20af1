//! Tests of gates, as `pipeline gate test` runs them: a file gives the measurements of some artifacts, and the decision
//! that a stage's gate must make about them. It reads that file and those it names, uses no store and no run, and
//! prints nothing.

mod artifact;
mod expectation;
mod file;
mod givens;
mod judge;
mod under_test;
mod versus;

pub use file::{Case, TestFile, read};
pub use judge::{CaseResult, Mismatch, judge, mismatches};

#[cfg(test)]
mod tests;
