//! Tasks that are worked on several at once.

use anyhow::Result;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

/// Works on all tasks, so many at once, and tells `each` how many are done. The results come in the order of the tasks; the
/// first failure ends what is not begun.
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
    std::thread::scope(|scope| {
        let (told, telling) = mpsc::channel();
        for _ in 0..at_once.min(tasks.len()) {
            let told = told.clone();
            scope.spawn(|| take(told));
        }
        drop(told);
        let said = telling.iter().enumerate().try_for_each(|(done, ())| each(done + 1));
        if said.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        said
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
    }
}
