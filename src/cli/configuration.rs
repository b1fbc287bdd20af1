//! The user's configuration, as every verb reads it that needs it.

use super::refusal::{Refusal, refused};
use super::terminal;
use crate::diagnostic::{self, SourceText};
use crate::settings::{self, ConfigurationPath, Settings, remote};
use anyhow::Result;
use cache::RemoteSettings;

/// The settings of a pipeline file, or of none: what they leave out is the user's.
///
/// # Errors
/// The user's file has mistakes, or cannot be read.
pub fn settings(of_file: Settings) -> Result<Settings> {
    let Some(ConfigurationPath { path, is_named }) = settings::path(&|name| std::env::var_os(name)) else {
        return Ok(of_file);
    };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => return Ok(of_file),
        text => text.map_err(|error| refused(format!("read {}: {error}", path.display())))?,
    };
    let source = SourceText { path, text, overrides: Vec::new(), rule: None };
    let of_user = settings::read(&source)
        .map_err(|mistakes| Refusal(diagnostic::render(&source, &mistakes, terminal::stderr_has_color())))?;
    Ok(of_file.or(of_user))
}

/// The remote of a pipeline file, or of none.
///
/// # Errors
/// As [`settings`], and where a variable of the environment says something else.
pub fn remote(of_file: &Settings) -> Result<Option<RemoteSettings>> {
    let cache = settings(of_file.clone())?.cache.unwrap_or_default();
    remote::with_environment(cache, &|name| std::env::var(name).ok()).map_err(refused)
}
