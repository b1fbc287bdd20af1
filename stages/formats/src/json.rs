//! JSON files: one way to read them and one to write them.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// # Errors
/// The file cannot be read, or holds something else.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let read = || format!("read {}", path.display());
    serde_json::from_slice(&fs::read(path).with_context(read)?).with_context(read)
}

/// `None` where there is no such file.
///
/// # Errors
/// As [`read`].
pub fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let read = || format!("read {}", path.display());
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(read).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(read),
    }
}

/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?).with_context(|| format!("write {}", path.display()))
}
