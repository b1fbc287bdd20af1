//! The table of executors: a new one is a file and a row here.

use super::{ExecutorKind, local, slurm};
use anyhow::Result;
use std::path::Path;

/// The first is this machine.
pub const EXECUTORS: &[ExecutorKind] = &[local::LOCAL, slurm::SLURM];

/// Whether a job that was submitted for this directory, to any executor, still runs.
pub fn lives(directory: &Path) -> bool {
    EXECUTORS.iter().any(|kind| (kind.lives)(directory))
}

/// Writes down that nothing more is expected of a job, whichever executor had it.
pub fn close(directory: &Path) -> Result<()> {
    EXECUTORS.iter().try_for_each(|kind| (kind.close)(directory))
}
