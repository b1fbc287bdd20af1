//! Verification: reads everything in the store and reports what is wrong.

use crate::{
    content::Content,
    digest::Digest,
    disown,
    inventory::{Item, Tally},
    open,
    record::unseal,
    store::Store,
    tree::Tree,
    write,
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    io::ErrorKind,
    path::PathBuf,
    time::Duration,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Bytes of everything that was read.
    pub checked: Tally,
    /// Each fault as a sentence: which file, and what is wrong with it.
    pub faults: Vec<String>,
    /// Keys without a valid record: their actions must run again.
    pub lost: Vec<Digest>,
    /// The files that `repair` moved to quarantine. Nothing is deleted.
    pub moved: Vec<PathBuf>,
}

/// The time that a repair waits for runs that use the store.
const PATIENCE: Duration = Duration::from_secs(30);

impl Store {
    /// Reads every file, trusting no stat record, and updates the stat records. With `repair`, damaged files and
    /// records that are no longer valid are moved to `quarantine/`, so that they do not block a new run.
    pub fn verify(&self, repair: bool) -> Result<Verification> {
        let mut found = Verification::default();
        self.verify_own(repair, &mut found)?;
        // Without the lock, a run might be placing a file that is moved away.
        let _lock = if repair { Some(self.hold_alone(PATIENCE)?) } else { None };
        let mut bad: Vec<Item> = Vec::new();
        let blobs = self.verify_blobs(&mut found, &mut bad)?;
        let (trees, lacking) = self.verify_trees(&blobs, &mut found, &mut bad)?;
        let holds = |content: &Content| match content {
            Content::File { blob, .. } => blobs.contains_key(blob),
            Content::Tree(digest) => trees.contains(digest),
        };
        // A missing blob of a tree is a fault only where somebody needs the tree; once made again, the tree is whole
        // again.
        let why = |content: &Content| match content {
            Content::Tree(digest) if lacking.contains_key(digest) => lacking[digest].clone(),
            _ => "is missing or damaged".to_owned(),
        };
        let mut lost = BTreeSet::new();
        for item in self.items("actions")? {
            found.checked += item.metadata.len();
            let is_record = item.suffix == ".json";
            let is_note = [".variant-", disown::MARK].iter().any(|mark| item.suffix.starts_with(mark));
            let is_variant = is_note && item.suffix.ends_with(".json");
            let fault = match item.digest {
                Some(key) if is_record || is_variant => match bytes_of(&item)?.as_deref().map(unseal) {
                    Some(Some(page)) if page.key != key => Some("is the record of another key".to_owned()),
                    Some(Some(page)) => {
                        let missing = page.record.contents.iter().find(|content| !holds(content));
                        missing.map(|content| format!("needs {content}, which {}", why(content)))
                    }
                    Some(None) => Some("is damaged".to_owned()),
                    None => Some("is not a plain file".to_owned()),
                },
                _ => Some("has a name the store never gives".to_owned()),
            };
            if let Some(fault) = fault {
                lost.extend(item.digest.filter(|_| is_record));
                found.faults.push(format!("record {} {fault}", item.path.display()));
                bad.push(item);
            }
        }
        found.lost = lost.into_iter().collect();
        if repair {
            // Records first, in case this process dies here: see `collect`.
            for item in bad.iter().rev() {
                found.moved.push(self.quarantine(item)?);
            }
        }
        self.save_stats();
        Ok(found)
    }

    /// Checks that what is written without being read is a file: else nothing could be written in its place. Here they are
    /// moved away before there is a lock, since that may be one of them.
    fn verify_own(&self, repair: bool, found: &mut Verification) -> Result<()> {
        let mut own: Vec<PathBuf> = ["lock", "claims/lock", "stats"].map(|name| self.part(name)).into();
        for part in ["verdicts", "claims"] {
            own.extend(self.items(part)?.into_iter().filter(|item| item.digest.is_some()).map(|item| item.path));
        }
        for path in own {
            let metadata =
                files::found(fs::symlink_metadata(&path)).with_context(|| format!("read {}", path.display()))?;
            let Some(metadata) = metadata.filter(|metadata| !metadata.is_file()) else { continue };
            found.faults.push(format!("{} is not a plain file", path.display()));
            if repair {
                found.moved.push(self.quarantine(&Item { path, digest: None, suffix: String::new(), metadata })?);
            }
        }
        Ok(())
    }

