//! A journal that another process writes.

use crate::event::Event;
use crate::journal;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The interval at which a growing file is read.
pub const TICK: Duration = Duration::from_millis(100);

pub struct Follower {
    journal: PathBuf,
    tail: Tail,
}

/// Follows a journal from its first event.
pub fn follow(journal: &Path) -> Follower {
    Follower { journal: journal.to_owned(), tail: tail(journal) }
}

impl Follower {
    /// The new events, and whether more can come: the run has not ended and its writer is alive.
    pub fn events(&mut self) -> Result<(Vec<Event>, bool)> {
        // Asked before the events are read, so that all a writer wrote before its death is among them.
        let is_alive = journal::is_alive(&self.journal);
        let read =
            |line: &Vec<u8>| serde_json::from_slice(line).with_context(|| format!("read {}", self.journal.display()));
        let events: Vec<Event> = self.tail.lines()?.iter().map(read).collect::<Result<_>>()?;
        let has_ended = events.iter().any(|event| matches!(event, Event::RunFinished { .. }));
        Ok((events, is_alive && !has_ended))
    }
}
