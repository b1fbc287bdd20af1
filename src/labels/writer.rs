//! The one writer of a label file.

use super::chain::{self, LabelFile};
use super::folder::damaged;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use stages::people::label::LabelEntry;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An entry that can never be written, since it says nothing of this worklist.
#[derive(Debug)]
pub struct UnfitLabel(pub String);

impl fmt::Display for UnfitLabel {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(&self.0)
    }
}

impl std::error::Error for UnfitLabel {}

/// The one writer of a file: it holds a lock while it lives.
pub struct LabelWriter {
    path: PathBuf,
    pub handle: File,
}

impl LabelWriter {
    /// # Errors
    /// Another process writes it, or it is damaged or cannot be opened.
    pub fn open(path: &Path, worklist: &str) -> Result<(LabelWriter, LabelFile)> {
        let at = || format!("open {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(at)?;
        }
        let handle = File::options().create(true).append(true).read(true).open(path).with_context(at)?;
        if flock(&handle, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("{}: another process writes it; take another session", at());
        }
        let bytes = files::read_user(path, u64::MAX).with_context(at)?;
        let file = chain::read(&bytes, worklist).map_err(|fault| damaged(path, &fault))?;
        if let Some(parent) = path.parent() {
            File::open(parent).and_then(|folder| folder.sync_all()).with_context(at)?;
        }
        Ok((LabelWriter { path: path.to_owned(), handle }, file))
    }

    /// Whether the file that is open is the one of its name: version control replaces files, and what is written to one that is
    /// no longer there is lost.
    pub fn is_in_place(&self) -> bool {
        let of = |metadata: std::io::Result<std::fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
        let open = of(self.handle.metadata());
        open.is_some() && open == of(std::fs::metadata(&self.path))
    }

    /// Writes a line and waits until it is on the disk. Bytes of a line that was cut off are ended first.
    ///
    /// # Errors
    /// It cannot be written: a part of it may be there.
    pub fn write(&mut self, file: &mut LabelFile, entry: &LabelEntry) -> Result<()> {
        let line = chain::line(&file.last, entry)?;
        if line.len() > chain::MOST {
            let message = format!("write a label: it takes {} bytes, at most {} are kept", line.len(), chain::MOST);
            return Err(UnfitLabel(message).into());
        }
        let mut bytes = if file.has_open_end { b"\n".to_vec() } else { Vec::new() };
        bytes.extend(&line);
        bytes.push(b'\n');
        let written = self.handle.write_all(&bytes).and_then(|()| self.handle.sync_data());
        written.with_context(|| format!("write {}", self.path.display()))?;
        file.wrote(&line, entry, bytes.len() as u64);
        Ok(())
    }
}
