//! Waiting in tests: for a fact, and nowhere else.

use std::thread;
use std::time::{Duration, Instant};

/// The time limit for anything a test waits for. Only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until there is a value, up to the time limit.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
