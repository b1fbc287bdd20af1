//! `run --cancel`: ends the jobs that runs of a pipeline left on clusters.

use super::check::understand;
use super::options::FileArguments;
use super::terminal;
use crate::executor::slurm::cancel::{self, LeftJob};
use crate::run::{attempt, places};
use anyhow::{Context, Result};
use std::fs;

pub fn cancel(asked: &FileArguments) -> Result<u8> {
    let plan = understand(&asked.file, &asked.changes.all(), None)?;
    let store = asked.store.beside(&asked.file);
    let mut left = Vec::new();
    for root in places::all(&store)? {
        let work = attempt::directory(&root);
        let of_keys = files::found(fs::read_dir(&work)).with_context(|| format!("read {}", work.display()))?;
        for of_key in of_keys.into_iter().flatten() {
            let of_key = of_key.with_context(|| format!("read {}", work.display()))?.path();
            let attempts = attempt::attempts(&of_key)?.into_iter();
            left.extend(attempts.filter_map(|attempt| LeftJob::of(attempt.directory)));
        }
    }
    left.retain(|job| job.book.pipeline == plan.name);
    if left.is_empty() {
        terminal::remark("no job of this pipeline is left on a cluster\n");
        return Ok(0);
    }
    cancel::cancel(&left)?;
    for LeftJob { book, .. } in &left {
        terminal::remark(&format!("{}: job {} on `{}` is cancelled\n", book.title, book.name, book.executor));
    }
    Ok(0)
}
