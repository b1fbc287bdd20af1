//! Helpers for tests: stores, content for them, and changes to their files.

use crate::store::Store;
#[cfg(unix)]
use crate::{
    stats::{self, Stat},
    wait::wait_for,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An empty store in a directory that goes away with the first value. It does not wait for the disk: most tests lose
/// no power.
pub fn store() -> (TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join(".pipeline")).unwrap().without_fsync();
    (home, store)
}

pub fn write(root: &Path, path: &str, text: &str) -> PathBuf {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    file
}

/// A directory of four files: two levels, one executable, one of them not ASCII, two of the same content.
pub fn model(root: &Path) -> PathBuf {
    write(root, "model/model/config.json", "{}");
    write(root, "model/model/model.safetensors", &"weights ".repeat(20_000));
    write(root, "model/tokenizer/vocab.txt", "ねこ\n");
    let script = write(root, "model/run.sh", "{}");
    #[cfg(unix)]
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    root.join("model")
}

/// Every file below a directory, sorted.
pub fn files(directory: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Writes to a file, under all of its names, as a process that ignores permission bits can.
pub fn overwrite(file: &Path, bytes: &[u8]) {
    #[cfg(unix)]
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Waits until the store trusts the stat of the files at `path`: each was last changed at least a tick of its file
/// system's clock ago.
#[cfg(unix)]
pub fn wait_for_tick(path: &Path) {
    let all = if path.is_dir() { files(path.to_owned()) } else { vec![path.to_owned()] };
    for file in all.into_iter().map(|path| fs::File::open(path).unwrap()) {
        let age = || Stat::of(&file.metadata().unwrap()).unwrap().age();
        wait_for("a tick of the clock", || (age() >= stats::tick_of(&file)).then_some(()));
    }
}

/// The result of `act`, and the lines that it writes to the log.
pub fn log_of<T>(act: impl FnOnce() -> T) -> (T, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = file.reopen().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false).with_writer(log);
    let value = tracing::subscriber::with_default(subscriber.finish(), act);
    (value, fs::read_to_string(file.path()).unwrap())
}
