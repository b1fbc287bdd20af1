//! Opens files of the store: plain files only (the crate `files`), of bounded size where they are read whole.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

pub use files::{inside, lock, regular};

/// The most bytes of a record, a tree or the stat records: a tree of a million files has half of it. Whatever is larger
/// was not written by a store.
const MOST: u64 = 256 << 20;

/// Reads a record, a tree or another note of the store.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    files::read(path, MOST)
}

/// Opens a file that exists only to be locked.
pub fn to_lock(path: &Path) -> Result<File> {
    let mut file = lock(path);
    // A store on a read-only disk may lack the directory: creating it makes the disk report why.
    if let (Err(error), Some(parent)) = (&file, path.parent())
        && error.kind() == ErrorKind::NotFound
    {
        fs::create_dir(parent).with_context(|| format!("create directory {}", parent.display()))?;
        file = lock(path);
    }
    file.with_context(|| format!("open {}", path.display()))
}

pub fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

/// Whether something that no store writes lies at the path: no plain file, or one that is too large.
pub fn is_foreign(error: &io::Error) -> bool {
    files::is_not_a_file(error) || files::is_too_large(error)
}
