//! The view of a command on Linux: namespaces, and a root directory put together of bind mounts.

use super::view::View;
use anyhow::{Context, Result};
use libc::{c_char, c_int, c_ulong, c_void};
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr::null;

/// Where programs lie: as they are outside, read-only.
const PROGRAMS: [&str; 10] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix", "gnu"];
/// The kernel's own files, read-only.
const KERNEL: [&str; 2] = ["proc", "sys"];
/// Files of `/etc` that programs need; the rest may be private.
const SETTINGS: [&str; 26] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "OpenCL",
    "passwd",
    "pki/tls/certs",
    "pki/ca-trust",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "vulkan",
];
/// Devices of every program, and those of GPUs, by the beginning of their name.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const GPUS: [&str; 3] = ["nvidia", "dri", "kfd"];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/tmp", "var/tmp"),
    ("/run", "var/run"),
];
/// Empty, and the same for every command.
const EMPTY: [&str; 4] = ["run", "var", "dev", "tmp"];

pub fn confine(command: &mut Command, view: &View) -> Result<()> {
    let mounts = Mounts::of(view).context("confine the command")?;
    // SAFETY: between fork and exec this makes system calls with what was prepared before; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(move || mounts.enter()) };
    Ok(())
}

pub fn obstacle() -> Option<String> {
    match tried() {
        Ok(None) => None,
        Ok(Some(step)) => Some(step),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Starts a confined program that does nothing; the step that failed, in words.
fn tried() -> Result<Option<String>> {
    let home = std::env::temp_dir().join(format!("pipeline-sandbox-{}", std::process::id()));
    let [work, inputs, temporary, root] = ["work", "work/in", "work/tmp", "root"].map(|name| home.join(name));
    // One that is there is somebody else's.
    fs::create_dir(&home).with_context(|| format!("create {}", home.display()))?;
    for directory in [&inputs, &temporary, &root] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let view =
        View { work: &work, inputs: &inputs, temporary: &temporary, root: &root, readable: &[], has_network: false };
    let (mut told, errors) = io::pipe().context("make a pipe")?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ":"]).current_dir(&work).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    confine(&mut command, &view)?;
    let status = command.status();
    drop(command);
    let mut text = String::new();
    told.read_to_string(&mut text).context("read what the command said")?;
    fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
    Ok(match status {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("a confined command ended with {status}: {}", text.trim())),
        Err(error) => Some(format!("{}: {error}", text.trim())),
    })
}

/// A step of putting the root together. Paths are absolute or below the root, which is the current directory then.
enum Step {
    Directory(CString),
    /// An empty file, on which another can be mounted.
    File(CString),
    Link {
        to: CString,
        at: CString,
    },
    /// Brings a path outside to a path of the view, with all that is mounted below it.
    Bind {
        from: CString,
        to: CString,
        is_writable: bool,
    },
    /// An empty directory in memory, for anybody to write to.
    Memory(CString),
}

struct Mounts {
    steps: Vec<Step>,
    root: CString,
    work: CString,
    has_network: bool,
    /// The lines that map user and group to themselves.
    users: String,
    groups: String,
}

