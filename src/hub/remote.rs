//! Downloads from the hub through hf-hub: settings, retries, and messages for refusals and failures.

use super::{Model, OPTIONAL, REQUIRED, Snapshot};
use super::{absent, cached, is_commit, is_whole, lacks, local, read_if_there, shards};
use anyhow::{Context, Result, anyhow, bail};
use formats::weights::{INDEX, WEIGHTS};
use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::api::{Progress, RepoInfo};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The number of retries of a request that failed for a temporary reason.
const RETRIES: u32 = 4;

/// The local cache and the hub.
pub struct Settings {
    pub cache_root: PathBuf,
    pub endpoint: String,
    pub token: Option<String>,
    /// Whether the network must not be used.
    pub is_offline: bool,
    /// The pause before the first retry; it doubles for each further one.
    pub pause: Duration,
}

impl Settings {
    /// Reads the environment as the Python library does, so that both use the same cache and account. Errors: no
    /// variable names the cache; `HF_ENDPOINT` or `HF_TOKEN` is not UTF-8; the token file exists and cannot be read.
    pub fn from(env: impl Fn(&str) -> Option<OsString>) -> Result<Settings> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let user = set("HOME").map(PathBuf::from);
        let path = |name: &str| {
            let path = PathBuf::from(set(name)?);
            let in_home = path.strip_prefix("~").ok().zip(user.as_ref()).map(|(rest, user)| user.join(rest));
            Some(in_home.unwrap_or(path))
        };
        let text = |name: &str| match set(name).map(OsString::into_string) {
            Some(Ok(text)) => Ok(Some(text.trim().to_owned())),
            Some(Err(_)) => bail!("read {name}: it is not UTF-8"),
            None => Ok(None),
        };
        let caches = || path("XDG_CACHE_HOME").or_else(|| Some(user.as_ref()?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        let cache_root = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache_root = cache_root.or_else(|| Some(home.as_ref()?.join("hub")));
        let cache_root =
            cache_root.context("find the Hugging Face cache: HF_HUB_CACHE, HF_HOME and HOME are not set")?;
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| "https://huggingface.co".to_owned());
        let token = match (text("HF_TOKEN")?, text("HUGGING_FACE_HUB_TOKEN")?) {
            (None, None) => match path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token"))) {
                Some(path) => read_if_there(&path)?.map(|token| token.trim().to_owned()),
                None => None,
            },
            (first, second) => first.or(second),
        };
        let is_true = |value: OsString| {
            ["1", "on", "yes", "true"].iter().any(|truth| value.to_str().is_some_and(|v| v.eq_ignore_ascii_case(truth)))
        };
        Ok(Settings {
            cache_root,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            is_offline: set("HF_HUB_OFFLINE").or_else(|| set("TRANSFORMERS_OFFLINE")).is_some_and(is_true),
            pause: Duration::from_secs(1),
        })
    }
}

