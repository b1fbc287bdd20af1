//! References to repositories of the hub. Their parts are checked, because they become parts of URLs and paths.

use anyhow::{Result, anyhow};
use hf_hub::{Repo, RepoType};
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    Model,
    Dataset,
}

impl RepositoryKind {
    /// The beginning of its references.
    fn scheme(self) -> &'static str {
        match self {
            RepositoryKind::Model => "hf://",
            RepositoryKind::Dataset => "hf://datasets/",
        }
    }

    pub fn noun(self) -> &'static str {
        match self {
            RepositoryKind::Model => "model",
            RepositoryKind::Dataset => "data set",
        }
    }
}

/// A repository at a revision: a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub kind: RepositoryKind,
    pub owner: String,
    pub name: String,
    pub revision: String,
}

impl Repository {
    /// Reads the reference of a model, `hf://owner/name@revision`. Default of the revision: `main`. Errors say what is
    /// wrong.
    pub fn model(text: &str) -> Result<Repository> {
        let wrong = |what: String| anyhow!("`{text}`: {what}; write hf://owner/name or hf://owner/name@revision");
        let rest = text.strip_prefix("hf://").ok_or_else(|| wrong("it does not begin with hf://".to_owned()))?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (owner, name) = path.split_once('/').unwrap_or(("", path));
        checked(RepositoryKind::Model, owner, name, revision).map_err(wrong)
    }

    pub fn repo(&self, revision: &str) -> Repo {
        let kind = match self.kind {
            RepositoryKind::Model => RepoType::Model,
            RepositoryKind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(format!("{}/{}", self.owner, self.name), kind, revision.to_owned())
    }

    /// The directory `models--owner--name` or `datasets--owner--name`, with all revisions that were ever fetched.
    pub fn folder(&self, cache_root: &Path) -> PathBuf {
        cache_root.join(self.repo(&self.revision).folder_name())
    }

    /// The command that fetches its files with the tool of the hub.
    pub fn download(&self, file: &str) -> String {
        let Repository { kind, owner, name, revision } = self;
        let file = if file.is_empty() { String::new() } else { format!(" '{file}'") };
        let kind = match kind {
            RepositoryKind::Model => "",
            RepositoryKind::Dataset => " --repo-type dataset",
        };
        format!("hf download {owner}/{name}{file}{kind} --revision {revision}")
    }
}

fn checked(kind: RepositoryKind, owner: &str, name: &str, revision: &str) -> Result<Repository, String> {
    plain("owner", owner)?;
    plain("name", name)?;
    // A branch may contain slashes: `team/trial`.
    revision.split('/').try_for_each(|part| plain("revision", part))?;
    Ok(Repository { kind, owner: owner.to_owned(), name: name.to_owned(), revision: revision.to_owned() })
}

fn plain(what: &str, part: &str) -> Result<(), String> {
    let is_odd = |character: &char| !character.is_ascii_alphanumeric() && !"._-".contains(*character);
    match part.chars().find(is_odd) {
        _ if part.is_empty() => Err(format!("the {what} is {}", if what == "revision" { "empty" } else { "missing" })),
        Some(odd) => Err(format!("the {what} has `{odd}` in it")),
        _ if part.contains("..") => Err(format!("the {what} has `..` in it")),
        _ if part.starts_with(['.', '-']) => Err(format!("the {what} begins with `{}`", &part[..1])),
        // The hub allows no such name, and in the cache `--` separates owner and name.
        _ if part.contains("--") && what != "revision" => Err(format!("the {what} has `--` in it")),
        None => Ok(()),
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let revision = match self.kind {
            RepositoryKind::Dataset if special(&self.revision) != Some(self.revision.len()) => {
                self.revision.replace('/', "%2F")
            }
            _ => self.revision.clone(),
        };
        write!(f, "{}{}/{}@{revision}", self.kind.scheme(), self.owner, self.name)
    }
}

/// Files of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub repository: Repository,
    /// A file, a directory or a pattern of names; empty: all data files.
    pub path: String,
}

impl Dataset {
    /// Reads a reference `hf://datasets/owner/name@revision/path`. As in the Python library, a slash inside a revision is
    /// written `%2F`, except in `refs/convert/…` and `refs/pr/…`. Errors say what is wrong.
    pub fn parse(text: &str) -> Result<Dataset> {
        let wrong = |what: String| {
            anyhow!(
                "`{text}`: {what}; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path"
            )
        };
        let rest = text.strip_prefix(RepositoryKind::Dataset.scheme());
        let rest = rest.ok_or_else(|| wrong("it does not begin with hf://datasets/".to_owned()))?;
        let (owner, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let end = rest.find(['@', '/']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let (revision, path) = match rest.strip_prefix('@') {
            Some(rest) => {
                let length = special(rest).unwrap_or_else(|| rest.find('/').unwrap_or(rest.len()));
                let (revision, path) = rest.split_at(length);
                (revision.replace("%2F", "/").replace("%2f", "/"), path)
            }
            None => ("main".to_owned(), rest),
        };
        if revision == "refs" {
            return Err(wrong("the revision is `refs`, the beginning of others".to_owned()));
        }
        let repository = checked(RepositoryKind::Dataset, owner, name, &revision).map_err(wrong)?;
        let path = path.trim_matches('/');
        let is_odd = |part: &str| ["", ".", ".."].contains(&part) || part.contains(char::is_control);
        match path.split('/').find(|part| is_odd(part)) {
            Some(part) if !path.is_empty() => Err(wrong(format!("the path has the part `{}`", part.escape_debug()))),
            _ => Ok(Dataset { repository, path: path.to_owned() }),
        }
    }
}

/// The length of a revision whose slashes are written plainly, at the beginning of a text.
fn special(text: &str) -> Option<usize> {
    let rest = ["refs/convert/", "refs/pr/"].iter().find_map(|start| text.strip_prefix(start))?;
    let name = rest.split('/').next().filter(|name| !name.is_empty())?;
    Some(text.len() - rest.len() + name.len())
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let slash = if self.path.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.repository, self.path)
    }
}

/// The repository or the files that a reference names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asset {
    Model(Repository),
    Data(Dataset),
}

impl Asset {
    /// The verbs that fetch it.
    pub fn way_to_fetch(&self) -> &'static str {
        match self {
            Asset::Model(_) => "`pipeline run` fetches it, and so does `pipeline model inspect`",
            Asset::Data(_) => "`pipeline run` fetches it, and so does `pipeline data inspect`",
        }
    }

    /// Errors say what is wrong.
    pub fn parse(text: &str) -> Result<Asset> {
        match is_data(text) {
            true => Dataset::parse(text).map(Asset::Data),
            false => Repository::model(text).map(Asset::Model),
        }
    }
}

/// Whether a text is meant as the reference of data.
pub fn is_data(text: &str) -> bool {
    text.starts_with(RepositoryKind::Dataset.scheme())
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Asset::Model(model) => model.fmt(f),
            Asset::Data(data) => data.fmt(f),
        }
    }
}
