//! Uploads that died: parts in a bucket that nobody sees and somebody pays for, unfinished files in a directory.

use super::{Remote, RemoteFailure, RemoteSettings, TOP, credentials::Credentials, http::HttpAgent};
use crate::inventory::Tally;
use anyhow::{Context, Result, bail};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use serde::Deserialize;
use std::{
    fmt, fs,
    path::Path,
    time::{Duration, SystemTime},
};
use ureq::http::{Method, Request};

/// What lists and gives up uploads, which `object_store` does not.
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

/// The uploads that were given up, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadUploads {
    /// Of a directory, with their bytes; a bucket tells no sizes.
    pub old: Tally,
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

impl Remote {
    /// Gives up uploads that are older than `age`; in a dry run only counts them.
    ///
    /// # Errors
    /// The remote does not list them, or refuses.
    pub fn collect_uploads(&self, age: Duration, dry_run: bool) -> Result<DeadUploads> {
        match (&self.bucket, &self.settings.address) {
            (Some(bucket), _) => bucket.collect(age, dry_run),
            (None, super::Address::Directory(path)) => {
                let mut found = DeadUploads::default();
                unfinished(&path.join(TOP), age, dry_run, &mut found)?;
                Ok(found)
            }
            (None, super::Address::Bucket { .. }) => bail!("a bucket is opened with what lists its uploads"),
        }
    }
}

impl Bucket {
    pub(super) fn new(
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

    fn collect(&self, age: Duration, dry_run: bool) -> Result<DeadUploads> {
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
            let text = self.ask(Method::GET, "/", &query).context("list uploads")?;
            let listing: Listing = quick_xml::de::from_str(&text).context("read a list of uploads")?;
            for upload in listing.upload.iter().filter(|upload| upload.key.starts_with(&prefix)) {
                let begun: Option<jiff::Timestamp> = upload.initiated.parse().ok();
                if begun.is_none_or(|begun| begun > oldest) {
                    found.young += 1;
                    continue;
                }
                found.old += 0;
                if !dry_run {
                    let query = format!("uploadId={}", encoded(&upload.upload_id));
                    let path = format!("/{}", encoded(&upload.key).replace("%2F", "/"));
                    self.ask(Method::DELETE, &path, &query)
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

    fn ask(&self, method: Method, path: &str, query: &str) -> Result<String> {
        let Credentials { key_id, secret, token, region } = &self.credentials;
        let credential = AwsCredential { key_id: key_id.clone(), secret_key: secret.clone(), token: token.clone() };
        let request = Request::builder().method(method).uri(format!("{}{path}?{query}", self.address));
        let mut request: HttpRequest = request.body(HttpRequestBody::empty()).context("write a request")?;
        let signed = AwsAuthorizer::new(&credential, "s3", region).try_authorize(&mut request, None);
        signed.map_err(|error| RemoteFailure::of(&error))?;
        let answer = self.agent.ask(request.into_parts().0, &[]).map_err(|error| {
            RemoteFailure::of(&object_store::Error::Generic { store: "S3", source: Box::new(error) })
        })?;
        let status = answer.status();
        let bytes = tokio::runtime::Builder::new_current_thread()
            .build()
            .context("read an answer")?
            .block_on(object_store::collect_bytes(
                futures_util::StreamExt::map(answer.into_body().bytes_stream(), |piece| {
                    piece.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })
                }),
                None,
            ))
            .context("read an answer")?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !status.is_success() {
            let source = format!("status code: {} {text}", status.as_u16()).into();
            let error = match status.as_u16() {
                401 | 403 => object_store::Error::PermissionDenied { path: String::new(), source },
                _ => object_store::Error::Generic { store: "S3", source },
            };
            return Err(RemoteFailure::of(&error).into());
        }
        Ok(text)
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

/// Removes unfinished files of a directory: `object_store` writes each under a name with `#` and a number.
fn unfinished(directory: &Path, age: Duration, dry_run: bool, found: &mut DeadUploads) -> Result<()> {
    let read = || format!("read {}", directory.display());
    for entry in files::found(fs::read_dir(directory)).with_context(read)?.into_iter().flatten() {
        let entry = entry.with_context(read)?;
        let (path, Some(metadata)) = (entry.path(), files::found(entry.metadata()).with_context(read)?) else {
            continue;
        };
        if metadata.is_dir() {
            unfinished(&path, age, dry_run, found)?;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_draft = name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u64>().is_ok());
        if !is_draft || !metadata.is_file() {
            continue;
        }
        let since = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if since.is_none_or(|since| since < age) {
            found.young += 1;
            continue;
        }
        found.old += metadata.len();
        if !dry_run {
            files::found(fs::remove_file(&path)).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_unfinished_files_of_a_directory_go() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("v1/blobs/ab");
        fs::create_dir_all(&at).unwrap();
        for name in ["cd", "cd#1", "ef#22", "gh#x"] {
            fs::write(at.join(name), "12345").unwrap();
        }
        let old = SystemTime::now() - Duration::from_secs(90_000);
        for name in ["cd", "cd#1", "gh#x"] {
            fs::File::open(at.join(name)).unwrap().set_modified(old).unwrap();
        }
        let settings = RemoteSettings::new(super::super::Address::Directory(home.path().to_owned()));
        let remote = Remote::open(settings, &|_| None).unwrap();
        let day = Duration::from_secs(86_400);
        let expected = DeadUploads { old: Tally { count: 1, bytes: 5 }, young: 1 };
        assert_eq!(remote.collect_uploads(day, true).unwrap(), expected);
        assert_eq!(remote.collect_uploads(day, false).unwrap(), expected);
        assert_eq!(remote.collect_uploads(day, false).unwrap().old.count, 0);
        let left: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3);
    }
}
