//! The names of what lies in a remote: those of a store.

use crate::digest::Digest;
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};

/// The layout of what lies in a remote. Another one is beside it, and a program that knows only this does not see it.
pub const TOP: &str = "v1";

/// A part that holds content.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Trees,
    Blobs,
}

pub fn record_path(key: &Digest) -> ObjectPath {
    object_path("actions", key, ".json")
}

pub fn content_path(part: Part, digest: &Digest) -> ObjectPath {
    match part {
        Part::Trees => object_path("trees", digest, ".json"),
        Part::Blobs => object_path("blobs", digest, ""),
    }
}

fn object_path(part: &str, digest: &Digest, suffix: &str) -> ObjectPath {
    let hex = digest.to_string();
    ObjectPath::from(format!("{TOP}/{part}/{}/{}{suffix}", &hex[..2], &hex[2..]))
}
