//! Progress of a run on stderr: bars on a terminal, plain lines elsewhere. The end of the run is shown by the report.

mod bars;
mod lines;
mod log;
mod phrases;

use crate::event::Event;
use crate::report::visible::visible;
use indicatif::MultiProgress;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The display of a run. It must be given every event.
pub enum Progress {
    Bars(bars::Bars),
    Lines { started: Instant, lines: lines::Lines },
}

/// Opens the display, and sends `tracing` to stderr above it (`RUST_LOG`, default `warn`). Without a terminal, lines
/// about one action are at least `interval` apart.
pub fn open(has_color: bool, interval: Duration) -> Progress {
    let screen = MultiProgress::new();
    log::open(screen.clone(), has_color, log::USUAL);
    if std::io::stderr().is_terminal() {
        Progress::Bars(bars::Bars::new(screen))
    } else {
        Progress::Lines { started: Instant::now(), lines: lines::Lines::new(interval) }
    }
}

/// Only `tracing`, for verbs that run nothing.
pub fn log_only(has_color: bool) {
    log::open(MultiProgress::new(), has_color, log::USUAL);
}

/// The same for a verb that tells every loss itself, so that nothing is told twice.
pub fn log_errors_only(has_color: bool) {
    log::open(MultiProgress::new(), has_color, "error");
}

impl Progress {
    /// Shows an event. Errors are ignored: a closed stderr must not end a run.
    pub fn show(&mut self, event: &Event) {
        match self {
            Progress::Bars(bars) => bars.show(event),
            Progress::Lines { started, lines } => {
                if let Some(line) = lines.line(event, started.elapsed()) {
                    let _ = writeln!(std::io::stderr(), "{}", visible(&line));
                }
            }
        }
    }
}
