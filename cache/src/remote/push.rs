//! The way up: files, then lists of files, then the record, so that a kill at any point leaves no record whose files are
//! not there.

use super::{
    Remote, RemoteFailure,
    fetch::{MOST_FILES, MOST_RECORD, MOST_TREE},
    layout::{Part, content_path, record_path},
    parallel::in_parallel,
    transfer::Reading,
};
use crate::{
    content::Content,
    digest::Digest,
    open,
    record::{Record, is_same, unseal},
    store::Store,
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
    /// No remote takes it, for this reason: nobody could fetch it.
    TooLarge(&'static str),
}

/// A smaller file of a record that is not there is written without asking whether it is.
const SMALL: u64 = 64 << 10;

impl Store {
    /// Gives a record and its files to the remote. What the remote has under a name that says otherwise is replaced, if
    /// `is_read` wherever its bytes are not those of the name.
    ///
    /// # Errors
    /// It could not be done, and the key stays among those that are owed. Of a failure of the remote people were told.
    pub fn push(&self, key: &Digest, is_read: bool) -> Result<Push> {
        let push = || format!("push {key}");
        let remote = self.remote.as_deref().with_context(|| format!("{}: there is no remote", push()))?;
        let Some(record) = self.lookup_here(key)? else {
            self.paid(remote, key);
            return Ok(Push::Nothing);
        };
        ensure!(!remote.settings.is_read_only, "{}: the remote is read-only", push());
        match self.push_to(remote, key, &record, is_read) {
            Ok(pushed) => {
                self.paid(remote, key);
                Ok(pushed)
            }
            Err(error) => {
                if let Some(failure) = error.downcast_ref::<RemoteFailure>() {
                    remote.warn_of(failure, "push a result");
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
        let path = self.path("actions", key, ".json");
        let bytes = open::read(&path).with_context(|| format!("read {}", path.display()))?;
        if let Some(reason) = too_large(&blobs, &trees, &bytes) {
            return Ok(Push::TooLarge(reason));
        }
        // Where there is no record, there are few of its files.
        let is_new = remote.listed(&record_path(key))?.is_none();
        for blob in &blobs {
            self.push_blob(remote, blob, is_new, is_read).with_context(|| format!("blob {blob}"))?;
        }
        for (digest, bytes) in trees {
            let path = content_path(Part::Trees, &digest);
            if is_new || !self.is_like(remote, &path, bytes.len() as u64, &digest, is_read)? {
                remote.put(&path, bytes)?;
                self.set_whole(remote, &path)?;
            }
        }
        self.push_record(remote, key, record, bytes)
    }

    fn push_blob(&self, remote: &Remote, blob: &Digest, is_new: bool, is_read: bool) -> Result<()> {
        let path = content_path(Part::Blobs, blob);
        let local = self.blob_path(blob);
        let size = fs::symlink_metadata(&local).with_context(|| format!("read {}", local.display()))?.len();
        if !(is_new && size <= SMALL) && self.is_like(remote, &path, size, blob, is_read)? {
            return Ok(());
        }
        if let Some(reason) = self.check_blob(blob)? {
            bail!("it {reason} here");
        }
        let (mut file, _) = open::inside(&local).with_context(|| format!("read {}", local.display()))?;
        let mut next = |length: u64| piece(&mut file, length).with_context(|| format!("read {}", local.display()));
        remote.put_file(&path, size, &mut next)?;
        self.set_whole(remote, &path)
    }

    /// Whether the remote has an object of this length that was not found damaged, if `is_read` with the right bytes.
    fn is_like(&self, remote: &Remote, path: &ObjectPath, size: u64, digest: &Digest, is_read: bool) -> Result<bool> {
        let Some(listed) = remote.listed(path)? else { return Ok(false) };
        if listed.size != Some(size) || self.is_damaged(remote, path, &listed) {
            return Ok(false);
        }
        if !is_read || is_sound(remote, path, digest, size)? {
            return Ok(true);
        }
        tracing::warn!("the remote {}: {path} was damaged there, and is replaced", remote.settings.address);
        Ok(false)
    }

    /// Writes the record unless there is one that can be used. A failure may have come after the writing, so that what lies
    /// there counts, whatever was answered.
    fn push_record(&self, remote: &Remote, key: &Digest, record: &Record, bytes: Vec<u8>) -> Result<Push> {
        let path = record_path(key);
        let created = remote.create(&path, bytes.clone());
        if created == Ok(true) {
            return Ok(Push::Written);
        }
        match (remote.bytes(&path, MOST_RECORD)?, created) {
            (None, Err(failure)) => return Err(failure.into()),
            (None, Ok(_)) => bail!("a record is there and cannot be read yet; it is tried again by the next push"),
            (Some((_, listed)), _) if self.is_damaged(remote, &path, &listed) => {}
            (Some((there, _)), _) if there == bytes => return Ok(Push::Same),
            (Some((there, _)), _) => {
                if let Some(page) = unseal(&there).filter(|page| page.key == *key) {
                    if is_same(&page.record, record) {
                        return Ok(Push::Same);
                    }
                    let told = page.lengths();
                    match self.counts(remote, key, &page.record, &told) {
                        Ok(()) => return Ok(Push::Different),
                        Err(error) if error.is::<RemoteFailure>() => return Err(error),
                        // It can never be a hit, so it must not block the key.
                        Err(error) => {
                            tracing::warn!(
                                "the remote {}: record {key} is replaced: {error:#}",
                                remote.settings.address
                            );
                        }
                    }
                }
            }
        }
        remote.put(&path, bytes)?;
        self.set_whole(remote, &path)?;
        Ok(Push::Written)
    }

    /// Whether the other result of a key can be used.
    fn counts(&self, remote: &Remote, key: &Digest, record: &Record, told: &BTreeMap<Digest, u64>) -> Result<()> {
        ensure!(!self.is_disowned(key, record)?, "it was disowned here");
        self.files_there(remote, record, told).map(drop)
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
        Ok(remote.listed(&record_path(key))?.is_some())
    }
}

/// The reason for which nobody could fetch a record.
fn too_large(blobs: &BTreeSet<Digest>, trees: &BTreeMap<Digest, Vec<u8>>, record: &[u8]) -> Option<&'static str> {
    if blobs.len() > MOST_FILES {
        return Some("it has more than 20,000 files");
    }
    let is_long = record.len() as u64 > MOST_RECORD || trees.values().any(|tree| tree.len() as u64 > MOST_TREE);
    is_long.then_some("its record or a list of its files is too long")
}

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
    Ok(matches!(read, Some(Reading::Whole(_))) && Digest::from_bytes(*hasher.finalize().as_bytes()) == *blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_nobody_could_fetch_is_not_given() {
        let digests = |count: u32| (0..count).map(|number| Digest::of(&number.to_le_bytes())).collect::<BTreeSet<_>>();
        let none = BTreeMap::new();
        assert_eq!(too_large(&digests(20_000), &none, b""), None);
        assert_eq!(too_large(&digests(20_001), &none, b""), Some("it has more than 20,000 files"));
        let long = vec![b' '; 64 << 20];
        assert_eq!(too_large(&digests(1), &none, &long), None);
        let reason = too_large(&digests(1), &none, &[&long[..], b" "].concat());
        assert_eq!(reason, Some("its record or a list of its files is too long"));
    }
}
