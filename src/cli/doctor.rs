//! `doctor`: what a user, or whoever helps them, has to know of this machine. Each thing is tried, where it can be,
//! rather than read about. Knows nothing of any pipeline.

mod devices;
mod machine;
mod store;

use super::terminal;
use crate::report::sheet::{Grid, Header, Sheet, Width, plain};
use anyhow::Result;
pub use devices::tell as devices;
use serde::Serialize;
use std::path::Path;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Good to know; a run works all the same.
    Note,
    /// No run works, or none without an option that `help` names.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    what: &'static str,
    level: Level,
    text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

fn ok(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, level: Level::Ok, text: text.into(), help: None }
}

fn note(what: &'static str, text: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { what, level: Level::Note, text: text.into(), help: Some(help.into()) }
}

fn problem(what: &'static str, text: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { what, level: Level::Problem, text: text.into(), help: Some(help.into()) }
}

/// 1 when something was found that no run gets past.
pub fn doctor(store: &Path, is_json: bool) -> Result<u8> {
    let findings = [machine::look(), devices::look(), store::look(store)].concat();
    match is_json {
        true => terminal::say(&(serde_json::to_string_pretty(&findings)? + "\n")),
        false => terminal::show(&sheets(&findings)),
    }?;
    Ok(u8::from(findings.iter().any(|finding| finding.level == Level::Problem)))
}

fn sheets(findings: &[Finding]) -> [Sheet; 2] {
    let word = |cells: u16| Header { width: Width::Exactly(cells), ..Header::text("") };
    let mut grid = Grid::new([word(7), word(10), Header::name("")]);
    for Finding { what, level, text, help } in findings {
        let word = match level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Problem => "PROBLEM",
        };
        let help = help.as_ref().map_or(String::new(), |help| format!("\n→ {help}"));
        grid.add([plain(word), plain(what), plain(format!("{text}{help}"))]);
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let told = match (count(Level::Problem), count(Level::Note)) {
        (0, 0) => "nothing stands in the way of a run".to_owned(),
        (0, notes) => format!("nothing stands in the way of a run; to know: {notes}"),
        (problems, _) => format!("problems: {problems}"),
    };
    [grid.into(), Sheet::note(told)]
}

/// `3.2 GB`, as disks and memory are sold and told.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 10.0 && unit > 0 { format!("{value:.1} {}", units[unit]) } else { format!("{value:.0} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_with_two_digits_or_more() {
        let told = [0, 999, 1_000, 52_000_000_000, 999_999, 7_250_000_000_000].map(size);
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "52 GB", "1000 kB", "7.2 TB"]);
    }
}
