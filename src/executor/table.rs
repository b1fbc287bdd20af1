//! The table of executors: a new one is a file and a row here.

use super::{ExecutorKind, local};
use std::path::Path;

/// The first is the default.
pub const EXECUTORS: &[ExecutorKind] = &[local::LOCAL];

/// Whether a job that was submitted for this directory, to any executor, still runs.
pub fn lives(directory: &Path) -> bool {
    EXECUTORS.iter().any(|kind| (kind.lives)(directory))
}
