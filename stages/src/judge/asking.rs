//! Questions to an endpoint, and what counts of its replies.

use super::completion;
use super::endpoint::Endpoint;
use super::reading::{Reading, ReplyForm};
use crate::secret::Secrets;
use crate::server::asked::{AskedServer, ServerRequest};
use crate::server::replies::{self, ReplyFolder};
use crate::server::sending::shortened;
use crate::server::traffic::SpendingBook;
use crate::server::{Usage, together};
use crate::stage::AskedTotals;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Somebody who asks an endpoint.
pub struct Asker<'a> {
    endpoint: &'a Endpoint,
    server: AskedServer,
    /// Whether replies that are kept and cannot be read are asked for anew.
    is_forced: bool,
    /// The number of questions whose reply cannot be read, and what was wrong with the first of them.
    lost: AtomicUsize,
    first_lost: Mutex<Option<String>>,
}

/// A question, and the form of its reply.
pub struct JudgeQuestion<'a> {
    /// The id of the row that it is about, as people are told it.
    pub row: &'a str,
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

/// The times that a judge is asked again after a reply that cannot be read.
const AGAIN: usize = 2;

impl<'a> Asker<'a> {
    /// `folder` has the replies, and the book of what was spent on these questions, of whatever stage or run.
    ///
    /// # Errors
    /// The folder or the book cannot be read.
    pub fn open(
        endpoint: &'a Endpoint,
        secrets: Arc<Secrets>,
        folder: &Path,
        questions: &[JudgeQuestion],
    ) -> Result<Asker<'a>> {
        let (settings, book) = (endpoint.settings(), book(endpoint, questions));
        let server = AskedServer::open(&settings, endpoint.offline, secrets, folder, &book)?;
        Ok(Asker { endpoint, server, is_forced: false, lost: AtomicUsize::new(0), first_lost: Mutex::default() })
    }

    /// The same, for a person who wants replies anew that are kept and cannot be read.
    pub fn forced(self, is_forced: bool) -> Asker<'a> {
        Asker { is_forced, ..self }
    }

    /// The number of questions whose reply cannot be read so far.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// The first reply that cannot be read: its row, the reason, and its beginning.
    pub fn first_lost(&self) -> Option<String> {
        self.first_lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server, as people are told it.
    pub fn host(&self) -> &str {
        self.server.host()
    }

    /// Asks all questions, as many at once as may be. A question that was not asked, since the budget is spent, is `None`.
    ///
    /// # Errors
    /// The server refuses, a reply is missing and nobody is to be asked, a file cannot be written, or `each` fails. What came
    /// until then is kept, and what is on its way.
    pub fn ask(
        &self,
        questions: &[JudgeQuestion],
        mut each: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Option<HeardReply>>> {
        let each = |done| each(done).inspect_err(|error| self.server.close(&error.to_string()));
        // What is there already costs nothing: it is looked for even when the budget is spent.
        together::all(self.endpoint.parallel, questions, |question| self.hear(question), each)
    }

    /// The reply to one question; after one that cannot be read the judge is told so, and asked again.
    fn hear(&self, question: &JudgeQuestion) -> Result<Option<HeardReply>> {
        let JudgeQuestion { row, text, form, sample } = question;
        let mut messages = vec![json!({"role": "user", "content": text})];
        let mut tries = 0;
        loop {
            let is_readable = |body: &str| form.read(&completion::text(body).unwrap_or_default()).is_ok();
            let reply = self.server.reply(
                request(self.endpoint, &messages, &form.schema(), *sample),
                |kept| !self.is_forced || is_readable(kept),
                completion::read,
            );
            let reply = reply.with_context(|| format!("judge row `{row}`"))?;
            let Some(reply) = reply else { return Ok(None) };
            let written = completion::text(&reply.body).unwrap_or_default();
            let reading = form.read(&written);
            if reading.is_ok() || tries == AGAIN {
                if let Err(fault) = &reading {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    let said = if written.is_empty() { &reply.body } else { &written };
                    let begins: String = said.chars().take(200).collect();
                    let told = format!("of row `{row}`: {fault}; it said {begins:?}");
                    self.first_lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(told);
                }
                let reading = reading.map_err(|_| if written.is_empty() { reply.body.clone() } else { written });
                return Ok(Some(HeardReply { reading, model: completion::model(&reply.body), at: reply.at }));
            }
            let fault = reading.err().unwrap_or_default();
            let again = format!(
                "That cannot be read: {fault}. Reply with the one JSON object that was asked for, and nothing else."
            );
            match messages.last_mut() {
                // Servers refuse a message that says nothing, and some of them two of one role in a row.
                Some(last) if written.trim().is_empty() => {
                    last["content"] = json!(format!("{}\n\n{again}", last["content"].as_str().unwrap_or_default()));
                }
                _ => messages.extend([
                    json!({"role": "assistant", "content": shortened(&written)}),
                    json!({"role": "user", "content": again}),
                ]),
            }
            tries += 1;
        }
    }
}

/// The name of the book of what was spent: by address, model and texts, so that nothing else makes what was spent forgotten.
fn book(endpoint: &Endpoint, questions: &[JudgeQuestion]) -> String {
    let texts: BTreeSet<&str> = questions.iter().map(|question| question.text.as_str()).collect();
    replies::name(&json!({"url": endpoint.address(), "model": endpoint.model, "questions": texts}))
}

/// Requests for all this, with the most that they may take; those apart that are sent again where a reply cannot be read.
///
/// # Errors
/// The folder of replies cannot be read.
pub fn totals(endpoint: &Endpoint, folder: &Path, questions: &[JudgeQuestion]) -> Result<AskedTotals> {
    let folder = ReplyFolder::at(folder);
    let (mut totals, mut seen) = (AskedTotals::default(), BTreeSet::new());
    for question in questions {
        let JudgeQuestion { text, form, sample, .. } = question;
        let messages = [json!({"role": "user", "content": text})];
        let ServerRequest { known_by, most, .. } = request(endpoint, &messages, &form.schema(), *sample);
        let name = replies::name(&known_by);
        match folder.has(&name)? {
            _ if !seen.insert(name) => {}
            true => totals.kept += 1,
            false => {
                totals.requests += 1;
                totals.most.prompt_tokens += most.prompt_tokens;
                totals.most.completion_tokens += most.completion_tokens;
            }
        }
    }
    totals.spent = SpendingBook::requests(&folder.book(&book(endpoint, questions)))?;
    totals.cost = endpoint.budget.and_then(|budget| budget.cost_of(totals.most));
    Ok(totals)
}

fn request<'a>(endpoint: &Endpoint, messages: &'a [Value], schema: &Value, sample: u32) -> ServerRequest<'a> {
    let body = endpoint.body(messages, schema);
    // A token is a byte at least.
    let most = Usage { prompt_tokens: body.to_string().len() as u64, completion_tokens: endpoint.max_tokens };
    let known_by = json!({"url": endpoint.address(), "body": body, "nth": sample});
    ServerRequest { known_by, most, about: messages[0]["content"].as_str().unwrap_or_default() }
}
