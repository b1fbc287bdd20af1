//! JSON files: one way to read them and one to write them.

use crate::unreadable::Reading;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// # Errors
/// The file cannot be read, or holds something else.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&fs::read(path).reading(path)?).reading(path)
}

/// `None` where there is no such file.
///
/// # Errors
/// As [`read`].
pub fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).reading(path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).reading(path),
    }
}

/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?).with_context(|| format!("write {}", path.display()))
}
