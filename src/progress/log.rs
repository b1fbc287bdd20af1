//! `tracing` on stderr, set by `RUST_LOG`. Lines are printed above the bars.

use crate::report::visible::{visible, visible_but_color};
use indicatif::MultiProgress;
use std::io::{self, Write};
use tracing_subscriber::EnvFilter;

/// The level of most verbs.
pub const USUAL: &str = "warn";

/// Installs the subscriber, with this level unless the environment names one, unless there is one already.
pub fn open(screen: MultiProgress, has_color: bool, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_color)
        .with_writer(move || AboveBars { screen: screen.clone(), has_color })
        .try_init();
}

struct AboveBars {
    screen: MultiProgress,
    has_color: bool,
}

impl Write for AboveBars {
    /// The bars are suspended for each write; `fmt` writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let line = if self.has_color { visible_but_color(&line) } else { visible(&line) };
        self.screen.suspend(|| io::stderr().write_all(line.as_bytes())).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
