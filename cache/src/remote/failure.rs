//! Failures of a remote: their causes, and when it is left alone.

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
    /// It does so because its clock and that of this machine differ.
    WrongClock,
    /// Its answer is none to what was asked, as to a range of an object that has none.
    Unreadable,
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
            RemoteFailure::WrongClock => text.write_str("it refuses: its clock and that of this machine differ"),
            RemoteFailure::Unreadable => text.write_str("what it answers cannot be read"),
            RemoteFailure::Failed(why) => text.write_str(why),
            RemoteFailure::LeftAlone => text.write_str("it is left alone after failures before"),
        }
    }
}

impl Error for RemoteFailure {}

impl RemoteFailure {
    /// The cause of an error.
    pub fn of(error: &object_store::Error) -> RemoteFailure {
        let mut inner: Option<&(dyn Error + 'static)> = Some(error);
        let (mut kind, mut system) = (None, None);
        while let Some(cause) = inner {
            if let Some(refusal) = cause.downcast_ref::<ServerRefusal>() {
                return refusal.failure();
            }
            kind = kind.or_else(|| cause.downcast_ref::<HttpError>().map(HttpError::kind));
            system = system.or_else(|| cause.downcast_ref::<std::io::Error>());
            inner = cause.source();
        }
        match (error, kind, system) {
            (_, Some(HttpErrorKind::Timeout), _) => RemoteFailure::TimedOut,
            (_, Some(HttpErrorKind::Connect), _) => RemoteFailure::Away,
            (_, Some(_), _) => RemoteFailure::Failed("the connection was cut".to_owned()),
            (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }, ..) => {
                RemoteFailure::Refused("access is denied".to_owned())
            }
            (_, _, Some(system)) if system.kind() == std::io::ErrorKind::PermissionDenied => {
                RemoteFailure::Refused("permission denied".to_owned())
            }
            (_, _, Some(system)) => RemoteFailure::Failed(system.to_string()),
            _ => RemoteFailure::Unreadable,
        }
    }
}

/// An answer of a server that is no success. What it writes is not quoted but for its code: some repeat what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRefusal {
    pub status: u16,
    pub code: Option<String>,
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        write!(text, "it answers {}", self.status)?;
        self.code.iter().try_for_each(|code| write!(text, " ({code})"))
    }
}

impl Error for ServerRefusal {}

impl ServerRefusal {
    /// Reads an answer; `None` if it is for others to understand: a success, an object that is not there, a condition that
    /// does not hold.
    pub fn read(status: u16, body: &[u8]) -> Option<ServerRefusal> {
        let code = || code_of(&String::from_utf8_lossy(body));
        match status {
            0..400 | 409 | 412 => None,
            404 => code().filter(|code| code == NO_BUCKET).map(|code| ServerRefusal { status, code: Some(code) }),
            _ => Some(ServerRefusal { status, code: code() }),
        }
    }

    fn failure(&self) -> RemoteFailure {
        match (self.status, &self.code) {
            (404, _) => RemoteFailure::NoPlace,
            (401 | 403, Some(code)) if code == SKEWED => RemoteFailure::WrongClock,
            (401 | 403, code) => RemoteFailure::Refused(code.clone().unwrap_or_else(|| "access is denied".to_owned())),
            (416, _) => RemoteFailure::Unreadable,
            _ => RemoteFailure::Failed(self.to_string()),
        }
    }
}

/// Codes of S3.
const NO_BUCKET: &str = "NoSuchBucket";
const SKEWED: &str = "RequestTimeTooSkewed";

/// The code of an error of S3: a word of letters.
fn code_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (value, _) = rest.split_once("</")?;
    (value.len() < 64 && value.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| value.to_owned())
}

/// The patience with a remote in this process.
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
        let of = |status, body: &str| ServerRefusal::read(status, body.as_bytes()).map(|one| one.failure().to_string());
        let body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA1</AWSAccessKeyId></Error>";
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(of(403, body), said("it refuses: SignatureDoesNotMatch"));
        assert_eq!(of(507, "<Code>a secret</Code>"), said("it answers 507"));
        assert_eq!(
            of(403, "<Code>RequestTimeTooSkewed</Code>"),
            said("it refuses: its clock and that of this machine differ")
        );
        assert_eq!(of(404, "<Code>NoSuchBucket</Code>"), said("it is not there"));
        assert_eq!((of(404, "<Code>NoSuchKey</Code>"), of(412, ""), of(206, "")), (None, None, None));
    }
}
