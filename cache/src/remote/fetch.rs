//! The way down. Records, lists of files and files get their names in the store once they were checked.

use super::{
    Remote, RemoteFailure,
    layout::{Part, content_path, record_path},
    parallel::in_parallel,
    transfer::{ObjectState, Reading},
};
use crate::{
    content::{Content, Damage},
    digest::Digest,
    disown::Disavowal,
    interruption::interrupted,
    inventory::Tally,
    record::{Record, is_same, sealed, unseal},
    store::Store,
    tree::Tree,
    write,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

/// The most bytes of a record of a remote.
pub(super) const MOST_RECORD: u64 = 64 << 20;

/// The most bytes of a list of files: a million of them take half of it.
pub(super) const MOST_TREE: u64 = 256 << 20;

/// The most files of one record. Each is asked about before the record counts.
pub(super) const MOST_FILES: usize = 20_000;

/// The share of the free disk that files of a remote leave free.
const LEFT_FREE: u64 = 10;

/// The answer of a remote about a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Record(Box<ForeignRecord>),
    /// It has no record that can be used.
    Nothing,
    /// It did not say. People were told why.
    Unknown,
}

/// A record of a remote whose files are all there, or here.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignRecord {
    pub record: Record,
    /// The files that are not here.
    pub absent: Tally,
}

/// The files of a record: of all that are single their lengths, of all that are not here number and bytes.
pub(super) struct FoundFiles {
    lengths: BTreeMap<Digest, u64>,
    absent: Tally,
}

/// A record of a remote as it is kept.
fn written(key: &Digest, record: &Record, lengths: &BTreeMap<Digest, u64>) -> Vec<u8> {
    let files = lengths.iter().map(|(blob, length)| (Part::Blobs, *blob, *length)).collect::<Vec<_>>();
    sealed(key, record, &files)
}

