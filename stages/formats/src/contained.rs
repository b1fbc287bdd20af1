//! Libraries that panic on a damaged file: the panic is contained, and told as a fault of the file.

use anyhow::{Result, anyhow};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of calls below which a panic is expected: its message is part of the error, and is not printed as well.
static EXPECTING: AtomicUsize = AtomicUsize::new(0);

/// Reads with a library that may panic.
///
/// # Errors
/// Those of `read`; or it panicked.
pub fn contained<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if EXPECTING.load(Ordering::Relaxed) == 0 {
                before(info);
            }
        }));
    });
    EXPECTING.fetch_add(1, Ordering::Relaxed);
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    EXPECTING.fetch_sub(1, Ordering::Relaxed);
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        Err(anyhow!("it is damaged: its reader gave up ({})", crate::unreadable::cut(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn a_panic_in_any_thread_is_an_error_of_the_file() {
        let here = contained(|| -> Result<()> { panic!("index {} of 3", 7) }).unwrap_err().to_string();
        assert_eq!(here, "it is damaged: its reader gave up (index 7 of 3)");
        let one = |number: &u8| if *number == 7 { panic!("in a thread") } else { *number };
        let elsewhere =
            contained(|| Ok([1_u8; 64].iter().chain(&[7]).copied().collect::<Vec<_>>().par_iter().map(one).count()));
        assert!(elsewhere.unwrap_err().to_string().contains("in a thread"));
        assert_eq!(contained(|| Ok(3)).unwrap(), 3);
    }
}
