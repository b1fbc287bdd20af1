//! The draft of a target: it lies beside the target until it is complete, and one rename publishes it. A verb that is
//! killed leaves nothing: an interrupt removes the draft, and what `kill -9` leaves is removed by the next verb that writes
//! to the same target.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory beside a target.
pub struct TargetDraft {
    directory: TempDir,
    /// Held as long as the process lives.
    _lock: File,
}

const LOCK: &str = "lock";

impl TargetDraft {
    /// Makes the draft, and the directory that it and the target lie in.
    pub fn beside(target: &Path) -> Result<TargetDraft> {
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let prefix = format!(".{}.draft-", target.file_name().unwrap_or_default().to_string_lossy());
        remove_dead(parent, &prefix)?;
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?;
        let lock = files::lock(&directory.path().join(LOCK))?;
        lock.try_lock()?;
        let doomed = directory.path().to_owned();
        ctrlc::set_handler(move || {
            // What is still being written may come back; then the next verb removes it.
            let _ = fs::remove_dir_all(&doomed);
            std::process::exit(130);
        })
        .context("listen for Ctrl-C")?;
        Ok(TargetDraft { directory, _lock: lock })
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Removes the drafts of this target whose processes are gone: nobody holds their locks.
fn remove_dead(parent: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) || !entry.file_type()?.is_dir() {
            continue;
        }
        // One without a lock is just being made, or is none of ours.
        let Ok((lock, _)) = files::inside(&entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}
