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
            let answers = self.traffic.answers();
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
                        Fault { what: format!("it answers {status} with {fault}: {said}"), pause, is_of_all: false }
                    }
                },
                // One that will not pass is the end for all: who waits for room is told so.
                Ok(posted) => {
                    self.refusal(&request, most, posted).inspect_err(|error| self.close(&format!("{error:#}")))?
                }
                Err(error) => {
                    self.traffic.failed();
                    Fault { what: error.to_string(), pause: None, is_of_all: false }
                }
            };
            if tries == RETRIES {
                let reason = format!("ask {}: {} ({} tries)", self.host, fault.what, tries + 1);
                self.close(&reason);
                bail!(reason);
            }
            let pause = fault.pause.unwrap_or_else(|| PAUSE * 2_u32.pow(tries)).min(LONGEST_PAUSE);
            self.traffic.pause(pause.mul_f64(1.0 + 0.5 * jitter()))?;
            // A server that answers others meanwhile refuses by how many there are, and will come to this one.
            tries += u32::from(!fault.is_of_all || self.traffic.answers() == answers);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.traffic.is_closed()
    }

    /// Sends nothing more, for this reason. What is on its way is waited for.
    pub fn close(&self, reason: &str) {
        self.traffic.close(reason);
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
                Ok(Fault { what: format!("it answers {status}: {said}"), pause, is_of_all: true })
            }
            408 | 409 | 425 | 500.. => {
                self.traffic.failed();
                Ok(Fault { what: format!("it answers {status}: {said}"), pause, is_of_all: false })
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
        let asked = response.headers().get("retry-after").and_then(|asked| asked.to_str().ok());
        let pause = asked.and_then(|asked| pause(asked.trim(), jiff::Timestamp::now()));
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

/// The pause of `Retry-After`: seconds, or the date at which it ends (RFC 9110, 10.2.3).
fn pause(asked: &str, now: jiff::Timestamp) -> Option<Duration> {
    let seconds = match asked.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => (jiff::fmt::rfc2822::parse(asked).ok()?.timestamp() - now).total(jiff::Unit::Second).ok()?.max(0.0),
    };
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)))
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
    /// It is about how many requests there are, and not about this one.
    is_of_all: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_for_a_pause_in_seconds_or_by_a_date() {
        let now = "2015-10-21T07:27:50Z".parse().unwrap();
        let seconds = |asked: &str| pause(asked, now).map(|pause| pause.as_secs_f64());
        assert_eq!(seconds("120"), Some(120.0));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(10.0));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:27:00 GMT"), Some(0.0));
        for wrong in ["-1", "soon", "", "NaN"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
