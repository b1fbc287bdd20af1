//! Data sets of the hub: which files a reference names, and whether they are all on this machine.

use super::remote::{OFFLINE, RemoteFile, Reply, ask, lock, way_out};
use super::{Dataset, HubSettings, MARK_OF_ALL, Snapshot, local, read_if_there};
use anyhow::{Context, Result, anyhow, bail};
use formats::data as rows;
use stages::stage::did_you_mean;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The directory of what the hub listed as the files of each commit. It lies in the folder of the repository, where other
/// tools pass over it. Without it, nobody could tell later whether a pattern has all its files on this machine.
const LISTINGS: &str = ".files";

/// The number of missing files that a message names.
const NAMED: usize = 5;

/// The files that a reference names, in the order of their names, if all of them are on this machine; never uses the
/// network. A revision is resolved as that of a model: by `refs/` in the cache, however old.
///
/// Which files there are is known from the list of an earlier `fetch_data`; else the reference names one file, or
/// another tool fetched the whole repository. A file is complete if it has the length that the list says; without
/// a list, if it is there: other tools rename a file when it is complete.
///
/// Errors: the cache cannot be read; the commit has no such file.
pub fn files(data: &Dataset, cache_root: &Path) -> Result<Option<Vec<PathBuf>>> {
    let Some(snapshot) = local(&data.repository, cache_root)? else { return Ok(None) };
    let Some(named) = named(data, &snapshot, cache_root)? else { return Ok(None) };
    let is_complete = named.iter().all(|file| is_whole(&snapshot.directory.join(&file.name), file));
    Ok(is_complete.then(|| paths(&named, &snapshot)))
}

/// The files that a reference names; those that are missing are fetched, and no others. `progress` gets the file, the
/// bytes so far and the bytes in all.
///
/// Errors: the hub cannot be reached, refuses, or has no such files; the cache cannot be written. Fetched bytes are kept,
/// and the next call resumes from them.
pub fn fetch_data(
    data: &Dataset,
    settings: &HubSettings,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Vec<PathBuf>> {
    let Dataset { repository, .. } = data;
    let cache_root = &settings.cache_root;
    if let Some(files) = files(data, cache_root)? {
        return Ok(files);
    }
    if settings.is_offline {
        return Err(missing(data, settings, OFFLINE));
    }
    let _alone = lock(repository, cache_root)?;
    if let Some(files) = files(data, cache_root)? {
        return Ok(files);
    }
    let remote = match ask(repository, settings)? {
        Reply::Listing(remote) => remote,
        Reply::Silence(reason) => return Err(missing(data, settings, &reason)),
    };
    let named = select(data, &remote.files)?;
    for file in &named {
        remote.get(&file.name, &|path| is_whole(path, file), progress)?;
    }
    let path = listing_path(data, &remote.snapshot, cache_root);
    keep(&remote.files, &path).with_context(|| format!("write {}", path.display()))?;
    remote.resolve()?;
    let damaged = named.iter().find(|file| !is_whole(&remote.snapshot.directory.join(&file.name), file));
    match damaged {
        Some(file) => bail!("fetch {data}: {} came with another length than the hub lists", file.name),
        None => Ok(paths(&named, &remote.snapshot)),
    }
}

fn paths(named: &[RemoteFile], snapshot: &Snapshot) -> Vec<PathBuf> {
    named.iter().map(|file| snapshot.directory.join(&file.name)).collect()
}

fn is_whole(path: &Path, file: &RemoteFile) -> bool {
    // A link of the cache may lead to a blob that was removed.
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && file.size.is_none_or(|size| size == metadata.len()))
}

/// The files of the commit that the reference names; `None` if it is not known which files the commit has.
fn named(data: &Dataset, snapshot: &Snapshot, cache_root: &Path) -> Result<Option<Vec<RemoteFile>>> {
    let path = listing_path(data, snapshot, cache_root);
    if let Some(text) = read_if_there(&path)? {
        let listed: Vec<RemoteFile> =
            serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        return select(data, &listed).map(Some);
    }
    let file = |name: String| RemoteFile { name, size: None };
    if snapshot.directory.join(&data.path).is_file() {
        return Ok(Some(vec![file(data.path.clone())]));
    }
    if !snapshot.directory.join(MARK_OF_ALL).exists() || is_under_way(&data.repository.folder(cache_root)) {
        return Ok(None);
    }
    let mut names = BTreeSet::new();
    walk(&snapshot.directory, "", &mut names).with_context(|| format!("read {}", snapshot.directory.display()))?;
    let named = select(data, &names.into_iter().map(file).collect::<Vec<_>>())?;
    Ok(lacks_no_shard(&named).then_some(named))
}

