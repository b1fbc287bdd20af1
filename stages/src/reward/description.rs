//! What a stage of kind `reward` gives: a description of a reward that is no model, beside the files that it reads.

use crate::command::UserCommand;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The file with the description.
const FILE: &str = "reward.json";
/// The version of its layout.
const FORMAT: u32 = 1;
/// The most bytes that are read of it.
const MOST: u64 = 1 << 20;

/// A reward that is asked for scores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RewardDescription {
    format: u32,
    /// The hash of everything that decides a score: whom is asked, and the content of its files.
    pub identity: String,
    pub command: UserCommand,
    /// The most answers in one call.
    pub batch: usize,
    /// The longest time that a call may take, seconds.
    pub timeout: u64,
}

impl RewardDescription {
    pub fn new(identity: String, command: UserCommand, batch: usize, timeout: u64) -> RewardDescription {
        RewardDescription { format: FORMAT, identity, command, batch, timeout }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", path.display()))
    }

    /// The description in a directory; `None` where there is another thing.
    ///
    /// # Errors
    /// It cannot be read, or is of a version that this program does not know.
    pub fn find(directory: &Path) -> Result<Option<RewardDescription>> {
        let path = directory.join(FILE);
        let read = || format!("read {}", path.display());
        let Some(text) = ::files::found(::files::read(&path, MOST)).with_context(read)? else { return Ok(None) };
        let found: RewardDescription = serde_json::from_slice(&text).with_context(read)?;
        if found.format != FORMAT {
            bail!("{}: it is of format {}, this program reads {FORMAT}", read(), found.format);
        }
        Ok(Some(found))
    }
}
