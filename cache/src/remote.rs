//! A remote: a bucket or a shared directory in which machines leave each other records and what they name.
//!
//! ```text
//! v1/blobs/ab/cd…           the bytes of one file, named by blake3
//! v1/trees/ab/cd….json      path → blob, size, executable bit, named by blake3
//! v1/actions/ab/cd….json    key → record, as in a store; written last, and only if there is none
//! ```
//!
//! Nothing that it gives is believed: every byte is hashed, or sealed with its key, before it gets a name in a store. Nobody
//! waits for a remote that does not answer longer than a few times the time-out of its settings, in all.

mod bucket;
mod client;
mod credentials;
mod failure;
mod fetch;
mod health;
mod http;
pub(crate) mod layout;
mod notes;
mod parallel;
mod probe;
mod push;
mod settings;
#[cfg(test)]
mod tests;
mod transfer;
mod uploads;

use crate::{content::Content, digest::Digest};
use anyhow::{Context, Result};
pub use bucket::DeadUploads;
use client::{Client, Origin};
pub use credentials::SECRETS;
pub use failure::RemoteFailure;
pub use fetch::{Answer, ForeignRecord};
use health::{Health, Side};
use layout::TOP;
use object_store::{ObjectStore, path::Path as ObjectPath};
pub use probe::Probe;
pub use push::Push;
pub use settings::{Address, RemoteSettings};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};
use tokio::runtime::{Builder, Runtime};

/// A remote. It is opened when it is first asked; several threads may ask at once.
#[derive(Debug)]
pub struct Remote {
    settings: RemoteSettings,
    origin: Arc<Origin>,
    client: Arc<OnceLock<Client>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    health: Health,
    learnt: Mutex<Learnt>,
}

