//! Refused commands.

use std::fmt;

/// A command that cannot be carried out as typed: exit code 2. The text is printed unchanged.
#[derive(Debug)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

pub fn refused(text: String) -> anyhow::Error {
    Refusal(format!("error: {text}\n")).into()
}
