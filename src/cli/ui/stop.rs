//! The ways in which a run is told to stop.

use super::super::terminal;
use std::sync::atomic::AtomicBool;

/// The place of the run that a page can stop.
#[derive(Clone, Copy)]
pub enum Stop {
    /// It is in this process: the flag that Ctrl-C sets.
    Here(&'static AtomicBool),
    /// It is in another one, which gets a signal.
    Elsewhere,
}

/// Says that the run was told to stop.
pub fn tell_interrupted() {
    terminal::remark(
        "\ninterrupted: running stages write a checkpoint or wait for what they have asked a server for, and stop; a second interrupt ends them at once\n",
    );
}
