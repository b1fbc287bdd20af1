//! Places content of the store in a directory.

use crate::{
    content::{Content, Damage},
    digest::Digest,
    open,
    store::Store,
    write::read_only,
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

impl Store {
    /// Places a file or a directory at `target`, where nothing may be yet. Files are read-only: they may share their
    /// bytes with the store. Every hash is checked before the first file is made.
    pub fn place(&self, content: &Content, target: &Path) -> Result<()> {
        let context = || format!("place {content} at {}", target.display());
        self.bring(content);
        match content {
            Content::File { blob, .. } => {
                self.check(content, &BTreeMap::from([(*blob, "")]))?;
                make_parents(target)?;
                self.place_file(&self.blob_path(blob), target, false).with_context(context)
            }
            Content::Tree(digest) => {
                let tree = self.tree(digest)?;
                self.check(content, &tree.files.iter().map(|(path, entry)| (entry.blob, path.as_str())).collect())?;
                make_parents(target)?;
                // Each directory is made in this call: a link that somebody left behind is never entered.
                let mut made = BTreeSet::new();
                make_directory(target, &mut made).with_context(context)?;
                for (path, entry) in &tree.files {
                    make_directories(target, path, &mut made).with_context(context)?;
                    self.place_file(&self.blob_path(&entry.blob), &target.join(path), entry.executable)
                        .with_context(|| format!("place {path}"))
                        .with_context(context)?;
                }
                for path in &tree.empty {
                    make_directories(target, path, &mut made).with_context(context)?;
                    make_directory(&target.join(path), &mut made).with_context(context)?;
                }
                Ok(())
            }
        }
    }

    /// Removes a directory in which content was placed, or from which it was adopted. Removing a name changes the inode
    /// of a blob; without this, every blob would be read again the next time it is placed.
    pub fn withdraw(&self, directory: &Path) -> io::Result<()> {
        // A command may have left a link in place of the directory: its target must not be removed.
        let metadata = fs::symlink_metadata(directory)?;
        if !metadata.is_dir() {
            return fs::remove_file(directory);
        }
        // Some programs protect what they keep, as `go` does its modules, and only its owner can remove it then.
        make_writable(directory, &metadata)?;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_dir() {
                self.withdraw(&path)?;
                continue;
            }
            // Kept open, so that its metadata can be read after this name is gone.
            let open = if metadata.is_file() { File::open(&path).ok() } else { None };
            fs::remove_file(&path)?;
            if let Some(after) = open.and_then(|file| file.metadata().ok()) {
                self.still_known(&metadata, &after);
            }
        }
        fs::remove_dir(directory)
    }

    /// Checks every blob. What is damaged here may be whole in the remote.
    fn check(&self, content: &Content, blobs: &BTreeMap<Digest, &str>) -> Result<()> {
        match self.check_here(content, blobs) {
            Err(error) if self.remote.is_some() && error.is::<Damage>() => {
                self.bring(content);
                self.check_here(content, blobs)
            }
            checked => checked,
        }
    }

    /// Reports all faults at once, so that one new run repairs them all.
    fn check_here(&self, content: &Content, blobs: &BTreeMap<Digest, &str>) -> Result<()> {
        let mut faults = Vec::new();
        for (blob, path) in blobs {
            if let Some(reason) = self.check_blob(blob)? {
                let name = if path.is_empty() { String::new() } else { format!(" ({path})") };
                faults.push(format!("blob {blob}{name} {reason}"));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Damage { content: content.clone(), faults }.into()) }
    }

    /// 1. Reflink: bytes of its own at no cost.
    /// 2. Hard link: the same bytes, read-only. Not for an executable file, since the bit would show under every other
    ///    name of the blob as well.
    /// 3. Copy.
    ///
    /// Nothing is overwritten by any of the three.
    fn place_file(&self, blob: &Path, target: &Path, executable: bool) -> Result<()> {
        if !self.reflink(blob, target) {
            if !executable && self.keep_known(blob, || fs::hard_link(blob, target)).is_ok() {
                return Ok(());
            }
            let copy = File::create_new(target).and_then(|mut copy| io::copy(&mut open::inside(blob)?.0, &mut copy));
            copy.with_context(|| format!("copy to {}", target.display()))?;
        }
        let permissions = fs::metadata(target)?.permissions();
        fs::set_permissions(target, read_only(executable, &permissions))
            .with_context(|| format!("make {} read-only", target.display()))
    }

    /// Tried only until the disk reports that it never can: each attempt makes a file and removes it again.
    fn reflink(&self, blob: &Path, target: &Path) -> bool {
        if self.no_reflink.load(Ordering::Relaxed) {
            return false;
        }
        let made = reflink_copy::reflink(blob, target);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            self.no_reflink.store(true, Ordering::Relaxed);
        }
        made.is_ok()
    }
}

