//! Several files at a time.

use anyhow::Result;
use std::{
    sync::{Mutex, PoisonError},
    thread,
};

/// The number of files that are asked about, or that come, at a time.
const THREADS: usize = 4;

/// Does something to each with several threads, until one fails.
pub fn in_parallel<T: Send>(items: impl Iterator<Item = T> + Send, act: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let Some(first) = next() else { return Ok(()) };
    let failed = Mutex::new(None);
    let keep = |outcome: Result<()>| match outcome {
        Ok(()) => true,
        Err(error) => {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            false
        }
    };
    let work = || {
        while failed.lock().unwrap_or_else(PoisonError::into_inner).is_none()
            && let Some(item) = next()
            && keep(act(item))
        {}
    };
    thread::scope(|scope| {
        // Where no further thread can be had, this one does it all.
        for _ in 1..THREADS {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        if keep(act(first)) {
            work();
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
