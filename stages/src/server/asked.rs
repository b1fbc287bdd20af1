//! A server whose replies are kept: each request is looked for among them before it is sent, what comes is kept before anybody
//! reads it, and of several that ask the same at the same moment one pays.

use super::replies::{self, ReplyFolder, ServerReply};
use super::sending::{Sender, shortened};
use super::{ServerSettings, Usage, host};
use crate::secret::Secrets;
use anyhow::{Result, bail};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A server, and the folder of its replies. Threads share it.
pub struct AskedServer {
    host: String,
    folder: ReplyFolder,
    /// `None` where nobody is to be asked.
    sender: Option<Sender>,
}

/// A request of JSON.
pub struct ServerRequest<'a> {
    /// The name that it is known by: the address, the `body` that is sent, and whatever else tells one request from another.
    pub known_by: Value,
    /// The most that it may take.
    pub most: Usage,
    /// The beginning of the question, as people are told it.
    pub about: &'a str,
}

impl AskedServer {
    /// `folder` has the replies, and `book` names what was spent on the same work, of whatever stage or run.
    ///
    /// # Errors
    /// The folder or the book cannot be read.
    pub fn open(
        settings: &ServerSettings,
        is_offline: bool,
        secrets: Arc<Secrets>,
        folder: &Path,
        book: &str,
    ) -> Result<AskedServer> {
        let folder = ReplyFolder::open(folder)?;
        let sender = || Sender::open(settings, secrets, &folder.book(book));
        let sender = if is_offline { None } else { Some(sender()?) };
        Ok(AskedServer { host: host(&settings.url).to_owned(), folder, sender })
    }

    /// The server, as people are told it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends nothing more, for this reason. What is on its way is waited for, and kept.
    pub fn close(&self, reason: &str) {
        self.sender.iter().for_each(|sender| sender.close(reason));
    }

    /// A reply that is there, or a new one; `None` if the budget is spent. `counts` says whether one that is there counts; `read` is
    /// that of [`Sender::send`].
    ///
    /// # Errors
    /// The server refuses, a reply is missing and nobody is to be asked, or a file cannot be written.
    pub fn reply(
        &self,
        request: ServerRequest,
        counts: impl Fn(&str) -> bool,
        read: impl Fn(&str) -> Result<Option<Usage>, String>,
    ) -> Result<Option<ServerReply>> {
        let ServerRequest { known_by, most, about } = request;
        let name = replies::name(&known_by);
        // What is no answer was kept in earlier times.
        let find = || {
            let found = self.folder.find(&name)?;
            anyhow::Ok(found.filter(|reply| read(&reply.body).is_ok() && counts(&reply.body)))
        };
        if let Some(reply) = find()? {
            return Ok(Some(reply));
        }
        let Some(sender) = &self.sender else {
            bail!(
                "ask {}: `offline` asks nobody, and there is no reply to the request {}, which begins: {}",
                self.host,
                &name[..12],
                shortened(about).chars().take(80).collect::<String>()
            );
        };
        let Some(_claim) = self.folder.claim(&name, &|| sender.is_closed())? else {
            bail!("ask {}: it was given up", self.host)
        };
        if let Some(reply) = find()? {
            return Ok(Some(reply));
        }
        let began = Instant::now();
        let Some(body) = sender.send(&known_by["body"].to_string(), most, &read)? else { return Ok(None) };
        let seconds = began.elapsed().as_secs_f64();
        let reply = ServerReply { request: known_by, body, at: replies::now(), seconds };
        self.folder.keep(&name, &reply)?;
        Ok(Some(reply))
    }
}
