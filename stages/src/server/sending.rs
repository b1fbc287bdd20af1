//! Requests to one server, each sent until it is answered.

use super::ServerSettings;
use super::Usage;
use super::traffic::{Admission, LONGEST_PAUSE, OpenRequest, RequestTraffic, SpendingBook};
use crate::secret::Secrets;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;

/// Somebody who sends requests to a server. Threads share it.
pub struct Sender {
    address: String,
    host: String,
    secrets: Arc<Secrets>,
    traffic: RequestTraffic,
    agent: Agent,
}

/// The largest body that is read.
const MOST: u64 = 4 << 20;
/// The field in the place of a body that is longer: its beginning. What would come again as long is not asked for again.
pub const CUT: &str = "cut";
/// The times that a request is sent again after a failure that may pass.
const RETRIES: u32 = 6;
/// The first pause between two tries; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest part of a text of others that is shown.
const SHOWN: usize = 2000;

impl Sender {
    /// `book` is the file of what was spent. The first of `secrets` is the key of the server.
    ///
    /// # Errors
    /// The book cannot be read.
    pub fn open(settings: &ServerSettings, secrets: Arc<Secrets>, book: &Path) -> Result<Sender> {
        let book = SpendingBook::open(book, settings.budget)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(settings.timeout)));
        // A proxy of the environment would read what is not encrypted, the key with it.
        let config = match settings.url.starts_with("https://") {
            true => config.build(),
            false => config.proxy(None).build(),
        };
        Ok(Sender {
            address: settings.url.clone(),
            host: super::host(&settings.url).to_owned(),
            secrets,
            traffic: RequestTraffic::of(settings, book),
            agent: config.into(),
        })
    }

    /// The server, as people are told it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request of JSON until it is answered, and gives the body of the answer, without any secret in it; `None` if the
    /// budget is spent. `most` is what it may take at most. `read` says what an answer took, where that is told, or why it is
    /// none whatever its status: such a one may pass, and is asked for again.
    ///
    /// # Errors
    /// The server refuses, or fails too often.
    pub fn send(
        &self,
        body: &str,
        most: Usage,
        read: impl Fn(&str) -> Result<Option<Usage>, String>,
    ) -> Result<Option<String>> {
        let mut tries = 0;
        loop {
            let request = match self.traffic.admit(most)? {
                Admission::Open(request) => request,
                Admission::Spent => return Ok(None),
            };
            let fault = match self.post(body) {
                Ok(ServerAnswer { status: status @ 200..300, body, pause }) => match read(&body) {
                    Ok(usage) => {
                        self.traffic.answered(request, most, usage)?;
                        return Ok(Some(self.secrets.redacted(&body)));
                    }
                    Err(fault) => {
                        // It may have been paid for.
                        self.traffic.failed();
                        let said = shortened(&self.secrets.redacted(&body));
                        let said = if said.is_empty() { "nothing".to_owned() } else { said };
                        Fault { what: format!("it answers {status} with {fault}: {said}"), pause }
                    }
                },
                // One that will not pass is the end for all: who waits for room is told so.
                Ok(posted) => self.refusal(&request, most, posted).inspect_err(|_| self.traffic.close())?,
                Err(error) => {
                    self.traffic.failed();
                    Fault { what: error.to_string(), pause: None }
                }
            };
            if tries == RETRIES {
                self.traffic.close();
                bail!("ask {}: {} ({} tries)", self.host, fault.what, tries + 1);
            }
            let pause = fault.pause.unwrap_or_else(|| PAUSE * 2_u32.pow(tries)).min(LONGEST_PAUSE);
            std::thread::sleep(pause.mul_f64(1.0 + 0.5 * jitter()));
            tries += 1;
        }
    }

    /// A refusal that may pass; another one is an error in the words of the server.
    fn refusal(&self, request: &OpenRequest, most: Usage, posted: ServerAnswer) -> Result<Fault> {
        let ServerAnswer { status, body, pause } = posted;
        let host = &self.host;
        // First redacted: of a key that is cut, no part would be known.
        let said = shortened(&self.secrets.redacted(&body));
        match status {
            429 | 503 => {
                self.traffic.refused(request, most, pause)?;
                Ok(Fault { what: format!("it answers {status}: {said}"), pause })
            }
            408 | 409 | 425 | 500.. => {
                self.traffic.failed();
                Ok(Fault { what: format!("it answers {status}: {said}"), pause })
            }
            300..=399 => Err(anyhow!(
                "ask {host}: it answers {status}, and no redirect is followed: write the address where it leads"
            )),
            401 | 403 if self.secrets.is_empty() => Err(anyhow!(
                "ask {host}: it answers {status}: {said}; name the variable with its key: `secret: [NAME]`"
            )),
            _ => Err(anyhow!("ask {host}: it answers {status}: {said}")),
        }
    }

    fn post(&self, body: &str) -> Result<ServerAnswer> {
        let mut request = self.agent.post(&self.address).header("content-type", "application/json");
        if let Some((_, key)) = self.secrets.variables().next() {
            let key = key.to_str().context("the key is no text")?;
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|error| anyhow!("{error}"))?;
        let status = response.status().as_u16();
        let named = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
        let pause = named("retry-after")
            .filter(|seconds| *seconds >= 0.0)
            .map(|seconds| Duration::from_secs_f64(seconds.min(1e6)));
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(MOST + 1).read_to_end(&mut bytes);
        read.map_err(|error| anyhow!("{error}"))?;
        let body = String::from_utf8_lossy(&bytes).into_owned();
        // First redacted: of a key that is cut, no part would be known.
        let is_cut = bytes.len() as u64 > MOST;
        let body = if is_cut { json!({CUT: shortened(&self.secrets.redacted(&body))}).to_string() } else { body };
        Ok(ServerAnswer { status, body, pause })
    }
}

/// An answer of a server.
struct ServerAnswer {
    status: u16,
    body: String,
    /// The pause that it asks for.
    pause: Option<Duration>,
}

/// A failure that may pass.
struct Fault {
    what: String,
    pause: Option<Duration>,
}

/// A number in [0, 1) that differs from thread to thread.
fn jitter() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The beginning of a text of others, of a length that people and judges may be shown.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
