//! `status`: the report of a run, running or ended.

use super::find::StoredRun;
use super::options::RunArgument;
use super::terminal;
use crate::progress;
use crate::report::sheet::Sheet;
use crate::report::{self, json};
use anyhow::Result;
use std::path::Path;

pub fn status(file: Option<&Path>, which: &RunArgument, is_json: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let StoredRun { mut run, is_alive, .. } = which.find(file)?;
    run.options = which.store.typed();
    if is_json {
        terminal::say_json(&json::document(&run, is_alive))?;
    } else {
        let mut sheets = vec![Sheet::heading(report::heading(&run))];
        sheets.extend(report::report(&run, is_alive));
        terminal::show(&sheets)?;
    }
    Ok(0)
}