    /// Checks the blobs; returns the sound ones with their lengths.
    fn verify_blobs(&self, found: &mut Verification, bad: &mut Vec<Item>) -> Result<HashMap<Digest, u64>> {
        let mut sound = HashMap::new();
        for item in self.items("blobs")? {
            found.checked += item.metadata.len();
            let fault = match item.digest.filter(|_| item.suffix.is_empty()) {
                None => "has a name the store never gives",
                Some(_) if !item.metadata.is_file() => "is not a plain file",
                Some(name) => {
                    let read = open::inside(&item.path).and_then(|(file, metadata)| self.read_digest(&file, &metadata));
                    match read {
                        Ok((digest, size)) if digest == name => {
                            sound.insert(name, size);
                            continue;
                        }
                        Ok(_) => "is damaged",
                        Err(error) => return Err(error).with_context(|| format!("read {}", item.path.display())),
                    }
                }
            };
            found.faults.push(format!("blob {} {fault}", item.path.display()));
            bad.push(item);
        }
        Ok(sound)
    }

    /// Checks the trees; returns those that are sound with all their blobs, and those that lack one with the reason.
    fn verify_trees(
        &self,
        blobs: &HashMap<Digest, u64>,
        found: &mut Verification,
        bad: &mut Vec<Item>,
    ) -> Result<(HashSet<Digest>, HashMap<Digest, String>)> {
        let (mut sound, mut lacking) = (HashSet::new(), HashMap::new());
        for item in self.items("trees")? {
            found.checked += item.metadata.len();
            let fault = match item.digest.filter(|_| item.suffix == ".json") {
                None => "has a name the store never gives".to_owned(),
                Some(name) => match bytes_of(&item)? {
                    None => "is not a plain file".to_owned(),
                    Some(bytes) if Digest::of(&bytes) != name => "is damaged".to_owned(),
                    Some(bytes) => match Tree::parse(&bytes) {
                        Err(error) => format!("is forged: {error:#}"),
                        Ok(tree) => match fault_of(&tree, blobs) {
                            None => {
                                sound.insert(name);
                                continue;
                            }
                            Some((fault, false)) => {
                                lacking.insert(name, fault);
                                continue;
                            }
                            Some((forged, true)) => forged,
                        },
                    },
                },
            };
            found.faults.push(format!("tree {} {fault}", item.path.display()));
            bad.push(item);
        }
        Ok((sound, lacking))
    }

    fn quarantine(&self, item: &Item) -> Result<PathBuf> {
        let directory = self.part("quarantine");
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("create directory {}", directory.display()));
            }
            _ => {}
        }
        let inner = item.path.strip_prefix(self.root()).expect("every item lies in the store");
        let name = inner.to_string_lossy().replace(['/', '\\'], "-");
        let free =
            (0..).map(|number| directory.join(if number == 0 { name.clone() } else { format!("{name}.{number}") }));
        let target = free.into_iter().find(|path| path.symlink_metadata().is_err()).expect("numbers do not end");
        write::step()?;
        write::check_parent(&item.path)?;
        write::check_parent(&target)?;
        fs::rename(&item.path, &target).with_context(|| format!("move {}", item.path.display()))?;
        write::sync_parent(&item.path, self.is_durable)?;
        Ok(target)
    }
}

/// The fault of a tree whose name is right, and whether the tree itself is to blame: a tree that lacks a blob is whole
/// again as soon as the blob comes back.
fn fault_of(tree: &Tree, blobs: &HashMap<Digest, u64>) -> Option<(String, bool)> {
    tree.files.iter().find_map(|(path, entry)| match blobs.get(&entry.blob) {
        None => Some((format!("needs blob {} ({path}), which is missing or damaged", entry.blob), false)),
        Some(size) if *size != entry.size => {
            Some((format!("says that {path} has {} bytes; it has {size}", entry.size), true))
        }
        Some(_) => None,
    })
}

