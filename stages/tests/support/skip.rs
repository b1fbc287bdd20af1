//! Tests that need what a machine may not have: such a test is skipped by name, with the reason, on the terminal of
//! `cargo test`. Where `PIPELINE_NO_SKIPS` is set, as in `.ci/run`, a skip is an error.

use std::io::Write;
use std::path::PathBuf;

/// Written past the capture of the test harness, which shows the output of failed tests alone.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("PIPELINE_NO_SKIPS").is_none(), "{line}; PIPELINE_NO_SKIPS is set");
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A file or folder of `../shared`, which lies beside the project: real models and data, too large for it.
pub fn shared(name: &str) -> Option<PathBuf> {
    // This file is compiled into tests of two packages, one of them at the root of the project.
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("stages") { package.join("..") } else { package };
    let path = root.join("../shared").join(name);
    if !path.exists() {
        skip(&format!("../shared/{name} is not beside the project"));
        return None;
    }
    Some(path)
}