/// A content that the result of a record names, and that is not among its contents: nobody would fetch it.
fn unlisted(record: &Record) -> Option<Content> {
    fn find(value: &Value, record: &Record) -> Option<Content> {
        match value {
            Value::String(text) => text.parse().ok().filter(|content| !record.contents.contains(content)),
            Value::Array(items) => items.iter().find_map(|item| find(item, record)),
            Value::Object(fields) => fields.values().find_map(|value| find(value, record)),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
    find(&record.result, record)
}

impl Store {
    /// The same store, which finds in a remote what it lacks.
    pub fn with_remote(&self, remote: Arc<Remote>) -> Store {
        let mut store = self.clone();
        store.remote = Some(remote);
        store
    }

    pub fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// Asks the remote for a record. One that counts is known to this process from then on, and its files come when they are
    /// read.
    ///
    /// # Errors
    /// There is no such bucket or directory.
    pub fn ask(&self, key: &Digest) -> Result<Answer> {
        let Some(remote) = self.remote.as_deref().filter(|remote| !remote.is_left_alone()) else {
            return Ok(Answer::Unknown);
        };
        let asked = self.ask_remote(remote, key);
        match asked {
            Ok(Some(found)) => Ok(Answer::Record(found)),
            Ok(None) => Ok(Answer::Nothing),
            Err(error) => match error.downcast_ref::<RemoteFailure>() {
                Some(RemoteFailure::NoPlace) => {
                    let place = if remote.settings.is_bucket() { "bucket" } else { "directory" };
                    let told = format!(
                        "the remote {}: there is no such {place}; make it, and let those write who may share results",
                        remote.settings.address
                    );
                    Err(anyhow::Error::new(RemoteFailure::NoPlace).context(told))
                }
                Some(failure) => {
                    remote.warn_of(failure, "look for results");
                    Ok(Answer::Unknown)
                }
                None => {
                    remote.warn_once("record", &format!("a record of it is not used: {error:#}"));
                    Ok(Answer::Nothing)
                }
            },
        }
    }

    fn ask_remote(&self, remote: &Remote, key: &Digest) -> Result<Option<Box<ForeignRecord>>> {
        let path = record_path(key);
        let Some((bytes, listed)) = remote.bytes(&path, MOST_RECORD).with_context(|| format!("record {key}"))? else {
            return Ok(None);
        };
        ensure!(!self.is_damaged(remote, &path, &listed), "record {key} is one that nobody here can use");
        let Some(page) = unseal(&bytes).filter(|page| page.key == *key) else {
            self.set_damaged(remote, &path, &listed)?;
            bail!("record {key} is damaged, or one of another key");
        };
        if let Some(content) = unlisted(&page.record) {
            self.set_damaged(remote, &path, &listed)?;
            bail!("record {key} names {content}, and does not list it");
        }
        ensure!(!self.is_disowned(key, &page.record)?, "record {key} is one that was disowned here");
        let told = page.lengths();
        let FoundFiles { lengths, absent } =
            self.files_there(remote, &page.record, &told).with_context(|| format!("record {key}"))?;
        // A list of files that came with it is not taken over: it says what it likes.
        let mut learnt = remote.learnt();
        learnt.learn_lengths(&lengths);
        learnt.records.insert(*key, written(key, &page.record, &lengths));
        Ok(Some(Box::new(ForeignRecord { record: page.record, absent })))
    }

    /// Whether this result of a key was found wrong here.
    pub(super) fn is_disowned(&self, key: &Digest, record: &Record) -> Result<bool> {
        // Few keys have any, and a list of all takes a look at every record.
        if !files::is_there(&self.path("actions", key, ".disowned-1.json")).unwrap_or(false) {
            return Ok(false);
        }
        let is_it = |one: &Disavowal| one.key == *key && is_same(&one.record, record);
        Ok(self.disavowals()?.iter().any(is_it))
    }

    /// Fetches everything of a record that was found in the remote, which is a record of this store from then on. False if
    /// there is none.
    ///
    /// # Errors
    /// A file cannot be had.
    pub fn pull(&self, key: &Digest) -> Result<bool> {
        if self.lookup_here(key)?.is_some() {
            return Ok(true);
        }
        let Some(ForeignRecord { record, .. }) = self.noted(key)? else { return Ok(false) };
        for content in &record.contents {
            self.fetch_quietly(content)?;
        }
        // A lost extra is no fault of a record.
        for extra in &record.extras {
            self.bring(extra);
        }
        ensure!(self.settle(key)?, "a file that came is gone again");
        Ok(true)
    }

    /// The files of a record, all of which are in the remote or here.
    ///
    /// # Errors
    /// They are not, or it did not say.
    pub(super) fn files_there(
        &self,
        remote: &Remote,
        record: &Record,
        told: &BTreeMap<Digest, u64>,
    ) -> Result<FoundFiles> {
        let mut blobs: BTreeMap<Digest, Option<u64>> = BTreeMap::new();
        let mut single = BTreeSet::new();
        for content in record.contents.iter().collect::<BTreeSet<_>>() {
            match content {
                Content::File { blob, .. } => {
                    single.insert(*blob);
                    blobs.entry(*blob).or_insert(told.get(blob).copied());
                }
                Content::Tree(digest) => {
                    for entry in self.tree_of(remote, digest)?.files.values() {
                        let size = blobs.entry(entry.blob).or_insert(Some(entry.size));
                        ensure!(size.is_none_or(|size| size == entry.size), "two lengths of blob {}", entry.blob);
                        *size = Some(entry.size);
                    }
                }
            }
            ensure!(blobs.len() <= MOST_FILES, "it names more than {MOST_FILES} files");
        }
        let found = Mutex::new(FoundFiles { lengths: BTreeMap::new(), absent: Tally::default() });
        in_parallel(blobs.iter(), |(blob, size)| {
            let here = self.length_here(blob).filter(|length| size.is_none_or(|size| size == *length));
            let length = match here {
                Some(length) => length,
                None => self.length_there(remote, blob, *size)?,
            };
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if here.is_none() {
                found.absent += length;
            }
            if single.contains(blob) {
                found.lengths.insert(*blob, length);
            }
            Ok(())
        })?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn length_here(&self, blob: &Digest) -> Option<u64> {
        let metadata = fs::symlink_metadata(self.blob_path(blob)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// The length of a file that the remote has.
    fn length_there(&self, remote: &Remote, blob: &Digest, size: Option<u64>) -> Result<u64> {
        let path = content_path(Part::Blobs, blob);
        let there = remote.listed(&path)?.with_context(|| format!("blob {blob} is not there"))?;
        ensure!(!self.is_damaged(remote, &path, &there), "blob {blob} was found damaged");
        let length = there.size.with_context(|| format!("blob {blob} is no file there"))?;
        ensure!(
            size.is_none_or(|size| size == length),
            "blob {blob} has {length} bytes, which are not those of the record"
        );
        Ok(length)
    }

    /// Fetches everything of a content that is not here.
    ///
    /// # Errors
    /// It cannot be had, or the store is interrupted. People were told why; the same is not asked for again.
    pub fn fetch(&self, content: &Content) -> Result<()> {
        let fetched = self.fetch_quietly(content);
        if let Err(error) = &fetched
            && let Some(remote) = self.remote.as_deref().filter(|_| !crate::is_interruption(error))
        {
            match error.downcast_ref::<RemoteFailure>() {
                Some(failure) => remote.warn_of(failure, "fetch a result"),
                None => remote.warn_once("content", &format!("a file of it is not used: {error:#}")),
            }
        }
        fetched
    }

    /// The same for whoever tells people of a failure.
    fn fetch_quietly(&self, content: &Content) -> Result<()> {
        let fetch = || format!("fetch {content}");
        let Some(remote) = self.remote.as_deref() else { bail!("{}: there is no remote", fetch()) };
        ensure!(!remote.is_lost(content), "{}: it could not be had a moment ago", fetch());
        let fetched = self.fetch_from(remote, content);
        if let Err(error) = &fetched
            && !crate::is_interruption(error)
        {
            remote.set_lost(content);
        }
        fetched.with_context(fetch)
    }

    fn fetch_from(&self, remote: &Remote, content: &Content) -> Result<()> {
        let mut missing = BTreeMap::new();
        match content {
            Content::File { blob, .. } => {
                let known = remote.learnt().lengths.get(blob).copied();
                if !self.is_blob_here(blob, known) {
                    missing.insert(*blob, known.map_or_else(|| self.length_there(remote, blob, None), Ok)?);
                }
            }
            Content::Tree(digest) => {
                let tree = self.tree_of(remote, digest)?;
                let absent = tree.files.values().filter(|entry| !self.is_blob_here(&entry.blob, Some(entry.size)));
                missing.extend(absent.map(|entry| (entry.blob, entry.size)));
            }
        }
        self.check_room(missing.values().copied().fold(0, u64::saturating_add))?;
        in_parallel(missing.iter(), |(blob, size)| self.fetch_blob(remote, blob, *size))
    }

    /// Refuses files for which the disk has no room: whoever wrote a record may name any size.
    fn check_room(&self, needed: u64) -> Result<()> {
        let Some(free) = write::free_space(self.root()) else { return Ok(()) };
        ensure!(
            needed <= free - free / LEFT_FREE,
            "its files have {needed} bytes, and the disk of the store has {free} free; make room, or run it here"
        );
        Ok(())
    }

    /// A list of files, which comes down if it is not here.
    fn tree_of(&self, remote: &Remote, digest: &Digest) -> Result<Tree> {
        match self.tree_here(digest) {
            Err(error) if error.is::<Damage>() => {}
            tree => return tree,
        }
        let path = content_path(Part::Trees, digest);
        let there = remote.bytes(&path, MOST_TREE).with_context(|| format!("tree {digest}"))?;
        let (bytes, listed) = there.with_context(|| format!("tree {digest} is not there"))?;
        if Digest::of(&bytes) != *digest {
            self.set_damaged(remote, &path, &listed)?;
            bail!("tree {digest} is damaged");
        }
        let tree = Tree::parse(&bytes).with_context(|| format!("tree {digest}"))?;
        self.keep_tree(digest, &bytes)?;
        Ok(tree)
    }

    fn fetch_blob(&self, remote: &Remote, blob: &Digest, size: u64) -> Result<()> {
        let path = content_path(Part::Blobs, blob);
        let mut hasher = blake3::Hasher::new();
        let mut read = Ok(None);
        let draft = write::draft(&self.path_of_drafts(), |file| {
            // A range of nothing cannot be asked for.
            if size > 0 {
                read = remote.read(&path, size, &mut |piece| {
                    if self.is_interrupted() {
                        return Err(interrupted().into());
                    }
                    hasher.update(piece);
                    Ok(file.write_all(piece)?)
                });
            }
            Ok(())
        })?;
        let damaged = |how: &str, listed: &ObjectState| match self.set_damaged(remote, &path, listed) {
            Ok(()) => anyhow::anyhow!("blob {blob} {how}"),
            Err(error) => error,
        };
        let listed = match read.with_context(|| format!("blob {blob}"))? {
            None if size > 0 => bail!("blob {blob} is not there"),
            Some(Reading::Wrong(listed)) => {
                return Err(damaged(&format!("has another length than {size} bytes"), &listed));
            }
            Some(Reading::Whole(listed)) => Some(listed),
            None => None,
        };
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        if digest != *blob || hasher.count() != size {
            let how = "is damaged: its bytes have another hash";
            return Err(listed.map_or_else(|| anyhow::anyhow!("blob {blob} {how}"), |listed| damaged(how, &listed)));
        }
        // One of the wrong length that lies here would keep its name.
        self.check_blob(blob)?;
        write::create(draft, &self.blob_path(blob), self.is_durable)?;
        Ok(())
    }

    /// Makes one file of a content whole that the remote may have.
    pub(crate) fn bring_blob(&self, content: &Content, blob: &Digest) {
        let Some(remote) = &self.remote else { return };
        let file = Content::File { format: String::new(), blob: *blob };
        if !self.has(&file) && self.fetch(&file).is_err() && remote.is_lost(&file) {
            remote.set_lost(content);
        }
    }

    /// A list of files that is not here, from the remote; else the error that said so.
    pub(crate) fn bring_tree(&self, digest: &Digest, error: anyhow::Error) -> Result<Tree> {
        let (Some(remote), content) = (self.remote.as_deref(), Content::Tree(*digest)) else { return Err(error) };
        if remote.is_lost(&content) {
            return Err(error);
        }
        self.tree_of(remote, digest).map_err(|_| {
            remote.set_lost(&content);
            error
        })
    }

    /// Makes content whole that the remote may have. False where it is not whole now.
    pub fn bring(&self, content: &Content) -> bool {
        // People are told of a failure.
        self.has(content) || self.remote.is_some() && self.fetch(content).is_ok()
    }
}
