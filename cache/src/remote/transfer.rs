//! Objects that come and go: each request waits for progress, not for an end.

use super::{
    Address, Remote, RemoteFailure,
    client::{check_plain, make_parents, of_directory, open_up},
    health::Side,
};
use anyhow::{Result, bail};
use futures_util::future::try_join_all;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path as ObjectPath,
};
use std::path::Path;

/// Parts of one file that are on their way at a time.
const AT_ONCE: usize = 3;

/// The most parts of one file, a little less than servers take.
const MOST_PARTS: u64 = 9_000;

/// The bytes of a directory's files that are read or written at a time: nobody sees how far such a request has come.
const MOST_OF_DIRECTORY: u64 = 1 << 20;

/// An object as the remote lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectState {
    /// `None` of what is no file.
    pub size: Option<u64>,
    /// The words by which it is told from what lies there after it was replaced.
    pub version: String,
    /// When it was written, in seconds since 1970.
    pub modified: i64,
}

impl ObjectState {
    fn of(meta: &ObjectMeta) -> ObjectState {
        let version = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.timestamp_micros().to_string());
        ObjectState { size: Some(meta.size), version, modified: meta.last_modified.timestamp() }
    }

    fn no_file() -> ObjectState {
        ObjectState { size: None, version: "no file".to_owned(), modified: 0 }
    }
}

/// The end of reading an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Whole(ObjectState),
    /// It ended before the length that it said, or says that it is longer than it may be.
    Wrong(ObjectState),
}

impl Remote {
    /// An object as it is listed; `None` if there is none.
    pub(super) fn listed(&self, path: &ObjectPath) -> Result<Option<ObjectState>, RemoteFailure> {
        let listed = self.asked(Side::Read, |objects| async move {
            self.check_plain(path).await?;
            found(objects.head(path).await)
        });
        match listed {
            Err(RemoteFailure::NoFile) => Ok(Some(ObjectState::no_file())),
            listed => Ok(listed?.as_ref().map(ObjectState::of)),
        }
    }

