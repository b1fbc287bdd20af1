//! The way up: files, then lists of files, then the record, so that a kill at any point leaves no record whose files are
//! not there.

use super::{
    Remote, RemoteFailure,
    fetch::{MOST_RECORD, in_parallel},
    layout::{Part, content_path, record_path},
};
use crate::{
    content::Content,
    digest::Digest,
    open,
    record::{Record, is_same, unseal},
    store::Store,
    write,
};
use anyhow::{Context, Result, bail, ensure};
use object_store::path::Path as ObjectPath;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    sync::{Mutex, PoisonError},
};

/// The fate of a record that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    Written,
    /// The remote has this result.
    Same,
    /// The remote has another result of the key, which stays there.
    Different,
    /// There is no record here, or not all of its files.
    Nothing,
}

/// A smaller file is written without asking whether it is there.
const SMALL: u64 = 64 << 10;

impl Store {
    /// Gives a record and its files to the remote. What the remote has under a name that says otherwise is replaced, if
    /// `is_read` wherever its bytes are not those of the name.
    ///
    /// # Errors
    /// The remote failed. The key stays among those that are owed.
    pub fn push(&self, key: &Digest, is_read: bool) -> Result<Push> {
        let push = || format!("push {key}");
        let remote = self.remote.as_deref().with_context(|| format!("{}: there is no remote", push()))?;
        let Some(record) = self.lookup_here(key)? else {
            self.paid(key);
            return Ok(Push::Nothing);
        };
        ensure!(!remote.settings.is_read_only, "{}: the remote is read-only", push());
        match self.push_to(remote, key, &record, is_read) {
            Ok(pushed) => {
                self.paid(key);
                Ok(pushed)
            }
            Err(error) => {
                match error.downcast_ref::<RemoteFailure>() {
                    Some(RemoteFailure::Refused(_) | RemoteFailure::WrongClock) => {}
                    Some(failure) => remote.warn_of(failure, "push a result"),
                    None => remote.warn_once("push", &format!("a result is not pushed: {error:#}")),
                }
                Err(error.context(push()))
            }
        }
    }

    fn push_to(&self, remote: &Remote, key: &Digest, record: &Record, is_read: bool) -> Result<Push> {
        let (mut trees, mut blobs) = (BTreeMap::new(), BTreeSet::new());
        // A lost extra is no fault of a record.
        let extras = record.extras.iter().filter(|extra| self.has(extra));
        for content in record.contents.iter().chain(extras) {
            match content {
                Content::File { blob, .. } => drop(blobs.insert(*blob)),
                Content::Tree(digest) => {
                    let tree = self.tree_here(digest)?;
                    blobs.extend(tree.files.values().map(|entry| entry.blob));
                    trees.insert(*digest, tree.bytes());
                }
            }
        }
        for blob in &blobs {
            self.push_blob(remote, blob, is_read).with_context(|| format!("blob {blob}"))?;
        }
        for (digest, bytes) in trees {
            remote.put(&content_path(Part::Trees, &digest), bytes)?;
        }
        let path = self.path("actions", key, ".json");
        let bytes = open::read(&path).with_context(|| format!("read {}", path.display()))?;
        self.push_record(remote, key, record, bytes)
    }

    fn push_blob(&self, remote: &Remote, blob: &Digest, is_read: bool) -> Result<()> {
        let path = content_path(Part::Blobs, blob);
        let local = self.blob_path(blob);
        let size = fs::symlink_metadata(&local).with_context(|| format!("read {}", local.display()))?.len();
        if size > SMALL && !remote.is_damaged(&path) && remote.length(&path)? == Some(size) {
            if !is_read || is_sound(remote, &path, blob, size)? {
                return Ok(());
            }
            tracing::warn!("the remote {}: blob {blob} was damaged there, and is replaced", remote.settings.address);
        }
        if let Some(reason) = self.check_blob(blob)? {
            bail!("it {reason} here");
        }
        let (mut file, _) = open::inside(&local).with_context(|| format!("read {}", local.display()))?;
        let mut next = |length: u64| piece(&mut file, length).with_context(|| format!("read {}", local.display()));
        match size <= remote.settings.part_size {
            true => remote.put(&path, next(size)?)?,
            false => remote.put_parts(&path, size, &mut next)?,
        }
        remote.set_damaged(&path, false);
        Ok(())
    }