/// The complete snapshot of a model. Missing files are fetched: first the small ones, then, if `check` accepts the
/// directory, the weights. `progress` gets the file, the bytes so far and the bytes in all. Without a network, a
/// snapshot with all required files is accepted.
///
/// Errors: the hub cannot be reached, refuses, or has no such model; the model has no tokenizer.json or safetensors;
/// `check` refused; the cache cannot be written. Fetched bytes are kept, and the next call resumes from them.
pub fn fetch(
    model: &Model,
    settings: &Settings,
    check: &dyn Fn(&Path) -> Result<()>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Snapshot> {
    let cache_root = &settings.cache_root;
    if let Some(snapshot) = cached(model, cache_root)? {
        return Ok(snapshot);
    }
    if settings.is_offline {
        return as_it_is(model, settings, "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set");
    }
    // One process at a time: hf-hub's own lock gives up after 5 s, and the next holder fetches the same files again.
    let _alone = lock(model, cache_root)?;
    if let Some(snapshot) = cached(model, cache_root)? {
        return Ok(snapshot);
    }
    let cache = Cache::new(cache_root.clone());
    let api = ApiBuilder::from_cache(cache).with_endpoint(settings.endpoint.clone()).with_token(settings.token.clone());
    let api = api.build().with_context(|| format!("fetch {model}"))?;
    // A revision that is resolved on this machine stays resolved, even if some of its files are missing.
    let asked = local(model, cache_root)?.map_or(model.revision.clone(), |snapshot| snapshot.commit);
    let info = match attempts(settings.pause, || info(&api.repo(model.repo(&asked)))) {
        Ok(info) => info,
        Err(error) => match refusal(model, settings, &asked, &error) {
            Some(refusal) => return Err(refusal),
            None => return as_it_is(model, settings, &error.to_string()),
        },
    };
    if !is_commit(&info.sha) || (is_commit(&asked) && asked != info.sha) {
        bail!("fetch {model}: {} says that {asked} is the commit `{}`", settings.endpoint, info.sha);
    }
    let has = |file: &str| info.siblings.iter().any(|sibling| sibling.rfilename == file);
    can_be_read(model, has)?;

    // All files are taken from one commit, so that a push meanwhile is not mixed in.
    let repo = api.repo(model.repo(&info.sha));
    let folder = model.folder(cache_root);
    let snapshot = Snapshot { directory: folder.join("snapshots").join(&info.sha), commit: info.sha.clone() };
    let mut get = |file: &str| {
        if is_whole(&snapshot.directory.join(file), file) {
            return Ok(());
        }
        let attempt = || download(&api, &repo, &folder, &snapshot, file, progress);
        attempts(settings.pause, attempt).map_err(|error| {
            let kept = || anyhow!("fetch {model}: {file}: {error}; the bytes so far are kept: run again to resume");
            refusal(model, settings, &asked, &error).unwrap_or_else(kept)
        })
    };
    REQUIRED.into_iter().chain(OPTIONAL).filter(|file| has(file)).try_for_each(&mut get)?;
    let absent = absent(&folder, &info.sha);
    for file in OPTIONAL.iter().filter(|file| !has(file)) {
        let path = absent.join(file);
        fs::create_dir_all(&absent)
            .and_then(|()| fs::write(&path, ""))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let weights = match has(WEIGHTS) {
        true => BTreeSet::from([WEIGHTS.to_owned()]),
        false => get(INDEX).and_then(|()| shards(&snapshot.directory.join(INDEX)))?,
    };
    check(&snapshot.directory)?;
    weights.iter().try_for_each(|file| get(file))?;
    let damaged = lacks(&snapshot.directory);
    if !damaged.is_empty() {
        bail!("fetch {model}: {} came as the hub has it and is damaged there", damaged.join(", "));
    }
    if model.revision != info.sha {
        let repo = Cache::new(cache_root.clone()).repo(model.repo(&model.revision));
        repo.create_ref(&info.sha).with_context(|| format!("write refs/{} in {}", model.revision, folder.display()))?;
    }
    Ok(snapshot)
}

/// The snapshot without a network: the files on this machine must be enough.
fn as_it_is(model: &Model, settings: &Settings, reason: &str) -> Result<Snapshot> {
    let folder = model.folder(&settings.cache_root);
    let known = local(model, &settings.cache_root)?;
    let lacking = lacks(known.as_ref().map_or(&folder, |snapshot| &snapshot.directory));
    match known {
        Some(snapshot) if lacking.is_empty() => Ok(snapshot),
        _ => bail!(
            "fetch {model}: {reason}, and {folder} lacks {lacking}; run `hf download {owner}/{name} --revision \
             {revision}` where there is a network and copy its {last} to {folder}, or put these files into a directory \
             and name that instead",
            folder = folder.display(),
            lacking = lacking.join(", "),
            owner = model.owner,
            name = model.name,
            revision = model.revision,
            last = model.repo(&model.revision).folder_name(),
        ),
    }
}

/// The message if the hub was reached and refused; `None` for other failures.
fn refusal(model: &Model, settings: &Settings, asked: &str, error: &ApiError) -> Option<anyhow::Error> {
    let Model { owner, name, revision } = model;
    let endpoint = &settings.endpoint;
    let token = if settings.token.is_some() { "the token that was given does not do" } else { "no token was given" };
    Some(match status(error)? {
        // The hub also asks for a login if the name does not exist.
        status @ (401 | 403) => anyhow!(
            "fetch {model}: {endpoint} answers {status}: the model is gated or private, if there is one of this name, \
             and {token}; accept its licence at {endpoint}/{owner}/{name}, make a token at {endpoint}/settings/tokens \
             and set HF_TOKEN to it, or run `hf auth login`"
        ),
        404 if asked != revision => anyhow!(
            "fetch {model}: {endpoint} no longer has its commit {asked}; remove {} to ask what `{revision}` is now",
            model.folder(&settings.cache_root).join("refs").join(revision).display()
        ),
        404 => anyhow!("fetch {model}: {endpoint} has no model {owner}/{name} with a revision `{revision}`"),
        _ => return None,
    })
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

fn can_be_read(model: &Model, has: impl Fn(&str) -> bool) -> Result<()> {
    let Model { owner, name, .. } = model;
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

fn lock(model: &Model, cache_root: &Path) -> Result<File> {
    let path = cache_root.join(".locks").join(model.repo(&model.revision).folder_name()).join("pipeline.lock");
    let open = || -> std::io::Result<File> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().with_context(|| format!("lock {}", path.display()))
}

fn attempts<T>(pause: Duration, mut attempt: impl FnMut() -> Result<T, ApiError>) -> Result<T, ApiError> {
    for number in 0..RETRIES {
        match attempt() {
            Err(error) if may_pass(&error) => std::thread::sleep(pause * 2_u32.pow(number)),
            result => return result,
        }
    }
    attempt()
}

fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::RequestError(error) => match &**error {
            ureq::Error::StatusCode(status) => matches!(status, 408 | 429 | 500..),
            // There is no server, or one with another certificate.
            ureq::Error::Io(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::InvalidData),
            ureq::Error::Protocol(_) => true,
            _ => false,
        },
        ApiError::IoError(_) | ApiError::InvalidResume | ApiError::LockAcquisition(_) => true,
        _ => false,
    }
}

fn info(repo: &ApiRepo) -> Result<RepoInfo, ApiError> {
    // hf-hub sets no time limit.
    let request = repo.info_request().config().timeout_global(Some(Duration::from_secs(30))).build();
    let mut response = request.call().map_err(Box::new)?;
    Ok(response.body_mut().read_json().map_err(Box::new)?)
}

/// Downloads a file with hf-hub and adds what hf-hub leaves out: the check of the bytes, and the handling of useless
/// partial files and links and of blobs that exist already.
fn download(
    api: &Api,
    repo: &ApiRepo,
    folder: &Path,
    snapshot: &Snapshot,
    file: &str,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), ApiError> {
    let metadata = api.metadata(&repo.url(file))?;
    if metadata.commit_hash() != snapshot.commit {
        return Err(ApiError::InvalidHeader("x-repo-commit"));
    }
    // The etag becomes part of a path.
    if metadata.etag().contains("..") || metadata.etag().starts_with('/') {
        return Err(ApiError::InvalidHeader("etag"));
    }
    let size = metadata.size() as u64;
    let length = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).ok();
    let (blob, pointer) = (folder.join("blobs").join(metadata.etag()), snapshot.directory.join(file));
    // hf-hub requests the rest of a partial file; the server would refuse an empty rest every time.
    let part = blob.with_extension("part");
    if length(&part).is_some_and(|length| length >= size) {
        fs::remove_file(&part)?;
    }
    // The link leads to an incomplete file, else this would not be called; and hf-hub fails on a dangling link.
    if fs::symlink_metadata(&pointer).is_ok() {
        fs::remove_file(&pointer)?;
    }
    if length(&blob) == Some(size) && is_whole(&blob, file) {
        fs::create_dir_all(&snapshot.directory)?;
        std::os::unix::fs::symlink(Path::new("../../blobs").join(metadata.etag()), &pointer)?;
        return Ok(());
    }
    let result = repo.download_with_progress(file, Reporter { progress, file: file.to_owned(), done: 0, size });
    // hf-hub writes a ref for each commit, as if it were a branch.
    _ = fs::remove_file(folder.join("refs").join(&snapshot.commit));
    result?;
    let came = length(&blob).unwrap_or(0);
    let wrong = match came == size {
        true if is_named(&blob, metadata.etag())? => return Ok(()),
        true => "the bytes differ from those of the hub".to_owned(),
        false => format!("{came} bytes of {size} came"),
    };
    fs::remove_file(&blob)?;
    Err(ApiError::IoError(std::io::Error::other(wrong)))
}

/// Whether the bytes have the hash in their name; large files are named by their SHA-256. The length alone is not
/// enough: if a proxy sends the beginning again instead of the rest, the total may be right.
fn is_named(blob: &Path, etag: &str) -> std::io::Result<bool> {
    if etag.len() != 64 {
        return Ok(true);
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(blob)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()) == etag)
}

/// Reports the progress of a download.
struct Reporter<'a> {
    progress: &'a mut dyn FnMut(&str, u64, u64),
    file: String,
    done: u64,
    size: u64,
}

impl Progress for Reporter<'_> {
    // Called twice, and again when a partial file is resumed.
    fn init(&mut self, size: usize, _filename: &str) {
        (self.done, self.size) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.progress)(&self.file, self.done, self.size);
    }

    fn finish(&mut self) {}
}
