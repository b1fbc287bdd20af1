//! A run in another process as one stream of events: those of its journal, and the progress of its workers, which is in
//! no journal.

use crate::cause::EvalPart;
use crate::event::Event;
use crate::journal;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
use stages::work;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The interval at which a growing file is read.
pub const TICK: Duration = Duration::from_millis(100);

pub struct Live {
    journal: PathBuf,
    tail: Tail,
    /// Each attempt that runs writes its progress to a file of its own.
    running: BTreeMap<(String, Option<EvalPart>), Tail>,
}

/// Follows a run from its first event on.
pub fn follow(journal: &Path) -> Live {
    Live { journal: journal.to_owned(), tail: tail(journal), running: BTreeMap::new() }
}

impl Live {
    /// Returns the new events, and whether more can come: the run has not ended, and its process is alive.
    pub fn events(&mut self) -> Result<(Vec<Event>, bool)> {
        // Asked before reading, so that everything a process wrote before its death is read.
        let is_alive = journal::is_alive(&self.journal);
        let read =
            |line: &Vec<u8>| serde_json::from_slice(line).with_context(|| format!("read {}", self.journal.display()));
        let mut events: Vec<Event> = self.tail.lines()?.iter().map(read).collect::<Result<_>>()?;
        for event in &events {
            match event {
                Event::Started { stage, part, log, .. } => {
                    let progress = tail(&Path::new(log).with_file_name(work::PROGRESS));
                    self.running.insert((stage.clone(), part.clone()), progress);
                }
                Event::Finished { stage, part, .. } | Event::Failed { stage, part, .. } => {
                    self.running.remove(&(stage.clone(), part.clone()));
                }
                _ => {}
            }
        }
        let has_ended = events.iter().any(|event| matches!(event, Event::RunFinished { .. }));
        for ((stage, part), tail) in &mut self.running {
            if let Some(progress) = tail.progress()? {
                events.push(Event::Progressed { stage: stage.clone(), part: part.clone(), progress });
            }
        }
        Ok((events, is_alive && !has_ended))
    }
}
