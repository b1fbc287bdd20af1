//! `status`: the tables of a run, whether it goes on or has ended. Knows nothing of what they hold.

use super::find::Found;
use super::{Which, terminal};
use crate::progress;
use crate::report::{self, json};
use anyhow::Result;
use std::path::Path;

pub fn status(file: Option<&Path>, which: &Which, is_json: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let Found { mut run, is_alive, .. } = which.find(file)?;
    run.options = which.store.typed();
    terminal::say(&match is_json {
        true => json::document(&run, is_alive),
        false => format!("{}\n{}", report::heading(&run), report::report(&run, is_alive, terminal::page())),
    })?;
    Ok(0)
}