impl Mounts {
    fn of(view: &View) -> Result<Mounts> {
        let mut steps = Vec::new();
        for name in EMPTY {
            steps.push(Step::Directory(text(name)?));
        }
        for name in PROGRAMS.into_iter().chain(KERNEL) {
            let path = Path::new("/").join(name);
            match files::found(fs::symlink_metadata(&path)).with_context(|| format!("look at {}", path.display()))? {
                Some(found) if found.is_symlink() => {
                    let to = fs::read_link(&path).with_context(|| format!("read {}", path.display()))?;
                    steps.push(Step::Link { to: text(to.as_os_str())?, at: text(name)? });
                }
                Some(found) if found.is_dir() => bind(&mut steps, &path, &path, false)?,
                _ => {}
            }
        }
        for path in SETTINGS.map(|name| Path::new("/etc").join(name)) {
            bind_if_there(&mut steps, &path, false)?;
        }
        for name in DEVICES {
            bind_if_there(&mut steps, &Path::new("/dev").join(name), true)?;
        }
        for entry in fs::read_dir("/dev").context("read /dev")? {
            let name = entry.context("read /dev")?.file_name();
            if GPUS.iter().any(|gpu| name.as_bytes().starts_with(gpu.as_bytes())) {
                bind_if_there(&mut steps, &Path::new("/dev").join(name), true)?;
            }
        }
        for (to, at) in LINKS {
            steps.push(Step::Link { to: text(to)?, at: text(at)? });
        }
        steps.push(Step::Directory(text("dev/shm")?));
        steps.push(Step::Memory(text("dev/shm")?));
        bind(&mut steps, view.temporary, Path::new("/tmp"), true)?;
        for path in view.readable {
            let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
            if is_of_the_system(&path) {
                continue;
            }
            bind(&mut steps, &path, &path, false)?;
        }
        bind(&mut steps, view.work, view.work, true)?;
        if view.inputs.is_dir() {
            bind(&mut steps, view.inputs, view.inputs, false)?;
        }
        // SAFETY: the calls take nothing and never fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        Ok(Mounts {
            steps,
            root: text(view.root.as_os_str())?,
            work: text(view.work.as_os_str())?,
            has_network: view.has_network,
            users: format!("{user} {user} 1\n"),
            groups: format!("{group} {group} 1\n"),
        })
    }

    /// Makes the view that of this process, which is a copy of its parent with one thread.
    fn enter(&self) -> io::Result<()> {
        let network = if self.has_network { 0 } else { libc::CLONE_NEWNET };
        let spaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | network;
        // SAFETY: each call takes numbers, and texts that end with 0 and live as long as this value.
        unsafe {
            done("have namespaces of its own", libc::unshare(spaces))?;
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", self.users.as_bytes())?;
            write(c"/proc/self/gid_map", self.groups.as_bytes())?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            done("keep its mounts to itself", libc::mount(null(), c"/".as_ptr(), null(), private, null()))?;
            memory(&self.root, c"mode=755,size=1m")?;
            done("enter its root directory", libc::chdir(self.root.as_ptr()))?;
            for step in &self.steps {
                step.make()?;
            }
            let root = libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr());
            done("change its root directory", root as c_int)?;
            done("leave the root of before", libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
            read_only(c"/", 0)?;
            done("enter its directory", libc::chdir(self.work.as_ptr()))?;
            if !self.has_network {
                raise_loopback();
            }
            give_up_capabilities()?;
            confine_signals();
        }
        Ok(())
    }
}

impl Step {
    unsafe fn make(&self) -> io::Result<()> {
        // SAFETY: the texts end with 0 and live as long as this value.
        unsafe {
            match self {
                Step::Directory(at) => {
                    let made = libc::mkdirat(libc::AT_FDCWD, at.as_ptr(), 0o755);
                    unless_there("make a directory", made)
                }
                Step::File(at) => {
                    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
                    let file = libc::open(at.as_ptr(), flags, 0o644);
                    done("make a file", file)?;
                    libc::close(file);
                    Ok(())
                }
                Step::Link { to, at } => unless_there("make a link", libc::symlink(to.as_ptr(), at.as_ptr())),
                Step::Bind { from, to, is_writable } => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    let bound = libc::mount(from.as_ptr(), to.as_ptr(), null(), flags, null());
                    done("mount a directory", bound)?;
                    if *is_writable { Ok(()) } else { read_only(to, libc::AT_RECURSIVE) }
                }
                Step::Memory(at) => memory(at, c"mode=1777"),
            }
        }
    }
}

fn text(path: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(path.as_ref().as_bytes()).context("a path holds a zero byte")
}

/// Whether a path lies where programs do, so that it is there already.
fn is_of_the_system(path: &Path) -> bool {
    PROGRAMS.iter().any(|name| path.starts_with(Path::new("/").join(name)))
}

