//! The way down. Records, lists of files and files get their names in the store once they were checked.

use super::{
    Reading, Remote, RemoteFailure, RemoteSettings,
    layout::{Part, content_path, record_path},
};
use crate::{
    content::{Content, Damage},
    digest::Digest,
    disown::Disavowal,
    interruption::interrupted,
    inventory::Tally,
    record::{Record, is_same, unseal},
    store::Store,
    tree::Tree,
    write,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// The most bytes of a record of a remote.
pub(super) const MOST_RECORD: u64 = 64 << 20;

/// The most bytes of a list of files: a million of them take half of it.
const MOST_TREE: u64 = 256 << 20;

/// The most bytes of a file whose length nothing tells.
const MOST_FILE: u64 = 1 << 40;

/// The most files of one record. Each is asked about before the record counts.
const MOST_FILES: usize = 20_000;

/// The file beside the notes that says which remote they are from.
const WHERE: &str = "where.json";

/// The number of files that are asked about, or that come, at a time.
const THREADS: usize = 4;

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

    /// Asks the remote for a record. One that counts is kept here as a note, and its files come when they are read.
    ///
    /// # Errors
    /// There is no such bucket.
    pub fn ask(&self, key: &Digest) -> Result<Answer> {
        let Some(remote) = self.remote.as_deref().filter(|remote| !remote.is_left_alone()) else {
            return Ok(Answer::Unknown);
        };
        let asked = self.ask_remote(remote, key);
        match asked {
            Ok(Some(found)) => {
                if let Err(error) = self.keep_note(key, &found.record) {
                    tracing::debug!("the record {key} of the remote was not kept: {error:#}");
                }
                Ok(Answer::Record(found))
            }
            Ok(None) => Ok(Answer::Nothing),
            Err(error) => match error.downcast_ref::<RemoteFailure>() {
                Some(RemoteFailure::NoPlace) => {
                    let told = format!("the remote {}: there is no such bucket", remote.settings.address);
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
        let Some(bytes) = remote.bytes(&path, MOST_RECORD).with_context(|| format!("record {key}"))? else {
            return Ok(None);
        };
        let Some(page) = unseal(&bytes).filter(|page| page.key == *key) else {
            remote.set_damaged(&path, true);
            bail!("record {key} is damaged, or one of another key");
        };
        if let Some(content) = unlisted(&page.record) {
            remote.set_damaged(&path, true);
            bail!("record {key} names {content}, and does not list it");
        }
        ensure!(!self.is_disowned(key, &page.record)?, "record {key} is one that was disowned here");
        let told = page.lengths();
        let absent = self.absent(remote, &page.record, &told).with_context(|| format!("record {key}"))?;
        // A list of files that came with it is not taken over: it says what it likes.
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
        let Some(record) = self.lookup(key)? else { return Ok(false) };
        for content in &record.contents {
            self.fetch(content)?;
        }
        // A lost extra is no fault of a record.
        for extra in &record.extras {
            self.bring(extra);
        }
        self.commit(key, &record).map(|_| true)
    }

    /// The files of a record that are not here, all of which the remote has.
    ///
    /// # Errors
    /// It has not, or did not say.
    pub(super) fn absent(&self, remote: &Remote, record: &Record, told: &BTreeMap<Digest, u64>) -> Result<Tally> {
        let mut blobs: BTreeMap<Digest, Option<u64>> = BTreeMap::new();
        for content in record.contents.iter().collect::<BTreeSet<_>>() {
            match content {
                Content::File { blob, .. } => drop(blobs.entry(*blob).or_insert(told.get(blob).copied())),
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
        blobs.retain(|blob, size| !self.is_blob_here(blob, *size));
        let absent = Mutex::new(Tally::default());
        in_parallel(blobs.iter(), |(blob, size)| {
            let path = content_path(Part::Blobs, blob);
            ensure!(!remote.is_damaged(&path), "blob {blob} was found damaged");
            let there = remote.length(&path)?;
            let length = there.with_context(|| format!("blob {blob} is not there"))?;
            ensure!(
                size.is_none_or(|size| size == length),
                "blob {blob} has {length} bytes, which are not those of the record"
            );
            *absent.lock().unwrap_or_else(PoisonError::into_inner) += length;
            Ok(())
        })?;
        Ok(absent.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches everything of a content that is not here.
    ///
    /// # Errors
    /// It cannot be had, or the store is interrupted. People were told why; the same is not asked for again.
    pub fn fetch(&self, content: &Content) -> Result<()> {
        let fetch = || format!("fetch {content}");
        let Some(remote) = self.remote.as_deref() else { bail!("{}: there is no remote", fetch()) };
        ensure!(!remote.is_lost(content), "{}: it could not be had a moment ago", fetch());
        let fetched = self.fetch_from(remote, content);
        if let Err(error) = &fetched
            && !crate::is_interruption(error)
        {
            remote.set_lost(content);
            match error.downcast_ref::<RemoteFailure>() {
                Some(failure) => remote.warn_of(failure, "fetch a result"),
                None => remote.warn_once("content", &format!("a file of it is not used: {error:#}")),
            }
        }
        fetched.with_context(fetch)
    }

    fn fetch_from(&self, remote: &Remote, content: &Content) -> Result<()> {
        let blobs = match content {
            Content::File { blob, .. } => BTreeMap::from([(*blob, None)]),
            Content::Tree(digest) => {
                let tree = self.tree_of(remote, digest)?;
                tree.files.values().map(|entry| (entry.blob, Some(entry.size))).collect()
            }
        };
        let missing = blobs.iter().filter(|(blob, size)| !self.is_blob_here(blob, **size));
        in_parallel(missing, |(blob, size)| self.fetch_blob(remote, blob, *size))
    }

    /// A list of files, which comes down if it is not here.
    fn tree_of(&self, remote: &Remote, digest: &Digest) -> Result<Tree> {
        match self.tree_here(digest) {
            Err(error) if error.is::<Damage>() => {}
            tree => return tree,
        }
        let path = content_path(Part::Trees, digest);
        let bytes = remote.bytes(&path, MOST_TREE).with_context(|| format!("tree {digest}"))?;
        let bytes = bytes.with_context(|| format!("tree {digest} is not there"))?;
        if Digest::of(&bytes) != *digest {
            remote.set_damaged(&path, true);
            bail!("tree {digest} is damaged");
        }
        let tree = Tree::parse(&bytes).with_context(|| format!("tree {digest}"))?;
        self.keep_tree(digest, &bytes)?;
        Ok(tree)
    }

    pub(super) fn fetch_blob(&self, remote: &Remote, blob: &Digest, size: Option<u64>) -> Result<()> {
        let path = content_path(Part::Blobs, blob);
        let mut hasher = blake3::Hasher::new();
        let mut read = Ok(None);
        let draft = write::draft(&self.path_of_drafts(), |file| {
            // A range of nothing cannot be asked for.
            if *blob == Digest::of(b"") {
                read = Ok(Some(Reading::Whole));
                return Ok(());
            }
            read = remote.read(&path, size.unwrap_or(MOST_FILE), &mut |piece| {
                if self.is_interrupted() {
                    return Err(interrupted().into());
                }
                hasher.update(piece);
                Ok(file.write_all(piece)?)
            });
            Ok(())
        })?;
        let damaged = |how: &str| {
            remote.set_damaged(&path, true);
            anyhow::anyhow!("blob {blob} {how}")
        };
        match read.with_context(|| format!("blob {blob}"))? {
            None => bail!("blob {blob} is not there"),
            Some(Reading::TooLong(length)) => return Err(damaged(&format!("has {length} bytes, more than it should"))),
            Some(Reading::Short) => return Err(damaged("ends before its length")),
            Some(Reading::Whole) => {}
        }
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        if digest != *blob || size.is_some_and(|size| size != hasher.count()) {
            return Err(damaged("is damaged: its bytes have another hash"));
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

    /// The directory of notes about a remote, which a store without one does not have.
    pub(crate) fn make_notes(&self) -> Result<()> {
        let directory = self.part("remote");
        let root = self.root().ancestors().nth(2).expect("a store lies in `store/v1`");
        let made = files::make_directory(&directory, crate::is_shared(root)?);
        made.with_context(|| format!("create directory {}", directory.display()))?;
        let Some(remote) = &self.remote else { return Ok(()) };
        // Whoever reads a file later, without the pipeline file at hand, finds it there.
        let (path, bytes) = (directory.join(WHERE), remote.settings.written());
        if files::read(&path, MOST_RECORD).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        if !write::create(self.draft(&bytes)?, &path, self.is_durable)? {
            write::replace(self.draft(&bytes)?, &path, self.is_durable)?;
        }
        Ok(())
    }

    /// The remote in which the last of this store's notes were found, to be read.
    pub fn remote_of_notes(&self) -> Option<RemoteSettings> {
        let bytes = files::read(&self.part("remote").join(WHERE), MOST_RECORD).ok()?;
        RemoteSettings::read(&bytes)
    }

    /// Makes content whole that the remote may have. False where it is not whole now.
    pub fn bring(&self, content: &Content) -> bool {
        // People are told of a failure.
        self.has(content) || self.remote.is_some() && self.fetch(content).is_ok()
    }
}

impl Remote {
    /// Says something about a cause, once whatever the text.
    pub(super) fn warn_once(&self, cause: &str, text: &str) {
        if self.health.is_new(cause) {
            tracing::warn!("the remote {}: {text} (told once)", self.settings.address);
        }
    }

    pub(crate) fn is_lost(&self, content: &Content) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(content)
    }

    /// The number of contents that could not be had.
    pub fn lost_count(&self) -> usize {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn set_lost(&self, content: &Content) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(content.clone());
    }
}

/// Does something to each with several threads, until one fails.
pub(super) fn in_parallel<T: Send>(
    items: impl Iterator<Item = T> + Send,
    act: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let Some(first) = next() else { return Ok(()) };
    let failed = Mutex::new(None);
    let keep = |outcome: Result<()>| match outcome {
        Ok(()) => true,
        Err(error) => {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            false
        }
    };
    let work = || {
        while failed.lock().unwrap_or_else(PoisonError::into_inner).is_none()
            && let Some(item) = next()
            && keep(act(item))
        {}
    };
    thread::scope(|scope| {
        // Where no further thread can be had, this one does it all.
        for _ in 1..THREADS {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        if keep(act(first)) {
            work();
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
