//! A remote: a bucket or a shared directory in which machines leave each other records and what they name.
//!
//! ```text
//! v1/blobs/ab/cd…           the bytes of one file, named by blake3
//! v1/trees/ab/cd….json      path → blob, size, executable bit, named by blake3
//! v1/actions/ab/cd….json    key → record, as in a store; written last, and only if there is none
//! ```
//!
//! Nothing that it gives is believed: every byte is hashed, or sealed with its key, before it gets a name in a store. No call
//! waits longer than a few times the time-out of its settings.

mod bucket;
mod credentials;
mod failure;
mod fetch;
mod http;
pub(crate) mod layout;
mod probe;
mod push;
mod settings;
#[cfg(test)]
mod tests;
mod uploads;

use crate::content::Content;
use anyhow::{Context, Result, bail};
pub use bucket::DeadUploads;
use credentials::Credentials;
pub use credentials::SECRETS;
use failure::Health;
pub use failure::RemoteFailure;
pub use fetch::{Answer, ForeignRecord};
use futures_util::future::try_join_all;
use http::HttpAgent;
use layout::TOP;
use object_store::{
    BackoffConfig, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path as ObjectPath, prefix::PrefixStore,
};
pub use probe::Probe;
pub use push::Push;
pub use settings::{Address, RemoteSettings};
use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// Parts of one file that are on their way at a time.
const AT_ONCE: usize = 3;

/// The most parts of one file, a little less than servers take.
const MOST_PARTS: u64 = 9_000;

/// The most bytes of an answer that is no part of a file: a list of a thousand names.
const LONGEST_ANSWER: u64 = 16 << 20;

/// A remote that is open. Several threads may ask at once.
#[derive(Debug)]
pub struct Remote {
    settings: RemoteSettings,
    objects: Arc<dyn ObjectStore>,
    /// The way to dead uploads, of a bucket.
    bucket: Option<bucket::Bucket>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    health: Health,
    /// Whether it has refused what was written.
    refuses_writes: AtomicBool,
    /// Names under which something else was found than the name says.
    damaged: Mutex<BTreeSet<String>>,
    /// Content that could not be had.
    lost: Mutex<BTreeSet<Content>>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A request that hangs keeps nobody waiting.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Remote {
    /// Opens a remote without asking it. `environment` has the keys of a bucket.
    ///
    /// # Errors
    /// There are no keys, or the directory is not there.
    pub fn open(settings: RemoteSettings, environment: &dyn Fn(&str) -> Option<String>) -> Result<Remote> {
        let open = || format!("open the remote {}", settings.address);
        let (objects, bucket): (Arc<dyn ObjectStore>, _) = match &settings.address {
            Address::Directory(path) => {
                if !path.is_dir() {
                    bail!("{}: there is no such directory; make it, and let those write who may share results", open());
                }
                (Arc::new(LocalFileSystem::new_with_prefix(path).with_context(open)?), None)
            }
            Address::Bucket { name, prefix } => {
                let found = Credentials::find(environment).with_context(open)?;
                let roots = match environment("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
                    Some(path) => {
                        Some(std::fs::read(&path).with_context(|| format!("read {path}")).with_context(open)?)
                    }
                    None => None,
                };
                let most = LONGEST_ANSWER.max(2 * settings.part_size);
                let agent = HttpAgent::new(settings.timeout, most, roots.as_deref());
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(name)
                    .with_region(&found.region)
                    .with_access_key_id(&found.key_id)
                    .with_secret_access_key(&found.secret)
                    .with_virtual_hosted_style_request(settings.endpoint.is_none())
                    // Not every server knows how to remove many at a time.
                    .with_disable_bulk_delete(true)
                    .with_retry(retries(settings.timeout))
                    .with_http_connector(agent.clone());
                if let Some(token) = &found.token {
                    builder = builder.with_token(token);
                }
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
                }
                let bucket = bucket::Bucket::new(agent, found, &settings, name, prefix);
                let objects = builder.build().with_context(open)?;
                (Arc::new(PrefixStore::new(objects, prefix.as_str())), Some(bucket))
            }
        };
        let runtime = Builder::new_current_thread().enable_time().build().with_context(open)?;
        Ok(Remote {
            settings,
            objects,
            bucket,
            runtime: Some(runtime),
            health: Health::default(),
            refuses_writes: AtomicBool::new(false),
            damaged: Mutex::default(),
            lost: Mutex::default(),
        })
    }

