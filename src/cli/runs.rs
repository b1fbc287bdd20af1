//! `runs`: the runs of a pipeline file, or of this directory.

use super::find::{self, RunQuery};
use super::options::StoreArgument;
use super::terminal;
use crate::progress;
use crate::report::runs::{self, RunRow};
use anyhow::{Context, Result};
use std::path::Path;

/// Lists the newest `most` runs, or all of them.
pub fn runs(file: Option<&Path>, store: &StoreArgument, most: Option<usize>, is_json: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let wanted = RunQuery { file, store: store.chosen(), ..RunQuery::default() };
    let mut found = find::all(Path::new("."), &wanted)?;
    let rows: Vec<RunRow> =
        found.by_ref().take(most.unwrap_or(usize::MAX)).map(|found| runs::row(&found.run, found.is_alive)).collect();
    if rows.is_empty() {
        return Err(find::nothing_was_run(file));
    }
    if is_json {
        for row in &rows {
            if !terminal::say_json(&format!("{}\n", serde_json::to_string(row).context("write a run")?))? {
                break;
            }
        }
    } else {
        terminal::show(&[runs::table(&rows, found.next().is_some())])?;
    }
    Ok(0)
}