    /// Reads an object piece by piece. `None` if there is none. The pieces are no more than `most` bytes together, whatever
    /// the remote says.
    pub(super) fn read(
        &self,
        path: &ObjectPath,
        most: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<Reading>> {
        let part = self.part();
        let (mut at, mut last): (u64, Option<ObjectState>) = (0, None);
        loop {
            let size = last.as_ref().and_then(|listed| listed.size).unwrap_or(u64::MAX);
            if let Some(listed) = last.take_if(|_| at >= size) {
                return Ok(Some(Reading::Whole(listed)));
            }
            let range = at..size.min(at + part);
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            let piece = self.asked(Side::Read, |objects| async move {
                self.check_plain(path).await?;
                let Some(got) = found(objects.get_opts(path, options).await)? else { return Ok(None) };
                let listed = ObjectState::of(&got.meta);
                Ok(Some((listed, got.bytes().await?)))
            });
            let piece = match piece {
                // A range of nothing cannot be asked for.
                Err(RemoteFailure::Unreadable) if at == 0 => match self.listed(path)? {
                    Some(listed) if listed.size == Some(0) => return Ok(Some(Reading::Whole(listed))),
                    _ => bail!(RemoteFailure::Unreadable),
                },
                Err(RemoteFailure::NoFile) => return Ok(Some(Reading::Wrong(ObjectState::no_file()))),
                piece => piece?,
            };
            let Some((listed, bytes)) = piece else { return Ok(None) };
            let size = listed.size.unwrap_or_default();
            if size > most || bytes.len() as u64 != range.end.min(size).saturating_sub(at) {
                return Ok(Some(Reading::Wrong(listed)));
            }
            take(&bytes)?;
            at += bytes.len() as u64;
            last = Some(listed);
        }
    }

    /// Reads an object into memory. `None` if there is none. The bytes of one that is wrong are none.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn bytes(&self, path: &ObjectPath, most: u64) -> Result<Option<(Vec<u8>, ObjectState)>> {
        let mut bytes = Vec::new();
        let read = self.read(path, most, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(read.map(|read| match read {
            Reading::Whole(listed) => (bytes, listed),
            Reading::Wrong(listed) => (Vec::new(), listed),
        }))
    }

    pub(super) fn put(&self, path: &ObjectPath, bytes: Vec<u8>) -> Result<(), RemoteFailure> {
        let payload = PutPayload::from(bytes);
        self.asked(Side::Write, |objects| async move {
            self.make_way(path).await?;
            objects.put(path, payload).await?;
            self.open_up(path).await
        })
    }

    /// Writes an object unless there is one. False if there is one, which may be this: an earlier try may have succeeded
    /// unheard.
    pub(super) fn create(&self, path: &ObjectPath, bytes: Vec<u8>) -> Result<bool, RemoteFailure> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes);
        self.asked(Side::Write, |objects| async move {
            self.make_way(path).await?;
            match objects.put_opts(path, payload, options).await {
                Ok(_) => self.open_up(path).await.map(|()| true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Writes a file of `size` bytes, in parts if it is large, as `next` gives them. An upload that fails is given up, so that
    /// its parts do not stay.
    pub(super) fn put_file(
        &self,
        path: &ObjectPath,
        size: u64,
        next: &mut dyn FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let part = self.part().max(size.div_ceil(MOST_PARTS));
        if size <= part {
            return Ok(self.put(path, next(size)?)?);
        }
        let mut upload = self.asked(Side::Write, |objects| async move {
            self.make_way(path).await?;
            objects.put_multipart(path).await
        })?;
        let mut sent = || -> Result<()> {
            let mut left = size;
            while left > 0 {
                let mut parts = Vec::new();
                while left > 0 && parts.len() < AT_ONCE {
                    let bytes = next(part.min(left))?;
                    left -= bytes.len() as u64;
                    parts.push(upload.put_part(PutPayload::from(bytes)));
                }
                self.asked(Side::Write, |_| try_join_all(parts))?;
            }
            self.asked(Side::Write, |_| async {
                upload.complete().await?;
                self.open_up(path).await
            })?;
            Ok(())
        };
        let sent = sent();
        if sent.is_err() {
            // What cannot be given up now, `gc --remote` finds.
            let _ = self.asked(Side::Write, |_| upload.abort());
        }
        sent
    }

    /// The bytes of one request.
    fn part(&self) -> u64 {
        let most = if self.settings.is_bucket() { u64::MAX } else { MOST_OF_DIRECTORY };
        self.settings.part_size.min(most)
    }

    async fn check_plain(&self, path: &ObjectPath) -> object_store::Result<()> {
        self.at_directory(path, |root, path| check_plain(root, path).map_err(of_directory)).await
    }

    async fn make_way(&self, path: &ObjectPath) -> object_store::Result<()> {
        self.at_directory(path, |root, path| make_parents(root, path).map_err(of_directory)).await
    }

    async fn open_up(&self, path: &ObjectPath) -> object_store::Result<()> {
        self.at_directory(path, |root, path| open_up(root, path).map_err(of_directory)).await
    }

    /// Does something beside a directory's object, which may wait for the disk; nothing where the remote is a bucket.
    async fn at_directory(
        &self,
        path: &ObjectPath,
        act: impl FnOnce(&Path, &ObjectPath) -> object_store::Result<()> + Send + 'static,
    ) -> object_store::Result<()> {
        let Address::Directory(root) = &self.settings.address else { return Ok(()) };
        let (root, path) = (root.clone(), path.clone());
        tokio::task::spawn_blocking(move || act(&root, &path)).await.map_err(of_directory)?
    }
}

fn found<T>(got: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match got {
        Ok(got) => Ok(Some(got)),
        // The absence of the bucket is none of the object.
        Err(error @ object_store::Error::NotFound { .. }) if RemoteFailure::of(&error) != RemoteFailure::NoPlace => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
