//! Where a remote is, and how it is asked.

use crate::digest::Digest;
use anyhow::{Result, bail, ensure};
use std::{fmt, path::PathBuf, time::Duration};

/// A remote as a person configured it. Nothing of it is in any key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    pub address: Address,
    /// The server of a bucket; `None`: that of Amazon.
    pub endpoint: Option<String>,
    /// Whether nothing is written to it.
    pub is_read_only: bool,
    /// The most bytes of one request. A larger file goes in parts.
    pub part_size: u64,
    /// The longest time that one request may wait for nothing.
    pub timeout: Duration,
}

/// The place of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Bucket { name: String, prefix: String },
    Directory(PathBuf),
}

impl RemoteSettings {
    /// Servers of S3 refuse smaller parts.
    pub const LEAST_PART: u64 = 5 << 20;
    pub const MOST_PART: u64 = 1 << 30;
    pub const PART: u64 = 8 << 20;
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    pub fn new(address: Address) -> RemoteSettings {
        RemoteSettings {
            address,
            endpoint: None,
            is_read_only: false,
            part_size: RemoteSettings::PART,
            timeout: RemoteSettings::TIMEOUT,
        }
    }

    /// The place of the remote as JSON.
    pub fn written(&self) -> Vec<u8> {
        let place = serde_json::json!({"url": self.address.to_string(), "endpoint": self.endpoint});
        place.to_string().into_bytes()
    }

    /// Reads what [`RemoteSettings::written`] wrote: a remote that is only read.
    pub fn read(bytes: &[u8]) -> Option<RemoteSettings> {
        let place: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let address = Address::parse(place.get("url")?.as_str()?).ok()?;
        let endpoint = place.get("endpoint").and_then(serde_json::Value::as_str).map(str::to_owned);
        endpoint.as_deref().map_or(Ok(()), RemoteSettings::check_endpoint).ok()?;
        Some(RemoteSettings { endpoint, is_read_only: true, ..RemoteSettings::new(address) })
    }

    /// The name of what a store remembers of this place, which it remembers of no other.
    pub fn name(&self) -> String {
        let mut name = Digest::of(&self.written()).to_string();
        name.truncate(16);
        name
    }

    pub fn is_bucket(&self) -> bool {
        matches!(self.address, Address::Bucket { .. })
    }

    /// Checks the address of a server: its host, and that keys would not go over a network in the open.
    ///
    /// # Errors
    /// It is no such address, or one that no keys should be sent to.
    pub fn check_endpoint(endpoint: &str) -> Result<()> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_address = matches!(scheme, "http" | "https") && !authority.is_empty();
        ensure!(
            is_address && !rest.contains(['?', '#', ' ']),
            "`{endpoint}` is no address such as `https://s3.example.org`"
        );
        ensure!(!authority.contains('@'), "an address holds no keys: they are taken from the environment");
        let host = authority.rsplit_once(':').map_or(authority, |(host, port)| match port.parse::<u16>() {
            Ok(_) => host,
            Err(_) => authority,
        });
        let is_here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
        ensure!(
            scheme == "https" || is_here,
            "`{endpoint}` is another machine, and what is sent to it by `http` can be read and changed on the way: take `https`"
        );
        Ok(())
    }
}

impl Address {
    /// Reads `s3://bucket/prefix` or `file:///directory`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Address> {
        if let Some(path) = text.strip_prefix("file://") {
            ensure!(path.starts_with('/'), "`{text}` has three slashes: `file:///shared/pipeline`");
            let is_plain = path.split('/').all(|part| part != ".." && part != ".") && !path.contains(['\0', '%']);
            ensure!(is_plain, "`{text}` is no plain path: no `.`, `..` or `%`");
            return Ok(Address::Directory(PathBuf::from(path)));
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            bail!("`{text}` is neither `s3://bucket/prefix` nor `file:///directory`")
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (3..=63).contains(&name.len())
            && name.bytes().all(|byte| is_letter(byte) || b"-._".contains(&byte))
            && name.bytes().next().is_some_and(is_letter);
        ensure!(is_name, "`{name}` is no name of a bucket: 3 to 63 lower-case letters, digits, `-` and `.`");
        let prefix = prefix.trim_matches('/');
        let is_plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._=+@".contains(&byte))
        };
        ensure!(
            prefix.is_empty() || prefix.split('/').all(is_plain),
            "`{prefix}` is no plain prefix: letters, digits, `-`, `.` and `_` between slashes"
        );
        Ok(Address::Bucket { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Address::Bucket { name, prefix } if prefix.is_empty() => write!(text, "s3://{name}"),
            Address::Bucket { name, prefix } => write!(text, "s3://{name}/{prefix}"),
            Address::Directory(path) => write!(text, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_address_is_a_bucket_or_a_directory() {
        let shown =
            |text: &str| Address::parse(text).map_or_else(|error| error.to_string(), |found| format!("{found:?}"));
        let texts = [
            "s3://lab/pipeline/",
            "s3://lab",
            "file:///shared/pipeline",
            "file://shared",
            "file:///a/../b",
            "https://lab.example.org",
            "s3://Lab/x",
            "s3://lab/a/../b",
            "s3://lab/a b",
            "",
        ];
        expect![[r#"
            Bucket { name: "lab", prefix: "pipeline" }
            Bucket { name: "lab", prefix: "" }
            Directory("/shared/pipeline")
            `file://shared` has three slashes: `file:///shared/pipeline`
            `file:///a/../b` is no plain path: no `.`, `..` or `%`
            `https://lab.example.org` is neither `s3://bucket/prefix` nor `file:///directory`
            `Lab` is no name of a bucket: 3 to 63 lower-case letters, digits, `-` and `.`
            `a/../b` is no plain prefix: letters, digits, `-`, `.` and `_` between slashes
            `a b` is no plain prefix: letters, digits, `-`, `.` and `_` between slashes
            `` is neither `s3://bucket/prefix` nor `file:///directory`"#]]
        .assert_eq(&texts.map(shown).join("\n"));
    }

    #[test]
    fn keys_go_to_another_machine_by_https_alone() {
        for good in ["https://rgw.uni.example", "http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:9000/"] {
            RemoteSettings::check_endpoint(good).unwrap();
        }
        for bad in
            ["rgw.uni.example", "http://rgw.uni.example", "http://10.0.0.1:80", "https://", "https://a:b@c", "ftp://a"]
        {
            assert!(RemoteSettings::check_endpoint(bad).is_err(), "{bad}");
        }
    }
}
