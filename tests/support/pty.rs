//! A terminal without a screen: a pseudo terminal, at which a program is started, keys are pressed, and what is shown is read.

use crate::program::wait_for;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// The bytes with which a program begins a screen anew.
const CLEARED: &str = "\u{1b}[H\u{1b}[2J";

pub struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    rows: u16,
}

/// Starts a command at a terminal of this size.
pub fn terminal(mut command: Command, rows: u16, columns: u16) -> Terminal {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: both are places for a descriptor, and the others may be null.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: they were opened just now, and nobody else has them.
    let (ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    // SAFETY: both calls may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let side = || Stdio::from(theirs.try_clone().unwrap());
    let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
    drop(theirs);
    let (shown, mut output) = (Arc::new(Mutex::new(Vec::new())), ours.try_clone().unwrap());
    let all = Arc::clone(&shown);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            all.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    });
    Terminal { child, keys: ours, shown, rows }
}

impl Terminal {
    /// Everything that was written to the terminal.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until the screen is there as a whole, and shows a text. Returns its lines.
    pub fn shows(&self, text: &str) -> Vec<String> {
        wait_for(&format!("the screen to show {text:?}"), || {
            let all = self.all();
            let screen = all.rsplit(CLEARED).next().unwrap_or_default();
            let is_whole = screen.lines().count() >= usize::from(self.rows);
            (is_whole && screen.contains(text))
                .then(|| screen.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect())
        })
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code.
    pub fn end(mut self) -> Option<i32> {
        wait_for("the command to end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
