//! What a remote does instead of answering, and when it is left alone.

use object_store::client::{HttpError, HttpErrorKind};
use std::{
    collections::BTreeSet,
    error::Error,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// The cause of a failure: of each, people hear once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemoteFailure {
    /// There is no such bucket or directory: a mistake of a person.
    NoPlace,
    /// It cannot be reached.
    Away,
    /// It did not answer in time.
    TimedOut,
    /// It says that this is not allowed.
    Refused(String),
    /// It gave another answer than was asked for.
    Failed(String),
    /// The run goes on without it.
    LeftAlone,
}

impl fmt::Display for RemoteFailure {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            RemoteFailure::NoPlace => text.write_str("it is not there"),
            RemoteFailure::Away => text.write_str("it cannot be reached"),
            RemoteFailure::TimedOut => text.write_str("it did not answer in time"),
            RemoteFailure::Refused(why) => write!(text, "it refuses: {why}"),
            RemoteFailure::Failed(why) => text.write_str(why),
            RemoteFailure::LeftAlone => text.write_str("it is left alone after failures before"),
        }
    }
}

impl Error for RemoteFailure {}

impl RemoteFailure {
    /// Whether it may be the answer to a range that an object does not have.
    pub fn may_be_of_range(&self) -> bool {
        matches!(self, RemoteFailure::Failed(why) if why.starts_with("it answers 416") || why == UNREADABLE)
    }

    /// The cause of an error. What a server writes is not quoted but for its code: some repeat what was signed.
    pub fn of(error: &object_store::Error) -> RemoteFailure {
        let mut inner: Option<&(dyn Error + 'static)> = Some(error);
        let (mut kind, mut system) = (None, None);
        while let Some(cause) = inner {
            kind = kind.or_else(|| cause.downcast_ref::<HttpError>().map(HttpError::kind));
            system = system.or_else(|| cause.downcast_ref::<std::io::Error>());
            inner = cause.source();
        }
        let text = error.to_string();
        let code = tag(&text, "Code");
        match (error, kind) {
            _ if code.as_deref() == Some("NoSuchBucket") => RemoteFailure::NoPlace,
            (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }, _) => {
                RemoteFailure::Refused(code.unwrap_or_else(|| "access is denied".to_owned()))
            }
            (_, Some(HttpErrorKind::Timeout)) => RemoteFailure::TimedOut,
            (_, Some(HttpErrorKind::Connect)) => RemoteFailure::Away,
            (_, Some(_)) => RemoteFailure::Failed("the connection was cut".to_owned()),
            _ => {
                let status = text.split_once("status code: ").map(|(_, rest)| rest);
                let status =
                    status.and_then(|rest| rest.get(..3)).filter(|code| code.bytes().all(|one| one.is_ascii_digit()));
                RemoteFailure::Failed(match (status, code, system) {
                    (Some(status), Some(code), _) => format!("it answers {status} ({code})"),
                    (Some(status), None, _) => format!("it answers {status}"),
                    (None, _, Some(system)) => system.to_string(),
                    (None, ..) => UNREADABLE.to_owned(),
                })
            }
        }
    }
}

const UNREADABLE: &str = "what it answers cannot be read";

/// The text of an element that has letters alone, as the codes of S3 do.
fn tag(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once("</")?;
    (value.len() < 64 && value.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| value.to_owned())
}

/// What is left of the patience with a remote in this process.
#[derive(Debug, Default)]
pub struct Health {
    /// The weight of failures since the last success.
    failures: AtomicU32,
    is_left_alone: AtomicBool,
    said: Mutex<BTreeSet<String>>,
}

/// The weight of failures after which a remote is left alone: two times without an answer, or three other failures.
const MOST: u32 = 6;

impl Health {
    pub fn is_left_alone(&self) -> bool {
        self.is_left_alone.load(Ordering::Relaxed)
    }

    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Counts a failure. True if the remote is left alone from now on.
    pub fn failed(&self, failure: &RemoteFailure) -> bool {
        let weight = match failure {
            RemoteFailure::LeftAlone => return false,
            RemoteFailure::TimedOut => 3,
            _ => 2,
        };
        let before = self.failures.fetch_add(weight, Ordering::Relaxed);
        before + weight >= MOST && !self.is_left_alone.swap(true, Ordering::Relaxed)
    }

    /// Whether this has not been said before.
    pub fn is_new(&self, said: &str) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(said.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_left_alone_after_two_silences_or_three_failures_in_a_row() {
        let failed = RemoteFailure::Failed("it answers 500".to_owned());
        let health = Health::default();
        assert!(!health.failed(&RemoteFailure::TimedOut) && health.failed(&RemoteFailure::TimedOut));
        assert!(health.is_left_alone());
        let health = Health::default();
        assert!(!health.failed(&failed) && !health.failed(&failed));
        health.succeeded();
        assert!(!health.failed(&failed) && !health.failed(&RemoteFailure::Away) && health.failed(&failed));
    }

    #[test]
    fn what_a_server_repeats_of_a_signature_is_not_quoted() {
        let text = "status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA1</AWSAccessKeyId>";
        let error = object_store::Error::PermissionDenied { path: "x".to_owned(), source: text.into() };
        assert_eq!(RemoteFailure::of(&error).to_string(), "it refuses: SignatureDoesNotMatch");
        let error =
            object_store::Error::Generic { store: "S3", source: "status code: 507 Full: <Code>a secret</Code>".into() };
        assert_eq!(RemoteFailure::of(&error).to_string(), "it answers 507");
        let error = object_store::Error::NotFound { path: "x".to_owned(), source: "<Code>NoSuchBucket</Code>".into() };
        assert_eq!(RemoteFailure::of(&error), RemoteFailure::NoPlace);
    }
}