/// Reads a file; `None` if it is not a plain one, or larger than what the store writes.
fn bytes_of(item: &Item) -> Result<Option<Vec<u8>>> {
    match open::read(&item.path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if open::is_foreign(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", item.path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, sample};
    use serde_json::json;
    use std::path::Path;

    fn key() -> Digest {
        Digest::of(b"action")
    }

    /// Damages a store of one record of a model, and returns the fault that is found, with names in place of digests.
    fn check(damage: impl FnOnce(&Store, &Path, &Path, &Path), expected: &str, is_lost: bool) {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        let contents = vec![content.clone()];
        let record = Record { result: json!(1), telemetry: json!(null), contents, extras: vec![] };
        store.commit(&key(), &record).unwrap();
        assert_eq!(store.verify(true).unwrap().faults, Vec::<String>::new());
        let Content::Tree(tree) = content else { unreachable!() };
        let blob = store.blob_path(&Digest::of("ねこ\n".as_bytes()));
        damage(&store, &blob, &store.path("trees", &tree, ".json"), &store.path("actions", &key(), ".json"));
        let before = store.usage().unwrap();
        let found = store.verify(false).unwrap();
        assert_eq!(store.usage().unwrap(), before, "looking moves nothing");
        assert!(found.moved.is_empty());
        assert!(found.faults.iter().any(|fault| fault.contains(expected)), "{expected}: {:#?}", found.faults);
        assert_eq!(found.lost, if is_lost { vec![key()] } else { vec![] }, "{expected}");

        let repaired = store.verify(true).unwrap();
        assert_eq!((&repaired.faults, &repaired.lost), (&found.faults, &found.lost));
        for file in &repaired.moved {
            assert!(file.symlink_metadata().is_ok() && file.starts_with(store.part("quarantine")));
        }
        assert_eq!(store.lookup(&key()).unwrap().is_none(), is_lost);
        // Nothing prevents the action from running again, and then all is well.
        store.capture(&home.path().join("model")).unwrap();
        store.commit(&key(), &record).unwrap();
        assert_eq!(store.lookup(&key()).unwrap(), Some(record));
        let after = store.verify(false).unwrap();
        assert!(after.faults.is_empty() && after.lost.is_empty(), "{expected}: {after:#?}");
    }

    #[test]
    fn every_fault_is_found_named_and_moved_out_of_the_way() {
        check(|_, blob, _, _| fs::remove_file(blob).unwrap(), "(tokenizer/vocab.txt), which is missing", true);
        check(|_, blob, _, _| sample::overwrite(blob, "ねじ\n".as_bytes()), "is damaged", true);
        check(|_, blob, _, _| sample::overwrite(blob, b"cut"), "is damaged", true);
        check(|_, _, tree, _| sample::overwrite(tree, b"{}"), "is damaged", true);
        check(|_, _, tree, _| fs::remove_file(tree).unwrap(), "needs tree:", true);
        check(|_, _, _, record| sample::overwrite(record, b"{}"), "is damaged", true);
        let misnamed = |store: &Store, blob: &Path, _: &Path, _: &Path| {
            fs::copy(blob, store.part("blobs").join(blob.parent().unwrap()).join("x")).map(drop).unwrap();
        };
        check(misnamed, "has a name the store never gives", false);
        let elsewhere = |store: &Store, _: &Path, _: &Path, record: &Path| {
            let other = store.path("actions", &Digest::of(b"other"), ".variant-1.json");
            fs::create_dir_all(other.parent().unwrap()).unwrap();
            fs::copy(record, other).map(drop).unwrap();
        };
        check(elsewhere, "is the record of another key", false);
    }

    fn forge_tree(store: &Store, text: &str) -> Content {
        let digest = Digest::of(text.as_bytes());
        let path = store.path("trees", &digest, ".json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        Content::Tree(digest)
    }

    #[test]
    fn forged_trees_are_moved_away() {
        let blob = Digest::of(b"x");
        for (tree, fault) in [
            (format!(r#"{{"a":{{"blob":"{blob}","size":2}}}}"#), "says that a has 2 bytes; it has 1"),
            (format!(r#"{{"../a":{{"blob":"{blob}","size":1}}}}"#), "is forged: unsafe path in a tree"),
        ] {
            let (home, store) = sample::store();
            store.capture(&sample::write(home.path(), "x", "x")).unwrap();
            let content = forge_tree(&store, &tree);
            let found = store.verify(true).unwrap();
            assert_eq!((found.faults.len(), found.moved.len()), (1, 1), "{found:?}");
            assert!(found.faults[0].contains(fault), "{:?}", found.faults);
            assert!(!store.has(&content));
            assert!(store.verify(false).unwrap().faults.is_empty());
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_moved_not_followed() {
        let (home, store) = sample::store();
        let outside = sample::write(home.path(), "outside", "x");
        let content = store.capture(&outside).unwrap();
        let blob = store.blob_path(&Digest::of(b"x"));
        fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink(&outside, &blob).unwrap();
        let found = store.verify(true).unwrap();
        assert!(found.faults[0].ends_with("is not a plain file"), "{found:?}");
        assert_eq!(fs::read(outside).unwrap(), b"x");
        assert!(!store.has(&content));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_directory_is_moved_not_followed() {
        for part in ["blobs", "trees", "actions"] {
            let (home, store) = sample::store();
            let content = store.capture(&sample::model(home.path())).unwrap();
            let contents = vec![content.clone()];
            let record = Record { result: json!(1), telemetry: json!(null), contents, extras: vec![] };
            store.commit(&key(), &record).unwrap();
            let directory = fs::read_dir(store.part(part)).unwrap().next().unwrap().unwrap().path();
            let outside = home.path().join("outside");
            fs::rename(&directory, &outside).unwrap();
            std::os::unix::fs::symlink(&outside, &directory).unwrap();
            let fault = format!("{} has a name the store never gives", directory.display());
            let found = store.verify(true).unwrap();
            assert!(found.faults.iter().any(|told| told.ends_with(&fault)), "{part}: {found:?}");
            assert!(fs::symlink_metadata(&directory).is_err() && fs::read_dir(&outside).unwrap().count() > 0);
            assert_eq!(store.lookup(&key()).unwrap(), None, "{part}");
        }
    }

    #[test]
    fn a_directory_where_a_file_should_be_is_moved_aside() {
        for place in ["lock", "claims/lock", "stats", "blobs", "trees", "actions", "verdicts", "claims"] {
            let (home, store) = sample::store();
            let content = store.capture(&sample::model(home.path())).unwrap();
            let Content::Tree(tree) = content.clone() else { unreachable!() };
            let record = Record { result: json!(1), telemetry: json!(null), contents: vec![content], extras: vec![] };
            store.commit(&key(), &record).unwrap();
            store.remember(&key(), &json!(1)).unwrap();
            let path = match place {
                "blobs" => store.blob_path(&Digest::of("ねこ\n".as_bytes())),
                "trees" => store.path(place, &tree, ".json"),
                "actions" | "verdicts" | "claims" => store.path(place, &key(), ".json"),
                place => store.part(place),
            };
            let _ = fs::remove_file(&path);
            fs::create_dir_all(path.join("something")).unwrap();
            assert!(!store.verify(false).unwrap().faults.is_empty(), "{place}");
            assert!(!store.verify(true).unwrap().moved.is_empty(), "{place}");
            assert!(fs::symlink_metadata(&path).is_err() || path.is_file(), "{place}");
            store.capture(&home.path().join("model")).unwrap();
            store.commit(&key(), &record).unwrap();
            store.remember(&key(), &json!(2)).unwrap();
            drop(store.claim(&key()).unwrap());
            assert_eq!(store.verify(true).unwrap().faults, Vec::<String>::new(), "{place}");
        }
    }

    #[test]
    fn what_was_moved_once_does_not_stand_in_the_way_of_the_next() {
        let (home, store) = sample::store();
        let file = sample::write(home.path(), "a", "four");
        for _ in 0..3 {
            store.capture(&file).unwrap();
            sample::overwrite(&store.blob_path(&Digest::of(b"four")), b"five");
            assert_eq!(store.verify(true).unwrap().moved.len(), 1);
        }
        assert_eq!(store.usage().unwrap().quarantine.count, 3);
    }
}
