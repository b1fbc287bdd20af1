//! Who may use the store at the moment: many runs at once, or one that removes from it. Knows nothing of what
//! they do.

use crate::store::Store;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Nothing is removed from the store as long as this lives. A second one in the same thread is allowed, but while
/// somebody waits to remove it may never be given: take one, give it back, take the next.
#[derive(Debug)]
pub struct Held {
    /// None for a store that cannot be written to: nobody can remove from it either.
    _lock: Option<File>,
}

/// Nobody else uses the store as long as this lives.
#[derive(Debug)]
pub struct Alone {
    _lock: File,
}

/// How often the lock is tried while somebody else has it.
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Waits while somebody removes from the store. To be held from looking content up until it is placed, and from
    /// adopting it until the record is committed; to be given back while waiting for anything that takes long.
    pub fn hold(&self) -> Result<Held> {
        let path = self.part("lock");
        let lock = match open_lock(&path) {
            Ok(lock) => lock,
            Err(error) if is_read_only(&error) => return Ok(Held { _lock: None }),
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        lock.lock_shared().with_context(|| format!("lock {}", path.display()))?;
        Ok(Held { _lock: Some(lock) })
    }

    /// Waits at most `patience` for everybody to give the store back. What is to be kept must be found out after this:
    /// before, a run may still have added something.
    pub fn hold_alone(&self, patience: Duration) -> Result<Alone> {
        let path = self.part("lock");
        let lock = open_lock(&path).with_context(|| format!("open {}", path.display()))?;
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Alone { _lock: lock }),
                Err(TryLockError::WouldBlock) if begin.elapsed() < patience => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => bail!(
                    "a run is using the store {} and did not give it back for {} s; wait for it to end, or stop it",
                    self.root().display(),
                    patience.as_secs()
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
    }

    /// One at a time through the small files that many processes change: claims, stat records. Held for
    /// microseconds, so waiting needs no bound.
    pub(crate) fn take_turn(&self) -> Result<File> {
        take_turn(&self.part("claims/lock"))
    }
}

pub(crate) fn take_turn(path: &Path) -> Result<File> {
    let mut lock = open_lock(path);
    // A store that was opened on a read-only disk may lack the directory: then let the disk say why.
    if let (Err(error), Some(parent)) = (&lock, path.parent())
        && error.kind() == ErrorKind::NotFound
    {
        fs::create_dir(parent).with_context(|| format!("create directory {}", parent.display()))?;
        lock = open_lock(path);
    }
    let lock = lock.with_context(|| format!("open {}", path.display()))?;
    lock.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(lock)
}

fn open_lock(path: &Path) -> io::Result<File> {
    // Never truncated and never removed: a lock is the file, not its name.
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    const SHORT: Duration = Duration::from_millis(60);

    #[test]
    fn many_hold_the_store_and_nobody_removes_meanwhile() {
        let (_home, store) = sample::store();
        let (one, two) = (store.hold().unwrap(), store.hold().unwrap());
        let error = store.hold_alone(SHORT).unwrap_err().to_string();
        assert!(error.starts_with("a run is using the store"), "{error}");
        drop(one);
        assert!(store.hold_alone(SHORT).is_err());
        drop(two);
        let alone = store.hold_alone(SHORT).unwrap();
        assert!(store.hold_alone(SHORT).is_err());
        let waiting = thread::spawn({
            let store = store.clone();
            move || store.hold().unwrap()
        });
        thread::sleep(SHORT);
        assert!(!waiting.is_finished());
        drop(alone);
        waiting.join().unwrap();
    }

    #[test]
    fn whoever_wants_to_remove_waits_a_little() {
        let (_home, store) = sample::store();
        let held = store.hold().unwrap();
        thread::spawn(move || {
            thread::sleep(SHORT);
            drop(held);
        });
        store.hold_alone(Duration::from_secs(60)).unwrap();
    }
}
