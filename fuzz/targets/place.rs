//! A directory for the files of one input.

use std::cell::LazyCell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

thread_local! {
    static PLACE: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a directory for files"));
}

/// What stands between two files of one input. It is no beginning of any format, and easy to hit on.
const BETWEEN: &[u8] = b"\n====\n";

/// The parts of an input.
pub fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// Writes a file of this name, alone in its directory.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    directory(&[(name, bytes)]).join(name)
}

/// Writes a directory of these files, and no others. It stays until the next one is asked for in this thread.
pub fn directory(files: &[(&str, &[u8])]) -> PathBuf {
    let place = PLACE.with(|place| place.path().to_owned());
    for entry in fs::read_dir(&place).expect("read the directory") {
        remove(&entry.expect("read the directory").path());
    }
    for (name, bytes) in files {
        fs::write(place.join(name), bytes).expect("write a file");
    }
    place
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("remove what the last input left");
}