#[cfg(unix)]
fn make_writable(directory: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const OWN: u32 = 0o700;
    let mode = metadata.permissions().mode();
    if mode & OWN == OWN { Ok(()) } else { fs::set_permissions(directory, fs::Permissions::from_mode(mode | OWN)) }
}

#[cfg(not(unix))]
fn make_writable(_: &Path, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

fn make_parents(target: &Path) -> Result<()> {
    let parent = target.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(parent).with_context(|| format!("create directory {}", parent.display()))
}

/// Makes the directories above a path below `target`.
fn make_directories(target: &Path, path: &str, made: &mut BTreeSet<PathBuf>) -> Result<()> {
    path.match_indices('/').try_for_each(|(slash, _)| make_directory(&target.join(&path[..slash]), made))
}

fn make_directory(directory: &Path, made: &mut BTreeSet<PathBuf>) -> Result<()> {
    if made.insert(directory.to_owned()) {
        fs::create_dir(directory).with_context(|| format!("create directory {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, write};

    #[test]
    fn a_directory_comes_back_as_it_was() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let without_empty = store.identify(&directory).unwrap();
        fs::create_dir_all(directory.join("logs/empty")).unwrap();
        let content = store.capture(&directory).unwrap();
        assert_ne!(content, without_empty);
        let target = home.path().join("work/in/policy");
        store.place(&content, &target).unwrap();
        assert_eq!(store.identify(&target).unwrap(), content);
        assert_eq!(fs::read_dir(target.join("logs/empty")).unwrap().count(), 0);
        for file in ["model/config.json", "model/model.safetensors", "tokenizer/vocab.txt", "run.sh"] {
            assert_eq!(fs::read(target.join(file)).unwrap(), fs::read(directory.join(file)).unwrap());
            let metadata = fs::metadata(target.join(file)).unwrap();
            assert!(metadata.permissions().readonly(), "{file}");
            assert_eq!(crate::tree::is_executable(&metadata), cfg!(unix) && file == "run.sh", "{file}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_blob_of_which_a_placed_name_goes_away_is_still_known() {
        let (home, store) = sample::store();
        let file = write(home.path(), "out/a.txt", "four");
        let content = store.adopt(&home.path().join("out")).unwrap();
        let blob = store.blob_path(&Digest::of(b"four"));
        // As if it had been read a while ago.
        store.know_for_test(&blob);
        assert!(file.exists() && store.is_known_for_test(&blob));
        store.place(&content, &home.path().join("in")).unwrap();
        for directory in ["in", "out"] {
            store.withdraw(&home.path().join(directory)).unwrap();
            assert!(!home.path().join(directory).exists() && store.is_known_for_test(&blob), "{directory}");
        }
        assert!(store.withdraw(&home.path().join("in")).is_err());
        let outside = write(home.path(), "outside/mine.txt", "mine");
        std::os::unix::fs::symlink(home.path().join("outside"), home.path().join("in")).unwrap();
        store.withdraw(&home.path().join("in")).unwrap();
        assert!(outside.exists() && !home.path().join("in").exists());
    }

    #[test]
    fn a_file_comes_back_under_any_name() {
        let (home, store) = sample::store();
        let content = store.capture(&write(home.path(), "a.jsonl", "{}\n")).unwrap();
        let target = home.path().join("in/data.jsonl");
        store.place(&content, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"{}\n");
        assert_eq!(store.identify(&target).unwrap(), content);
    }

    #[test]
    fn what_lies_at_the_target_is_not_overwritten() {
        let (home, store) = sample::store();
        let file = store.capture(&write(home.path(), "a.txt", "new")).unwrap();
        let directory = store.capture(&sample::model(home.path())).unwrap();
        let target = write(home.path(), "target", "old");
        assert!(store.place(&file, &target).is_err());
        assert!(store.place(&directory, &target).is_err());
        assert!(store.place(&directory, home.path()).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link_at_the_target() {
        let (home, store) = sample::store();
        let file = store.capture(&write(home.path(), "a.txt", "new")).unwrap();
        let directory = store.capture(&sample::model(home.path())).unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        for (name, to) in [("link", outside.clone()), ("dangling", outside.join("nothing"))] {
            let link = home.path().join(name);
            std::os::unix::fs::symlink(to, &link).unwrap();
            assert!(store.place(&file, &link).is_err());
            assert!(store.place(&directory, &link).is_err());
        }
        assert_eq!(sample::files(outside), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_tree_that_would_leave_its_root_is_not_placed() {
        let (home, store) = sample::store();
        let blob = Digest::of(b"x");
        store.capture(&write(home.path(), "x", "x")).unwrap();
        let bytes = format!("{{\"../escaped\":{{\"blob\":\"{blob}\",\"size\":1}}}}");
        let digest = Digest::of(bytes.as_bytes());
        let path = store.path("trees", &digest, ".json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        let error = store.place(&Content::Tree(digest), &home.path().join("in/p")).unwrap_err();
        assert!(format!("{error:#}").ends_with("unsafe path in a tree: `../escaped`"), "{error:#}");
        assert!(!home.path().join("in").exists());
    }

    #[test]
    fn every_damaged_blob_is_named_and_removed_and_nothing_is_placed() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let content = store.capture(&directory).unwrap();
        let blob = |file: &str| store.blob_path(&Digest::of(&fs::read(directory.join(file)).unwrap()));
        let (weights, vocabulary) = (blob("model/model.safetensors"), blob("tokenizer/vocab.txt"));
        // One bit, the length unchanged.
        let mut bytes = fs::read(&weights).unwrap();
        bytes[100_000] ^= 1;
        sample::overwrite(&weights, &bytes);
        fs::remove_file(vocabulary).unwrap();
        let target = home.path().join("in");
        let error = store.place(&content, &target).unwrap_err();
        let mut faults = error.downcast_ref::<Damage>().unwrap().faults.clone();
        faults.sort_by_key(|fault| fault.rsplit('(').next().unwrap().to_owned());
        assert!(faults[0].ends_with("(model/model.safetensors) is damaged"), "{faults:?}");
        assert!(faults[1].ends_with("(tokenizer/vocab.txt) is missing"), "{faults:?}");
        assert_eq!(faults.len(), 2);
        assert!(!target.exists() && !weights.exists() && !store.has(&content));

        assert_eq!(store.adopt(&directory).unwrap(), content);
        store.place(&content, &target).unwrap();
        assert_eq!(store.identify(&target).unwrap(), content);
    }

    #[test]
    fn a_placed_file_cannot_carry_a_change_into_another_place() {
        let (home, store) = sample::store();
        let content = store.capture(&write(home.path(), "a.txt", "four")).unwrap();
        let placed = home.path().join("first/a.txt");
        store.place(&content, &placed).unwrap();
        assert!(fs::metadata(&placed).unwrap().permissions().readonly());
        // Root, or a user who sets the permission first, can write all the same: if the file is a hard link, this
        // changes the blob, and the hash shows it.
        sample::overwrite(&placed, b"five");
        let second = home.path().join("second/a.txt");
        match store.place(&content, &second) {
            Ok(()) => assert_eq!(fs::read(&second).unwrap(), b"four"),
            Err(error) => {
                assert!(error.downcast_ref::<Damage>().is_some(), "{error:#}");
                assert!(!second.exists() && !store.has(&content));
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_executable_file_and_a_plain_one_of_the_same_content_keep_their_own_bits() {
        let (home, store) = sample::store();
        // run.sh and config.json hold the same two bytes.
        let content = store.adopt(&sample::model(home.path())).unwrap();
        for target in ["one", "two"].map(|name| home.path().join(name)) {
            store.place(&content, &target).unwrap();
            let is_executable = |file: &str| crate::tree::is_executable(&fs::metadata(target.join(file)).unwrap());
            assert!(is_executable("run.sh") && !is_executable("model/config.json"));
        }
    }
}
