//! The HTTP by which a bucket is asked: the client that the program has already, behind the interface of `object_store`.

use super::failure::ServerRefusal;
use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use std::time::Duration;
use ureq::config::AutoHeaderValue;
use ureq::http::{Method, Request, request::Parts};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// A client whose answers have at most `most` bytes.
#[derive(Clone, Debug)]
pub struct HttpAgent {
    agent: ureq::Agent,
    most: u64,
}

impl HttpAgent {
    /// `timeout` is that of a whole request. `roots`: certificates, in PEM, that are trusted instead of those that come
    /// with the program.
    pub fn new(timeout: Duration, most: u64, roots: Option<&[u8]>) -> HttpAgent {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = roots {
            let certificates = parse_pem(pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates.collect::<Vec<Certificate<'static>>>()));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(CONNECT)))
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
    pub fn ask(&self, parts: Parts, body: &[u8]) -> Result<HttpResponse, HttpError> {
        let answered = match parts.method {
            Method::PUT | Method::POST => self.agent.run(Request::from_parts(parts, body)),
            _ => self.agent.run(Request::from_parts(parts, ())),
        };
        let (parts, body) = answered.map_err(http_error)?.into_parts();
        let bytes = body.into_with_config().limit(self.most).read_to_vec().map_err(http_error)?;
        match ServerRefusal::read(parts.status.as_u16(), &bytes) {
            None => Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes))),
            // A server that is in trouble may be out of it a moment later.
            Some(refusal) if matches!(refusal.status, 429 | 500..=599) => {
                Err(HttpError::new(HttpErrorKind::Interrupted, refusal))
            }
            Some(refusal) => Err(HttpError::new(HttpErrorKind::Unknown, refusal)),
        }
    }
}

/// The longest time until a server answers at all.
const CONNECT: Duration = Duration::from_secs(10);

#[async_trait]
impl HttpService for HttpAgent {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (agent, (parts, body)) = (self.clone(), request.into_parts());
        let body = body.collect().await?.to_bytes();
        let asked = tokio::task::spawn_blocking(move || agent.ask(parts, &body)).await;
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
