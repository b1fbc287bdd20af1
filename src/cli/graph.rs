//! `graph`: the dependency graph of a file. Nothing is run.

use super::check::understand;
use super::options::Changes;
use super::terminal;
use crate::progress;
use crate::report::graph;
use anyhow::Result;
use clap::ValueEnum;
use std::path::Path;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// A list for people, each stage after all it needs
    Text,
    /// For Graphviz: `pipeline graph FILE --format dot | dot -Tsvg`
    Dot,
    /// For Mermaid, which many Markdown viewers draw
    Mermaid,
}

pub fn graph(file: &Path, changes: &Changes, format: Format) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let plan = understand(file, &changes.all(), None)?;
    match format {
        Format::Text => terminal::show(&[graph::list(&plan)]),
        Format::Dot => terminal::say(&graph::dot(&plan)),
        Format::Mermaid => terminal::say(&graph::mermaid(&plan)),
    }?;
    Ok(0)
}
