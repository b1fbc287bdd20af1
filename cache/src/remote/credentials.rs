//! The keys of a bucket, from the environment or from the file of other programs. They are kept in memory alone.

use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// The variables that hold keys. No process that is started inherits them.
pub const SECRETS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The most bytes of a file of keys.
const MOST: u64 = 1 << 20;

#[derive(Clone)]
pub struct Credentials {
    pub key_id: String,
    pub secret: String,
    pub token: Option<String>,
    pub region: String,
}

/// Keys are shown nowhere.
impl fmt::Debug for Credentials {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("Credentials")
    }
}

impl Credentials {
    /// Finds the keys: those of the environment, else the profile AWS_PROFILE (`default`) of `~/.aws/credentials`.
    ///
    /// # Errors
    /// There are none; the message says where they were looked for.
    pub fn find(environment: &dyn Fn(&str) -> Option<String>) -> Result<Credentials> {
        let set = |name: &str| environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let user = set("HOME").map(PathBuf::from);
        let file = |variable: &str, name: &str| {
            set(variable).map(PathBuf::from).or_else(|| Some(user.as_ref()?.join(".aws").join(name)))
        };
        let profile = set("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let region = || -> Result<String> {
            if let Some(region) = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")) {
                return Ok(region);
            }
            let section = if profile == "default" { profile.clone() } else { format!("profile {profile}") };
            let of_file = file("AWS_CONFIG_FILE", "config").map(|path| values(path, &section)).transpose()?.flatten();
            let region = of_file.and_then(|mut values| values.remove("region"));
            // Servers that are not Amazon's take any; this is what they expect.
            Ok(region.unwrap_or_else(|| "us-east-1".to_owned()))
        };
        match (set(SECRETS[0]), set(SECRETS[1])) {
            (Some(key_id), Some(secret)) => {
                return Ok(Credentials { key_id, secret, token: set(SECRETS[2]), region: region()? });
            }
            (Some(_), None) => bail!("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
            (None, Some(_)) => bail!("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"),
            (None, None) => {}
        }
        let path = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let shown = path.as_ref().map_or_else(|| "~/.aws/credentials".to_owned(), |path| path.display().to_string());
        let mut values = path.map(|path| values(path, &profile)).transpose()?.flatten().unwrap_or_default();
        match (values.remove("aws_access_key_id"), values.remove("aws_secret_access_key")) {
            (Some(key_id), Some(secret)) => {
                Ok(Credentials { key_id, secret, token: values.remove("aws_session_token"), region: region()? })
            }
            _ => bail!(
                "there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into the profile `{profile}` of \
                 {shown}"
            ),
        }
    }
}

/// The values of one section of a file in the form of `~/.aws/credentials`; `None` if there is no such file or section.
fn values(path: PathBuf, section: &str) -> Result<Option<BTreeMap<String, String>>> {
    let read = || format!("read {}", path.display());
    let Some(bytes) = files::found(files::read_user(&path, MOST)).with_context(read)? else { return Ok(None) };
    // An error about the text would quote it.
    let Ok(text) = String::from_utf8(bytes) else { bail!("{}: it is not UTF-8", read()) };
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut is_it = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_it = name.trim() == section;
            if is_it {
                found.get_or_insert_default();
            }
        } else if let (true, Some((name, value))) = (is_it, line.split_once('=')) {
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            if !value.is_empty() {
                found.get_or_insert_default().insert(name, value);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pairs: &[(&str, &str)]) -> Result<[String; 4], String> {
        let environment =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Credentials::find(&environment)
            .map_err(|error| format!("{error:#}"))
            .map(|Credentials { key_id, secret, token, region }| [key_id, secret, token.unwrap_or_default(), region])
    }

    #[test]
    fn the_environment_goes_before_the_file_and_half_a_pair_is_a_mistake() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().display().to_string();
        let aws = home.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        let file = "# mine\n[default]\naws_access_key_id = one\naws_secret_access_key=two\n\n[lab]\nAWS_ACCESS_KEY_ID = three\n\
                    aws_secret_access_key = four=\naws_session_token = five\n[half]\naws_access_key_id = six\n";
        std::fs::write(aws.join("credentials"), file).unwrap();
        std::fs::write(aws.join("config"), "[profile lab]\nregion = eu-central-1\n").unwrap();
        let strings = |values: [&str; 4]| Ok(values.map(str::to_owned));
        assert_eq!(find(&[("HOME", &at)]), strings(["one", "two", "", "us-east-1"]));
        assert_eq!(find(&[("HOME", &at), ("AWS_PROFILE", "lab")]), strings(["three", "four=", "five", "eu-central-1"]));
        let set = [("HOME", &*at), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "r")];
        assert_eq!(find(&set), strings(["a", "b", "", "r"]));
        assert_eq!(find(&set[..2]).unwrap_err(), "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not");
        for profile in ["half", "none"] {
            let error = find(&[("HOME", &at), ("AWS_PROFILE", profile)]).unwrap_err();
            assert!(
                error.starts_with("there are no keys: set AWS_ACCESS_KEY_ID") && error.contains(profile),
                "{error}"
            );
            assert!(!error.contains("six"), "{error}");
        }
        assert!(find(&[]).unwrap_err().contains("~/.aws/credentials"));
    }
}
