//! A view of its own for a command: its directory, its inputs (read-only), the programs of the system (read-only) and
//! directories that it is given to read. Nothing else is there: no home directory, no other process's files, temporary
//! files or sockets, and no network unless that is asked for.
//!
//! The command gets namespaces of its own (user, mounts, interprocess communication, network; Linux) and a root
//! directory put together of bind mounts, and then loses every capability over them. Signals to processes outside are
//! refused by Landlock where it can (Linux 6.12). No process stands between: signals, the exit code and the process
//! group of the command are as they are without a sandbox.

#[cfg(target_os = "linux")]
mod linux;
mod view;

pub use view::View;

use anyhow::Result;
use std::process::Command;

/// The way to let a command be confined where it cannot be yet.
pub const HELP: &str = "it takes Linux with user namespaces: on Ubuntu `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, in a \
     container rights to make namespaces; or run it without `sandbox`, as it may then do what you may";

/// Gives a command that is about to be started the view. Its current directory must be that of the view.
pub fn confine(command: &mut Command, view: &View) -> Result<()> {
    linux::confine(command, view)
}

/// Why no command can be confined on this machine, in words; `None` where one can. It is tried once.
pub fn obstacle() -> Option<&'static str> {
    static OBSTACLE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    OBSTACLE.get_or_init(linux::obstacle).as_deref()
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::*;

    pub fn confine(_: &mut Command, _: &View) -> Result<()> {
        anyhow::bail!("confine a command: it takes Linux")
    }

    pub fn obstacle() -> Option<String> {
        Some("it takes Linux".to_owned())
    }
}
