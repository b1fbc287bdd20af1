//! A journal that somebody else writes. Knows nothing of what its events mean, save that one of them is the last.

use crate::event::Event;
use crate::journal;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a growing file is looked at.
pub const TICK: Duration = Duration::from_millis(100);

pub struct Follower {
    journal: PathBuf,
    tail: Tail,
}

/// From its first event.
pub fn follow(journal: &Path) -> Follower {
    Follower { journal: journal.to_owned(), tail: tail(journal) }
}

impl Follower {
    /// The events that came, and whether more can come: an end was not among them, and its writer lives.
    pub fn events(&mut self) -> Result<(Vec<Event>, bool)> {
        // Before the events: whatever a writer wrote before its death is then among them.
        let is_alive = journal::is_alive(&self.journal);
        let read =
            |line: &Vec<u8>| serde_json::from_slice(line).with_context(|| format!("read {}", self.journal.display()));
        let events: Vec<Event> = self.tail.lines()?.iter().map(read).collect::<Result<_>>()?;
        let has_ended = events.iter().any(|event| matches!(event, Event::RunFinished { .. }));
        Ok((events, is_alive && !has_ended))
    }
}
