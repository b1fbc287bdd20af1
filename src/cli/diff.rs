//! `diff`: two runs of one store side by side.

use super::find::{self, RunQuery};
use super::options::StoreArgument;
use super::terminal;
use crate::progress;
use crate::report::diff;
use anyhow::Result;
use std::path::Path;

pub fn diff(runs: [&str; 2], file: Option<&Path>, store: &StoreArgument, is_json: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let find = |run| find::run(Path::new("."), RunQuery { file, store: store.chosen(), run: Some(run), stage: None });
    let [old, new] = [find(runs[0])?, find(runs[1])?];
    let diff = diff::diff(&old.run, &new.run);
    if is_json { terminal::say(&diff::json(&diff)) } else { terminal::show(&diff::sheets(&diff)) }?;
    Ok(0)
}
