//! What is seen while a run goes on, on stderr: bars on a terminal, plain lines elsewhere. Knows nothing of the end of
//! the run, which is the report's.

mod bars;
mod lines;
mod log;
mod phrases;

use crate::event::Event;
use indicatif::MultiProgress;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The running picture. Feed it every event.
pub enum Progress {
    Bars(bars::Bars),
    Lines { started: Instant, lines: lines::Lines },
}

/// Opens the picture and sends `tracing` to stderr beside it (`RUST_LOG`, default `warn`). Lines about one action are
/// at least `interval` apart.
pub fn open(has_color: bool, interval: Duration) -> Progress {
    let screen = MultiProgress::new();
    log::open(screen.clone(), has_color);
    if std::io::stderr().is_terminal() {
        Progress::Bars(bars::Bars::new(screen))
    } else {
        Progress::Lines { started: Instant::now(), lines: lines::Lines::new(interval) }
    }
}

/// For verbs that only look.
pub fn log_only(has_color: bool) {
    log::open(MultiProgress::new(), has_color);
}

impl Progress {
    /// A closed stderr is no reason to end a run: what cannot be shown is dropped.
    pub fn show(&mut self, event: &Event) {
        match self {
            Progress::Bars(bars) => bars.show(event),
            Progress::Lines { started, lines } => {
                if let Some(line) = lines.line(event, started.elapsed()) {
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            }
        }
    }
}
