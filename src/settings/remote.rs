//! `cache`: the remote that machines share, from YAML and from the environment.

use crate::diagnostic::Diagnostic;
use crate::spec::expect;
use crate::spec::limits;
use crate::spec::node::{Node, Value};
use cache::{Address, RemoteSettings};

pub const CACHE: &str = "cache";
pub const CACHE_KEYS: &[&str] = &["remote"];
pub const REMOTE_KEYS: &[&str] = &["url", "endpoint", "mode", "part_size", "timeout"];
/// Whether a remote is read only.
pub const MODES: [(&str, bool); 2] = [("read-write", false), ("read-only", true)];

/// Variables of the environment that win over every file.
pub const URL: &str = "PIPELINE_CACHE_REMOTE";
pub const ENDPOINT: &str = "PIPELINE_CACHE_ENDPOINT";
pub const MODE: &str = "PIPELINE_CACHE_MODE";
/// The value of [`URL`] that says there is none.
const NONE: &str = "none";

/// Where results are kept beside the store of this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheSettings {
    pub remote: Option<RemoteSettings>,
}

pub fn cache(node: &Node, mistakes: &mut Vec<Diagnostic>) -> CacheSettings {
    if node.value == Value::Null {
        return CacheSettings::default();
    }
    let Some(map) = expect::map(node, "a mapping such as `{remote: {url: file:///shared/pipeline}}`", mistakes) else {
        return CacheSettings::default();
    };
    expect::known_keys(map, "`cache`", CACHE_KEYS, mistakes);
    let remote = node.get("remote").filter(|node| node.value != Value::Null);
    CacheSettings { remote: remote.and_then(|node| remote_of(node, mistakes)) }
}

fn remote_of(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<RemoteSettings> {
    let map = expect::map(node, "a mapping such as `{url: file:///shared/pipeline}`", mistakes)?;
    let before = mistakes.len();
    expect::known_keys(map, "`cache.remote`", REMOTE_KEYS, mistakes);
    // Keys of a server are never in a file that is shared.
    let is_secret = |text: &str| ["key", "secret", "token", "credential"].iter().any(|word| text.contains(word));
    for mistake in &mut mistakes[before..] {
        if is_secret(&mistake.message.replace("unknown key", "")) {
            mistake.help = Some(
                "keys of a remote are taken from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned(),
            );
        }
    }
    let Some(url) = node.get("url") else {
        let help = "url: s3://bucket/prefix, or url: file:///shared/pipeline";
        mistakes.push(Diagnostic::error(node.span, "`remote` does not say its `url`").help(help));
        return None;
    };
    let address = expect::text(url, mistakes).and_then(|text| {
        let parsed = Address::parse(&text.value);
        parsed.map_err(|error| mistakes.push(Diagnostic::error(text.span, error.to_string()))).ok()
    });
    let mut remote = RemoteSettings::new(address.clone().unwrap_or(Address::Directory("/".into())));
    if let Some(node) = node.get("endpoint").filter(|node| node.value != Value::Null)
        && let Some(text) = expect::text(node, mistakes)
    {
        if let Err(error) = RemoteSettings::check_endpoint(&text.value) {
            mistakes.push(Diagnostic::error(text.span, error.to_string()));
        } else if let Some(Address::Directory(_)) = address {
            mistakes.push(Diagnostic::error(text.span, "a directory has no server: `endpoint` goes with `s3://`"));
        }
        remote.endpoint = Some(text.value);
    }
    if let Some(mode) = node.get("mode") {
        remote.is_read_only = expect::word(mode, &MODES, mistakes).unwrap_or(false);
    }
    if let Some(size) = node.get("part_size") {
        let most = RemoteSettings::LEAST_PART..=RemoteSettings::MOST_PART;
        remote.part_size = limits::memory(size, mistakes);
        if !most.contains(&remote.part_size) && size.value != Value::Broken {
            mistakes.push(Diagnostic::error(size.span, "a part has from 5 MiB to 1 GiB"));
        }
    }
    if let Some(timeout) = node.get("timeout") {
        remote.timeout = expect::duration(timeout, mistakes).unwrap_or(RemoteSettings::TIMEOUT);
    }
    address.map(|_| remote)
}

/// Whether the environment says that there is no remote.
pub fn is_refused(environment: &dyn Fn(&str) -> Option<String>) -> bool {
    environment(URL).is_some_and(|url| url == NONE)
}

/// The remote as the environment has it, over what the files say.
///
/// # Errors
/// A variable that says something else.
pub fn with_environment(
    settings: CacheSettings,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<RemoteSettings>, String> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let mut remote = settings.remote;
    if let Some(url) = set(URL) {
        if url == NONE {
            return Ok(None);
        }
        let address = Address::parse(&url).map_err(|error| format!("{URL}: {error}"))?;
        remote = Some(RemoteSettings::new(address));
    }
    let Some(remote) = &mut remote else { return Ok(None) };
    if matches!(remote.address, Address::Bucket { .. }) {
        // The second and third are those of other programs, which a file wins over.
        let of_others = || set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"));
        if let Some(endpoint) = set(ENDPOINT).or_else(|| remote.endpoint.clone()).or_else(of_others) {
            RemoteSettings::check_endpoint(&endpoint)
                .map_err(|error| format!("the endpoint of the remote: {error}"))?;
            remote.endpoint = Some(endpoint);
        }
    }
    if let Some(mode) = set(MODE) {
        let known = MODES.iter().find(|(word, _)| *word == mode);
        let (_, is_read_only) =
            known.ok_or_else(|| format!("{MODE}: expected read-write or read-only, found `{mode}`"))?;
        remote.is_read_only = *is_read_only;
    }
    Ok(Some(remote.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)], files: Option<&str>) -> Result<Option<RemoteSettings>, String> {
        let remote = files.map(|url| RemoteSettings::new(Address::parse(url).unwrap()));
        let environment =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        with_environment(CacheSettings { remote }, &environment)
    }

    #[test]
    fn the_environment_wins_over_the_files() {
        let shown = |found: Result<Option<RemoteSettings>, String>| {
            found.map(|found| found.map(|one| (one.address.to_string(), one.endpoint, one.is_read_only)))
        };
        assert_eq!(shown(with(&[], None)), Ok(None));
        let file = Some("file:///shared");
        assert_eq!(shown(with(&[(URL, "none")], file)), Ok(None));
        assert_eq!(shown(with(&[(MODE, "read-only")], file)), Ok(Some(("file:///shared".to_owned(), None, true))));
        let pairs = [(URL, "s3://lab/p"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), (MODE, "read-write")];
        let there = Some("http://127.0.0.1:1".to_owned());
        assert_eq!(shown(with(&pairs, file)), Ok(Some(("s3://lab/p".to_owned(), there, false))));
        assert!(with(&[(URL, "lab")], None).unwrap_err().starts_with("PIPELINE_CACHE_REMOTE: `lab` is neither"));
        assert!(with(&[(MODE, "write")], file).unwrap_err().contains("found `write`"));
        assert!(with(&[(URL, "s3://lab"), (ENDPOINT, "http://10.0.0.1")], None).unwrap_err().contains("take `https`"));
    }
}
