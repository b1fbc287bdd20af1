//! Tests of gates, as `pipeline gate test` runs them: a file says what was measured of some artifacts, and what the gate
//! of a stage has to say of it. It reads that file and those it names; it knows no store and no run, and prints nothing.

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
