//! The directories that hold the work of a store: itself, and one in each `work_dir` that an executor of it ever had. A link in
//! the store names each of them, since files and configurations change, and what lies there must be found by whoever
//! attaches, cancels or collects.

use super::attempt::own_directory;
use anyhow::{Context, Result};
use cache::Digest;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The folder of links to `work_dir`s, in `.pipeline`.
const WORK_DIRS: &str = "work_dirs";

/// The root of the work that an executor does for a store: `.pipeline`, or a directory of its own in the one that the nodes see,
/// which other stores may use as well.
pub fn root(store: &Path, work_dir: Option<&Path>) -> Result<PathBuf> {
    let Some(work_dir) = work_dir else { return Ok(store.to_owned()) };
    remember(store, work_dir)?;
    let root = below(store, work_dir)?;
    files::make_directory(&root, false).with_context(|| format!("create {}", root.display()))?;
    Ok(root)
}

/// All roots of the work of a store.
pub fn all(store: &Path) -> Result<Vec<PathBuf>> {
    let links = store.join(WORK_DIRS);
    let read = || format!("read {}", links.display());
    let mut roots = vec![store.to_owned()];
    for link in files::found(fs::read_dir(&links)).with_context(read)?.into_iter().flatten() {
        let link = link.with_context(read)?.path();
        roots.push(below(store, &fs::read_link(&link).with_context(|| format!("read {}", link.display()))?)?);
    }
    Ok(roots)
}

/// The directory of a store in a `work_dir`. It is told by the path of the store, so that a link that somebody else left leads
/// to no work of others.
fn below(store: &Path, work_dir: &Path) -> Result<PathBuf> {
    let store = std::path::absolute(store).with_context(|| format!("find {}", store.display()))?;
    Ok(work_dir.join(Digest::of(store.as_os_str().as_encoded_bytes()).short()))
}

fn remember(store: &Path, work_dir: &Path) -> Result<()> {
    let links = store.join(WORK_DIRS);
    own_directory(&links, cache::is_shared(store)?)?;
    let link = links.join(Digest::of(work_dir.as_os_str().as_encoded_bytes()).short());
    match symlink(work_dir, &link) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("write {}", link.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_for_work_is_found_by_whoever_knows_the_store_alone() {
        let directory = tempfile::tempdir().unwrap();
        let [store, one, other] = ["store", "one", "other"].map(|name| directory.path().join(name));
        fs::create_dir_all(&store).unwrap();
        assert_eq!(root(&store, None).unwrap(), store);
        assert_eq!(all(&store).unwrap(), [&*store]);
        let made = [&one, &other, &one].map(|work_dir| root(&store, Some(work_dir)).unwrap());
        assert!(made.iter().all(|root| root.is_dir()) && made[0] == made[2]);
        let mut found = all(&store).unwrap();
        found.sort();
        let mut expected = vec![store, made[0].clone(), made[1].clone()];
        expected.sort();
        assert_eq!(found, expected);
    }
}
