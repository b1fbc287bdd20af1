//! Tasks that are worked on several at once.

use anyhow::Result;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

/// The longest time between two words to `each`.
const TICK: Duration = Duration::from_millis(200);

/// Works on all tasks, so many at once, and tells `each` how many are done, whether or not there are more than the last time. The
/// results come in the order of the tasks; the first failure ends what is not begun.
///
/// # Errors
/// A task or `each` fails.
pub fn all<T: Sync, R: Send>(
    at_once: usize,
    tasks: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
    mut each: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<R>> {
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<R>>> = Mutex::new(tasks.iter().map(|_| None).collect());
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let take = |told: mpsc::Sender<()>| {
        while !is_over.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(at) else { break };
            match work(task) {
                Ok(result) => results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result),
                Err(error) => {
                    is_over.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
            let _ = told.send(());
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let (told, telling) = mpsc::channel();
        for _ in 0..at_once.min(tasks.len()) {
            let told = told.clone();
            scope.spawn(|| take(told));
        }
        drop(told);
        let mut done = 0;
        loop {
            match telling.recv_timeout(TICK) {
                Ok(()) => done += 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            each(done).inspect_err(|_| is_over.store(true, Ordering::Relaxed))?;
        }
    })?;
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks_and_a_failure_ends_them() {
        let tasks: Vec<u32> = (0..50).collect();
        assert_eq!(all(4, &tasks, |task| Ok(task * 2), |_| Ok(())).unwrap()[49], 98);
        let fails = |task: &u32| if *task == 7 { anyhow::bail!("seven") } else { Ok(()) };
        assert_eq!(all(4, &tasks, fails, |_| Ok(())).unwrap_err().to_string(), "seven");
        // Whoever is told may stop it before anything is done.
        let told = AtomicBool::new(false);
        let waits = |_: &u32| {
            while !told.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            Ok(())
        };
        let stopped = all(2, &tasks, waits, |_| {
            told.store(true, Ordering::Relaxed);
            anyhow::bail!("stop")
        });
        assert_eq!(stopped.unwrap_err().to_string(), "stop");
    }
}
