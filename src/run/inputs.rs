//! The inputs of actions: identified when a run begins, placed when an action begins, checked when it has ended.

use crate::action::Action;
use crate::canonical::Canonical;
use crate::plan::selection::{Role, Selection};
use crate::plan::{Plan, Source, Stage};
use anyhow::{Context, Result, bail};
use cache::{Content, Damage, Store};
use stages::work;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Identifies the content of every path that is an input. Nothing is copied: a path goes into the store when a worker
/// needs it.
pub fn identify(plan: &Plan, selection: &Selection, store: &Store) -> Result<BTreeMap<PathBuf, Content>> {
    let mut contents = BTreeMap::new();
    let stages = plan.stages.iter().enumerate().filter(|(id, _)| selection.role(*id) != Role::Leave);
    // A judge measures for other stages even if it is left out itself.
    let judges = |stage: &Stage| stage.gate.iter().flat_map(|gate| gate.judges.clone()).collect::<Vec<_>>();
    let stages = stages.flat_map(|(id, stage)| [vec![id], judges(stage)].concat());
    let sources = stages.flat_map(|id| &plan.stages[id].inputs).flat_map(|input| &input.sources);
    for source in sources {
        if let Source::Path(path) = source
            && !contents.contains_key(path)
        {
            contents.insert(path.clone(), store.identify(path)?);
        }
    }
    Ok(contents)
}

/// Places an input. A user's path is captured only when an action needs it, and again if the store's copy is damaged.
pub fn place(store: &Store, content: &Content, target: &Path, outside: &BTreeMap<PathBuf, Content>) -> Result<()> {
    let path = outside.iter().find(|(_, known)| *known == content).map(|(path, _)| path);
    let Some(path) = path else { return store.place(content, target) };
    let capture = || {
        let now = store.capture(path)?;
        if now != *content {
            bail!("read {}: it was changed while the run was going on; run again", path.display());
        }
        Ok(())
    };
    if !store.has(content) {
        capture()?;
    }
    store.place(content, target).or_else(|error| match error.is::<Damage>() {
        true => capture().and_then(|()| store.place(content, target)),
        false => Err(error),
    })
}

/// The metadata of an input file when it was placed: while it stays the same, so do the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct InputStamp {
    path: PathBuf,
    size: u64,
    inode: u64,
    modified: (i64, i64),
    /// ctime: unlike mtime, a program cannot reset it.
    changed: (i64, i64),
}

/// Stats every file below `in/`.
pub fn stamps(directory: &Path) -> Result<Vec<InputStamp>> {
    let mut open = vec![directory.join(work::INPUTS)];
    let mut stamps = Vec::new();
    while let Some(path) = open.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // A stage without inputs has no such directory.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
                open.push(entry.with_context(|| format!("read {}", path.display()))?.path());
            }
        } else {
            let (size, inode) = (metadata.len(), metadata.ino());
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            stamps.push(InputStamp { size, inode, modified, changed: (metadata.ctime(), metadata.ctime_nsec()), path });
        }
    }
    stamps.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(stamps)
}

/// Checks that every input is still what the action says. Otherwise, the result may come from either version.
pub fn check(
    store: &Store,
    directory: &Path,
    before: &[InputStamp],
    action: &Canonical,
    outside: &BTreeMap<PathBuf, Content>,
) -> Result<()> {
    let action = Action::read(action)?;
    let placements = action.placements();
    for (path, content) in outside.iter().filter(|(_, known)| placements.iter().any(|(.., content)| content == known)) {
        if !store.unchanged(path, content)? {
            bail!("{} was changed while the stage ran: its result is not recorded; run again", path.display());
        }
    }
    // The inode also changes when another name of the same blob is added or removed, so the files are read once more.
    if stamps(directory)? != before {
        for (port, path, content) in placements {
            let now = store.identify(&directory.join(&path));
            if !now.is_ok_and(|now| now == *content) {
                // A file that is a link into the store changed there too: the store must not keep it.
                let is_the_users = outside.values().any(|known| known == content);
                let is_sound = store.is_sound(content).unwrap_or(false) || is_the_users;
                let loss = if is_sound { "" } else { "; what made it is to be run again" };
                bail!(
                    "the input `{port}` ({}) was changed while the stage ran, by it or by one beside it: its result is not \
                     recorded{loss}",
                    path.display()
                );
            }
        }
    }
    Ok(())
}
