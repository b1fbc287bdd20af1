//! Skips a test that needs something this machine does not have. `cargo test` prints its name and the reason; where
//! `PIPELINE_NO_SKIPS` is set, as in `.ci/run`, a skip is an error.

use std::io::Write;
use std::path::PathBuf;

/// Prints past the capture of the test harness, which shows the output of failed tests only.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("PIPELINE_NO_SKIPS").is_none(), "{line}; PIPELINE_NO_SKIPS is set");
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A file or folder in `../shared` beside the project, which holds real models and data that are too large for it.
pub fn shared(name: &str) -> Option<PathBuf> {
    // Tests of two packages include this file; one of them is the root of the project.
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("stages") { package.join("..") } else { package };
    let path = root.join("../shared").join(name);
    if !path.exists() {
        skip(&format!("../shared/{name} is not beside the project"));
        return None;
    }
    Some(path)
}
