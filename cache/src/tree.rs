//! A directory as content: its files by relative path, and the directories in it that hold nothing.

use crate::digest::Digest;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, Metadata},
    path::{Component, Path},
};

/// The files of a directory and the directories in it that hold nothing, by relative paths, parts joined by `/`. On
/// disk they are one mapping, in which `logs/: null` is an empty directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Option<Entry>>", into = "BTreeMap<String, Option<Entry>>")]
pub struct Tree {
    pub files: BTreeMap<String, Entry>,
    pub empty: BTreeSet<String>,
}

impl TryFrom<BTreeMap<String, Option<Entry>>> for Tree {
    type Error = String;

    fn try_from(lines: BTreeMap<String, Option<Entry>>) -> Result<Tree, String> {
        let mut tree = Tree::default();
        for (path, entry) in lines {
            match (entry, path.strip_suffix('/')) {
                (Some(entry), None) => drop(tree.files.insert(path, entry)),
                (None, Some(directory)) => drop(tree.empty.insert(directory.to_owned())),
                (Some(_), Some(_)) => return Err(format!("unsafe path in a tree: `{}`", path.escape_debug())),
                (None, None) => return Err(format!("`{}` is nothing, and no directory", path.escape_debug())),
            }
        }
        Ok(tree)
    }
}

impl From<Tree> for BTreeMap<String, Option<Entry>> {
    fn from(tree: Tree) -> BTreeMap<String, Option<Entry>> {
        let empty = tree.empty.into_iter().map(|directory| (format!("{directory}/"), None));
        tree.files.into_iter().map(|(path, entry)| (path, Some(entry))).chain(empty).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub blob: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl Tree {
    /// The bytes that are stored and hashed. Paths are in byte order, so equal directories give equal bytes.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a tree is plain data")
    }

    /// Parses a tree. It may come from another machine, so every path is checked before it is joined to a root.
    pub fn parse(bytes: &[u8]) -> Result<Tree> {
        let tree: Tree = serde_json::from_slice(bytes).context("parse tree")?;
        tree.files.keys().chain(&tree.empty).try_for_each(|path| check_path(path))?;
        check_together(&tree.files, &tree.empty)?;
        Ok(tree)
    }
}

/// The longest name that common file systems accept, in bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4096;

/// Refuses what cannot exist in one directory on every system: two names that differ only in case, and a file or an
/// empty directory where another path needs a directory that holds something.
fn check_together<T>(files: &BTreeMap<String, T>, empty: &BTreeSet<String>) -> Result<()> {
    // Most trees that are looked up hold a file or two.
    if files.len() + empty.len() < 2 {
        return Ok(());
    }
    let mut spelt: HashMap<String, &str> = HashMap::new();
    for path in files.keys().chain(empty) {
        let ends = path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]);
        for here in ends.map(|end| &path[..end]) {
            let is_above = here.len() < path.len();
            let is_both = files.contains_key(here) && (is_above || empty.contains(here));
            ensure!(!is_both, "`{}` is both a file and a directory", here.escape_debug());
            let is_filled = is_above && empty.contains(here);
            ensure!(!is_filled, "`{}` is both empty and not", here.escape_debug());
            let other = *spelt.entry(here.to_lowercase()).or_insert(here);
            ensure!(
                other == here,
                "`{}` and `{}` differ only in case, which not every file system can tell apart; rename one",
                other.escape_debug(),
                here.escape_debug()
            );
        }
    }
    Ok(())
}

/// Refuses a path that would not stay below the root on some system: `..`, `.`, empty parts, absolute paths, drive
/// letters, `\`.
fn check_path(path: &str) -> Result<()> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    let stays_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(path.split('/').all(is_plain) && stays_inside, "unsafe path in a tree: `{}`", path.escape_debug());
    let is_long = |part: &str| part.len() > LONGEST_NAME;
    ensure!(!path.split('/').any(is_long), "a name is longer than {LONGEST_NAME} bytes: `{}…`", start_of(path));
    ensure!(path.len() <= LONGEST_PATH, "a path is longer than {LONGEST_PATH} bytes: `{}…`", start_of(path));
    Ok(())
}

fn start_of(path: &str) -> String {
    path.chars().take(60).flat_map(char::escape_debug).collect()
}

/// The treatment of a symbolic link to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Refused in the output of a stage: it may lead out of the root, to a file that is no result.
    Refused,
    /// Followed in what a user names, since the caches of other tools are made of links. A link stands for the file it
    /// leads to.
    Followed,
}

/// The regular files below a directory and the directories that hold nothing, by relative path.
#[derive(Default)]
pub struct Scan {
    pub files: BTreeMap<String, Metadata>,
    pub empty: BTreeSet<String>,
}

