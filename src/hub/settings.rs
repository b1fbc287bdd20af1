//! The environment of the Python library: the local cache, the hub, the account.

use super::read_if_there;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The local cache and the hub.
pub struct HubSettings {
    pub cache_root: PathBuf,
    pub endpoint: String,
    pub token: Option<String>,
    /// Whether the network must not be used.
    pub is_offline: bool,
    /// The pause before the first retry; it doubles for each further one.
    pub pause: Duration,
}

impl HubSettings {
    /// Reads the environment as the Python library does, so that both use the same cache and account. Errors: no
    /// variable names the cache; `HF_ENDPOINT` or `HF_TOKEN` is not UTF-8; the token file exists and cannot be read.
    pub fn from(env: impl Fn(&str) -> Option<OsString>) -> Result<HubSettings> {
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
        Ok(HubSettings {
            cache_root,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            is_offline: set("HF_HUB_OFFLINE").or_else(|| set("TRANSFORMERS_OFFLINE")).is_some_and(is_true),
            pause: Duration::from_secs(1),
        })
    }
}
