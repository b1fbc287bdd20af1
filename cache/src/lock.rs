//! The lock of the store: many runs may use it at once, or one process may remove from it.

use crate::{open, store::Store};
use anyhow::{Context, Result, bail};
use std::{
    fs::{File, TryLockError},
    thread,
    time::{Duration, Instant},
};

/// A shared lock: nothing is removed from the store as long as it lives. One thread may take a second one, but not
/// while another process waits to remove: release one before taking the next.
#[derive(Debug)]
pub struct Hold {
    /// `None` for a store that cannot be written to: nobody can remove from it either.
    _lock: Option<File>,
}

/// An exclusive lock: nobody else uses the store as long as it lives.
#[derive(Debug)]
pub struct ExclusiveHold {
    _lock: File,
}

/// The time between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Takes a shared lock; waits while another process removes from the store. Hold it from looking content up until
    /// it is placed, and from adopting it until the record is committed; release it before waiting for anything that
    /// takes long.
    pub fn hold(&self) -> Result<Hold> {
        let path = self.part("lock");
        let lock = match open::lock(&path) {
            Ok(lock) => lock,
            Err(error) if open::is_read_only(&error) => return Ok(Hold { _lock: None }),
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        lock.lock_shared().with_context(|| format!("lock {}", path.display()))?;
        Ok(Hold { _lock: Some(lock) })
    }

    /// Takes an exclusive lock; waits at most `patience` for the others to release theirs. Find out what is to be kept
    /// only after this: a run may have added something before.
    pub fn hold_alone(&self, patience: Duration) -> Result<ExclusiveHold> {
        let path = self.part("lock");
        let lock = open::lock(&path).with_context(|| format!("open {}", path.display()))?;
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(ExclusiveHold { _lock: lock }),
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

    /// Serialises access to the small files that many processes change: claims and stat records. It is held for
    /// microseconds, so waiting needs no bound.
    pub(crate) fn take_turn(&self) -> Result<File> {
        open::locked(&self.part("claims/lock"))
    }
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
