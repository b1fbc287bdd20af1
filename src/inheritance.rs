//! The inheritance of a process: signals, descriptors and the environment that it gets from the one that started it, and
//! hands on to those that it starts.

/// Call it first of all.
pub fn receive() {
    #[cfg(target_os = "linux")]
    linux::receive();
}

/// Hides the environment that this process was started with from those who read it where the kernel shows it
/// (`/proc/PID/environ`), commands among them: the variables move elsewhere in memory, and what was theirs is overwritten.
/// Call it before there is another thread.
pub fn hide_environment() {
    #[cfg(target_os = "linux")]
    linux::hide_environment();
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Resource, getrlimit};
    use std::collections::BTreeSet;
    use std::ffi::{CStr, c_char, c_int};

    pub fn receive() {
        // Past a limit on the size of files a write then fails with a reason, instead of ending the process without one. A
        // signal that was only ignored would be ignored by commands as well; this they do not inherit. Where the one who started
        // us ignores it, that stays, for us and for commands.
        // SAFETY: the handler does nothing.
        unsafe {
            if libc::signal(libc::SIGXFSZ, nothing as *const () as libc::sighandler_t) == libc::SIG_IGN {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            }
        }
        // What the calling shell has open (locks, pipes of `make`) is not for commands.
        let (from, to, close_on_exec) = (3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // SAFETY: takes numbers alone. Older kernels have no such call: then commands inherit them, as they did.
        unsafe { libc::syscall(libc::SYS_close_range, from, to, close_on_exec) };
        // Where threads are scarce, computing goes on with this one.
        if getrlimit(Resource::Nproc).current.is_some_and(|most| most < SCARCE)
            && rayon::ThreadPoolBuilder::new().build_global().is_err()
        {
            let _ = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
        }
    }

    /// A limit on threads that is asked about. Starting them early takes time, which other processes need not spend.
    const SCARCE: u64 = 512;

    extern "C" fn nothing(_: c_int) {}

    unsafe extern "C" {
        static environ: *const *mut c_char;
    }

    /// The texts of the environment, each with its length.
    ///
    /// # Safety
    /// No other thread changes the environment.
    unsafe fn texts() -> Vec<(*mut c_char, usize)> {
        let mut texts = Vec::new();
        // SAFETY: a list of texts, each of which ends with zero, that ends with null.
        unsafe {
            let mut entry = environ;
            while !entry.is_null() && !(*entry).is_null() {
                texts.push((*entry, CStr::from_ptr(*entry).to_bytes().len()));
                entry = entry.add(1);
            }
        }
        texts
    }

    pub fn hide_environment() {
        // The loader may look at its own again.
        let is_kept = |text: &[u8]| text.starts_with(b"LD_") || text.starts_with(b"GLIBC_");
        // SAFETY: there is no other thread. Setting a variable makes a new text of it, so that nobody refers to the one
        // before, which is writable memory of this process.
        unsafe {
            let before = texts();
            for (name, value) in std::env::vars_os().collect::<Vec<_>>() {
                if !name.is_empty() && !name.as_encoded_bytes().contains(&b'=') {
                    std::env::set_var(name, value);
                }
            }
            let after: BTreeSet<*mut c_char> = texts().into_iter().map(|(text, _)| text).collect();
            for (text, length) in before {
                if !after.contains(&text) && !is_kept(std::slice::from_raw_parts(text.cast(), length)) {
                    text.write_bytes(0, length);
                }
            }
        }
    }
}
