//! Questions to an endpoint: each is looked for among the replies that are there before it is sent; what comes is kept before
//! it is read.

use super::endpoint::Endpoint;
use super::reading::{Reading, ReplyForm};
use super::replies::{self, ReplyFolder, ServerReply, Usage};
use super::traffic::{Admission, LONGEST_PAUSE, OpenRequest, RequestTraffic, SpendingBook};
use crate::secret::Secrets;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Somebody who asks an endpoint.
pub struct Asker<'a> {
    endpoint: &'a Endpoint,
    secrets: Arc<Secrets>,
    folder: ReplyFolder,
    traffic: RequestTraffic,
    agent: Agent,
}

/// A question, and the form of its reply.
pub struct JudgeQuestion<'a> {
    pub text: String,
    pub form: ReplyForm<'a>,
    pub sample: u32,
}

/// The end of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct HeardReply {
    /// The reading, or all that was written in the place of one.
    pub reading: Result<Reading, String>,
    pub at: String,
    /// The model that the server says it was.
    pub model: Option<String>,
}

/// The largest body that is read.
const MOST: u64 = 4 << 20;
/// The times that a request is sent again after a failure that may pass.
const RETRIES: u32 = 6;
/// The times that a judge is asked again after a reply that cannot be read.
const AGAIN: usize = 2;
/// The first pause between two tries; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest part of a reply that the judge is shown again, and that of an error that people are shown.
const SHOWN: usize = 2000;

