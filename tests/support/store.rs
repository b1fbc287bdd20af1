//! Reads a store on the disk without the crate that wrote it, from the layout in `cache/src/lib.rs`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The parts of a store; nothing else may be in it. A dead process may leave anything in the working parts.
const SEALED: [&str; 4] = ["blobs", "trees", "actions", "verdicts"];
const WORKING: [&str; 5] = ["tmp", "claims", "stats", "lock", "gc"];

/// The records by key, without telemetry. Panics if anything is not whole: a file that is not what its name says, a
/// record of something that is missing, a second record of an action, an unknown name.
pub fn check(root: &Path) -> BTreeMap<String, Value> {
    let store = root.join("store/v1");
    for entry in fs::read_dir(&store).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_known = SEALED.contains(&name.as_str()) || WORKING.contains(&name.as_str());
        let is_clean_quarantine = name == "quarantine" && fs::read_dir(entry.path()).unwrap().next().is_none();
        assert!(is_known || is_clean_quarantine, "{}", entry.path().display());
    }
    let part = |part: &str, suffix: &str| named(&store.join(part), suffix);
    let blobs = part("blobs", "");
    for (hex, bytes) in &blobs {
        assert_eq!(&hash(bytes), hex, "blob");
    }
    let trees = part("trees", ".json");
    for (hex, bytes) in &trees {
        assert_eq!(&hash(bytes), hex, "tree");
        let tree: BTreeMap<String, Value> = serde_json::from_slice(bytes).unwrap();
        for (path, entry) in tree {
            let blob = entry["blob"].as_str().unwrap();
            let bytes = blobs.get(blob).unwrap_or_else(|| panic!("`{path}` of tree {hex}: no blob {blob}"));
            assert_eq!(entry["size"], bytes.len(), "`{path}` of tree {hex}");
        }
    }
    part("verdicts", ".json").iter().for_each(|(key, bytes)| drop(record(key, bytes)));
    let records = part("actions", ".json");
    let sound = |(key, bytes): (&String, &Vec<u8>)| {
        let mut record = record(key, bytes);
        let contents = ["contents", "extras"].map(|name| record[name].as_array().cloned().unwrap_or_default());
        for content in contents.iter().flatten() {
            let content = content.as_str().unwrap();
            let (sort, hex) = content.split_once(':').unwrap();
            let is_there = if sort == "tree" { trees.contains_key(hex) } else { blobs.contains_key(hex) };
            assert!(is_there, "record {key}: no {content}");
        }
        // Times and logs are not part of a result.
        let fields = record.as_object_mut().unwrap();
        fields.retain(|name, _| ["result", "contents"].contains(&name.as_str()));
        (key.clone(), record)
    };
    records.iter().map(sound).collect()
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Maps the hexadecimal name of each file `ab/cd…` with this suffix to its bytes. A variant of a record has another
/// name, so it is noticed as well.
fn named(directory: &Path, suffix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for two in entries.map(|entry| entry.unwrap()) {
        let prefix = two.file_name().into_string().unwrap();
        assert!(two.path().is_dir(), "{} is no directory", two.path().display());
        for file in fs::read_dir(two.path()).unwrap().map(|entry| entry.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            let hex = prefix.clone() + name.strip_suffix(suffix).unwrap_or_default();
            let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert!(is_hex, "a name that nobody gave: {}", file.path().display());
            found.insert(hex, fs::read(file.path()).unwrap());
        }
    }
    found
}

/// The record in these bytes, whose hash is checked.
fn record(key: &str, bytes: &[u8]) -> Value {
    let (head, rest) = bytes.split_at(r#"{"blake3":""#.len() + 64);
    let page: Value = serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("record {key}: {error}"));
    assert_eq!(head.strip_prefix(br#"{"blake3":""#).unwrap(), hash(rest).as_bytes(), "record {key}: its hash");
    assert_eq!(page["key"], key);
    page["record"].clone()
}
