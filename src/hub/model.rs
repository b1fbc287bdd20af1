//! Models of the hub: which files one has, and whether they are all on this machine.

use super::remote::{OFFLINE, Reply, ask, lock, way_out};
use super::{HubSettings, MARK_OF_ALL, Repository, Snapshot, local};
use anyhow::{Context, Result, bail};
use formats::weights::{self, INDEX, WEIGHTS};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
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

/// The card: it decides nothing, but names the licence, which the card of a model trained from this one repeats.
const CARD: &str = "README.md";

/// The snapshot of a model, if it is complete on this machine; never uses the network. A branch or tag is resolved by
/// `refs/` in the cache, however old: the same pipeline run again must give the same result, whatever was pushed
/// meanwhile. For newer files, name another revision, or move the ref with `hf download`.
///
/// `None` also if it is unknown whether the model has an optional file, such as generation_config.json, because another
/// tool fetched only what it needed. Errors: the ref cannot be read.
pub fn cached(model: &Repository, cache_root: &Path) -> Result<Option<Snapshot>> {
    let Some(snapshot) = local(model, cache_root)? else { return Ok(None) };
    let absent = absent(&model.folder(cache_root), &snapshot.commit);
    let is_known = |file: &&str| snapshot.directory.join(file).exists() || absent.join(file).exists();
    let is_settled = snapshot.directory.join(MARK_OF_ALL).exists() || OPTIONAL.iter().all(is_known);
    Ok((is_settled && lacks(&snapshot.directory).is_empty()).then_some(snapshot))
}

/// The complete snapshot of a model. Missing files are fetched: first the small ones, then, if `check` accepts the
/// directory, the weights. `progress` gets the file, the bytes so far and the bytes in all. Without a network, a
/// snapshot with all required files is accepted.
///
/// Errors: the hub cannot be reached, refuses, or has no such model; the model has no tokenizer.json or safetensors;
/// `check` refused; the cache cannot be written. Fetched bytes are kept, and the next call resumes from them.
pub fn fetch(
    model: &Repository,
    settings: &HubSettings,
    check: &dyn Fn(&Path) -> Result<()>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Snapshot> {
    let cache_root = &settings.cache_root;
    if let Some(snapshot) = cached(model, cache_root)? {
        return Ok(snapshot);
    }
    if settings.is_offline {
        return as_it_is(model, settings, OFFLINE);
    }
    let _alone = lock(model, cache_root)?;
    if let Some(snapshot) = cached(model, cache_root)? {
        return Ok(snapshot);
    }
    let remote = match ask(model, settings)? {
        Reply::Listing(remote) => remote,
        Reply::Silence(reason) => return as_it_is(model, settings, &reason),
    };
    can_be_read(model, |file| remote.has(file))?;
    let directory = &remote.snapshot.directory;
    let mut get = |file: &str| remote.get(file, &|path| is_whole(path, file), progress);
    REQUIRED.into_iter().chain(OPTIONAL).filter(|file| remote.has(file)).try_for_each(&mut get)?;
    let absent = absent(&model.folder(cache_root), &remote.snapshot.commit);
    for file in OPTIONAL.iter().filter(|file| !remote.has(file)) {
        let path = absent.join(file);
        fs::create_dir_all(&absent)
            .and_then(|()| fs::write(&path, ""))
            .with_context(|| format!("write {}", path.display()))?;
    }
    if remote.has(CARD)
        && let Err(error) = get(CARD)
    {
        tracing::warn!("without the card of {model}: {error:#}");
    }
    let weights = match remote.has(WEIGHTS) {
        true => BTreeSet::from([WEIGHTS.to_owned()]),
        false => get(INDEX).and_then(|()| shards(&directory.join(INDEX)))?,
    };
    check(directory)?;
    weights.iter().try_for_each(|file| get(file))?;
    let damaged = lacks(directory);
    if !damaged.is_empty() {
        bail!("fetch {model}: {} came as the hub has it and is damaged there", damaged.join(", "));
    }
    remote.resolve()?;
    Ok(remote.snapshot)
}

/// The snapshot without a network: the files on this machine must be enough.
fn as_it_is(model: &Repository, settings: &HubSettings, reason: &str) -> Result<Snapshot> {
    let folder = model.folder(&settings.cache_root);
    let known = local(model, &settings.cache_root)?;
    let lacking = lacks(known.as_ref().map_or(&folder, |snapshot| &snapshot.directory));
    match known {
        Some(snapshot) if lacking.is_empty() => Ok(snapshot),
        _ => bail!("fetch {model}: {reason}, and {}", way_out(model, "", &lacking.join(", "), &folder)),
    }
}

fn can_be_read(model: &Repository, has: impl Fn(&str) -> bool) -> Result<()> {
    let Repository { owner, name, .. } = model;
    if !has(WEIGHTS) && !has(INDEX) {
        if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") {
            bail!(
                "fetch {model}: pickled weights can run code, so they are not read, and it has no others; save it as \
                 safetensors: `AutoModelForCausalLM.from_pretrained(\"{owner}/{name}\").save_pretrained(DIR)` in \
                 transformers does; and name DIR instead"
            );
        }
        bail!("fetch {model}: it has no {WEIGHTS} and no {INDEX}");
    }
    match REQUIRED.iter().find(|file| !has(file)) {
        Some(file @ &"tokenizer.json") => bail!(
            "fetch {model}: it has no {file}; `AutoTokenizer.from_pretrained(\"{owner}/{name}\").save_pretrained(DIR)` \
             in transformers makes one"
        ),
        Some(file) => bail!("fetch {model}: it has no {file}"),
        None => Ok(()),
    }
}

/// The directory of empty files that mark what a commit does not have, as the Python library does.
fn absent(folder: &Path, commit: &str) -> PathBuf {
    folder.join(".no_exist").join(commit)
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
