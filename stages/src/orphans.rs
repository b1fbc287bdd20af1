//! Processes that outlive the one that started them. A command may leave some in a session of their own, where no signal
//! to its group reaches them; a process that adopts orphans becomes their parent, and can end them.

#[cfg(target_os = "linux")]
pub use linux::{adopt, children, end};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::fs;

    /// Makes this process the parent of what its descendants leave behind.
    pub fn adopt() {
        // SAFETY: the call takes numbers alone.
        let _ = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    }

    /// The children of this process. Where the kernel does not list them, there are none to end.
    pub fn children() -> BTreeSet<i32> {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Ends every child for which this is true, and what those leave behind in turn.
    pub fn end(is_orphan: impl Fn(i32) -> bool) {
        loop {
            let orphans: Vec<i32> = children().into_iter().filter(|pid| is_orphan(*pid)).collect();
            if orphans.is_empty() {
                return;
            }
            for pid in orphans {
                // SAFETY: the calls take numbers and no pointer. The process is a child of this one that nobody has
                // waited for: its number is its own.
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, std::ptr::null_mut(), 0);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn adopt() {}

#[cfg(not(target_os = "linux"))]
pub fn children() -> std::collections::BTreeSet<i32> {
    std::collections::BTreeSet::new()
}

#[cfg(not(target_os = "linux"))]
pub fn end(_: impl Fn(i32) -> bool) {}