impl<'a> Asker<'a> {
    /// `folder` has the replies, and `action` names the book of what was spent.
    ///
    /// # Errors
    /// The folder or the book cannot be read.
    pub fn open(endpoint: &'a Endpoint, secrets: Arc<Secrets>, folder: &Path, action: &str) -> Result<Asker<'a>> {
        let folder = ReplyFolder::open(folder)?;
        let book = SpendingBook::open(&folder.book(action), endpoint.budget)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(endpoint.timeout)))
            .build();
        Ok(Asker { endpoint, secrets, folder, traffic: RequestTraffic::of(endpoint, book), agent: config.into() })
    }

    /// Asks all questions, as many at once as may be. A question that was not asked, since the budget is spent, is `None`.
    ///
    /// # Errors
    /// The server refuses, a reply is missing and nobody is to be asked, or a file cannot be written. What came until then is
    /// kept.
    pub fn ask(
        &self,
        questions: &[JudgeQuestion],
        mut each: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Option<HeardReply>>> {
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let heard: Mutex<Vec<Option<HeardReply>>> = Mutex::new(vec![None; questions.len()]);
        let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
        let work = |told: mpsc::Sender<()>| {
            while !is_over.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(question) = questions.get(at) else { break };
                match self.hear(question) {
                    Ok(Some(reply)) => heard.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(reply),
                    // What is there already costs nothing: the others are still looked for.
                    Ok(None) => {}
                    Err(error) => {
                        is_over.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
                let _ = told.send(());
            }
        };
        std::thread::scope(|scope| {
            let (told, telling) = mpsc::channel();
            for _ in 0..self.endpoint.parallel.min(questions.len()) {
                let told = told.clone();
                scope.spawn(|| work(told));
            }
            drop(told);
            let said = telling.iter().enumerate().try_for_each(|(done, ())| each(done + 1));
            if said.is_err() {
                is_over.store(true, Ordering::Relaxed);
            }
            said
        })?;
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(heard.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// The reply to one question; after one that cannot be read the judge is told so, and asked again.
    fn hear(&self, question: &JudgeQuestion) -> Result<Option<HeardReply>> {
        let JudgeQuestion { text, form, sample } = question;
        let mut messages = vec![json!({"role": "user", "content": text})];
        let mut tries = 0;
        loop {
            let Some(reply) = self.reply(&messages, &form.schema(), *sample)? else { return Ok(None) };
            let written = reply.text().unwrap_or_default();
            let reading = form.read(&written);
            if reading.is_ok() || tries == AGAIN {
                let reading = reading.map_err(|_| if written.is_empty() { reply.body.clone() } else { written });
                return Ok(Some(HeardReply { reading, model: reply.model(), at: reply.at }));
            }
            let fault = reading.err().unwrap_or_default();
            messages.push(json!({"role": "assistant", "content": shortened(&written)}));
            let again = format!(
                "That cannot be read: {fault}. Reply with the one JSON object that was asked for, and nothing else."
            );
            messages.push(json!({"role": "user", "content": again}));
            tries += 1;
        }
    }

    /// A reply that is there, or a new one; `None` if the budget is spent.
    fn reply(&self, messages: &[Value], schema: &Value, sample: u32) -> Result<Option<ServerReply>> {
        let body = self.endpoint.body(messages, schema);
        let request = json!({"url": self.endpoint.address(), "body": body, "nth": sample});
        let name = replies::name(&request);
        if let Some(reply) = self.folder.find(&name)? {
            return Ok(Some(reply));
        }
        if self.endpoint.offline {
            bail!(
                "ask {}: `offline` asks nobody, and there is no reply to the request {}, which begins: {}",
                self.endpoint.host(),
                &name[..12],
                shortened(messages[0]["content"].as_str().unwrap_or_default()).chars().take(80).collect::<String>()
            );
        }
        let began = Instant::now();
        let Some(body) = self.send(&request["body"].to_string())? else { return Ok(None) };
        let body = self.secrets.redacted(&body);
        let reply = ServerReply { request, body, at: replies::now(), seconds: began.elapsed().as_secs_f64() };
        self.folder.keep(&name, &reply)?;
        Ok(Some(reply))
    }

    /// Sends a request until it is answered; `None` if the budget is spent.
    fn send(&self, body: &str) -> Result<Option<String>> {
        // A token is a byte at least.
        let most = Usage { prompt_tokens: body.len() as u64, completion_tokens: self.endpoint.max_tokens };
        let mut tries = 0;
        loop {
            let request = match self.traffic.admit(most)? {
                Admission::Open(request) => request,
                Admission::Spent => return Ok(None),
            };
            let fault = match self.post(body) {
                Ok(ServerAnswer { status: 200..300, body, .. }) => {
                    let reply = ServerReply { request: Value::Null, body, at: String::new(), seconds: 0.0 };
                    self.traffic.answered(request, most, reply.usage())?;
                    return Ok(Some(reply.body));
                }
                Ok(posted) => self.refusal(&request, most, posted)?,
                Err(error) => {
                    self.traffic.failed();
                    Fault { what: error.to_string(), pause: None }
                }
            };
            if tries == RETRIES {
                bail!("ask {}: {} ({} tries)", self.endpoint.host(), fault.what, tries + 1);
            }
            let pause = fault.pause.unwrap_or_else(|| PAUSE * 2_u32.pow(tries)).min(LONGEST_PAUSE);
            std::thread::sleep(pause.mul_f64(1.0 + 0.5 * jitter()));
            tries += 1;
        }
    }

    /// A refusal that may pass; another one is an error in the words of the server.
    fn refusal(&self, request: &OpenRequest, most: Usage, posted: ServerAnswer) -> Result<Fault> {
        let ServerAnswer { status, body, pause } = posted;
        let host = self.endpoint.host();
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
        let mut request = self.agent.post(self.endpoint.address()).header("content-type", "application/json");
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
        let read = response.body_mut().with_config().limit(MOST).read_to_vec();
        let body = match read {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // It is kept as one that says nothing.
            Err(ureq::Error::BodyExceedsLimit(_)) => String::new(),
            Err(error) => bail!("{error}"),
        };
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

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The number of replies of each model, as the server names it.
pub fn models<'a>(heard: impl Iterator<Item = &'a HeardReply>) -> BTreeMap<String, usize> {
    let mut models = BTreeMap::new();
    for model in heard.filter_map(|reply| reply.model.clone()) {
        *models.entry(model).or_default() += 1;
    }
    models
}
