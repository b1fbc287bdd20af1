//! A finding of `doctor`.

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    /// Worth knowing; runs work all the same.
    Note,
    /// No run works, or only with an option that `help` names.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub what: &'static str,
    pub level: Health,
    pub text: String,
    /// Advice to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

pub fn ok(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, level: Health::Ok, text: text.into(), help: None }
}

pub fn note(what: &'static str, text: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { what, level: Health::Note, text: text.into(), help: Some(help.into()) }
}

pub fn problem(what: &'static str, text: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { what, level: Health::Problem, text: text.into(), help: Some(help.into()) }
}

/// A size in powers of 1000, as disks and memory are sold: `3.2 GB`.
pub fn size(bytes: u64) -> String {
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
