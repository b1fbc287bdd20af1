//! Any bytes as a data file: they are refused, or every row is read or refused. No panic, no hang.

#![no_main]

use formats::data::{self, DataRows, DataSource};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The name of a file matters for text that is no JSON.
const NAMES: [&str; 3] = ["rows.jsonl", "rows.csv", "rows.txt"];

static DIRECTORY: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory for files"));

fuzz_target!(|bytes: &[u8]| {
    for name in NAMES {
        let path = DIRECTORY.path().join(name);
        std::fs::write(&path, bytes).expect("write the file");
        let sources = [DataSource::from(path)];
        let preferences = DataRows::Preferences { with_margins: true };
        for rows in [DataRows::Texts, DataRows::Prompts, DataRows::Examples, DataRows::Labelled, preferences] {
            _ = data::check(rows, &sources, u64::MAX);
            _ = data::inspect(&sources, Some(rows), |prompt, answer| {
                Ok(answer.map_or_else(|| prompt.to_string().len(), str::len))
            });
        }
    }
});
