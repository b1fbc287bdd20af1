//! Failures of a remote: their causes, as a server or a disk tells them.

use object_store::client::{HttpError, HttpErrorKind};
use std::{error::Error, fmt, io::ErrorKind};

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
    /// It is in another region than the one that was asked; the region, if it says so.
    WrongRegion(Option<String>),
    /// It has no room for what is written; the words for it.
    Full(String),
    /// Something that is no file lies under a name.
    NoFile,
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
            RemoteFailure::WrongRegion(Some(region)) => {
                write!(text, "it is in the region {region}: set AWS_REGION={region}")
            }
            RemoteFailure::WrongRegion(None) => {
                text.write_str("it is in another region than the one that was asked: set AWS_REGION")
            }
            RemoteFailure::Full(why) => write!(text, "it has no room: {why}"),
            RemoteFailure::NoFile => text.write_str("what lies there is no file"),
            RemoteFailure::Unreadable => text.write_str("what it answers cannot be read"),
            RemoteFailure::Failed(why) => text.write_str(why),
            RemoteFailure::LeftAlone => text.write_str("it is left alone after failures before"),
        }
    }
}

impl Error for RemoteFailure {}

impl RemoteFailure {
    /// The cause alone. A server tells its code where it answers with a text, and to a question without an answer's text it does
    /// not: people hear of it once.
    pub fn cause(&self) -> String {
        match self {
            RemoteFailure::Refused(_) => "it refuses".to_owned(),
            RemoteFailure::Failed(why) | RemoteFailure::Full(why) => {
                why.split_once(" (").map_or(&**why, |(status, _)| status).to_owned()
            }
            failure => failure.to_string(),
        }
    }

    /// Whether it says that nothing may be written, and nothing about reading.
    pub fn forbids_writing(&self) -> bool {
        matches!(self, RemoteFailure::Refused(_) | RemoteFailure::WrongClock | RemoteFailure::Full(_))
    }

