//! Uploads that died: parts in a bucket that nobody sees and somebody pays for, unfinished files in a directory.

use super::{Address, Remote, bucket::DeadUploads, layout::TOP};
use anyhow::{Context, Result};
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

impl Remote {
    /// Gives up uploads that are older than `age`; in a dry run only counts them.
    ///
    /// # Errors
    /// The remote does not list them, or refuses.
    pub fn collect_uploads(&self, age: Duration, dry_run: bool) -> Result<DeadUploads> {
        let mut found = DeadUploads::default();
        if let Address::Directory(path) = &self.settings.address {
            unfinished(&path.join(TOP), age, dry_run, &mut found)?;
        } else if let Some(bucket) = self.client()?.bucket {
            found = bucket.collect(&|side, answer| self.asked(side, |_| answer), age, dry_run)?;
        }
        Ok(found)
    }
}

/// Removes unfinished files of a directory: `object_store` writes each under a name with `#` and a number.
fn unfinished(directory: &Path, age: Duration, dry_run: bool, found: &mut DeadUploads) -> Result<()> {
    let read = || format!("read {}", directory.display());
    for entry in files::found(fs::read_dir(directory)).with_context(read)?.into_iter().flatten() {
        let entry = entry.with_context(read)?;
        let (path, Some(metadata)) = (entry.path(), files::found(entry.metadata()).with_context(read)?) else {
            continue;
        };
        if metadata.is_dir() {
            unfinished(&path, age, dry_run, found)?;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_draft = name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u64>().is_ok());
        if !is_draft || !metadata.is_file() {
            continue;
        }
        let since = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if since.is_none_or(|since| since < age) {
            found.young += 1;
            continue;
        }
        found.old += 1;
        found.bytes += metadata.len();
        if !dry_run {
            files::found(fs::remove_file(&path)).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_unfinished_files_of_a_directory_go() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("v1/blobs/ab");
        fs::create_dir_all(&at).unwrap();
        for name in ["cd", "cd#1", "ef#22", "gh#x"] {
            fs::write(at.join(name), "12345").unwrap();
        }
        let old = SystemTime::now() - Duration::from_secs(90_000);
        for name in ["cd", "cd#1", "gh#x"] {
            fs::File::open(at.join(name)).unwrap().set_modified(old).unwrap();
        }
        let settings = super::super::RemoteSettings::new(super::super::Address::Directory(home.path().to_owned()));
        let remote = Remote::open(settings, &|_| None).unwrap();
        let day = Duration::from_secs(86_400);
        let expected = DeadUploads { old: 1, bytes: 5, young: 1 };
        assert_eq!(remote.collect_uploads(day, true).unwrap(), expected);
        assert_eq!(remote.collect_uploads(day, false).unwrap(), expected);
        assert_eq!(remote.collect_uploads(day, false).unwrap().old, 0);
        let left: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3);
    }
}
