//! The name of some bytes: their blake3 hash. Knows nothing of what the bytes are.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{fmt, fs::File, path::Path, str::FromStr};

/// 32 bytes of blake3, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// The digest and the length of a file, both of the bytes that were really read.
pub(crate) fn of_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    /// Upper case is refused: a digest is also a file name, so it has one spelling.
    fn from_str(text: &str) -> Result<Digest> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            bail!("read digest `{text}`: expected lower-case hex digits");
        }
        let hash = blake3::Hash::from_hex(text).with_context(|| format!("read digest `{text}`"))?;
        Ok(Digest(*hash.as_bytes()))
    }
}

impl TryFrom<String> for Digest {
    type Error = anyhow::Error;
    fn try_from(text: String) -> Result<Digest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_digest_is_blake3_in_hex() {
        // The first digest is the test vector of the blake3 paper for no input.
        expect!["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"]
            .assert_eq(&Digest::of(b"").to_string());
        expect!["af1349b9f5f9"].assert_eq(&Digest::of(b"").short());
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for wrong in ["", "ab", &digest.to_string().to_uppercase(), &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_a_string_in_json() {
        let digest = Digest::of(b"x");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}
