//! Downloads from the hub through hf-hub: retries, and messages for refusals and failures.

use super::repository::RepositoryKind;
use super::{HubSettings, Repository, Snapshot, is_commit, local};
use anyhow::{Context, Result, anyhow, bail};
use hf_hub::Cache;
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// The number of retries of a request that failed for a temporary reason.
const RETRIES: u32 = 4;

/// The reason why nobody is asked.
pub const OFFLINE: &str = "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set";

/// The way out without a network, where files are missing: `file` is what the tool of the hub is to fetch, `folder` the
/// place of the repository in the cache.
pub fn way_out(repository: &Repository, file: &str, lacking: &str, folder: &Path) -> String {
    let (folder, command) = (folder.display(), repository.download(file));
    let last = repository.repo(&repository.revision).folder_name();
    format!(
        "{folder} lacks {lacking}; run `{command}` where there is a network and copy its {last} to {folder}, or put these \
         files into a directory and name that instead"
    )
}

/// A commit of a repository on the hub.
pub struct Remote<'a> {
    repository: &'a Repository,
    settings: &'a HubSettings,
    api: Api,
    repo: ApiRepo,
    /// The revision that was asked for: a commit, if that of the reference was resolved before.
    asked: String,
    pub snapshot: Snapshot,
    pub files: Vec<RemoteFile>,
}

/// A file as the hub lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteFile {
    #[serde(rename = "rfilename")]
    pub name: String,
    /// In bytes; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The list of what the hub has, or the reason why it could not be asked.
pub enum Reply<'a> {
    Listing(Box<Remote<'a>>),
    Silence(String),
}

#[derive(Deserialize)]
struct CommitListing {
    sha: String,
    siblings: Vec<RemoteFile>,
}

/// Asks the hub for the files of a repository. A revision that is resolved on this machine stays resolved, even if some
/// of its files are missing. Errors: the hub refuses, or has no such repository.
pub fn ask<'a>(repository: &'a Repository, settings: &'a HubSettings) -> Result<Reply<'a>> {
    let cache_root = &settings.cache_root;
    let cache = Cache::new(cache_root.clone());
    let api = ApiBuilder::from_cache(cache).with_endpoint(settings.endpoint.clone()).with_token(settings.token.clone());
    let api = api.build().with_context(|| format!("fetch {repository}"))?;
    let asked = local(repository, cache_root)?.map_or(repository.revision.clone(), |snapshot| snapshot.commit);
    let has_sizes = repository.kind == RepositoryKind::Dataset;
    let listing = match attempts(settings.pause, || listing(&api.repo(repository.repo(&asked)), has_sizes)) {
        Ok(listing) => listing,
        Err(error) => match refusal(repository, settings, &asked, &error) {
            Some(refusal) => return Err(refusal),
            None => return Ok(Reply::Silence(error.to_string())),
        },
    };
    let CommitListing { sha, siblings } = listing;
    if !is_commit(&sha) || (is_commit(&asked) && asked != sha) {
        bail!("fetch {repository}: {} says that {asked} is the commit `{sha}`", settings.endpoint);
    }
    // Names become paths.
    let is_odd = |file: &&RemoteFile| file.name.split('/').any(|part| ["", ".", ".."].contains(&part));
    if let Some(odd) = siblings.iter().find(is_odd) {
        bail!("fetch {repository}: {} names a file `{}`", settings.endpoint, odd.name.escape_debug());
    }
    // All files are taken from one commit, so that a push meanwhile is not mixed in.
    let repo = api.repo(repository.repo(&sha));
    let directory = repository.folder(cache_root).join("snapshots").join(&sha);
    let snapshot = Snapshot { directory, commit: sha };
    Ok(Reply::Listing(Box::new(Remote { repository, settings, api, repo, asked, snapshot, files: siblings })))
}