fn bind_if_there(steps: &mut Vec<Step>, path: &Path, is_writable: bool) -> Result<()> {
    // A link counts as what it leads to.
    match files::found(fs::metadata(path)).with_context(|| format!("look at {}", path.display()))? {
        Some(_) => bind(steps, path, path, is_writable),
        None => Ok(()),
    }
}

/// The steps that bring what lies at a path outside to a path of the view.
fn bind(steps: &mut Vec<Step>, from: &Path, to: &Path, is_writable: bool) -> Result<()> {
    let metadata = fs::metadata(from).with_context(|| format!("look at {}", from.display()))?;
    let to = to.strip_prefix("/").with_context(|| format!("{} is no absolute path", to.display()))?;
    let above: Vec<&Path> = to.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    for directory in above.into_iter().rev() {
        steps.push(Step::Directory(text(directory)?));
    }
    let to = text(to)?;
    steps.push(if metadata.is_dir() { Step::Directory(to.clone()) } else { Step::File(to.clone()) });
    steps.push(Step::Bind { from: text(from)?, to, is_writable });
    Ok(())
}

/// The error of the last call if it failed. What was to be done goes to the log: an error from here is a number.
fn done(what: &str, result: c_int) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    for part in ["a process may not ", what, "\n"] {
        // SAFETY: the pointer and the length are those of a slice.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    Err(error)
}

fn unless_there(what: &str, result: c_int) -> io::Result<()> {
    match result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST) {
        true => Ok(()),
        false => done(what, result),
    }
}

unsafe fn write(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the text ends with 0; pointer and length are those of a slice; the file is this function's own.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        done("map its user", file)?;
        let written = libc::write(file, bytes.as_ptr().cast(), bytes.len());
        done("map its user", written as c_int)?;
        libc::close(file);
    }
    Ok(())
}

unsafe fn memory(at: &std::ffi::CStr, options: &std::ffi::CStr) -> io::Result<()> {
    let name = c"tmpfs".as_ptr();
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: the texts end with 0.
    let made = unsafe { libc::mount(name, at.as_ptr(), name, flags, options.as_ptr().cast::<c_void>()) };
    done("have a directory in memory", made)
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

unsafe fn read_only(at: &std::ffi::CStr, flags: c_int) -> io::Result<()> {
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the text ends with 0; the size is that of the value.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    done("make a mount read-only (Linux 5.12)", result as c_int)
}

/// Programs that talk to themselves by TCP find a network of their own. Where it cannot be had they find none.
unsafe fn raise_loopback() {
    // SAFETY: the request is filled as the call asks, and the socket is this function's own.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return;
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        for (at, byte) in c"lo".to_bytes().iter().enumerate() {
            request.ifr_name[at] = *byte as c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw mut request);
        libc::close(socket);
    }
}

/// With them, root among the users could undo what was mounted.
unsafe fn give_up_capabilities() -> io::Result<()> {
    /// Version 3: two sets of 32.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let none = [0u32; 6];
    // SAFETY: the calls take numbers; header and sets are as large as version 3 says.
    unsafe {
        let mut capability: c_ulong = 0;
        // Past the last one that the kernel knows it is an error.
        while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
            capability += 1;
        }
        let set = libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr());
        done("give up its capabilities", set as c_int)?;
        done("give up new rights", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    }
}

/// `struct landlock_ruleset_attr` of the kernel, as of its sixth version.
#[repr(C)]
struct Rules {
    files: u64,
    network: u64,
    scoped: u64,
}

/// No signal to, and no abstract socket of, a process outside. Older kernels do not know it.
unsafe fn confine_signals() {
    const CREATE: c_ulong = 444;
    const RESTRICT: c_ulong = 446;
    let rules = Rules { files: 0, network: 0, scoped: 0b11 };
    // SAFETY: the size is that of the value; the descriptor is this function's own.
    unsafe {
        let set = libc::syscall(CREATE as _, &raw const rules, size_of::<Rules>(), 0);
        if set >= 0 {
            libc::syscall(RESTRICT as _, set, 0);
            libc::close(set as c_int);
        }
    }
}
