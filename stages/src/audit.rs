//! Finds the files that a command reads without declaring them. The command and every process it starts are traced
//! (Linux, `ptrace`): each file opened for reading and each program started counts. Files opened through io_uring, and
//! programs of another architecture (32 bit), are not seen.

use anyhow::Result;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// The directories of the system: every program reads them, none as data.
pub const SYSTEM: [&str; 10] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run"];

/// Whether commands can be audited on this system.
pub const IS_POSSIBLE: bool = trace::IS_POSSIBLE;

#[derive(Debug, Default)]
pub struct Audit {
    /// Regular files outside the command's own directory and the system.
    pub reads: BTreeSet<PathBuf>,
    /// Why the command was not traced, or not all of it.
    pub gap: Option<String>,
}

/// Prepares a command for tracing before it is started.
pub fn prepare(command: &mut Command) {
    trace::prepare(command);
}

/// Follows a prepared command to its end, in the thread that started it. `own` is its directory.
pub fn follow(child: Child, own: &Path) -> Result<(ExitStatus, Audit)> {
    trace::follow(child, own)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod trace {
    use super::*;

    pub const IS_POSSIBLE: bool = false;

    pub fn prepare(_: &mut Command) {}

    pub fn follow(mut child: Child, _: &Path) -> Result<(ExitStatus, Audit)> {
        let gap = Some("not possible: this system is none it was written for".to_owned());
        Ok((child.wait()?, Audit { reads: BTreeSet::new(), gap }))
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod trace {
    use super::*;
    use anyhow::Context;
    use libc::{c_int, c_uint, c_void, pid_t};
    use std::collections::HashSet;
    use std::fs;
    use std::io;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::ptr;

    pub const IS_POSSIBLE: bool = true;

    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xC000_00B7;

    /// A traced process does not outlive its tracer, and every process it starts is traced from its first instruction.
    const OPTIONS: c_int = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    /// The signal of a stop at a system call, which differs from a plain SIGTRAP (`PTRACE_O_TRACESYSGOOD`).
    const AT_CALL: c_int = libc::SIGTRAP | 0x80;

    pub fn prepare(command: &mut Command) {
        let be_traced = || {
            // A failure shows in `follow`, which then sees no stop: the command runs all the same.
            let _ = ptrace(libc::PTRACE_TRACEME, 0, 0);
            Ok(())
        };
        // SAFETY: between fork and exec this makes one system call, allocates nothing and takes no lock.
        unsafe { command.pre_exec(be_traced) };
    }

    pub fn follow(child: Child, own: &Path) -> Result<(ExitStatus, Audit)> {
        let first = pid_t::try_from(child.id()).context("follow the command")?;
        let own = own.canonicalize().with_context(|| format!("find {}", own.display()))?;
        let mut tracer = Tracer {
            own,
            opening: HashSet::new(),
            known: HashSet::from([first]),
            step: libc::PTRACE_SYSCALL,
            audit: Audit::default(),
        };
        // A traced command stops once at its start.
        let (_, status) = wait(first)?;
        if !libc::WIFSTOPPED(status) {
            tracer.audit.gap = Some("not possible: this system does not let a process be traced (ptrace)".to_owned());
            return Ok((ExitStatus::from_raw(status), tracer.audit));
        }
        if let Err(error) = ptrace(libc::PTRACE_SETOPTIONS, first, OPTIONS) {
            tracer.give_up(&error);
        }
        tracer.started(first);
        tracer.go_on(first, 0);
        loop {
            let (process, status) = wait(-1)?;
            if libc::WIFSTOPPED(status) {
                tracer.stopped(process, status);
                continue;
            }
            tracer.known.remove(&process);
            tracer.opening.remove(&process);
            if process == first {
                return Ok((ExitStatus::from_raw(status), tracer.audit));
            }
        }
    }

    struct Tracer {
        own: PathBuf,
        /// Processes in the middle of a call that opens a file for reading.
        opening: HashSet<pid_t>,
        known: HashSet<pid_t>,
        /// The request that lets a process go on: to the next system call, or freely after a failure.
        step: c_uint,
        audit: Audit,
    }

    impl Tracer {
        fn stopped(&mut self, process: pid_t, status: c_int) {
            let is_new = self.known.insert(process);
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            if event == libc::PTRACE_EVENT_EXEC {
                self.started(process);
            }
            let passed_on = match (signal, event) {
                (AT_CALL, _) => {
                    self.called(process);
                    0
                }
                (_, event) if event != 0 => 0,
                // A new process reports with it that it is traced.
                (libc::SIGSTOP, _) if is_new => 0,
                // Any other signal is its own. A SIGSTOP does not stop it for long: a job that is stopped on purpose
                // goes on.
                (signal, _) => signal,
            };
            self.go_on(process, passed_on);
        }

        /// Lets a process go on. This fails only when the process is gone, which `wait` reports.
        fn go_on(&self, process: pid_t, signal: c_int) {
            let _ = ptrace(self.step, process, signal);
        }

        fn give_up(&mut self, error: &io::Error) {
            self.step = libc::PTRACE_CONT;
            self.audit.gap.get_or_insert_with(|| format!("not complete: tracing failed: {error}"));
        }

        fn started(&mut self, process: pid_t) {
            self.note(Path::new(&format!("/proc/{process}/exe")));
        }

        /// Handles the entry and the exit of a system call.
        fn called(&mut self, process: pid_t) {
            let call = match call(process) {
                Ok(call) => call,
                // It was killed in between.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return,
                Err(error) => return self.give_up(&error),
            };
            match call.op {
                libc::PTRACE_SYSCALL_INFO_ENTRY if call.arch != ARCHITECTURE => {
                    let gap = || "not complete: a program of another architecture was not followed".to_owned();
                    self.audit.gap.get_or_insert_with(gap);
                }
                libc::PTRACE_SYSCALL_INFO_ENTRY => {
                    // SAFETY: at the entry of a call the kernel filled in this member.
                    let entry = unsafe { call.u.entry };
                    let flags = opening_flags(process, entry.nr, &entry.args);
                    if flags.is_some_and(is_reading) {
                        self.opening.insert(process);
                    }
                }
                libc::PTRACE_SYSCALL_INFO_EXIT if self.opening.remove(&process) => {
                    // SAFETY: at the end of a call the kernel filled in this member.
                    let exit = unsafe { call.u.exit };
                    if exit.is_error == 0 {
                        // The link names the file itself, with names resolved and links followed.
                        self.note(Path::new(&format!("/proc/{process}/fd/{}", exit.sval)));
                    }
                }
                _ => {}
            }
        }

        fn note(&mut self, link: &Path) {
            let (Ok(path), Ok(metadata)) = (fs::read_link(link), fs::metadata(link)) else { return };
            let is_deleted = metadata.nlink() == 0;
            let is_expected = path.starts_with(&self.own) || SYSTEM.iter().any(|system| path.starts_with(system));
            if metadata.is_file() && !is_deleted && !is_expected {
                self.audit.reads.insert(path);
            }
        }
    }

    /// The flags of a system call that opens a file; `None` for any other call.
    fn opening_flags(process: pid_t, number: u64, arguments: &[u64; 6]) -> Option<u64> {
        let number = libc::c_long::try_from(number).ok()?;
        #[cfg(target_arch = "x86_64")]
        if number == libc::SYS_open {
            return Some(arguments[1]);
        }
        match number {
            libc::SYS_openat => Some(arguments[2]),
            libc::SYS_openat2 => {
                // The first field of `struct open_how`, in the memory of the process.
                let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
                let mut flags = [0; 8];
                memory.read_exact_at(&mut flags, arguments[2]).ok()?;
                Some(u64::from_ne_bytes(flags))
            }
            _ => None,
        }
    }

    /// Whether the flags allow reading the earlier content: not if the file is created, truncated, or only named.
    fn is_reading(flags: u64) -> bool {
        let has = |flag: c_int| flags & flag as u64 == flag as u64;
        let is_write_only = flags & libc::O_ACCMODE as u64 == libc::O_WRONLY as u64;
        !is_write_only && !has(libc::O_TRUNC) && !has(libc::O_PATH) && !has(libc::O_CREAT | libc::O_EXCL)
    }

    fn call(process: pid_t) -> io::Result<libc::ptrace_syscall_info> {
        // SAFETY: numbers and padding, for which all zeros is a value.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let size = ptr::without_provenance_mut::<c_void>(size_of_val(&info));
        // SAFETY: the kernel writes at most `size` bytes to `info`.
        let answer = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, process, size, ptr::from_mut(&mut info)) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
    }

    /// Makes a request whose argument is a number.
    fn ptrace(request: c_uint, process: pid_t, data: c_int) -> io::Result<()> {
        let data = ptr::without_provenance_mut::<c_void>(data as usize);
        // SAFETY: the requests in this file touch no memory of ours.
        let answer = unsafe { libc::ptrace(request, process, ptr::null_mut::<c_void>(), data) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for the next process, threads included, that stopped or ended among those that this thread started or
    /// traces.
    fn wait(process: pid_t) -> Result<(pid_t, c_int)> {
        loop {
            let mut status = 0;
            // SAFETY: writes one number to `status`.
            match unsafe { libc::waitpid(process, &mut status, libc::__WALL | libc::__WNOTHREAD) } {
                -1 => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error).context("wait for the command");
                    }
                }
                process => return Ok((process, status)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn audit(script: &str, place: &Path) -> (i32, Vec<String>) {
        let own = place.join("own");
        fs::create_dir_all(&own).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(&own).env("HERE", place);
        prepare(&mut command);
        let (status, audit) = follow(command.spawn().unwrap(), &own).unwrap();
        assert_eq!(audit.gap, None);
        let place = place.canonicalize().unwrap();
        let names = audit.reads.iter().map(|path| path.strip_prefix(&place).unwrap_or(path).display().to_string());
        (status.code().unwrap_or(-1), names.collect())
    }

    #[test]
    fn what_a_command_and_its_children_read_is_named_once_and_resolved() {
        let place = tempfile::tempdir().unwrap();
        for name in ["read", "by_child", "linked", "relative", "written", "appended"] {
            fs::write(place.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(place.path().join("linked"), place.path().join("link")).unwrap();
        let script = r#"
            echo inside > mine; cat mine > /dev/null
            cat "$HERE/read" "$HERE/read" "$HERE/link" > /dev/null
            (cd .. && cat relative > /dev/null)
            sh -c 'cat "$HERE/by_child" > /dev/null; true' & wait
            echo new > "$HERE/written"; echo more >> "$HERE/appended"
            cat "$HERE/not there" 2> /dev/null
            ls "$HERE" > /dev/null
            exit 3"#;
        assert_eq!(
            audit(script, place.path()),
            (3, ["by_child", "linked", "read", "relative"].map(str::to_owned).into())
        );
    }

    #[test]
    fn a_program_that_is_started_counts_and_its_script_too() {
        let place = tempfile::tempdir().unwrap();
        let tool = place.path().join("tool");
        fs::write(&tool, "#!/bin/sh\necho hello\n").unwrap();
        fs::copy("/bin/true", place.path().join("program")).unwrap();
        let mut mode = fs::metadata(&tool).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(&tool, mode).unwrap();
        let (code, reads) = audit(r#""$HERE/tool" > /dev/null && "$HERE/program""#, place.path());
        assert_eq!((code, reads), (0, ["program", "tool"].map(str::to_owned).into()));
    }

    #[test]
    fn a_command_that_dies_of_a_signal_is_said_to_have() {
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "kill -TERM $$"]).current_dir(place.path());
        prepare(&mut command);
        let (status, _) = follow(command.spawn().unwrap(), place.path()).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }
}