/// Whether a download of another tool has not come to its end: the tool writes each file under such a name first.
fn is_under_way(folder: &Path) -> bool {
    let blobs = fs::read_dir(folder.join("blobs")).into_iter().flatten().flatten();
    blobs.into_iter().any(|blob| blob.path().extension().is_some_and(|ending| ending == "incomplete"))
}

/// Whether all of `train-00000-of-00003.parquet` and its like are there.
fn lacks_no_shard(files: &[RemoteFile]) -> bool {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for RemoteFile { name, .. } in files {
        let Some((head, tail)) = name.rsplit_once("-of-") else { continue };
        let Some((head, number)) = head.rsplit_once('-') else { continue };
        if number.len() == 5 && number.bytes().all(|digit| digit.is_ascii_digit()) {
            *counts.entry((head, tail)).or_default() += 1;
        }
    }
    counts
        .iter()
        .all(|((_, tail), count)| tail.get(..5).and_then(|all| all.parse().ok()).is_none_or(|all: usize| all == *count))
}

fn walk(directory: &Path, prefix: &str, names: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // No file of the hub has a name that is not UTF-8.
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.path().is_dir() {
            true => walk(&entry.path(), &format!("{prefix}{name}/"), names)?,
            false => _ = names.insert(format!("{prefix}{name}")),
        }
    }
    Ok(())
}

/// The files that a reference names. Errors: there are none; the nearest names are told.
fn select(data: &Dataset, files: &[RemoteFile]) -> Result<Vec<RemoteFile>> {
    let mut names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    let chosen: BTreeSet<&str> = rows::select(&names, &data.path)?.into_iter().collect();
    if chosen.is_empty() {
        // A name without its directory is what people forget.
        let last = |name: &str| name.rsplit('/').next().map(str::to_owned);
        let elsewhere = names.iter().find(|name| last(name) == last(&data.path)).filter(|_| !data.path.is_empty());
        let tables: Vec<&str> = rows::select(&names, "")?;
        let names = if tables.is_empty() { &names } else { &tables };
        let help = elsewhere.map_or_else(|| did_you_mean(&data.path, names), |name| format!("did you mean `{name}`?"));
        let what = match &*data.path {
            "" => format!("the data set has no data files ({})", rows::ENDINGS.join(", ")),
            path => format!("the data set has no `{path}`"),
        };
        return Err(anyhow!("`{data}`: {what}; {help}"));
    }
    let mut named: Vec<RemoteFile> = files.iter().filter(|file| chosen.contains(&*file.name)).cloned().collect();
    named.sort_by(|one, other| Path::new(&one.name).cmp(Path::new(&other.name)));
    Ok(named)
}

fn listing_path(data: &Dataset, snapshot: &Snapshot, cache_root: &Path) -> PathBuf {
    data.repository.folder(cache_root).join(LISTINGS).join(format!("{}.json", snapshot.commit))
}

fn keep(files: &[RemoteFile], path: &Path) -> Result<()> {
    let directory = path.parent().context("it has no directory")?;
    fs::create_dir_all(directory)?;
    // Whole or not at all.
    let mut draft = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&mut draft, files)?;
    draft.flush()?;
    draft.persist(path)?;
    Ok(())
}

fn is_one_file(path: &str) -> bool {
    !rows::is_pattern(Path::new(path)) && rows::is_data(&path.to_lowercase())
}

/// The error without a network.
fn missing(data: &Dataset, settings: &HubSettings, reason: &str) -> anyhow::Error {
    let folder = data.repository.folder(&settings.cache_root);
    let find = || -> Result<String> {
        let unknown = if data.path.is_empty() { "its files".to_owned() } else { data.path.clone() };
        let Some(snapshot) = local(&data.repository, &settings.cache_root)? else { return Ok(unknown) };
        let Some(named) = named(data, &snapshot, &settings.cache_root)? else { return Ok(unknown) };
        let lacking = named.iter().filter(|file| !is_whole(&snapshot.directory.join(&file.name), file));
        let lacking: Vec<&str> = lacking.map(|file| file.name.as_str()).collect();
        let more = if lacking.len() > NAMED { ", …" } else { "" };
        Ok(lacking[..lacking.len().min(NAMED)].join(", ") + more)
    };
    match find() {
        // Of several files, the tool of the hub is to fetch all: only then does the cache show that none is missing.
        Ok(lacking) => {
            let file = if data.path == lacking && is_one_file(&lacking) { &*lacking } else { "" };
            anyhow!("fetch {data}: {reason}, and {}", way_out(&data.repository, file, &lacking, &folder))
        }
        Err(error) => error,
    }
}
