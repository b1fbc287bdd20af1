//! The HTTP by which a bucket is asked: the client that the program has already, behind the interface of `object_store`.

use super::{failure::ServerRefusal, health::Pace};
use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};
use ureq::SendBody;
use ureq::config::AutoHeaderValue;
use ureq::http::{Method, Request, header::CONTENT_LENGTH, request::Parts};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

tokio::task_local! {
    /// The pace of what is being asked. `object_store` stands between whoever asks and this client.
    pub static PACE: Arc<Pace>;
}

/// A client whose answers have at most `most` bytes.
#[derive(Clone, Debug)]
pub struct HttpAgent {
    agent: ureq::Agent,
    most: u64,
}

impl HttpAgent {
    /// `longest` is the end of a request that nobody waits for any more; `connect` that of the wait for a connection. `roots`:
    /// certificates, in PEM, that are trusted instead of those that come with the program.
    pub fn new(longest: Duration, connect: Duration, most: u64, roots: Option<&[u8]>) -> HttpAgent {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = roots {
            let certificates = parse_pem(pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates.collect::<Vec<Certificate<'static>>>()));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(longest))
            .timeout_connect(Some(connect.min(CONNECT)))
            .http_status_as_error(false)
            // A redirection is another place, for which nothing was signed.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // What is packed on the way has another length than what was asked for.
            .accept_encoding(AutoHeaderValue::None)
            .user_agent(AutoHeaderValue::Provided("pipeline".to_owned().into()))
            .tls_config(tls.build())
            .build();
        HttpAgent { agent: config.new_agent(), most }
    }

    /// Asks, and waits for the whole answer.
    fn ask(&self, mut parts: Parts, body: &[u8], pace: Option<&Pace>) -> Result<HttpResponse, HttpError> {
        let mut rest = BodyReader { bytes: body, pace };
        let answered = match parts.method {
            Method::PUT | Method::POST => {
                // A reader tells no length by itself, and S3 wants one.
                parts.headers.insert(CONTENT_LENGTH, body.len().into());
                self.agent.run(Request::from_parts(parts, SendBody::from_reader(&mut rest)))
            }
            _ => self.agent.run(Request::from_parts(parts, ())),
        };
        let (parts, body) = answered.map_err(http_error)?.into_parts();
        let mut reader = body.into_with_config().limit(self.most).reader();
        let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE]);
        loop {
            let length = reader.read(&mut piece).map_err(|error| http_error(error.into()))?;
            if length == 0 {
                break;
            }
            bytes.extend_from_slice(&piece[..length]);
            // The words of a refusal bring nobody on.
            if let Some(pace) = pace.filter(|_| parts.status.is_success()) {
                pace.moved(length as u64);
            }
        }
        let region = parts.headers.get(REGION).and_then(|value| value.to_str().ok());
        match ServerRefusal::read(parts.status.as_u16(), region, &bytes) {
            None => Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes))),
            // A server that is in trouble may be out of it a moment later.
            Some(refusal) if refusal.may_pass() => Err(HttpError::new(HttpErrorKind::Interrupted, refusal)),
            Some(refusal) => Err(HttpError::new(HttpErrorKind::Unknown, refusal)),
        }
    }
}

/// The bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// The header in which Amazon says where a bucket is.
const REGION: &str = "x-amz-bucket-region";

/// Bytes that tell when they go.
struct BodyReader<'a> {
    bytes: &'a [u8],
    pace: Option<&'a Pace>,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.bytes.read(into)?;
        if let Some(pace) = self.pace.filter(|_| length > 0) {
            pace.moved(length as u64);
        }
        Ok(length)
    }
}

/// The longest time until a server answers at all.
const CONNECT: Duration = Duration::from_secs(10);

#[async_trait]
impl HttpService for HttpAgent {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (agent, (parts, body)) = (self.clone(), request.into_parts());
        let body = body.collect().await?.to_bytes();
        let pace = PACE.try_with(Arc::clone).ok();
        let asked = tokio::task::spawn_blocking(move || agent.ask(parts, &body, pace.as_deref())).await;
        asked.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?
    }
}

impl HttpConnector for HttpAgent {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Tries again what a second try may bring, and never what may have been carried out.
fn http_error(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        ureq::Error::Io(_) | ureq::Error::Protocol(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
