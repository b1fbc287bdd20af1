//! Repositories of the Hugging Face hub: references to them, and their files in the cache that the user's other tools
//! share. Only `fetch` and `fetch_data` use the network.

mod data;
mod model;
mod remote;
mod repository;
mod settings;
#[cfg(test)]
mod tests;

pub use data::{fetch_data, files};
pub use model::{cached, fetch};
pub use repository::{Asset, Dataset, Repository, is_data};
pub use settings::HubSettings;

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file of every repository that is fetched only with the whole repository (`hf download`): if it is there, no other
/// file is missing.
const MARK_OF_ALL: &str = ".gitattributes";

/// A commit of a repository in the user's Hugging Face cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub directory: PathBuf,
    /// The commit: 40 hexadecimal digits.
    pub commit: String,
}

/// The snapshot that the revision refers to on this machine, complete or not.
fn local(repository: &Repository, cache_root: &Path) -> Result<Option<Snapshot>> {
    let folder = repository.folder(cache_root);
    let commit = match is_commit(&repository.revision) {
        true => Some(repository.revision.clone()),
        false => read_if_there(&folder.join("refs").join(&repository.revision))?.map(|text| text.trim().to_owned()),
    };
    let snapshot = |commit: String| Snapshot { directory: folder.join("snapshots").join(&commit), commit };
    Ok(commit.filter(|commit| is_commit(commit)).map(snapshot))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
