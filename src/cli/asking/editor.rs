//! A text in the person's own editor.

use anyhow::{Context, Result, bail};
use std::process::Command;

/// The text as the editor leaves it.
///
/// # Errors
/// The editor cannot be started, says that it failed, or leaves no text.
pub fn edit(text: &str) -> Result<String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    let editor = named.into_iter().find(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    let file = tempfile::Builder::new().suffix(".txt").tempfile().context("make a file for the editor")?;
    std::fs::write(file.path(), format!("{text}\n")).context("write the file for the editor")?;
    // As git does: the variable may hold arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(file.path());
    let status = command.status().with_context(|| format!("start the editor `{editor}`"))?;
    if !status.success() {
        bail!("the editor `{editor}` ended with {status}");
    }
    let edited = std::fs::read_to_string(file.path()).context("read what the editor left")?;
    Ok(edited.strip_suffix('\n').unwrap_or(&edited).to_owned())
}
