//! Models and data of hubs, fetched where they are missing; the file being fetched is told.

use super::terminal;
use crate::hub;
use crate::report::format::bytes;
use anyhow::Result;
use stages::kinds;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// A model on this machine, fetched if missing and if `fetches`. A model of an unsupported architecture is refused before
/// its weights are fetched.
pub fn model(model: &hub::Repository, fetches: bool) -> Result<Option<hub::Snapshot>> {
    let settings = settings()?;
    let cached = hub::cached(model, &settings.cache_root)?;
    if cached.is_some() || !fetches {
        return Ok(cached);
    }
    let check = |directory: &Path| kinds::check_configuration(directory);
    told(model, &settings, |progress| hub::fetch(model, &settings, &check, progress)).map(Some)
}

/// The files of data on this machine, fetched if missing and if `fetches`.
pub fn data(data: &hub::Dataset, fetches: bool) -> Result<Option<Vec<PathBuf>>> {
    let settings = settings()?;
    let files = hub::files(data, &settings.cache_root)?;
    if files.is_some() || !fetches {
        return Ok(files);
    }
    told(data, &settings, |progress| hub::fetch_data(data, &settings, progress)).map(Some)
}

fn settings() -> Result<hub::HubSettings> {
    hub::HubSettings::from(|name| std::env::var_os(name))
}

/// A function that takes the name of a file, the bytes of it that came, and all its bytes.
type FetchProgress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Fetches, and prints each file that comes.
fn told<T>(
    asset: &dyn Display,
    settings: &hub::HubSettings,
    fetch: impl FnOnce(FetchProgress) -> Result<T>,
) -> Result<T> {
    if !settings.is_offline {
        terminal::remark(&format!("fetch {asset}: asking {}\n", settings.endpoint));
    }
    let mut last = String::new();
    fetch(&mut |file: &str, _: u64, total: u64| {
        if file != last {
            terminal::remark(&format!("fetch {asset}: {file}, {}\n", bytes(total)));
            file.clone_into(&mut last);
        }
    })
}
