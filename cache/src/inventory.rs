//! The files of a store, one by one.

use crate::{digest::Digest, store::Store, write};
use anyhow::{Context, Result};
use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    ops::AddAssign,
    path::{Path, PathBuf},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub bytes: u64,
}

/// Files and bytes by part of the store. Blobs that share their bytes with a work directory are counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records, variants included.
    pub records: Tally,
    pub trees: Tally,
    pub blobs: Tally,
    pub verdicts: Tally,
    pub claims: Tally,
    pub quarantine: Tally,
    pub drafts: Tally,
}

/// A file of the store, `part/ab/cd…SUFFIX`.
pub struct Item {
    pub path: PathBuf,
    /// `None` for a name that the store never gives.
    pub digest: Option<Digest>,
    pub suffix: String,
    /// Metadata of the entry itself, even if it is a link.
    pub metadata: Metadata,
}

impl Store {
    pub fn usage(&self) -> Result<Usage> {
        let sum = |items: Vec<Item>| items.iter().fold(Tally::default(), |sum, item| sum + item.metadata.len());
        Ok(Usage {
            records: sum(self.items("actions")?),
            trees: sum(self.items("trees")?),
            blobs: sum(self.items("blobs")?),
            verdicts: sum(self.items("verdicts")?),
            claims: sum(self.items("claims")?),
            quarantine: sum(flat(&self.part("quarantine"))?),
            drafts: sum(flat(&self.path_of_drafts())?),
        })
    }

    /// Every file of a part, in order. Only directories are read.
    pub(crate) fn items(&self, part: &str) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for (directory, metadata) in entries(&self.part(part))? {
            if !metadata.is_dir() {
                // The lock of the claims is skipped. Anything else here, above all a link in place of a directory, has
                // a name that content never has.
                if name_of(&directory) != "lock" {
                    items.push(Item { digest: None, suffix: String::new(), path: directory, metadata });
                }
                continue;
            }
            let first = name_of(&directory);
            for (path, metadata) in entries(&directory)? {
                let name = format!("{first}{}", name_of(&path));
                let (hex, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
                let digest = if first.len() == 2 { hex.parse().ok() } else { None };
                items.push(Item { digest, suffix: suffix.to_owned(), path, metadata });
            }
        }
        Ok(items)
    }
}

/// The files that lie directly in a directory.
pub fn flat(directory: &Path) -> Result<Vec<Item>> {
    let items = entries(directory)?.into_iter();
    Ok(items.map(|(path, metadata)| Item { path, digest: None, suffix: String::new(), metadata }).collect())
}

/// Lists a directory. Entries that vanish meanwhile are left out.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let read = || format!("read {}", directory.display());
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(read),
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.with_context(read)?;
        match entry.metadata() {
            Ok(metadata) => found.push((entry.path(), metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", entry.path().display())),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a file of the store. A missing file is no error.
pub fn remove(path: &Path) -> Result<()> {
    write::step()?;
    write::check_parent(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

impl std::ops::Add<u64> for Tally {
    type Output = Tally;
    fn add(self, bytes: u64) -> Tally {
        Tally { count: self.count + 1, bytes: self.bytes + bytes }
    }
}

impl AddAssign<u64> for Tally {
    fn add_assign(&mut self, bytes: u64) {
        *self = *self + bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, sample};
    use serde_json::json;

    #[test]
    fn usage_counts_each_file_once() {
        let (home, store) = sample::store();
        assert_eq!(store.usage().unwrap(), Usage::default());
        let content = store.adopt(&sample::model(home.path())).unwrap();
        let record =
            Record { result: json!(1), telemetry: json!(null), contents: vec![content.clone()], extras: vec![] };
        store.commit(&Digest::of(b"key"), &record).unwrap();
        store.remember(&Digest::of(b"key"), &json!(1)).unwrap();
        store.place(&content, &home.path().join("placed")).unwrap();
        let _claim = store.claim(&Digest::of(b"key")).unwrap();
        let usage = store.usage().unwrap();
        // Two of the four files of the model are alike.
        assert_eq!(usage.blobs, Tally { count: 3, bytes: 2 + 160_000 + 7 });
        let counts = [usage.records, usage.trees, usage.verdicts, usage.claims, usage.quarantine, usage.drafts];
        assert_eq!(counts.map(|tally| tally.count), [1, 1, 1, 1, 0, 0]);
        assert!(usage.records.bytes > 100 && usage.trees.bytes > 100);
    }
}
