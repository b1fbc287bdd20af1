//! Tests of gates, as `pipeline gate test` runs them: a file says what was measured of some artifacts, and what the gate
//! of a stage has to say of it. Reads that file and those it names; knows no store and no run, and prints nothing.

mod artifact;
mod expected;
mod file;
mod judge;
mod tested;
mod versus;

use crate::diagnostic::{Diagnostic, SourceText};
use crate::event::Evidence;
use crate::schedule::weigh::{Heir, Tables};
pub use expected::Expected;
pub use file::read;
pub use judge::{Said, Unmet, judge, unmet};
use std::sync::Arc;
pub use tested::Tested;

/// A file of tests without mistakes.
pub struct Cases {
    pub source: SourceText,
    pub warnings: Vec<Diagnostic>,
    /// In the order of the file, at least one.
    pub cases: Vec<Case>,
}

pub struct Case {
    pub name: String,
    tested: Arc<Tested>,
    /// Its contents and tables are made up: they have a name each and lie nowhere.
    evidence: Evidence,
    tables: Tables,
    pub expected: Expected,
}

/// The mistakes of the file of tests, and those of the pipeline it tests.
pub type Mistaken = Vec<(SourceText, Vec<Diagnostic>)>;

pub fn heir(heir: Heir) -> &'static str {
    match heir {
        Heir::Candidate => "candidate",
        Heir::Incumbent => "incumbent",
        Heir::Nobody => "nothing",
        Heir::Held => "held",
    }
}

#[cfg(test)]
mod tests;
