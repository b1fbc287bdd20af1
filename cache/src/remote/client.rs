//! The client of a remote, made when it is first asked: a run that finds everything at home makes none.

use super::{
    bucket::Bucket,
    credentials::Credentials,
    failure::RemoteFailure,
    health,
    http::HttpAgent,
    settings::{Address, RemoteSettings},
};
use anyhow::{Context, Result};
use object_store::{
    BackoffConfig, ObjectStore, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, path::Path as ObjectPath,
    prefix::PrefixStore,
};
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The most bytes of an answer that is no part of a file: a list of a thousand names.
const LONGEST_ANSWER: u64 = 16 << 20;

/// The way to what a remote holds.
#[derive(Clone, Debug)]
pub struct Client {
    pub objects: Arc<dyn ObjectStore>,
    /// The way to dead uploads, of a bucket.
    pub bucket: Option<Arc<Bucket>>,
}

/// The makings of a client: all that a person can have wrong was found out before.
#[derive(Debug)]
pub enum Origin {
    Directory(PathBuf),
    Bucket { name: String, prefix: String, credentials: Credentials, roots: Option<Vec<u8>> },
}

impl Origin {
    /// # Errors
    /// There are no keys, or a file of certificates cannot be read.
    pub fn find(settings: &RemoteSettings, environment: &dyn Fn(&str) -> Option<String>) -> Result<Origin> {
        let (name, prefix) = match &settings.address {
            Address::Directory(path) => return Ok(Origin::Directory(path.clone())),
            Address::Bucket { name, prefix } => (name.clone(), prefix.clone()),
        };
        let credentials = Credentials::find(environment)?;
        let file = environment("AWS_CA_BUNDLE").filter(|path| !path.is_empty());
        let roots = file.map(|path| fs::read(&path).with_context(|| format!("read {path}"))).transpose()?;
        Ok(Origin::Bucket { name, prefix, credentials, roots })
    }

    pub fn client(&self, settings: &RemoteSettings) -> object_store::Result<Client> {
        match self {
            Origin::Directory(path) => {
                check_directory(path).map_err(of_directory)?;
                Ok(Client { objects: Arc::new(LocalFileSystem::new_with_prefix(path)?), bucket: None })
            }
            Origin::Bucket { name, prefix, credentials, roots } => {
                let most = LONGEST_ANSWER.max(2 * settings.part_size);
                let longest = health::longest(settings.timeout, most);
                let agent = HttpAgent::new(longest, settings.timeout, most, roots.as_deref());
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(name)
                    .with_region(&credentials.region)
                    .with_access_key_id(&credentials.key_id)
                    .with_secret_access_key(&credentials.secret)
                    .with_virtual_hosted_style_request(settings.endpoint.is_none())
                    // Not every server knows how to remove many at a time.
                    .with_disable_bulk_delete(true)
                    .with_retry(retries(settings.timeout))
                    .with_http_connector(agent.clone());
                if let Some(token) = &credentials.token {
                    builder = builder.with_token(token);
                }
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
                }
                let objects = Arc::new(PrefixStore::new(builder.build()?, prefix.as_str()));
                let bucket = Bucket::new(agent, credentials.clone(), settings, name, prefix);
                Ok(Client { objects, bucket: Some(Arc::new(bucket)) })
            }
        }
    }
}

/// Quick failures are tried again within the time of one request; a silence is not.
fn retries(timeout: Duration) -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 3, retry_timeout: timeout }
}

/// Finds out why a directory is not there. One whose place is there, among other things, was never made or is typed wrong; where
/// the place is empty or absent, a disk is not mounted.
fn check_directory(path: &Path) -> Result<(), RemoteFailure> {
    if path.is_dir() {
        return Ok(());
    }
    let neighbours = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    match neighbours.is_some_and(|mut entries| entries.next().is_some()) {
        true => Err(RemoteFailure::NoPlace),
        false => Err(RemoteFailure::Away),
    }
}

/// An error of a directory, as `object_store` has them.
pub fn of_directory(error: impl Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "directory", source: Box::new(error) }
}

/// Makes the directories above an object, each with the rights of the remote's own: whoever may write into that one may write
/// into these, whatever the umask of who was first.
pub fn make_parents(root: &Path, object: &ObjectPath) -> io::Result<()> {
    let rights = fs::metadata(root)?.permissions();
    let names: Vec<_> = object.parts().collect();
    let mut at = root.to_owned();
    for name in &names[..names.len().saturating_sub(1)] {
        at.push(name.as_ref());
        match fs::create_dir(&at) {
            Ok(()) => fs::set_permissions(&at, rights.clone())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives a file that was just written the rights of the remote's directory, but for running it.
#[cfg(unix)]
pub fn open_up(root: &Path, object: &ObjectPath) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(root)?.permissions().mode() & 0o666;
    fs::set_permissions(root.join(object.as_ref()), fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub fn open_up(_: &Path, _: &ObjectPath) -> io::Result<()> {
    Ok(())
}

/// Refuses what is no plain file: reading a pipe would wait for whoever writes to it.
pub fn check_plain(root: &Path, object: &ObjectPath) -> Result<(), RemoteFailure> {
    match fs::metadata(root.join(object.as_ref())) {
        Ok(metadata) if !metadata.is_file() => Err(RemoteFailure::NoFile),
        _ => Ok(()),
    }
}
