//! Rows of scored answers, as an evaluation leaves them for those who look at its answers again.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file of them.
pub const TABLE: &str = "scores.jsonl";

/// A row of [`TABLE`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ScoreRow {
    pub id: String,
    pub prompt: String,
    pub text: String,
    /// `None` if the score is not a finite number.
    pub score: Option<f64>,
}

/// Reads the rows of a measurement.
///
/// # Errors
/// Its table cannot be read.
pub fn read(measured: &Path) -> Result<Vec<ScoreRow>> {
    let path = measured.join(TABLE);
    let read = || -> Result<Vec<ScoreRow>> {
        std::fs::read_to_string(&path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    read().with_context(|| format!("read {}", path.display()))
}
