//! The user's configuration, as every verb reads it that needs it.

use super::refusal::{Refusal, refused};
use super::terminal;
use crate::diagnostic::{self, SourceText};
use crate::settings::{self, ConfigurationPath, Settings, remote};
use anyhow::Result;
use cache::{Remote, RemoteFailure, RemoteSettings, SECRETS, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

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

/// The remote of a pipeline file, or of none, opened and not asked yet.
///
/// # Errors
/// As [`remote`], and where it has no keys.
pub fn open(of_file: &Settings) -> Result<Option<Arc<Remote>>> {
    let Some(settings) = remote(of_file)? else { return Ok(None) };
    let opened = Remote::open(settings, &environment).map_err(|error| refused(format!("{error:#}")))?;
    Ok(Some(Arc::new(opened)))
}

/// A bucket or a directory that is not there is a mistake of the command or the configuration.
pub fn without_place(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<RemoteFailure>() {
        Some(RemoteFailure::NoPlace) => refused(format!("{error}")),
        _ => error,
    }
}

/// A store to read results from. Where some were found in a remote, their files may still be there alone.
pub fn store(root: &Path) -> Result<Store> {
    let store = Store::open(root)?;
    let Some(of_notes) = store.remote_of_notes() else { return Ok(store) };
    let settings = match remote(&Settings::default()) {
        // The pipeline file may have named another one than the user's.
        Ok(Some(configured)) if configured.written() != of_notes.written() => of_notes,
        Ok(Some(configured)) => configured,
        Ok(None) if remote::is_refused(&|name| std::env::var(name).ok()) => return Ok(store),
        Ok(None) => of_notes,
        Err(error) => {
            let said = error.to_string();
            let said = said.trim().trim_start_matches("error:").trim_start();
            tracing::warn!("the configuration is not used, and what is in the remote alone is not read: {said}");
            return Ok(store);
        }
    };
    Ok(match Remote::open(settings, &environment) {
        Ok(remote) => store.with_remote(Arc::new(remote)),
        Err(error) => {
            tracing::warn!("what is in the remote alone cannot be read: {error:#}");
            store
        }
    })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().or_else(|| HIDDEN.get()?.get(name).cloned())
}

/// The keys of a bucket that were in the environment.
static HIDDEN: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Remembers the keys of a bucket, which may leave the environment: a run with a page opens its remote more than once.
pub fn keep_keys() {
    HIDDEN.get_or_init(|| {
        let set = SECRETS.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        set.collect()
    });
}

/// Takes the keys of a bucket out of the environment, so that nothing that is started inherits them. A stage that names one as
/// its secret has been given it before.
pub fn hide_keys() {
    for name in SECRETS {
        // SAFETY: other threads of this process read the environment through the standard library alone, which locks it.
        unsafe { std::env::remove_var(name) };
    }
}
