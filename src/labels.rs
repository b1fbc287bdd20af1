//! `….labels/` next to the pipeline file: what people said, in a folder for each worklist and a file for each person and
//! session, meant for version control. Lines are only added, and each holds the hash of the line before. The labels that
//! count are a pure function of all lines, whatever files they stand in.

pub mod book;
pub mod chain;
pub mod folder;
pub mod writer;

use std::path::{Path, PathBuf};

/// The time in RFC 3339, always with milliseconds, so that times of one moment can be told apart as texts.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The folder of a pipeline's labels: `pipelines/rlhf.yaml` → `pipelines/rlhf.labels`.
pub fn folder(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("labels")
}
