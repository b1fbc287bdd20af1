//! Notes of a store about a remote, of each in a directory of its own: records that were found there, keys that are owed to
//! it, objects that were found damaged.

use super::{ForeignRecord, Learnt, Remote, RemoteSettings, fetch::MOST_RECORD, transfer::ObjectState};
use crate::{
    content::{Content, Damage},
    digest::Digest,
    inventory::{Item, Tally},
    record::{Record, read_page, unseal},
    store::Store,
    write,
};
use anyhow::{Context, Result};
use object_store::path::Path as ObjectPath;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The part of a store that holds a directory for each remote.
const NOTES: &str = "remote";

/// The file of such a directory that says which remote it is about.
const WHERE: &str = "where.json";

/// The end of the name of an empty file: the record of this key is to be pushed.
const OWED: &str = ".owed";

/// The end of the name of a file that holds the version of an object that was found damaged. Its name is the hash of the object's.
const DAMAGED: &str = ".damaged";

/// A record of a remote, and the lengths of those files that no list of files tells.
struct ForeignNote {
    record: Record,
    lengths: BTreeMap<Digest, u64>,
}

impl Store {
    fn part_of(remote: &Remote) -> String {
        format!("{NOTES}/{}", remote.settings.name())
    }

    fn note_path(&self, remote: &Remote, key: &Digest, suffix: &str) -> PathBuf {
        self.path(&Store::part_of(remote), key, suffix)
    }

    /// A record that was found in the remote, with what of it is not here. `None` without a remote, where content of it could not
    /// be had, or where its lists of files are gone: then the remote is asked again.
    ///
    /// # Errors
    /// The note cannot be read.
    pub fn noted(&self, key: &Digest) -> Result<Option<ForeignRecord>> {
        let Some(remote) = self.remote.as_deref() else { return Ok(None) };
        let learnt = remote.learnt().records.get(key).and_then(|bytes| unseal(bytes));
        let page = match learnt {
            Some(page) => page,
            None => match read_page(&self.note_path(remote, key, ".json"), key)? {
                Some(page) => page,
                None => return Ok(None),
            },
        };
        let note = ForeignNote { lengths: page.lengths(), record: page.record };
        if note.record.contents.iter().any(|content| remote.is_lost(content) && !self.has(content)) {
            return Ok(None);
        }
        let Some(absent) = self.absent_of(&note)? else { return Ok(None) };
        remote.learnt().learn_lengths(&note.lengths);
        Ok(Some(ForeignRecord { record: note.record, absent }))
    }

