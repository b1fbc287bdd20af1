//! Schemas of the keys that the user's configuration and a pipeline file share.

use super::forms::{Key, TEMPLATE, joined, mapping, one_of, templated};

use crate::settings::remote::MODES;
use serde_json::{Value, json};

pub fn cache() -> Value {
    joined(mapping(cache_keys()), json!({"type": ["object", "null"]}))
}

pub fn cache_keys() -> Vec<Key> {
    let remote = joined(mapping(remote_keys()), json!({"type": ["object", "null"], "required": ["url"]}));
    vec![(
        "remote",
        "a bucket or a directory that machines share: what one has computed, no other computes again",
        remote,
    )]
}

pub fn remote_keys() -> Vec<Key> {
    let url = json!({"type": "string", "pattern": format!("^(s3://|file:///)|{TEMPLATE}")});
    let size = json!({"type": ["integer", "string"], "pattern": format!(r"^[0-9.]+\s*([kKmMgGtT]i?B?)?$|{TEMPLATE}")});
    vec![
        ("url", "`s3://bucket/prefix`, or `file:///directory`", url),
        (
            "endpoint",
            "the server of a bucket, if it is not Amazon's: `https://rgw.uni.example`",
            json!({"type": ["string", "null"]}),
        ),
        (
            "mode",
            "`read-write` (default) or `read-only`: nothing is written to it",
            one_of(&MODES.map(|(word, _)| word)),
        ),
        ("part_size", "the most bytes of one request, from `5M` to `1G`; default: `8M`", templated(size)),
        ("timeout", "the longest time of one request; default: `30s`", json!({"$ref": "#/$defs/duration"})),
    ]
}
