//! Pointers of Git LFS: what a clone without `git lfs` holds in the place of large files.

use crate::unreadable::Reading;
use anyhow::{Result, anyhow};
use std::fs;
use std::path::Path;

/// The first bytes of a pointer, and what to say of it.
pub(crate) const START: &[u8] = b"version https://git-lfs.github.com/spec/";
pub(crate) const MESSAGE: &str = "it is a Git LFS pointer, not the file: `git lfs pull` fetches it";

/// The bytes of a file.
///
/// # Errors
/// It cannot be read, or is a pointer.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).reading(path)?;
    refuse(&bytes, path)?;
    Ok(bytes)
}

/// # Errors
/// The file is a pointer.
pub(crate) fn refuse(bytes: &[u8], path: &Path) -> Result<()> {
    if bytes.starts_with(START) { Err(anyhow!(MESSAGE)).reading(path) } else { Ok(()) }
}
