//! `tracing` on stderr, set by `RUST_LOG`, default `warn`. Lines are printed above the bars.

use indicatif::MultiProgress;
use std::io::{self, Write};
use tracing_subscriber::EnvFilter;

/// Installs the subscriber, unless there is one already.
pub fn open(screen: MultiProgress, has_color: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_color)
        .with_writer(move || AboveBars { screen: screen.clone() })
        .try_init();
}

struct AboveBars {
    screen: MultiProgress,
}

impl Write for AboveBars {
    /// The bars are suspended for each write; `fmt` writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.screen.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