    pub fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// Whether it is not asked any more, after failures.
    pub fn is_left_alone(&self) -> bool {
        self.health.is_left_alone()
    }

    /// Whether a later run may write what this one could not.
    pub fn may_be_owed(&self) -> bool {
        !self.settings.is_read_only
    }

    /// Whether nothing is written to it: it is read only, or refused.
    pub fn takes_nothing(&self) -> bool {
        self.settings.is_read_only || self.refuses_writes.load(Ordering::Relaxed) || self.is_left_alone()
    }

    /// Asks whether it is there, by the shortest list.
    ///
    /// # Errors
    /// It did not say so.
    pub fn reach(&self) -> Result<(), RemoteFailure> {
        let prefix = ObjectPath::from(TOP);
        self.asked(async { self.objects.list_with_delimiter(Some(&prefix)).await.map(drop) })
    }

    /// Waits for an answer, and counts a failure.
    fn asked<T>(&self, question: impl Future<Output = object_store::Result<T>>) -> Result<T, RemoteFailure> {
        if self.is_left_alone() {
            return Err(RemoteFailure::LeftAlone);
        }
        // A second try may follow one that failed just before its time was over.
        let longest = self.settings.timeout * 2 + Duration::from_secs(1);
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let answered = runtime.block_on(async { tokio::time::timeout(longest, question).await });
        match answered {
            Ok(Ok(answer)) => {
                self.health.succeeded();
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.counted(RemoteFailure::of(&error), &error)),
            Err(_) => Err(self.failed(RemoteFailure::TimedOut)),
        }
    }

    /// Some errors are answers.
    fn counted(&self, failure: RemoteFailure, error: &object_store::Error) -> RemoteFailure {
        let is_answer = matches!(
            error,
            object_store::Error::NotFound { .. }
                | object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
        );
        if is_answer && failure != RemoteFailure::NoPlace {
            self.health.succeeded();
            return failure;
        }
        self.failed(failure)
    }

    fn failed(&self, failure: RemoteFailure) -> RemoteFailure {
        if self.health.failed(&failure) {
            self.warn(&format!("{failure}; it is left alone until the next run, and work is done here"));
        }
        failure
    }

    /// Says something about this remote, once.
    fn warn(&self, text: &str) {
        if self.health.is_new(text) {
            tracing::warn!("the remote {}: {text}", self.settings.address);
        }
    }

    /// Says what it did while it was asked for something; not again what was said when it was left alone.
    fn warn_of(&self, failure: &RemoteFailure, act: &str) {
        if *failure != RemoteFailure::LeftAlone && !self.is_left_alone() && self.health.is_new(&failure.to_string()) {
            self.warn(&format!("{act}: {failure}"));
        }
    }

    /// The length of an object; `None` if there is none.
    fn length(&self, path: &ObjectPath) -> Result<Option<u64>, RemoteFailure> {
        self.asked(async { found(self.objects.head(path).await) }).map(|meta| meta.map(|meta| meta.size))
    }

