//! Uploads to a bucket, which `object_store` neither lists nor finds again.

use super::{
    credentials::Credentials, failure::RemoteFailure, health::Side, http::HttpAgent, layout::TOP,
    settings::RemoteSettings,
};
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpError, HttpRequest, HttpRequestBody, HttpService};
use serde::Deserialize;
use std::{fmt, future::Future, pin::Pin, time::Duration};
use ureq::http::{Method, Request};

/// Lists uploads and gives them up, which `object_store` does not.
pub struct Bucket {
    agent: HttpAgent,
    credentials: Credentials,
    /// The address of the bucket, without a slash at its end.
    address: String,
    prefix: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(&self.address)
    }
}

/// The bytes that a request will be answered.
pub type AnswerFuture<'a> = Pin<Box<dyn Future<Output = object_store::Result<Vec<u8>>> + 'a>>;

/// The way in which a remote waits for a request, and counts it.
pub type AskFunction<'a> = &'a dyn Fn(Side, AnswerFuture<'_>) -> Result<Vec<u8>, RemoteFailure>;

/// The uploads that were given up, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadUploads {
    /// Those that died.
    pub old: u64,
    /// Their bytes, which a directory tells and a bucket does not.
    pub bytes: u64,
    /// Those that may still go on.
    pub young: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    upload: Vec<Upload>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: Option<String>,
    #[serde(default)]
    next_upload_id_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

/// The most pages of a list, of a thousand uploads each. The next collection goes on.
const MOST_PAGES: usize = 100;

impl Bucket {
    pub fn new(
        agent: HttpAgent,
        credentials: Credentials,
        settings: &RemoteSettings,
        name: &str,
        prefix: &str,
    ) -> Bucket {
        let address = match &settings.endpoint {
            Some(endpoint) => format!("{}/{name}", endpoint.trim_end_matches('/')),
            None => format!("https://{name}.s3.{}.amazonaws.com", credentials.region),
        };
        Bucket { agent, credentials, address, prefix: prefix.to_owned() }
    }

    pub fn collect(&self, asked: AskFunction, age: Duration, dry_run: bool) -> Result<DeadUploads> {
        let mut found = DeadUploads::default();
        let prefix = if self.prefix.is_empty() { format!("{TOP}/") } else { format!("{}/{TOP}/", self.prefix) };
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        let oldest = jiff::Timestamp::now() - age;
        for _ in 0..MOST_PAGES {
            let mut query = format!("prefix={}&uploads=", encoded(&prefix));
            if !key_marker.is_empty() {
                query = format!(
                    "key-marker={}&prefix={}&upload-id-marker={}&uploads=",
                    encoded(&key_marker),
                    encoded(&prefix),
                    encoded(&id_marker)
                );
            }
            let text = self.ask(asked, Method::GET, "/", &query).context("list uploads")?;
            let listing: Listing = quick_xml::de::from_str(&text).context("read a list of uploads")?;
            for upload in listing.upload.iter().filter(|upload| upload.key.starts_with(&prefix)) {
                let begun: Option<jiff::Timestamp> = upload.initiated.parse().ok();
                if begun.is_none_or(|begun| begun > oldest) {
                    found.young += 1;
                    continue;
                }
                found.old += 1;
                if !dry_run {
                    let query = format!("uploadId={}", encoded(&upload.upload_id));
                    let path = format!("/{}", encoded(&upload.key).replace("%2F", "/"));
                    self.ask(asked, Method::DELETE, &path, &query)
                        .with_context(|| format!("give up the upload of {}", upload.key))?;
                }
            }
            match (listing.is_truncated, listing.next_key_marker) {
                (true, Some(next)) => key_marker = next,
                _ => return Ok(found),
            }
            id_marker = listing.next_upload_id_marker.unwrap_or_default();
        }
        Ok(found)
    }

    fn ask(&self, asked: AskFunction, method: Method, path: &str, query: &str) -> Result<String> {
        let Credentials { key_id, secret, token, region } = &self.credentials;
        let credential = AwsCredential { key_id: key_id.clone(), secret_key: secret.clone(), token: token.clone() };
        let side = if method == Method::GET { Side::Read } else { Side::Write };
        let request = Request::builder().method(method).uri(format!("{}{path}?{query}", self.address));
        let mut request: HttpRequest = request.body(HttpRequestBody::empty()).context("write a request")?;
        let bytes = asked(
            side,
            Box::pin(async move {
                AwsAuthorizer::new(&credential, "s3", region).try_authorize(&mut request, None)?;
                let error = |error: HttpError| object_store::Error::Generic { store: "S3", source: Box::new(error) };
                let answer = self.agent.call(request).await.map_err(error)?;
                object_store::collect_bytes(answer.into_body().bytes_stream().map_err(error), None).await.map(Vec::from)
            }),
        )?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A value of a query as S3 signs it.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
