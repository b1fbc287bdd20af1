//! Models of the Hugging Face hub: references to them, and complete snapshots in the cache that the user's other tools
//! share. Only `fetch` uses the network.

mod fetch;
#[cfg(test)]
mod tests;

pub use fetch::{Settings, fetch};

use anyhow::{Context, Result, anyhow, bail};
use formats::weights::{self, INDEX, WEIGHTS};
use hf_hub::{Repo, RepoType};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Files that change what a model does, so it must be known for each whether the model has it.
const OPTIONAL: [&str; 7] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];

/// A file of every repository that is fetched only with the whole repository (`hf download`): if it is there, no other
/// file is missing.
const MARK_OF_ALL: &str = ".gitattributes";

/// A reference `hf://owner/name@revision`. Its parts are checked, because they become parts of URLs and paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    owner: String,
    name: String,
    revision: String,
}

impl Model {
    /// Reads a reference. The revision may be a branch, a tag or a commit; default: `main`. Errors say what is wrong.
    pub fn parse(text: &str) -> Result<Model> {
        let wrong = |what: String| anyhow!("`{text}`: {what}; write hf://owner/name or hf://owner/name@revision");
        let rest = text.strip_prefix("hf://").ok_or_else(|| wrong("it does not begin with hf://".to_owned()))?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (owner, name) = path.split_once('/').unwrap_or(("", path));
        plain("owner", owner).and_then(|()| plain("name", name)).map_err(wrong)?;
        // A branch may contain slashes: `team/trial`.
        revision.split('/').try_for_each(|part| plain("revision", part)).map_err(wrong)?;
        Ok(Model { owner: owner.to_owned(), name: name.to_owned(), revision: revision.to_owned() })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(format!("{}/{}", self.owner, self.name), RepoType::Model, revision.to_owned())
    }

    /// The directory `models--owner--name`, with all revisions that were ever fetched.
    fn folder(&self, cache_root: &Path) -> PathBuf {
        cache_root.join(self.repo(&self.revision).folder_name())
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "hf://{}/{}@{}", self.owner, self.name, self.revision)
    }
}

fn plain(what: &str, part: &str) -> Result<(), String> {
    let is_odd = |character: &char| !character.is_ascii_alphanumeric() && !"._-".contains(*character);
    match part.chars().find(is_odd) {
        _ if part.is_empty() => Err(format!("the {what} is {}", if what == "revision" { "empty" } else { "missing" })),
        Some(odd) => Err(format!("the {what} has `{odd}` in it")),
        _ if part.contains("..") => Err(format!("the {what} has `..` in it")),
        _ if part.starts_with(['.', '-']) => Err(format!("the {what} begins with `{}`", &part[..1])),
        // The hub allows no such name, and in the cache `--` separates owner and name.
        _ if part.contains("--") && what != "revision" => Err(format!("the {what} has `--` in it")),
        None => Ok(()),
    }
}

/// A model in the user's Hugging Face cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub directory: PathBuf,
    /// The commit: 40 hexadecimal digits.
    pub commit: String,
}

/// The snapshot of a model, if it is complete on this machine; never uses the network. A branch or tag is resolved by
/// `refs/` in the cache, however old: the same pipeline run again must give the same result, whatever was pushed
/// meanwhile. For newer files, name another revision, or move the ref with `hf download`.
///
/// `None` also if it is unknown whether the model has an optional file, such as generation_config.json, because another
/// tool fetched only what it needed. Errors: the ref cannot be read.
pub fn cached(model: &Model, cache_root: &Path) -> Result<Option<Snapshot>> {
    let Some(snapshot) = local(model, cache_root)? else { return Ok(None) };
    let absent = absent(&model.folder(cache_root), &snapshot.commit);
    let is_known = |file: &&str| snapshot.directory.join(file).exists() || absent.join(file).exists();
    let is_settled = snapshot.directory.join(MARK_OF_ALL).exists() || OPTIONAL.iter().all(is_known);
    Ok((is_settled && lacks(&snapshot.directory).is_empty()).then_some(snapshot))
}

/// The snapshot that the revision refers to on this machine, complete or not.
fn local(model: &Model, cache_root: &Path) -> Result<Option<Snapshot>> {
    let folder = model.folder(cache_root);
    let commit = match is_commit(&model.revision) {
        true => Some(model.revision.clone()),
        false => read_if_there(&folder.join("refs").join(&model.revision))?.map(|text| text.trim().to_owned()),
    };
    let snapshot = |commit: String| Snapshot { directory: folder.join("snapshots").join(&commit), commit };
    Ok(commit.filter(|commit| is_commit(commit)).map(snapshot))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The directory of empty files that mark what a commit does not have, as the Python library does.
fn absent(folder: &Path, commit: &str) -> PathBuf {
    folder.join(".no_exist").join(commit)
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// The required files that are missing or cut short.
fn lacks(directory: &Path) -> Vec<String> {
    let mut files: BTreeSet<String> = REQUIRED.map(str::to_owned).into();
    let index = directory.join(INDEX);
    match shards(&index) {
        _ if directory.join(WEIGHTS).exists() => _ = files.insert(WEIGHTS.to_owned()),
        Ok(names) => files.extend(names),
        Err(_) if index.exists() => _ = files.insert(INDEX.to_owned()),
        Err(_) => _ = files.insert(format!("{WEIGHTS} (or its index and shards)")),
    }
    files.into_iter().filter(|file| !is_whole(&directory.join(file), file)).collect()
}

fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let read = || format!("read {}", index.display());
    let names = weights::shards(index)?;
    match names.iter().find(|name| !name.ends_with(".safetensors") || name.contains(['/', '\\'])) {
        Some(odd) => bail!("{}: `{odd}` is no shard beside it", read()),
        None if names.is_empty() => bail!("{}: it names no shard", read()),
        None => Ok(names),
    }
}

/// Whether the file at `path` is complete. Weights name their length in their header, so a partial download is found
/// without the network.
fn is_whole(path: &Path, file: &str) -> bool {
    /// The longest header that the safetensors format allows.
    const LONGEST_HEAD: u64 = 100_000_000;
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    let told = || {
        let mut reader = File::open(path).ok()?;
        let mut size = [0; 8];
        reader.read_exact(&mut size).ok()?;
        let size = Some(u64::from_le_bytes(size)).filter(|size| *size <= length.min(LONGEST_HEAD))?;
        let mut head = Vec::new();
        reader.take(size).read_to_end(&mut head).ok()?;
        let tensors: Map<String, Value> = serde_json::from_slice(&head).ok()?;
        let ends = tensors.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
        Some(8 + size + ends.max().unwrap_or(0))
    };
    match file {
        INDEX => shards(path).is_ok(),
        _ if file.ends_with(".safetensors") => told() == Some(length),
        _ => length > 0,
    }
}