    /// The files of a note that are not here; `None` if nothing tells which they are.
    fn absent_of(&self, note: &ForeignNote) -> Result<Option<Tally>> {
        let mut blobs = BTreeMap::new();
        for content in &note.record.contents {
            match content {
                Content::File { blob, .. } => match note.lengths.get(blob) {
                    Some(length) => drop(blobs.insert(*blob, *length)),
                    None => return Ok(None),
                },
                Content::Tree(digest) => match self.tree_here(digest) {
                    Ok(tree) => blobs.extend(tree.files.values().map(|entry| (entry.blob, entry.size))),
                    Err(error) if error.is::<Damage>() => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
        let absent = blobs.iter().filter(|(blob, length)| !self.is_blob_here(blob, Some(**length)));
        Ok(Some(absent.fold(Tally::default(), |sum, (_, length)| sum + *length)))
    }

    /// Keeps what the remote said of a key, so that the next run asks nothing. A look does not.
    pub fn keep_note(&self, key: &Digest) -> Result<()> {
        let Some(remote) = self.remote.as_deref() else { return Ok(()) };
        let Some(bytes) = remote.learnt().records.get(key).cloned() else { return Ok(()) };
        self.keep(remote, &self.note_path(remote, key, ".json"), &bytes)
    }

    /// Makes a record of this store of one that was noted and whose files are all here. False if there is none.
    pub fn settle(&self, key: &Digest) -> Result<bool> {
        let Some(found) = self.noted(key)?.filter(|found| found.absent.count == 0) else { return Ok(false) };
        self.commit(key, &found.record)?;
        self.forget(key)?;
        Ok(true)
    }

    /// Refuses a record of the remote that nobody here can use: the next push replaces it.
    pub fn refuse(&self, key: &Digest) -> Result<()> {
        let Some(remote) = self.remote.as_deref() else { return Ok(()) };
        self.forget(key)?;
        let path = super::layout::record_path(key);
        match remote.listed(&path)? {
            Some(listed) => self.set_damaged(remote, &path, &listed),
            None => Ok(()),
        }
    }

    fn forget(&self, key: &Digest) -> Result<()> {
        let Some(remote) = self.remote.as_deref() else { return Ok(()) };
        remote.learnt().records.remove(key);
        self.remove_note(&self.note_path(remote, key, ".json"))
    }

    /// Enters a key as one that is to be pushed, before its record is written: after a kill the next run finds it.
    pub fn owe(&self, key: &Digest) -> Result<()> {
        let Some(remote) = self.remote.as_deref() else { return Ok(()) };
        self.keep(remote, &self.note_path(remote, key, OWED), b"")
    }

    /// The keys that are to be pushed to this remote.
    pub fn owed(&self) -> Result<Vec<Digest>> {
        let Some(remote) = self.remote.as_deref() else { return Ok(Vec::new()) };
        let items = self.items(&Store::part_of(remote))?.into_iter();
        Ok(items.filter(|item| item.suffix == OWED).filter_map(|item| item.digest).collect())
    }

    pub(super) fn paid(&self, remote: &Remote, key: &Digest) {
        if let Err(error) = self.remove_note(&self.note_path(remote, key, OWED)) {
            tracing::debug!("{error:#}");
        }
    }

    /// Whether this version of an object was found damaged, by this process or an earlier one.
    pub(super) fn is_damaged(&self, remote: &Remote, path: &ObjectPath, listed: &ObjectState) -> bool {
        let known = remote.learnt().damaged.get(path.as_ref()).cloned();
        let known = known.or_else(|| {
            let bytes = files::read(&self.note_path(remote, &name_of(path), DAMAGED), MOST_RECORD).ok()?;
            String::from_utf8(bytes).ok()
        });
        known.is_some_and(|version| version == listed.version)
    }

    /// Remembers that an object is not what its name says, so that nobody here takes it for whole by its length.
    pub(super) fn set_damaged(&self, remote: &Remote, path: &ObjectPath, listed: &ObjectState) -> Result<()> {
        remote.learnt().damaged.insert(path.to_string(), listed.version.clone());
        self.keep(remote, &self.note_path(remote, &name_of(path), DAMAGED), listed.version.as_bytes())
    }

    /// Forgets the damage of an object that was replaced.
    pub(super) fn set_whole(&self, remote: &Remote, path: &ObjectPath) -> Result<()> {
        remote.learnt().damaged.remove(path.as_ref());
        self.remove_note(&self.note_path(remote, &name_of(path), DAMAGED))
    }

    fn keep(&self, remote: &Remote, path: &Path, bytes: &[u8]) -> Result<()> {
        self.make_notes(remote)?;
        if !write::create(self.draft(bytes)?, path, self.is_durable)? {
            write::replace(self.draft(bytes)?, path, self.is_durable)?;
        }
        Ok(())
    }

    fn remove_note(&self, path: &Path) -> Result<()> {
        let removed = files::found(fs::remove_file(path)).with_context(|| format!("remove {}", path.display()));
        removed.map(drop)
    }

    /// Makes the directory of a remote, and notes once in a process that it is the last one that was used.
    fn make_notes(&self, remote: &Remote) -> Result<()> {
        let directory = self.part(&Store::part_of(remote));
        if std::mem::replace(&mut remote.learnt().is_noted, true) && directory.is_dir() {
            return Ok(());
        }
        let root = self.root().ancestors().nth(2).expect("a store lies in `store/v1`");
        let is_shared = crate::is_shared(root)?;
        let made = files::make_directory(&directory, is_shared);
        made.with_context(|| format!("create directory {}", directory.display()))?;
        // Whoever reads a file later, without the pipeline file at hand, finds it there.
        let path = directory.join(WHERE);
        let draft = self.draft(&remote.settings.written())?;
        if !write::create(draft, &path, self.is_durable)? {
            write::replace(self.draft(&remote.settings.written())?, &path, self.is_durable)?;
        }
        Ok(())
    }

    /// The remote of which this store noted something last, to be read.
    pub fn remote_of_notes(&self) -> Option<RemoteSettings> {
        let of = |directory: fs::DirEntry| -> Option<(SystemTime, PathBuf)> {
            let path = directory.path().join(WHERE);
            Some((File::open(&path).ok()?.metadata().ok()?.modified().ok()?, path))
        };
        let last = fs::read_dir(self.part(NOTES)).ok()?.flatten().filter_map(of).max()?;
        RemoteSettings::read(&files::read(&last.1, MOST_RECORD).ok()?)
    }

    /// Every note of every remote.
    pub(crate) fn notes(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let directory = self.part(NOTES);
        let read = || format!("read {}", directory.display());
        for entry in files::found(fs::read_dir(&directory)).with_context(read)?.into_iter().flatten() {
            let name = entry.with_context(read)?.file_name();
            items.extend(self.items(&format!("{NOTES}/{}", name.to_string_lossy()))?);
        }
        Ok(items)
    }
}

impl Learnt {
    pub fn learn_lengths(&mut self, lengths: &BTreeMap<Digest, u64>) {
        self.lengths.extend(lengths);
    }
}

fn name_of(path: &ObjectPath) -> Digest {
    Digest::of(path.as_ref().as_bytes())
}
