//! Sources of a hub: where they lie on this machine, or their reference if they are not here yet.

use crate::diagnostic::Diagnostic;
use crate::hub::{self, Asset, Dataset, Repository};
use crate::plan::source::{SourceLookup, accepted};
use crate::spec::SourceSpec;
use anyhow::{Context, Result};
use stages::stage::Port;
use std::path::{Path, PathBuf};

/// The directory of a model.
pub fn model(
    text: &str,
    port: Option<&Port>,
    source: &SourceSpec,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<PathBuf> {
    if hub::is_data(text) {
        let takes = port.map(|port| format!("`{}` takes {}; ", port.name, accepted(port.accepts)));
        let help = takes.unwrap_or_default() + "a model of the hub is written `hf://owner/name`";
        mistakes.push(Diagnostic::error(source.span, format!("`{text}` is a data set")).help(help));
        return None;
    }
    let model = Repository::model(text);
    let found = model.and_then(|model| Ok((hub::cached(&model, cache_root(text, lookup)?)?, Asset::Model(model))));
    match found {
        Ok((snapshot, asset)) => Some(here(snapshot.map(|snapshot| snapshot.directory), &asset, source, mistakes)),
        Err(error) => fails(&error, source, mistakes),
    }
}

/// The files of data.
pub fn data(
    text: &str,
    source: &SourceSpec,
    lookup: &SourceLookup,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Vec<PathBuf>> {
    let as_data = text.replacen("hf://", "hf://datasets/", 1);
    if !hub::is_data(text) && Dataset::parse(&as_data).is_ok() {
        let help = format!("a data set of the hub is written `{as_data}`");
        mistakes.push(Diagnostic::error(source.span, format!("`{text}` is a model, if it is anything")).help(help));
        return None;
    }
    let data = Dataset::parse(text);
    let found = data.and_then(|data| Ok((hub::files(&data, cache_root(text, lookup)?)?, Asset::Data(data))));
    match found {
        Ok((Some(files), _)) => Some(files),
        Ok((None, asset)) => Some(vec![here(None, &asset, source, mistakes)]),
        Err(error) => fails(&error, source, mistakes),
    }
}

fn cache_root<'a>(text: &str, lookup: &'a SourceLookup) -> Result<&'a Path> {
    let unset = || format!("`{text}`: HF_HUB_CACHE, HF_HOME and HOME are not set, so there is no place for it");
    lookup.spec.hub_cache.as_deref().with_context(unset)
}

/// The path, or the reference and a warning.
fn here(path: Option<PathBuf>, asset: &Asset, source: &SourceSpec, mistakes: &mut Vec<Diagnostic>) -> PathBuf {
    path.unwrap_or_else(|| {
        let message = format!("`{asset}` is not on this machine yet");
        mistakes.push(Diagnostic::warning(source.span, message).help(asset.way_to_fetch()));
        PathBuf::from(asset.to_string())
    })
}

fn fails<T>(error: &anyhow::Error, source: &SourceSpec, mistakes: &mut Vec<Diagnostic>) -> Option<T> {
    mistakes.push(Diagnostic::error(source.span, format!("{error:#}")));
    None
}