/// Scans a directory. Everything but files and directories is refused, links to directories as well: they may form a
/// loop.
pub fn scan(root: &Path, links: Links) -> Result<Scan> {
    let mut found = Scan::default();
    scan_into(root, "", links, &mut found)?;
    check_together(&found.files, &found.empty).with_context(|| format!("read {}", root.display()))?;
    Ok(found)
}

fn scan_into(directory: &Path, prefix: &str, links: Links, found: &mut Scan) -> Result<()> {
    let read = || format!("read {}", directory.display());
    let mut is_empty = true;
    for entry in fs::read_dir(directory).with_context(read)? {
        is_empty = false;
        let entry = entry.with_context(read)?;
        let here = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            bail!("read {}: its name is not UTF-8", here.display());
        };
        let path = format!("{prefix}{name}");
        // Metadata of the entry itself.
        let mut metadata = entry.metadata().with_context(|| format!("read {}", here.display()))?;
        if metadata.is_symlink() && links == Links::Followed {
            // A link that leads nowhere, or to a directory, stays a link.
            metadata = fs::metadata(&here).ok().filter(Metadata::is_file).unwrap_or(metadata);
        }
        if metadata.is_symlink() {
            bail!("read {}: a symbolic link; put what it points to in its place (`cp -RL`)", here.display());
        } else if metadata.is_dir() {
            scan_into(&here, &format!("{path}/"), links, found)?;
        } else if metadata.is_file() {
            check_path(&path).with_context(|| format!("read {}", here.display()))?;
            found.files.insert(path, metadata);
        } else {
            bail!("read {}: neither a file nor a directory", here.display());
        }
    }
    if let (true, Some(path)) = (is_empty, prefix.strip_suffix('/')) {
        check_path(path).with_context(read)?;
        found.empty.insert(path.to_owned());
    }
    Ok(())
}

#[cfg(unix)]
pub fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
pub fn is_executable(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_tree_on_disk_is_canonical_json() {
        let entry = |executable| Entry { blob: Digest::of(b"x"), size: 1, executable };
        let files = BTreeMap::from([("b/c".to_owned(), entry(true)), ("a.txt".to_owned(), entry(false))]);
        let tree = Tree { files, empty: BTreeSet::new() };
        let bytes = tree.bytes();
        expect![[r#"{"a.txt":{"blob":"3ae7d805f6789a6402acb70ad4096a85a56bf6804eaf25c0493ac697548d30b5","size":1},"b/c":{"blob":"3ae7d805f6789a6402acb70ad4096a85a56bf6804eaf25c0493ac697548d30b5","size":1,"executable":true}}"#]]
            .assert_eq(std::str::from_utf8(&bytes).unwrap());
        assert_eq!(Tree::parse(&bytes).unwrap(), tree);
        let tree = Tree { files: BTreeMap::from([("b".to_owned(), entry(false))]), empty: ["a/e".to_owned()].into() };
        let bytes = tree.bytes();
        expect![[
            r#"{"a/e/":null,"b":{"blob":"3ae7d805f6789a6402acb70ad4096a85a56bf6804eaf25c0493ac697548d30b5","size":1}}"#
        ]]
        .assert_eq(std::str::from_utf8(&bytes).unwrap());
        assert_eq!(Tree::parse(&bytes).unwrap(), tree);
    }

    #[test]
    fn what_is_empty_holds_nothing_and_is_a_directory() {
        let entry = r#"{"blob":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","size":0}"#;
        let refused = |text: &str| format!("{:#}", Tree::parse(text.as_bytes()).unwrap_err());
        assert!(refused(r#"{"a":null}"#).contains("is nothing, and no directory"));
        assert!(refused(r#"{"../a/":null}"#).contains("unsafe path"));
        for (other, why) in [("a", "both a file and a directory"), ("a/b", "both empty and not"), ("A/b", "case")] {
            let text = format!(r#"{{"a/":null,"{other}":{entry}}}"#);
            assert!(refused(&text).contains(why), "{text}: {}", refused(&text));
        }
    }

    #[test]
    fn a_path_that_leaves_the_root_is_refused() {
        let entry = r#"{"blob":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","size":0}"#;
        let parse = |path: &str| Tree::parse(format!("{{\"{path}\":{entry}}}").as_bytes());
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "", ".", "./x", "..", r"..\\x", "a\\u0000"] {
            let error = format!("{:#}", parse(path).unwrap_err());
            assert!(error.contains("unsafe path in a tree"), "{path}: {error}");
        }
        assert!(parse("a/..b/c..").is_ok());
    }
}
