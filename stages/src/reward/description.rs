//! The output of a stage of kind `reward`: a description of a reward that is asked, beside the files that its command reads; and
//! what only the stages that ask it are told, since it changes no score.

use super::parameters::{AskedRewardParameters, BESIDE_KEY};
use crate::io::CalledReward;
use crate::stage;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The file with the description. A reward model has none of this name.
const FILE: &str = "asked.json";
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
    /// The parameters of the stage that are part of its key.
    parameters: Value,
}

/// Refuses a directory with a description that no stage of this file made: whoever wrote it would have a command started.
///
/// # Errors
/// It has one.
pub fn refuse(directory: &Path) -> Result<()> {
    match RewardDescription::find(directory) {
        Ok(None) => Ok(()),
        _ => bail!("it describes a command or a server that scores ({FILE}); write a stage of kind `reward` for it"),
    }
}

impl RewardDescription {
    pub fn new(identity: String, parameters: Value) -> RewardDescription {
        RewardDescription { format: FORMAT, identity, parameters }
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

    /// The parameters, with those that are in no key as this stage was told them.
    ///
    /// # Errors
    /// They are none of this program.
    pub fn parameters(&self, told: &CalledReward) -> Result<AskedRewardParameters> {
        let mut parameters = self.parameters.clone();
        stage::take_out(&mut parameters, &BESIDE_KEY);
        stage::put_back(&mut parameters, &told.beside_key);
        serde_json::from_value(parameters).context("read the parameters of a reward")
    }
}