    /// The cause of an error.
    pub fn of(error: &object_store::Error) -> RemoteFailure {
        let mut inner: Option<&(dyn Error + 'static)> = Some(error);
        let (mut kind, mut system) = (None, None);
        while let Some(cause) = inner {
            if let Some(refusal) = cause.downcast_ref::<ServerRefusal>() {
                return refusal.failure();
            }
            if let Some(failure) = cause.downcast_ref::<RemoteFailure>() {
                return failure.clone();
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
            (_, _, Some(system)) => of_system(system),
            _ => RemoteFailure::Unreadable,
        }
    }
}

/// The cause of an error of a file system.
fn of_system(error: &std::io::Error) -> RemoteFailure {
    match error.kind() {
        ErrorKind::PermissionDenied => RemoteFailure::Refused("permission denied".to_owned()),
        ErrorKind::ReadOnlyFilesystem => RemoteFailure::Refused("it is mounted to be read alone".to_owned()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => RemoteFailure::Full(error.kind().to_string()),
        // Of an object that is not there, `object_store` says so itself.
        ErrorKind::NotFound => RemoteFailure::Away,
        ErrorKind::TimedOut => RemoteFailure::TimedOut,
        _ => RemoteFailure::Failed(error.to_string()),
    }
}

/// An answer of a server that is no success. What it writes is not quoted but for its code: some repeat what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRefusal {
    pub status: u16,
    pub code: Option<String>,
    /// The region of the bucket, where the server tells it.
    pub region: Option<String>,
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
    /// does not hold. `region` is what the headers say of it.
    pub fn read(status: u16, region: Option<&str>, body: &[u8]) -> Option<ServerRefusal> {
        let text = || String::from_utf8_lossy(body);
        let code = || value_of(&text(), "Code");
        let region =
            || region.filter(|region| is_plain(region)).map(str::to_owned).or_else(|| value_of(&text(), "Region"));
        match status {
            0..300 | 304 | 409 | 412 => None,
            404 => code().filter(|code| code == NO_BUCKET).map(|code| ServerRefusal {
                status,
                code: Some(code),
                region: None,
            }),
            _ => Some(ServerRefusal { status, code: code(), region: region() }),
        }
    }

    /// Whether the same may be answered otherwise a moment later.
    pub fn may_pass(&self) -> bool {
        matches!(self.status, 429 | 500..=599) && !matches!(self.failure(), RemoteFailure::Full(_))
    }

    fn failure(&self) -> RemoteFailure {
        let code = self.code.as_deref().unwrap_or_default();
        let is_full = self.status == 507 || FULL.iter().any(|word| code.contains(word));
        match self.status {
            _ if is_full => RemoteFailure::Full(self.to_string()),
            404 => RemoteFailure::NoPlace,
            // A redirection leads to the region of the bucket.
            300..400 => RemoteFailure::WrongRegion(self.region.clone()),
            400 if OTHER_REGION.contains(&code) || (code.is_empty() && self.region.is_some()) => {
                RemoteFailure::WrongRegion(self.region.clone())
            }
            401 | 403 if code == SKEWED => RemoteFailure::WrongClock,
            401 | 403 => RemoteFailure::Refused(self.code.clone().unwrap_or_else(|| "access is denied".to_owned())),
            416 => RemoteFailure::Unreadable,
            _ => RemoteFailure::Failed(self.to_string()),
        }
    }
}

/// Codes of S3.
const NO_BUCKET: &str = "NoSuchBucket";
const SKEWED: &str = "RequestTimeTooSkewed";
const OTHER_REGION: [&str; 3] =
    ["AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"];
/// Words in the codes of servers that have no room (`QuotaExceeded`, `XMinioStorageFull`).
const FULL: [&str; 2] = ["Quota", "StorageFull"];

/// The value of a field in an error of S3, if it is a plain word.
fn value_of(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once("</")?;
    is_plain(value).then(|| value.to_owned())
}

fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.len() < 64 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_signature_is_not_quoted() {
        let of = |status, body: &str| {
            ServerRefusal::read(status, None, body.as_bytes()).map(|one| one.failure().to_string())
        };
        let body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA1</AWSAccessKeyId></Error>";
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(of(403, body), said("it refuses: SignatureDoesNotMatch"));
        assert_eq!(of(500, "<Code>a secret</Code>"), said("it answers 500"));
        assert_eq!(
            of(403, "<Code>RequestTimeTooSkewed</Code>"),
            said("it refuses: its clock and that of this machine differ")
        );
        assert_eq!(of(404, "<Code>NoSuchBucket</Code>"), said("it is not there"));
        assert_eq!((of(404, "<Code>NoSuchKey</Code>"), of(412, ""), of(206, "")), (None, None, None));
    }
    #[test]
    fn a_remote_that_is_full_and_one_in_another_region_are_told_as_such() {
        let of = |status, region, body: &str| ServerRefusal::read(status, region, body.as_bytes()).unwrap();
        let told = |status, region, body: &str| of(status, region, body).failure();
        assert_eq!(told(507, None, ""), RemoteFailure::Full("it answers 507".to_owned()));
        assert!(!of(507, None, "").may_pass() && of(503, None, "").may_pass());
        let quota = told(403, None, "<Code>QuotaExceeded</Code>");
        assert_eq!(quota.to_string(), "it has no room: it answers 403 (QuotaExceeded)");
        assert!(quota.forbids_writing());
        let there = RemoteFailure::WrongRegion(Some("eu-west-1".to_owned()));
        assert_eq!(there.to_string(), "it is in the region eu-west-1: set AWS_REGION=eu-west-1");
        assert_eq!(told(301, Some("eu-west-1"), ""), there);
        let text = "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>";
        assert_eq!((told(400, None, text), told(400, Some("eu-west-1"), "")), (there.clone(), there));
        assert_eq!(told(301, Some("a\r\nb"), ""), RemoteFailure::WrongRegion(None));
        let full = std::io::Error::from(ErrorKind::StorageFull);
        assert!(matches!(of_system(&full), RemoteFailure::Full(_)));
    }
}
