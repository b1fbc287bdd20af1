//! Stdout and stderr of this process: width, colour, and readers that close early.

use crate::report::page::{self, Page};
use crate::report::sheet::Sheet;
use crate::report::visible::{visible, visible_but_color, visible_json};
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

/// The page on stdout. Without a terminal it is 120 cells wide, enough for the widest table.
fn page() -> Page {
    let width = page::terminal_width().unwrap_or(120).clamp(80, 120);
    Page { width, has_color: stdout_has_color(), breaks_words: std::io::stdout().is_terminal() }
}

pub fn stdout_has_color() -> bool {
    std::io::stdout().is_terminal() && takes_color()
}

pub fn stderr_has_color() -> bool {
    std::io::stderr().is_terminal() && takes_color()
}

/// <https://no-color.org>
fn takes_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The time between two lines of progress about one action if stderr is not a terminal.
pub fn progress_interval() -> Duration {
    let typed = std::env::var("PIPELINE_PROGRESS_INTERVAL").ok().and_then(|seconds| seconds.parse().ok());
    typed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(Duration::from_secs(2))
}

/// Prints sections of a report to stdout; `false` as in [`say`].
pub fn show(sheets: &[Sheet]) -> Result<bool> {
    say(&page::print(sheets, page()))
}

/// Prints to stdout; `false` if it was closed, which is not an error. No control character but those of our colours gets
/// there.
pub fn say(text: &str) -> Result<bool> {
    write(shown(text, stdout_has_color()).as_bytes())
}

/// Prints JSON to stdout, in which such characters are escaped.
pub fn say_json(json: &str) -> Result<bool> {
    write(visible_json(json).as_bytes())
}

/// Prints what a program or a file is to get as it is: a log, rows. On a terminal it is shown as [`say`] shows text.
pub fn pass_on(bytes: &[u8]) -> Result<bool> {
    match std::io::stdout().is_terminal() {
        true => write(visible(&String::from_utf8_lossy(bytes)).as_bytes()),
        false => write(bytes),
    }
}

fn shown(text: &str, has_color: bool) -> Cow<'_, str> {
    if has_color { visible_but_color(text) } else { visible(text) }
}

fn write(bytes: &[u8]) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to stdout"),
    }
}

/// Prints to stderr. A failure is ignored: there is no other place to report it.
pub fn remark(text: &str) {
    let _ = std::io::stderr().write_all(shown(text, stderr_has_color()).as_bytes());
}
