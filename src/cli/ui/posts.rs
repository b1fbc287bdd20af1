//! The things that a page may ask to be done: a decision at a gate, and the end of the run.

use super::super::find;
use super::super::gates::{self, ApprovalRequest};
use super::super::terminal;
use super::state::PageState;
use crate::approvals::Ruling;
use crate::chapter::words::live as words;
use axum::http::StatusCode;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;

/// A decision as the form sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageDecision {
    stage: String,
    /// The digest of what the person was shown.
    question: String,
    answer: Answer,
    reason: String,
    by: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Approve,
    Reject,
}

/// The run that is to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halt {
    run: String,
}

/// Writes a decision to the same file as `pipeline approve`.
pub fn decide(shared: &PageState, asked: &PageDecision, peer: SocketAddr) -> (StatusCode, String) {
    let language = shared.feed.language();
    let say = |status: StatusCode, phrase: crate::chapter::words::Phrase| (status, phrase.say(language).to_owned());
    if asked.reason.trim().is_empty() || asked.by.trim().is_empty() {
        return say(StatusCode::UNPROCESSABLE_ENTITY, words::INCOMPLETE);
    }
    let write = || {
        let found = find::run(Path::new("."), shared.feed.query())?;
        let question = found.run.stage(&asked.stage).and_then(|stage| stage.verdict.as_ref());
        if question.is_none_or(|verdict| verdict.evidence.question != asked.question) {
            return Ok(false);
        }
        let answer = match asked.answer {
            Answer::Approve => Ruling::Approve,
            Answer::Reject => Ruling::Reject,
        };
        let (stage, reason, by) = (&*asked.stage, &*asked.reason, asked.by.trim().to_owned());
        let request = ApprovalRequest { stage, answer, reason, by, from: Some(format!("page {}", peer.ip())) };
        gates::decide(&request, &found).map(|_| true)
    };
    match write() {
        Ok(true) => {
            shared.decided.store(true, Ordering::SeqCst);
            let goes_on = matches!(shared.feed.stop(), super::stop::Stop::Here(_));
            say(StatusCode::OK, if goes_on { words::GOES_ON } else { words::WRITTEN })
        }
        Ok(false) => say(StatusCode::CONFLICT, words::ASKED_ANEW),
        Err(error) => {
            // The page may be read elsewhere: what the message says of this machine stays on it.
            terminal::remark(&format!("a decision from the page was not written down: {error:#}\n"));
            say(StatusCode::CONFLICT, words::NOT_WRITTEN)
        }
    }
}

/// Tells the run to stop, as the first Ctrl-C does, and no second time.
pub fn stop(shared: &PageState, asked: &Halt) -> (StatusCode, String) {
    let (status, phrase) = match shared.feed.stop_run(&asked.run) {
        true => (StatusCode::OK, words::TOLD_TO_STOP),
        false => (StatusCode::CONFLICT, words::NOT_STOPPED),
    };
    (status, phrase.say(shared.feed.language()).to_owned())
}
