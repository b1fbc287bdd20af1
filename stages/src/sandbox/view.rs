//! The view of a command as it is asked for.

use std::path::{Path, PathBuf};

/// The directories that a command sees.
pub struct View<'a> {
    /// Its directory, absolute: the only one that it may write to.
    pub work: &'a Path,
    /// Its inputs below it, which it may read.
    pub inputs: &'a Path,
    /// The directory that it sees as `/tmp`.
    pub temporary: &'a Path,
    /// An empty directory, which it does not see. Its root is put together there.
    pub root: &'a Path,
    /// Files and directories that it may read beside the system's.
    pub readable: &'a [PathBuf],
    pub has_network: bool,
}