    /// Reads an object piece by piece. `None` if there is none. The pieces are no more than `most` bytes together, whatever
    /// the remote says.
    fn read(
        &self,
        path: &ObjectPath,
        most: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<Reading>, anyhow::Error> {
        let part = self.settings.part_size;
        let (mut at, mut size) = (0, u64::MAX);
        while at < size {
            let range = at..size.min(at + part);
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            let piece = self.asked(async {
                let Some(got) = found(self.objects.get_opts(path, options).await)? else { return Ok(None) };
                let size = got.meta.size;
                Ok(Some((size, got.bytes().await?)))
            });
            let piece = match piece {
                // A range of nothing cannot be asked for.
                Err(RemoteFailure::Unreadable) if at == 0 && matches!(self.length(path), Ok(Some(0))) => {
                    return Ok(Some(Reading::Whole));
                }
                piece => piece?,
            };
            let Some((now, bytes)) = piece else { return Ok(None) };
            if now > most {
                return Ok(Some(Reading::TooLong(now)));
            }
            size = now;
            if bytes.len() as u64 != range.end.min(size).saturating_sub(at) {
                return Ok(Some(Reading::Short));
            }
            take(&bytes)?;
            at += bytes.len() as u64;
        }
        Ok(Some(Reading::Whole))
    }

    /// Reads an object into memory. `None` if there is none.
    ///
    /// # Errors
    /// It failed, or is longer than `most`.
    fn bytes(&self, path: &ObjectPath, most: u64) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let read = self.read(path, most, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        match read {
            None => Ok(None),
            Some(Reading::Whole | Reading::Short) => Ok(Some(bytes)),
            Some(Reading::TooLong(size)) => bail!("it has {size} bytes, which is too much"),
        }
    }

    fn put(&self, path: &ObjectPath, bytes: Vec<u8>) -> Result<(), RemoteFailure> {
        let payload = PutPayload::from(bytes);
        self.wrote(self.asked(async { self.objects.put(path, payload).await.map(drop) }))
    }

    /// Writes an object unless there is one. False if there is one, which may be this: an earlier try may have succeeded
    /// unheard.
    fn create(&self, path: &ObjectPath, bytes: Vec<u8>) -> Result<bool, RemoteFailure> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes);
        self.wrote(self.asked(async {
            match self.objects.put_opts(path, payload, options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        }))
    }

    /// Writes a file of `size` bytes in parts, as `next` gives them. An upload that fails is given up, so that its parts do
    /// not stay.
    fn put_parts(&self, path: &ObjectPath, size: u64, next: &mut dyn FnMut(u64) -> Result<Vec<u8>>) -> Result<()> {
        let part = self.settings.part_size.max(size.div_ceil(MOST_PARTS));
        let mut upload = self.wrote(self.asked(self.objects.put_multipart(path)))?;
        let mut sent = || -> Result<()> {
            let mut left = size;
            while left > 0 {
                let mut parts = Vec::new();
                while left > 0 && parts.len() < AT_ONCE {
                    let bytes = next(part.min(left))?;
                    left -= bytes.len() as u64;
                    parts.push(upload.put_part(PutPayload::from(bytes)));
                }
                self.wrote(self.asked(try_join_all(parts)))?;
            }
            self.wrote(self.asked(upload.complete()))?;
            Ok(())
        };
        let sent = sent();
        if sent.is_err() {
            // What cannot be given up now, `gc --remote` finds.
            let _ = self.asked(upload.abort());
        }
        sent
    }

    /// Remembers that it refuses what is written.
    fn wrote<T>(&self, written: Result<T, RemoteFailure>) -> Result<T, RemoteFailure> {
        if let Err(failure @ (RemoteFailure::Refused(_) | RemoteFailure::WrongClock)) = &written {
            self.warn(&format!(
                "write to it: {failure}; nothing more is pushed (`mode: read-only` where that is meant)"
            ));
            self.refuses_writes.store(true, Ordering::Relaxed);
            // Others may read nevertheless.
            self.health.succeeded();
        }
        written
    }

    fn is_damaged(&self, path: &ObjectPath) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(path.as_ref())
    }

    fn set_damaged(&self, path: &ObjectPath, is_damaged: bool) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        match is_damaged {
            true => damaged.insert(path.to_string()),
            false => damaged.remove(path.as_ref()),
        };
    }
}

/// The end of reading an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Whole,
    /// It ended before the length that it said.
    Short,
    /// It says that it is longer than it may be.
    TooLong(u64),
}

/// Quick failures are tried again within the time of one request; a silence is not.
fn retries(timeout: Duration) -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 3, retry_timeout: timeout }
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
