//! What cannot be done as it was asked: exit code 2.

use std::fmt;

/// What was asked for cannot be done as it was asked: exit code 2. Printed as it is.
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
