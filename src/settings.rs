//! The user's configuration: a YAML file of what all pipelines of a person share, and no key knows. Its keys may stand at the
//! top of a pipeline file as well, where they win; an environment variable wins over both.

pub mod remote;

use crate::diagnostic::{Diagnostic, SourceText};
use crate::spec::executors::{LOCAL, SlurmSettings, executors};
use crate::spec::expect;
use crate::spec::node::{Value, WithSpan};
use crate::spec::yaml;
pub use remote::CacheSettings;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The keys of the file, each of which a pipeline file may have, too.
pub const KEYS: &[&str] = &[remote::CACHE, EXECUTOR, EXECUTORS];

/// The name of the executor of stages that name none.
pub const EXECUTOR: &str = "executor";
pub const EXECUTORS: &str = "executors";

/// The values of the user's configuration, or those of the same keys at the top of a pipeline file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub cache: Option<CacheSettings>,
    pub executor: Option<WithSpan<String>>,
    /// The clusters that stages may run on, by name.
    pub executors: BTreeMap<String, SlurmSettings>,
}

impl Settings {
    /// The settings of a pipeline: what its file leaves out is the user's.
    pub fn or(self, of_user: Settings) -> Settings {
        let mut executors = of_user.executors;
        executors.extend(self.executors);
        Settings { cache: self.cache.or(of_user.cache), executor: self.executor.or(of_user.executor), executors }
    }
}

/// The user's file; `None` if the environment names no place for it. True: a person named it, so it must be there.
pub fn path(environment: &dyn Fn(&str) -> Option<OsString>) -> Option<ConfigurationPath> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("PIPELINE_CONFIG") {
        return Some(ConfigurationPath { path, is_named: true });
    }
    let directory = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(ConfigurationPath { path: directory.join("pipeline/config.yaml"), is_named: false })
}

/// The place of the user's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigurationPath {
    pub path: PathBuf,
    /// Whether a person named it, so that it must be there.
    pub is_named: bool,
}

/// Reads the user's file.
///
/// # Errors
/// All its mistakes.
pub fn read(source: &SourceText) -> Result<Settings, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let Some(root) = yaml::parse(&source.text, 0, &mut mistakes) else { return Err(mistakes) };
    let mut settings = Settings::default();
    if root.value != Value::Null
        && let Some(map) = expect::map(&root, "a mapping such as `cache: {remote: {url: …}}`", &mut mistakes)
    {
        expect::known_keys(map, "the configuration", KEYS, &mut mistakes);
        settings.cache = root.get(remote::CACHE).map(|node| remote::cache(node, &mut mistakes));
        settings.executor = root.get(EXECUTOR).and_then(|node| expect::text(node, &mut mistakes));
        settings.executors = root.get(EXECUTORS).map(|node| executors(node, &mut mistakes)).unwrap_or_default();
        // Here, where it stands, and not where a pipeline file is shown.
        let is_unknown =
            |name: &&WithSpan<String>| name.value != LOCAL && !settings.executors.contains_key(&name.value);
        if let Some(name) = settings.executor.as_ref().filter(is_unknown) {
            let message = format!("no executor `{}` is configured", name.value);
            mistakes.push(Diagnostic::error(name.span, message).help("`executors` has none of that name"));
        }
    }
    if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let source =
            SourceText { path: "config.yaml".into(), text: text.to_owned(), overrides: Vec::new(), rule: None };
        let shown = match read(&source) {
            Ok(settings) => format!("{settings:?}\n"),
            Err(mistakes) => diagnostic::render(&source, &mistakes, false),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        for text in ["", "# nothing\n", "cache:\n"] {
            let source = SourceText { path: "c".into(), text: text.to_owned(), overrides: Vec::new(), rule: None };
            assert_eq!(read(&source).unwrap().cache.unwrap_or_default(), CacheSettings::default(), "{text:?}");
        }
    }

    #[test]
    fn a_remote_is_read_with_its_defaults() {
        check(
            "cache: {remote: {url: s3://lab/pipeline, endpoint: https://rgw.uni.example, mode: read-only, timeout: 1m}}\n",
            expect![[r#"
                Settings { cache: Some(CacheSettings { remote: Some(RemoteSettings { address: Bucket { name: "lab", prefix: "pipeline" }, endpoint: Some("https://rgw.uni.example"), is_read_only: true, part_size: 8388608, timeout: 60s }) }), executor: None, executors: {} }
            "#]],
        );
    }

    #[test]
    fn every_mistake_is_shown_where_it_stands() {
        check(
            "cache:\n  remote:\n    url: lab/pipeline\n    endpoint: http://rgw.uni.example\n    mode: write\n    part_size: 1M\n    key: secret\nother: 1\n",
            expect![[r#"
                error: `lab/pipeline` is neither `s3://bucket/prefix` nor `file:///directory`
                 --> config.yaml:3:10
                  |
                3 |     url: lab/pipeline
                  |          ^^^^^^^^^^^^

                error: `http://rgw.uni.example` is another machine, and what is sent to it by `http` can be read and changed on the way: take `https`
                 --> config.yaml:4:15
                  |
                4 |     endpoint: http://rgw.uni.example
                  |               ^^^^^^^^^^^^^^^^^^^^^^

                error: expected read-write or read-only, found `write`
                 --> config.yaml:5:11
                  |
                5 |     mode: write
                  |           ^^^^^

                error: a part has from 5 MiB to 1 GiB
                 --> config.yaml:6:16
                  |
                6 |     part_size: 1M
                  |                ^^

                error: unknown key `key` of `cache.remote`
                 --> config.yaml:7:5
                  |
                7 |     key: secret
                  |     ^^^
                  |
                  = help: keys of a remote are taken from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY

                error: unknown key `other` of the configuration
                 --> config.yaml:8:1
                  |
                8 | other: 1
                  | ^^^^^
                  |
                  = help: there are: cache, executor, executors

            "#]],
        );
    }

    #[test]
    fn executors_of_a_pipeline_file_win_by_name() {
        let read = |text: &str| {
            let source = SourceText { path: "c".into(), text: text.to_owned(), overrides: Vec::new(), rule: None };
            read(&source).unwrap()
        };
        let of_user = read("executor: lab\nexecutors: {lab: {type: slurm, partition: a}, far: {type: slurm}}\n");
        let of_file = read("executors: {lab: {type: slurm, partition: b}}\n");
        let both = of_file.or(of_user);
        assert_eq!(both.executors["lab"].partition.as_deref(), Some("b"));
        assert!(both.executors.contains_key("far") && both.executor.is_some_and(|name| name.value == "lab"));
        check(
            "executor: lab\n",
            expect![[r#"
                error: no executor `lab` is configured
                 --> config.yaml:1:11
                  |
                1 | executor: lab
                  |           ^^^
                  |
                  = help: `executors` has none of that name

            "#]],
        );
    }

    #[test]
    fn the_place_of_the_file_is_named_by_the_environment() {
        let at = |pairs: &'static [(&str, &str)]| {
            let environment =
                |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            path(&environment).map(|found| (found.path.display().to_string(), found.is_named))
        };
        let place = |path: &str, is_named| Some((path.to_owned(), is_named));
        assert_eq!(at(&[("PIPELINE_CONFIG", "c.yaml"), ("HOME", "/h")]), place("c.yaml", true));
        assert_eq!(at(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")]), place("/x/pipeline/config.yaml", false));
        assert_eq!(at(&[("PIPELINE_CONFIG", ""), ("HOME", "/h")]), place("/h/.config/pipeline/config.yaml", false));
        assert_eq!(at(&[]), None);
    }
}
