//! The lock of the store: many runs may use it at once, or one process may remove from it.

use crate::{interruption::interrupted, open, store::Store};
use anyhow::{Context, Result, bail};
use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
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
        self.wait(&path, || lock.try_lock_shared()).with_context(|| format!("lock {}", path.display()))?;
        Ok(Hold { _lock: Some(lock) })
    }

    /// Takes an exclusive lock; waits at most `patience` for the others to release theirs. Find out what is to be kept
    /// only after this: a run may have added something before.
    pub fn hold_alone(&self, patience: Duration) -> Result<ExclusiveHold> {
        self.hold_alone_between(patience, || thread::sleep(PAUSE))
    }

    /// Takes an exclusive lock; `pause` is called between two attempts to take the lock.
    fn hold_alone_between(&self, patience: Duration, mut pause: impl FnMut()) -> Result<ExclusiveHold> {
        let path = self.part("lock");
        let lock = open::lock(&path).with_context(|| format!("open {}", path.display()))?;
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(ExclusiveHold { _lock: lock }),
                Err(TryLockError::WouldBlock) if begin.elapsed() < patience => pause(),
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
        let path = self.part("claims/lock");
        let lock = open::to_lock(&path)?;
        self.wait(&path, || lock.try_lock()).with_context(|| format!("lock {}", path.display()))?;
        Ok(lock)
    }

    /// Waits for a lock. That is said when it takes long, and given up when the store is interrupted.
    fn wait(&self, path: &Path, mut take: impl FnMut() -> Result<(), TryLockError>) -> io::Result<()> {
        let (begin, mut is_said, mut pause) = (Instant::now(), false, Duration::from_micros(50));
        loop {
            match take() {
                Err(TryLockError::WouldBlock) if self.is_interrupted() => return Err(interrupted()),
                Err(TryLockError::WouldBlock) => {
                    if !is_said && begin.elapsed() >= LONG {
                        is_said = true;
                        tracing::warn!("waiting for {}, which another process has locked", path.display());
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE);
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }
}

/// A time of waiting after which people are told what for.
const LONG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{is_interruption, sample, wait::PATIENCE, wait::wait_for};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn many_hold_the_store_and_nobody_removes_meanwhile() {
        let (_home, store) = sample::store();
        let (one, two) = (store.hold().unwrap(), store.hold().unwrap());
        let error = store.hold_alone(Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("a run is using the store"), "{error}");
        drop(one);
        assert!(store.hold_alone(Duration::ZERO).is_err());
        drop(two);
        let alone = store.hold_alone(PATIENCE).unwrap();
        assert!(store.hold_alone(Duration::ZERO).is_err());
        let refused = open::lock(&store.part("lock")).unwrap().try_lock_shared();
        assert!(matches!(refused, Err(TryLockError::WouldBlock)), "{refused:?}");
        let is_given_back = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _held = store.hold().unwrap();
                assert!(is_given_back.load(Ordering::SeqCst), "a run held the store beside the removal");
            });
            is_given_back.store(true, Ordering::SeqCst);
            drop(alone);
        });
    }

    #[test]
    fn who_waits_for_a_lock_gives_up_when_interrupted() {
        static FLAG: AtomicBool = AtomicBool::new(false);
        let (_home, store) = sample::store();
        let impatient = store.interruptible(&FLAG);
        let alone = store.hold_alone(PATIENCE).unwrap();
        let turn = store.take_turn().unwrap();
        thread::scope(|scope| {
            let waiting = [scope.spawn(|| impatient.hold().map(drop)), scope.spawn(|| impatient.take_turn().map(drop))];
            assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
            FLAG.store(true, Ordering::SeqCst);
            for waiting in waiting {
                assert!(is_interruption(&waiting.join().unwrap().unwrap_err()));
            }
        });
        drop((alone, turn));
        // What is free is taken all the same: a result that is there is still recorded. A child that another test starts may
        // hold a copy of either lock until it has become another program.
        wait_for("the free locks", || {
            let taken = [impatient.hold().map(drop), impatient.take_turn().map(drop)];
            assert!(taken.iter().filter_map(|taken| taken.as_ref().err()).all(is_interruption));
            taken.iter().all(Result::is_ok).then_some(())
        });
        let large = sample::write(store.root(), "large", &"x".repeat(4 << 20));
        assert!(is_interruption(&impatient.identify(&large).unwrap_err()) && store.identify(&large).is_ok());
    }

    #[test]
    fn a_removal_waits_until_the_last_run_gives_the_store_back() {
        let (_home, store) = sample::store();
        let mut held = vec![store.hold().unwrap(), store.hold().unwrap()];
        let mut pauses = 0;
        // Each pause ends one run. A child that another test starts may hold a copy of a lock for a moment.
        let pause = || {
            pauses += 1;
            drop(held.pop());
            thread::yield_now();
        };
        store.hold_alone_between(PATIENCE, pause).unwrap();
        assert!(held.is_empty() && pauses >= 2, "{pauses}");
    }
}