impl Remote<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// Fetches a file. `is_whole` tells whether what is there is complete, as far as that can be known. Bytes that came
    /// are kept, and the next call resumes from them.
    pub fn get(
        &self,
        file: &str,
        is_whole: &dyn Fn(&Path) -> bool,
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<()> {
        if is_whole(&self.snapshot.directory.join(file)) {
            return Ok(());
        }
        attempts(self.settings.pause, || self.download(file, is_whole, progress)).map_err(|error| {
            let Remote { repository, settings, asked, .. } = self;
            let kept =
                || anyhow!("fetch {repository}: {file}: {error}; the bytes so far are kept: run again to resume");
            refusal(repository, settings, asked, &error).unwrap_or_else(kept)
        })
    }

    /// Notes which commit the revision is, once all that was asked for is there.
    pub fn resolve(&self) -> Result<()> {
        let Remote { repository, settings, snapshot, .. } = self;
        if repository.revision == snapshot.commit {
            return Ok(());
        }
        let folder = repository.folder(&settings.cache_root);
        let repo = Cache::new(settings.cache_root.clone()).repo(repository.repo(&repository.revision));
        let written = repo.create_ref(&snapshot.commit);
        written.with_context(|| format!("write refs/{} in {}", repository.revision, folder.display()))
    }

    /// Downloads a file with hf-hub and adds what hf-hub leaves out: the check of the bytes, odd names, and the handling
    /// of useless partial files and links and of blobs that exist already.
    fn download(
        &self,
        file: &str,
        is_whole: &dyn Fn(&Path) -> bool,
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<(), ApiError> {
        let Remote { repository, settings, api, repo, snapshot, .. } = self;
        let folder = repository.folder(&settings.cache_root);
        // hf-hub puts the name into the URL as it is.
        let in_url = escaped(file);
        let metadata = api.metadata(&repo.url(&in_url))?;
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
        let link = || {
            pointer.parent().map_or(Ok(()), fs::create_dir_all)?;
            let up = "../".repeat(2 + file.matches('/').count());
            std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(metadata.etag()), &pointer)
        };
        if length(&blob) == Some(size) && is_whole(&blob) {
            return Ok(link()?);
        }
        let result = repo.download_with_progress(&in_url, Reporter { progress, file: file.to_owned(), done: 0, size });
        // hf-hub writes a ref for each commit, as if it were a branch.
        _ = fs::remove_file(folder.join("refs").join(&snapshot.commit));
        let named = result?;
        if in_url != file {
            fs::remove_file(&named)?;
            // The directories that its name made, as far as nothing else lies there.
            let mut made = named.ancestors().skip(1).take(in_url.matches('/').count());
            _ = made.try_for_each(fs::remove_dir);
            link()?;
        }
        let came = length(&blob).unwrap_or(0);
        let wrong = match came == size {
            true if is_named(&blob, metadata.etag())? => return Ok(()),
            true => "the bytes differ from those of the hub".to_owned(),
            false => format!("{came} bytes of {size} came"),
        };
        fs::remove_file(&blob)?;
        Err(ApiError::IoError(std::io::Error::other(wrong)))
    }
}

/// A name as a part of a URL.
fn escaped(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escape = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(escape).collect()
}

/// The message if the hub was reached and refused; `None` for other failures.
fn refusal(repository: &Repository, settings: &HubSettings, asked: &str, error: &ApiError) -> Option<anyhow::Error> {
    let Repository { owner, name, revision, .. } = repository;
    let endpoint = &settings.endpoint;
    let noun = repository.kind.noun();
    let page = repository.repo(revision).url();
    let token = if settings.token.is_some() { "the token that was given does not do" } else { "no token was given" };
    Some(match status(error)? {
        // The hub also asks for a login if the name does not exist.
        status @ (401 | 403) => anyhow!(
            "fetch {repository}: {endpoint} answers {status}: the {noun} is gated or private, if there is one of this \
             name, and {token}; accept its licence at {endpoint}/{page}, make a token at {endpoint}/settings/tokens and \
             set HF_TOKEN to it, or run `hf auth login`"
        ),
        404 if asked != revision => anyhow!(
            "fetch {repository}: {endpoint} no longer has its commit {asked}; remove {} to ask what `{revision}` is now",
            repository.folder(&settings.cache_root).join("refs").join(revision).display()
        ),
        404 => anyhow!("fetch {repository}: {endpoint} has no {noun} {owner}/{name} with a revision `{revision}`"),
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

/// Waits until no other process fetches files of this repository: hf-hub's own lock gives up after 5 s, and the next
/// holder fetches the same files again.
pub fn lock(repository: &Repository, cache_root: &Path) -> Result<File> {
    let path =
        cache_root.join(".locks").join(repository.repo(&repository.revision).folder_name()).join("pipeline.lock");
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

fn listing(repo: &ApiRepo, has_sizes: bool) -> Result<CommitListing, ApiError> {
    let request = repo.info_request();
    let request = if has_sizes { request.query("blobs", "true") } else { request };
    // hf-hub sets no time limit.
    let request = request.config().timeout_global(Some(Duration::from_secs(30))).build();
    let mut response = request.call().map_err(Box::new)?;
    Ok(response.body_mut().read_json().map_err(Box::new)?)
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
