//! `doctor`: what a user needs to know about this machine. Everything that can be tried is tried, not only looked up.

mod devices;
mod executors;
mod finding;
mod machine;
mod remote;
mod store;

use super::{configuration, terminal};
use crate::report::sheet::{Grid, Header, Sheet, Width, plain};
use crate::settings::Settings;
use anyhow::Result;
use finding::{Finding, Health};
use stages::io::DeviceChoice;
use std::path::Path;

/// Asks the drivers, as the child process of `run` and `doctor`.
pub fn devices(choice: &DeviceChoice, is_all: bool) -> Result<u8> {
    crate::run::devices::tell(choice, is_all).map(|()| 0)
}

/// The exit code is 1 if a finding prevents every run.
pub fn doctor(store: &Path, is_json: bool) -> Result<u8> {
    let executors = configuration::settings(Settings::default())?.executors;
    let here = [machine::look(), devices::look(), store::look(store)];
    let findings = [here.concat(), remote::look(), executors::look(&executors, store)].concat();
    match is_json {
        true => terminal::say_json(&(serde_json::to_string_pretty(&findings)? + "\n")),
        false => terminal::show(&sheets(&findings)),
    }?;
    Ok(u8::from(findings.iter().any(|finding| finding.level == Health::Problem)))
}

fn sheets(findings: &[Finding]) -> [Sheet; 2] {
    let word = |cells: u16| Header { width: Width::Exactly(cells), ..Header::text("") };
    let mut grid = Grid::new([word(7), word(10), Header::name("")]);
    for Finding { what, level, text, help } in findings {
        let word = match level {
            Health::Ok => "ok",
            Health::Note => "note",
            Health::Problem => "PROBLEM",
        };
        let help = help.as_ref().map_or(String::new(), |help| format!("\n→ {help}"));
        grid.add([plain(word), plain(what), plain(format!("{text}{help}"))]);
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let told = match (count(Health::Problem), count(Health::Note)) {
        (0, 0) => "nothing prevents a run".to_owned(),
        (0, notes) => format!("nothing prevents a run; notes: {notes}"),
        (problems, _) => format!("problems: {problems}"),
    };
    [grid.into(), Sheet::note(told)]
}