    /// Writes the record unless there is one that can be used. A failure may have come after the writing, so that what lies
    /// there counts, whatever was answered.
    fn push_record(&self, remote: &Remote, key: &Digest, record: &Record, bytes: Vec<u8>) -> Result<Push> {
        let path = record_path(key);
        if !remote.is_damaged(&path) {
            let created = remote.create(&path, bytes.clone());
            if created == Ok(true) {
                return Ok(Push::Written);
            }
            let there = remote.bytes(&path, MOST_RECORD)?;
            match (there, created) {
                (None, Err(failure)) => return Err(failure.into()),
                (None, Ok(_)) => bail!("a record is there and cannot be read yet; it is tried again by the next push"),
                (Some(there), _) if there == bytes => return Ok(Push::Same),
                (Some(there), _) => {
                    if let Some(page) = unseal(&there).filter(|page| page.key == *key) {
                        if is_same(&page.record, record) {
                            return Ok(Push::Same);
                        }
                        let told = page.lengths();
                        match self.counts(remote, key, &page.record, &told) {
                            Ok(_) => return Ok(Push::Different),
                            Err(error) if error.is::<RemoteFailure>() => return Err(error),
                            // It can never be a hit, so it must not block the key.
                            Err(error) => tracing::warn!(
                                "the remote {}: record {key} is replaced: {error:#}",
                                remote.settings.address
                            ),
                        }
                    }
                }
            }
        }
        remote.put(&path, bytes)?;
        remote.set_damaged(&path, false);
        Ok(Push::Written)
    }

    /// Whether the other result of a key can be used.
    fn counts(&self, remote: &Remote, key: &Digest, record: &Record, told: &BTreeMap<Digest, u64>) -> Result<()> {
        ensure!(!self.is_disowned(key, record)?, "it was disowned here");
        self.absent(remote, record, told).map(drop)
    }

    /// Gives several records to the remote, some at a time. The outcomes are in the order of the keys.
    pub fn push_all(&self, keys: &[Digest], is_read: bool) -> Vec<Result<Push>> {
        let pushed: Vec<Mutex<Option<Result<Push>>>> = keys.iter().map(|_| Mutex::new(None)).collect();
        let _ = in_parallel(keys.iter().zip(&pushed), |(key, outcome)| {
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.push(key, is_read));
            Ok(())
        });
        let taken = pushed.into_iter().map(|outcome| outcome.into_inner().unwrap_or_else(PoisonError::into_inner));
        taken.map(|outcome| outcome.unwrap_or(Ok(Push::Nothing))).collect()
    }

    /// Whether the remote has a record of a key; nothing of it is read.
    ///
    /// # Errors
    /// It did not say.
    pub fn is_in_remote(&self, key: &Digest) -> Result<bool> {
        let remote = self.remote.as_deref().context("there is no remote")?;
        Ok(remote.length(&record_path(key))?.is_some())
    }

    /// Enters a key as one that is to be pushed, before its record is written: after a kill the next run finds it.
    pub fn owe(&self, key: &Digest) -> Result<()> {
        self.make_notes()?;
        let draft = self.draft(b"")?;
        write::create(draft, &self.path("remote", key, OWED), self.is_durable).map(drop)
    }

    /// The keys that are to be pushed.
    pub fn owed(&self) -> Result<Vec<Digest>> {
        let items = self.items("remote")?.into_iter();
        Ok(items.filter(|item| item.suffix == OWED).filter_map(|item| item.digest).collect())
    }

    fn paid(&self, key: &Digest) {
        let path = self.path("remote", key, OWED);
        if let Err(error) = files::found(fs::remove_file(&path)) {
            tracing::debug!("remove {}: {error}", path.display());
        }
    }
}

/// The end of the name of an empty file beside the notes of records: the record of this key is to be pushed.
const OWED: &str = ".owed";

fn piece(file: &mut File, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).context("a part that is too large")?);
    file.take(length).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == length, "it became shorter");
    Ok(bytes)
}

/// Whether the remote has the right bytes under a name.
fn is_sound(remote: &Remote, path: &ObjectPath, blob: &Digest, size: u64) -> Result<bool> {
    let mut hasher = blake3::Hasher::new();
    let read = remote.read(path, size, &mut |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(read == Some(super::Reading::Whole) && Digest::from_bytes(*hasher.finalize().as_bytes()) == *blob)
}
