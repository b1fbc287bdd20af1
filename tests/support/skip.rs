//! Skips a test that needs something this machine does not have. `cargo test` prints its name and the reason; where
//! `PIPELINE_NO_SKIPS` is set, as in `.ci/run`, a skip is an error.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

use std::io::Write;
use std::path::PathBuf;

/// Skips for want of something that can be installed or laid beside the project.
pub fn skip(reason: &str) {
    let line = line(reason);
    assert!(std::env::var_os("PIPELINE_NO_SKIPS").is_none(), "{line}; PIPELINE_NO_SKIPS is set");
    say(&line);
}

/// Skips where the machine forbids what the test needs, as most containers forbid mounts. It is never an error: nothing
/// that could be installed lifts the ban. Another test must show the same fact by weaker means.
pub fn forbidden(reason: &str) {
    say(&line(reason));
}

fn line(reason: &str) -> String {
    format!("skipped: {}: {reason}", std::thread::current().name().unwrap_or("a test"))
}

/// Prints past the capture of the test harness, which shows the output of failed tests only.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A file or folder in `../shared` beside the project, which holds real models and data that are too large for it.
pub fn shared(name: &str) -> Option<PathBuf> {
    // Tests of several packages include this file; one of them is the root of the project.
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("stages") { package.join("..") } else { package };
    let path = root.join("../shared").join(name);
    if !path.exists() {
        skip(&format!("../shared/{name} is not beside the project"));
        return None;
    }
    Some(path)
}
