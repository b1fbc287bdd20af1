//! No code reads a message to find out what happened: a fact is a value, and its text is for people.

use super::sources;
use std::collections::BTreeSet;

const DIRECTORIES: [&str; 4] = ["src", "cache/src", "stages/src", "stages/formats/src"];

/// Functions that look into a text.
const READERS: [&str; 9] = [
    "contains",
    "ends_with",
    "find",
    "rsplit_once",
    "split",
    "split_once",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
];

/// Files that read prose all the same, each with its reason.
const ALLOWED: [(&str, &str); 6] = [
    ("cache/src/hostile.rs", "tests"),
    ("src/cause.rs", "journals hold causes as texts: this is the file that reads them back"),
    ("src/cli/doctor/machine.rs", "/proc/cpuinfo"),
    ("src/gate/items.rs", "serde_json says the line of a fault in its message as well"),
    ("src/plan/parameters.rs", "serde has no other form for the type that it found and the one it expected"),
    ("src/spec/yaml.rs", "the YAML reader has one kind of error"),
];

/// Whether a reader is called with a text that holds a word and a space.
fn reads_prose(code: &str) -> bool {
    READERS.iter().any(|reader| {
        code.match_indices(&format!(".{reader}(\"")).any(|(at, call)| {
            let text = &code[at + call.len()..];
            // A text that does not end on its line was cut where a `//` in it was taken for a comment.
            let text =
                text.find(['"', '\n']).filter(|end| text[*end..].starts_with('"')).map_or("", |end| &text[..end]);
            text.contains(' ') && text.chars().any(char::is_alphabetic)
        })
    })
}

#[test]
fn prose_is_found_where_it_is_read() {
    for code in [r#"line.strip_suffix(" would run")"#, r#"error.contains("out of memory")"#] {
        assert!(reads_prose(code), "{code}");
    }
    for code in [r#"line.split_once(": ")"#, r#"path.starts_with("inputs.")"#, r#"text.push_str("out of memory")"#] {
        assert!(!reads_prose(code), "{code}");
    }
}

#[test]
fn no_message_is_parsed() {
    let files = DIRECTORIES.iter().flat_map(|directory| sources(directory));
    let reading: BTreeSet<String> = files.filter(|file| reads_prose(&file.code)).map(|file| file.name).collect();
    let allowed: BTreeSet<String> = ALLOWED.iter().map(|(file, _)| (*file).to_owned()).collect();
    let new: Vec<_> = reading.difference(&allowed).collect();
    assert!(new.is_empty(), "these files read messages: {new:?}");
    let gone: Vec<_> = allowed.difference(&reading).collect();
    assert!(gone.is_empty(), "these files read no message any more, so take them out of this test: {gone:?}");
}