/// Knowledge of a remote that this process has got.
#[derive(Debug, Default)]
struct Learnt {
    /// The records that it gave, as they are kept.
    records: BTreeMap<Digest, Vec<u8>>,
    /// The lengths that records tell of files.
    lengths: BTreeMap<Digest, u64>,
    /// The versions of objects in which something else was found than the name says.
    damaged: BTreeMap<String, String>,
    /// Content that could not be had.
    lost: BTreeSet<Content>,
    /// Whether the store has a directory for what it remembers.
    is_noted: bool,
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A request that hangs keeps nobody waiting.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Remote {
    /// Makes a remote without asking it. `environment` has the keys of a bucket.
    ///
    /// # Errors
    /// There are no keys.
    pub fn open(settings: RemoteSettings, environment: &dyn Fn(&str) -> Option<String>) -> Result<Remote> {
        let open = || format!("open the remote {}", settings.address);
        let origin = Arc::new(Origin::find(&settings, environment).with_context(open)?);
        let runtime = Some(Builder::new_current_thread().enable_time().build().with_context(open)?);
        let health = Health::new(settings.timeout);
        Ok(Remote { settings, origin, client: Arc::default(), runtime, health, learnt: Mutex::default() })
    }

    pub fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// Whether it is not asked any more, after failures.
    pub fn is_left_alone(&self) -> bool {
        self.health.is_left_alone(Side::Read)
    }

    /// Whether a later run may write what this one could not.
    pub fn may_be_owed(&self) -> bool {
        !self.settings.is_read_only
    }

    /// Whether nothing is written to it: it is read only, or did not take what was written.
    pub fn takes_nothing(&self) -> bool {
        self.settings.is_read_only || self.health.is_left_alone(Side::Write) || self.is_left_alone()
    }

    /// Asks whether it is there, by the shortest list.
    ///
    /// # Errors
    /// It did not say so.
    pub fn reach(&self) -> Result<(), RemoteFailure> {
        let prefix = ObjectPath::from(TOP);
        self.asked(Side::Read, |objects| async move { objects.list_with_delimiter(Some(&prefix)).await.map(drop) })
    }

    /// Waits for an answer as long as bytes go, and counts a failure.
    fn asked<T, F>(&self, side: Side, question: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> Result<T, RemoteFailure>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let Some((pace, patience)) = self.health.begin(side) else { return Err(RemoteFailure::LeftAlone) };
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let question = async { question(self.opened().await?.objects).await };
        let answered = runtime.block_on(http::PACE.scope(pace.clone(), async {
            let mut question = pin!(question);
            loop {
                let end = pace.end(patience);
                match tokio::time::timeout_at(end.into(), &mut question).await {
                    Err(_) if Instant::now() < pace.end(patience) => {}
                    answered => return answered.ok(),
                }
            }
        }));
        let failure = match answered {
            Some(Ok(answer)) => {
                self.health.answered(side, &pace);
                return Ok(answer);
            }
            Some(Err(error)) => {
                let failure = RemoteFailure::of(&error);
                if is_answer(&error, &failure) {
                    self.health.answered(side, &pace);
                    return Err(failure);
                }
                failure
            }
            None => RemoteFailure::TimedOut,
        };
        let is_left_alone = self.health.failed(side, &pace, patience, &failure);
        if side == Side::Write && failure.forbids_writing() {
            // One such answer is enough, and says nothing about reading.
            if self.health.leave_alone(Side::Write) || is_left_alone {
                self.health.is_new(&failure.cause());
                self.warn(&format!(
                    "write to it: {failure}; nothing more is pushed by this run (`mode: read-only` where that is meant)"
                ));
            }
        } else if is_left_alone {
            self.warn_of_end(&failure);
        }
        Err(failure)
    }

    /// Says that it is left alone; not again why.
    fn warn_of_end(&self, failure: &RemoteFailure) {
        let is_new = self.health.is_new(&failure.cause());
        // The end of a run says what was not pushed.
        if !is_new && !self.is_left_alone() {
            return;
        }
        let why = if is_new { format!("{failure}; it") } else { "it".to_owned() };
        let end = match self.is_left_alone() {
            true => "is left alone until the next run, and work is done here",
            false => "gets nothing more until the next run",
        };
        self.warn(&format!("{why} {end}"));
    }

    async fn opened(&self) -> object_store::Result<Client> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let (origin, settings, client) = (self.origin.clone(), self.settings.clone(), self.client.clone());
        // A directory may be one of a server that does not answer.
        let made = tokio::task::spawn_blocking(move || {
            let made = origin.client(&settings)?;
            Ok(client.get_or_init(|| made).clone())
        });
        made.await.map_err(client::of_directory)?
    }

    /// The client; it is made if it is not there.
    fn client(&self) -> Result<Client, RemoteFailure> {
        self.asked(Side::Read, |_| self.opened())
    }

    /// Says something about this remote, once.
    fn warn(&self, text: &str) {
        if self.health.is_new(text) {
            tracing::warn!("the remote {}: {text}", self.settings.address);
        }
    }

    /// Says what it did while it was asked for something, once for each cause.
    fn warn_of(&self, failure: &RemoteFailure, act: &str) {
        if *failure != RemoteFailure::LeftAlone && self.health.is_new(&failure.cause()) {
            self.warn(&format!("{act}: {failure}"));
        }
    }

    /// Says something about a cause, once whatever the text.
    pub fn warn_once(&self, cause: &str, text: &str) {
        if self.health.is_new(cause) {
            tracing::warn!("the remote {}: {text} (told once)", self.settings.address);
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_lost(&self, content: &Content) -> bool {
        self.learnt().lost.contains(content)
    }

    /// The number of contents that could not be had.
    pub fn lost_count(&self) -> usize {
        self.learnt().lost.len()
    }

    fn set_lost(&self, content: &Content) {
        self.learnt().lost.insert(content.clone());
    }
}

/// Some errors are answers to what was asked.
fn is_answer(error: &object_store::Error, failure: &RemoteFailure) -> bool {
    let is_said = matches!(
        error,
        object_store::Error::NotFound { .. }
            | object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. }
    );
    (is_said && *failure != RemoteFailure::NoPlace) || *failure == RemoteFailure::NoFile
}
