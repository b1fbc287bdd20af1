//! Models of the Hugging Face hub in the cache that other tools of this user share: what a reference says, and what
//! lies there whole. Knows nothing of the network, which is `fetch`'s, nor of what a model computes.

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
/// They change what a model does where it has them, so it must be known whether it has.
const OPTIONAL: [&str; 7] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];

/// In every repository, and taken only by those who take all of one (`hf download`): beside it nothing is missing.
const MARK_OF_ALL: &str = ".gitattributes";

/// `hf://owner/name@revision`, checked: its parts go into addresses and paths as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    owner: String,
    name: String,
    revision: String,
}

impl Model {
    /// The revision may be a branch, a tag or a commit; `main` where none is named. Errors: the text is no such
    /// reference; what is wrong with it is said.
    pub fn parse(text: &str) -> Result<Model> {
        let wrong = |what: String| anyhow!("`{text}`: {what}; write hf://owner/name or hf://owner/name@revision");
        let rest = text.strip_prefix("hf://").ok_or_else(|| wrong("it does not begin with hf://".to_owned()))?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (owner, name) = path.split_once('/').unwrap_or(("", path));
        plain("owner", owner).and_then(|()| plain("name", name)).map_err(wrong)?;
        // A branch may be `team/trial`.
        revision.split('/').try_for_each(|part| plain("revision", part)).map_err(wrong)?;
        Ok(Model { owner: owner.to_owned(), name: name.to_owned(), revision: revision.to_owned() })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(format!("{}/{}", self.owner, self.name), RepoType::Model, revision.to_owned())
    }

    /// `models--owner--name`, with all revisions that were ever fetched.
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
        // The hub has none such, and in the cache `--` stands between owner and name.
        _ if part.contains("--") && what != "revision" => Err(format!("the {what} has `--` in it")),
        None => Ok(()),
    }
}

/// A model in the user's Hugging Face cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub directory: PathBuf,
    /// 40 hexadecimal digits.
    pub commit: String,
}

/// What is on this machine and whole; asks nobody. A branch or tag means what `refs/` in the cache says, however old:
/// the same file run again must give the same, whatever was pushed meanwhile. Who wants what is new names another
/// revision, or moves the ref with `hf download`.
///
/// None too where a loader left it open whether the model has, say, a generation_config.json: it took only what it
/// needed itself. Errors: the ref cannot be read.
pub fn cached(model: &Model, cache_root: &Path) -> Result<Option<Snapshot>> {
    let Some(snapshot) = local(model, cache_root)? else { return Ok(None) };
    let absent = absent(&model.folder(cache_root), &snapshot.commit);
    let is_known = |file: &&str| snapshot.directory.join(file).exists() || absent.join(file).exists();
    let is_settled = snapshot.directory.join(MARK_OF_ALL).exists() || OPTIONAL.iter().all(is_known);
    Ok((is_settled && lacks(&snapshot.directory).is_empty()).then_some(snapshot))
}

/// What the revision means on this machine, its files there or not.
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

/// Where the Python library, too, notes with empty files what a commit does not have.
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

/// `file` says what has to be at `path`. Weights tell in their head how long they are: what another tool left half is
/// found without asking.
fn is_whole(path: &Path, file: &str) -> bool {
    /// As the safetensors format allows.
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
