//! Exports records with everything they need as one tar file, and imports them into another store. An action is only
//! checked by its bytes: their digest must be its key.
//!
//! ```text
//! pipeline-export-1/journal.jsonl               the journal of the run, if a whole run was exported
//! pipeline-export-1/actions/<key>.action.json   the bytes whose blake3 is the key
//! pipeline-export-1/actions/<key>.json          the record, as in the store
//! pipeline-export-1/blobs/<digest>
//! pipeline-export-1/trees/<digest>.json
//! ```
//!
//! The archive holds plain files in this order and no others, each once, without owner and time: the same records give
//! the same bytes.

use crate::{
    content::{Content, Damage},
    digest::Digest,
    inventory::Tally,
    open,
    record::{Commit, Record, unseal},
    store::Store,
    tree::Tree,
    write,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
};

/// Everything that an import added to the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    pub records: Vec<ImportRecord>,
    /// Blobs that the store did not have.
    pub blobs: Tally,
    /// The journal of a whole run, as it was exported: bytes that nothing here has checked.
    pub journal: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ImportRecord {
    pub key: Digest,
    pub action: Vec<u8>,
    /// `Different`: the store has another result; this one is kept as a note.
    pub commit: Commit,
}

const TOP: &str = "pipeline-export-1";
const JOURNAL: &str = "journal.jsonl";

/// The most bytes of one record, action or tree. A tree of a million files is smaller.
const LONGEST_NOTE: u64 = 256 << 20;

/// The most bytes of all records, actions and trees of an archive: they stay in memory until everything is checked.
const MOST_NOTES: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Journal,
    Action(Digest),
    Record(Digest),
    Blob(Digest),
    Tree(Digest),
}

impl Store {
    /// Writes the records of `actions`: pairs of a key and the bytes it is the digest of. After an error `out` holds
    /// half an archive, which the caller must not give a name. `journal`: that of the run, if it is a whole one.
    pub fn export(&self, actions: &[(Digest, Vec<u8>)], journal: Option<Vec<u8>>, out: &mut impl Write) -> Result<()> {
        let mut notes: BTreeMap<Name, Vec<u8>> = journal.into_iter().map(|bytes| (Name::Journal, bytes)).collect();
        let mut blobs = BTreeSet::new();
        for (key, action) in actions {
            ensure!(Digest::of(action) == *key, "export {key}: the action that was given has another digest");
            if self.remote().is_some() {
                self.pull(key).with_context(|| format!("export {key}"))?;
            }
            let record = self.lookup(key)?.with_context(|| format!("export {key}: the store has no record of it"))?;
            let path = self.path("actions", key, ".json");
            let bytes = open::read(&path).with_context(|| format!("read {}", path.display()))?;
            notes.insert(Name::Action(*key), action.clone());
            notes.insert(Name::Record(*key), bytes);
            // A lost extra is no fault of a record, so the export leaves it out.
            let extras = record.extras.iter().filter(|extra| self.has(extra));
            for content in record.contents.iter().chain(extras) {
                match content {
                    Content::File { blob, .. } => drop(blobs.insert(*blob)),
                    Content::Tree(digest) => {
                        let tree = self.tree(digest)?;
                        blobs.extend(tree.files.values().map(|entry| entry.blob));
                        notes.insert(Name::Tree(*digest), tree.bytes());
                    }
                }
            }
        }
        let mut tar = tar::Builder::new(out);
        let first_tree = Name::Tree(Digest::from_bytes([0; 32]));
        notes
            .range(..first_tree)
            .try_for_each(|(name, bytes)| append(&mut tar, *name, bytes.len() as u64, &bytes[..]))?;
        blobs.iter().try_for_each(|blob| self.append_blob(&mut tar, blob))?;
        notes
            .range(first_tree..)
            .try_for_each(|(name, bytes)| append(&mut tar, *name, bytes.len() as u64, &bytes[..]))?;
        tar.into_inner().and_then(Write::flush).context("write the end of the archive")
    }

    fn append_blob(&self, tar: &mut tar::Builder<&mut impl Write>, blob: &Digest) -> Result<()> {
        let path = self.blob_path(blob);
        let (file, metadata) = open::inside(&path).with_context(|| format!("read {}", path.display()))?;
        let mut hashed = HashingReader { inner: file, hasher: blake3::Hasher::new() };
        append(tar, Name::Blob(*blob), metadata.len(), &mut hashed)?;
        let content = Content::File { format: String::new(), blob: *blob };
        ensure!(hashed.digest() == *blob, Damage::one(&content, format!("blob {blob} is damaged")));
        Ok(())
    }

    /// Trusts nothing. The archive may hold only plain files with exactly the names above, each once, each with the
    /// digest that its name says; nothing that no record needs, and everything that one needs unless the store has it
    /// already.
    ///
    /// Blobs get their names while the archive is read, since they may be larger than memory; whatever archive they
    /// come from, they are what their names say. Trees and records get theirs after everything was checked. A refused
    /// archive therefore leaves at most blobs that nothing refers to, and the next collection removes them.
    pub fn import(&self, archive: &mut impl Read) -> Result<Import> {
        let _held = self.hold()?;
        let mut notes: BTreeMap<Name, Vec<u8>> = BTreeMap::new();
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        let mut imported = Import::default();
        let mut room = MOST_NOTES;
        let mut tar = tar::Archive::new(archive);
        // Raw, so that long names and the like, which our archives never have, arrive as entries and are refused.
        for entry in tar.entries().context("read the archive")?.raw(true) {
            let mut entry = entry.context("read the archive")?;
            let shown = String::from_utf8_lossy(&entry.path_bytes()).escape_debug().to_string();
            ensure!(
                entry.header().entry_type() == tar::EntryType::Regular,
                "the archive holds `{shown}`, which is not a plain file"
            );
            let name = parse_name(&entry.path_bytes())
                .with_context(|| format!("the archive holds `{shown}`, which is no part of an export"))?;
            let is_new = match name {
                Name::Blob(blob) => !blobs.contains_key(&blob),
                name => !notes.contains_key(&name),
            };
            ensure!(is_new, "the archive holds `{shown}` twice");
            let size = entry.header().size().with_context(|| format!("read the size of `{shown}`"))?;
            match name {
                Name::Blob(blob) => {
                    if self.import_blob(&blob, size, &mut entry).with_context(|| format!("import `{shown}`"))? {
                        imported.blobs += size;
                    }
                    blobs.insert(blob, size);
                }
                name => {
                    room = (room.checked_sub(size).filter(|_| size <= LONGEST_NOTE))
                        .with_context(|| format!("`{shown}` says it has {size} bytes, which is too much"))?;
                    notes.insert(name, read_note(size, &mut entry).with_context(|| format!("read `{shown}`"))?);
                }
            }
        }
        let records = self.check_archive(&notes, &blobs).context("the archive is refused")?;
        for (name, bytes) in &notes {
            if let Name::Tree(digest) = name {
                self.keep_tree(digest, bytes)?;
            }
        }
        for (key, record) in records {
            let commit = self.commit(&key, &record)?;
            let action = notes.remove(&Name::Action(key)).expect("every record was checked to have its action");
            imported.records.push(ImportRecord { key, action, commit });
        }
        imported.journal = notes.remove(&Name::Journal);
        Ok(imported)
    }

    /// Adds a blob. True if the store did not have it.
    fn import_blob(&self, blob: &Digest, size: u64, bytes: &mut impl Read) -> Result<bool> {
        let mut hashed = HashingReader { inner: bytes, hasher: blake3::Hasher::new() };
        let mut length = 0;
        if self.check_blob(blob)?.is_none() {
            // Read it nevertheless: its bytes must be what its name says.
            length += io::copy(&mut hashed, &mut io::sink())?;
            check_whole(&hashed, blob, length, size)?;
            return Ok(false);
        }
        let draft = write::draft(&self.path_of_drafts(), |file| {
            length += io::copy(&mut hashed, file)?;
            Ok(())
        })?;
        check_whole(&hashed, blob, length, size)?;
        write::create(draft, &self.blob_path(blob), self.is_durable)
    }

    /// Checks everything that [`Store::import`] promises, and returns the records.
    fn check_archive(
        &self,
        notes: &BTreeMap<Name, Vec<u8>>,
        blobs: &BTreeMap<Digest, u64>,
    ) -> Result<Vec<(Digest, Record)>> {
        let mut trees = BTreeMap::new();
        for (name, bytes) in notes {
            if let Name::Tree(digest) = name {
                ensure!(Digest::of(bytes) == *digest, "tree {digest} is damaged");
                trees.insert(*digest, Tree::parse(bytes).with_context(|| format!("tree {digest}"))?);
            }
        }
        let mut records = Vec::new();
        let mut needed: BTreeSet<Name> = BTreeSet::new();
        for (name, bytes) in notes {
            let Name::Record(key) = name else { continue };
            let action =
                notes.get(&Name::Action(*key)).with_context(|| format!("record {key} comes without its action"))?;
            ensure!(Digest::of(action) == *key, "action {key} is damaged: its digest is another");
            let page = unseal(bytes).with_context(|| format!("record {key} is damaged"))?;
            ensure!(page.key == *key, "record {key} is one of another key, {}", page.key);
            needed.extend([Name::Action(*key), *name]);
            for content in &page.record.contents {
                self.check_needed(content, &trees, blobs, &mut needed).with_context(|| format!("record {key}"))?;
            }
            for extra in &page.record.extras {
                // An extra may be missing, but not incomplete.
                let _ = self.check_needed(extra, &trees, blobs, &mut needed);
            }
            records.push((*key, page.record));
        }
        ensure!(!records.is_empty(), "it holds no record");
        let there = notes.keys().copied().chain(blobs.keys().map(|blob| Name::Blob(*blob)));
        for name in there {
            ensure!(name == Name::Journal || needed.contains(&name), "no record needs `{}`", path_of(name));
        }
        Ok(records)
    }

    fn check_needed(
        &self,
        content: &Content,
        trees: &BTreeMap<Digest, Tree>,
        blobs: &BTreeMap<Digest, u64>,
        needed: &mut BTreeSet<Name>,
    ) -> Result<()> {
        match content {
            Content::File { blob, .. } if blobs.contains_key(blob) => drop(needed.insert(Name::Blob(*blob))),
            Content::Tree(digest) if trees.contains_key(digest) => {
                needed.insert(Name::Tree(*digest));
                for (path, entry) in &trees[digest].files {
                    let size = match blobs.get(&entry.blob) {
                        Some(size) => *size,
                        None => {
                            let file = Content::File { format: String::new(), blob: entry.blob };
                            self.check_present(&file).with_context(|| format!("{content}: {path}"))?;
                            std::fs::symlink_metadata(self.blob_path(&entry.blob))?.len()
                        }
                    };
                    ensure!(size == entry.size, "{content} says that {path} has {} bytes; it has {size}", entry.size);
                    needed.insert(Name::Blob(entry.blob));
                }
            }
            _ => self.check_present(content)?,
        }
        Ok(())
    }
}

fn append(tar: &mut tar::Builder<&mut impl Write>, name: Name, size: u64, bytes: impl Read) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    let path = path_of(name);
    header.set_path(&path).context("write the name of an entry")?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    tar.append(&header, bytes).with_context(|| format!("write `{path}` to the archive"))
}

fn path_of(name: Name) -> String {
    match name {
        Name::Journal => format!("{TOP}/{JOURNAL}"),
        Name::Action(key) => format!("{TOP}/actions/{key}.action.json"),
        Name::Record(key) => format!("{TOP}/actions/{key}.json"),
        Name::Blob(blob) => format!("{TOP}/blobs/{blob}"),
        Name::Tree(digest) => format!("{TOP}/trees/{digest}.json"),
    }
}

/// Parses the name of an entry; `None` for every other spelling.
fn parse_name(path: &[u8]) -> Option<Name> {
    let rest = str::from_utf8(path).ok()?.strip_prefix(TOP)?.strip_prefix('/')?;
    if rest == JOURNAL {
        return Some(Name::Journal);
    }
    let (part, file) = rest.split_once('/')?;
    let digest = |suffix: &str| file.strip_suffix(suffix)?.parse().ok();
    match part {
        "actions" => digest(".action.json").map(Name::Action).or_else(|| digest(".json").map(Name::Record)),
        "blobs" => digest("").map(Name::Blob),
        "trees" => digest(".json").map(Name::Tree),
        _ => None,
    }
}

fn read_note(size: u64, bytes: &mut impl Read) -> Result<Vec<u8>> {
    // The promised size is not reserved: promising costs nothing.
    let mut note = Vec::new();
    bytes.take(size).read_to_end(&mut note)?;
    ensure!(note.len() as u64 == size, "the archive ends in the middle of it");
    Ok(note)
}

fn check_whole<R>(hashed: &HashingReader<R>, blob: &Digest, length: u64, size: u64) -> Result<()> {
    ensure!(length == size, "the archive ends in the middle of it");
    if hashed.digest() != *blob {
        bail!("it is damaged: its digest is {}", hashed.digest());
    }
    Ok(())
}

struct HashingReader<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R> HashingReader<R> {
    fn digest(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use serde_json::json;
    use std::path::PathBuf;

    const ACTION: &[u8] = br#"{"kind":"sft"}"#;

    fn key() -> Digest {
        Digest::of(ACTION)
    }

    /// A store with one record: a model, a table and a log.
    fn full() -> (tempfile::TempDir, Store, Record) {
        let (home, store) = sample::store();
        let model = sample::model(home.path());
        std::fs::create_dir(model.join("empty")).unwrap();
        let model = store.capture(&model).unwrap();
        let table = store.capture(&sample::write(home.path(), "items.jsonl", "{}\n")).unwrap();
        let log = store.capture(&sample::write(home.path(), "log.txt", "step 1\n")).unwrap();
        let record = Record {
            result: json!({"loss": 0.1 + 0.2}),
            telemetry: json!({"seconds": 1}),
            contents: vec![model, table],
            extras: vec![log],
        };
        store.commit(&key(), &record).unwrap();
        (home, store, record)
    }

    fn export(store: &Store) -> Vec<u8> {
        let mut bytes = Vec::new();
        store.export(&[(key(), ACTION.to_vec())], None, &mut bytes).unwrap();
        bytes
    }

    /// The entries of an archive, to be put together in another way.
    fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut tar = tar::Archive::new(archive);
        let read = |entry: io::Result<tar::Entry<&[u8]>>| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        };
        tar.entries().unwrap().map(read).collect()
    }

    fn header(name: &str, size: usize, sort: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        // By hand: the library refuses the names that matter here.
        let (prefix, name) = if name.len() > 100 { name.split_at(name.find('/').unwrap()) } else { ("", name) };
        let name = if prefix.is_empty() { name } else { &name[1..] };
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_ustar_mut().unwrap().prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
        header.set_entry_type(sort);
        header.set_size(size as u64);
        header.set_cksum();
        header
    }

    fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            tar.append(&header(name, bytes.len(), tar::EntryType::Regular), &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// An import that must fail, into a store of its own: no record, no tree, no draft, nothing outside.
    fn refuse(bytes: &[u8], expected: &str) {
        let (home, store) = sample::store();
        let before = sample::files(home.path().to_owned());
        let error = format!("{:#}", store.import(&mut &bytes[..]).expect_err(expected));
        assert!(error.contains(expected), "{expected}: {error}");
        let usage = store.usage().unwrap();
        assert_eq!([usage.records, usage.trees, usage.drafts].map(|tally| tally.count), [0; 3], "{expected}");
        let is_new = |file: &PathBuf| !before.contains(file) && !file.starts_with(store.root());
        assert_eq!(sample::files(home.path().to_owned()).into_iter().find(is_new), None, "{expected}");
        assert!(store.verify(false).unwrap().faults.is_empty());
    }

    #[test]
    fn what_was_exported_is_there_after_the_import() {
        let (_home, store, record) = full();
        let bytes = export(&store);
        let (other_home, other) = sample::store();
        let imported = other.import(&mut &bytes[..]).unwrap();
        let [only] = &imported.records[..] else { panic!("{imported:?}") };
        assert_eq!((only.key, &only.action[..], only.commit), (key(), ACTION, Commit::Written));
        assert_eq!(imported.blobs.count, 5);
        assert_eq!(other.lookup(&key()).unwrap().as_ref(), Some(&record));
        assert_eq!(other.read(&record.extras[0], "").unwrap(), b"step 1\n");
        let target = other_home.path().join("placed");
        other.place(&record.contents[0], &target).unwrap();
        assert_eq!(other.identify(&target).unwrap(), record.contents[0]);
        assert!(other.verify(false).unwrap().faults.is_empty());
        // A second import changes nothing, and the second store exports the same archive as the first.
        let again = other.import(&mut &bytes[..]).unwrap();
        assert_eq!((again.records[0].commit, again.blobs), (Commit::Same, Tally::default()));
        assert_eq!(export(&other), bytes);
    }

    #[test]
    fn an_archive_is_plain_files_of_fixed_names_in_order() {
        let (_home, store, _) = full();
        let bytes = export(&store);
        assert_eq!(bytes, export(&store));
        let names: Vec<String> = entries(&bytes).into_iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted());
        let parts: Vec<&str> = names.iter().map(|name| name.split('/').nth(1).unwrap()).collect();
        assert_eq!(parts, ["actions", "actions", "blobs", "blobs", "blobs", "blobs", "blobs", "trees"]);
        assert_eq!(names[0], format!("pipeline-export-1/actions/{}.action.json", key()));
        let mut tar = tar::Archive::new(&bytes[..]);
        for entry in tar.entries().unwrap().raw(true) {
            let header = entry.unwrap().header().clone();
            assert_eq!(header.entry_type(), tar::EntryType::Regular);
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.mode().unwrap()), (0, 0, 0o644));
        }
        // An archive put together by hand from the same entries is accepted as well.
        let (_home, other) = sample::store();
        other.import(&mut &archive(&entries(&bytes))[..]).unwrap();
    }

    #[test]
    fn a_lost_log_does_not_stand_in_the_way() {
        let (_home, store, record) = full();
        std::fs::remove_file(store.blob_path(&Digest::of(b"step 1\n"))).unwrap();
        let (_other_home, other) = sample::store();
        other.import(&mut &export(&store)[..]).unwrap();
        assert_eq!(other.lookup(&key()).unwrap(), Some(record));
    }

    #[test]
    fn another_result_of_the_same_key_is_kept_as_a_note() {
        let (_home, store, record) = full();
        let (_other_home, other) = sample::store();
        let mine = Record { result: json!("mine"), contents: vec![], extras: vec![], ..record };
        other.commit(&key(), &mine).unwrap();
        let imported = other.import(&mut &export(&store)[..]).unwrap();
        assert_eq!(imported.records[0].commit, Commit::Different);
        assert_eq!(other.lookup(&key()).unwrap(), Some(mine));
        assert!(other.path("actions", &key(), ".variant-1.json").exists());
    }

    #[test]
    fn only_what_is_whole_is_exported() {
        let (_home, store, _) = full();
        let mut out = Vec::new();
        let error = store.export(&[(Digest::of(b"x"), b"x".to_vec())], None, &mut out).unwrap_err().to_string();
        assert!(error.ends_with("the store has no record of it"), "{error}");
        let error = store.export(&[(key(), b"x".to_vec())], None, &mut out).unwrap_err().to_string();
        assert!(error.ends_with("has another digest"), "{error}");
        let blob = store.blob_path(&Digest::of("ねこ\n".as_bytes()));
        sample::overwrite(&blob, "ねじ\n".as_bytes());
        let error = store.export(&[(key(), ACTION.to_vec())], None, &mut out).unwrap_err();
        assert!(error.downcast_ref::<Damage>().is_some(), "{error:#}");
    }

    #[test]
    fn other_names_than_those_of_an_export_are_refused() {
        let (_home, store, _) = full();
        let good = entries(&export(&store));
        let hex = Digest::of(b"x");
        for name in [
            "../outside".to_owned(),
            "/etc/passwd".to_owned(),
            format!("pipeline-export-1/blobs/../{hex}"),
            format!("pipeline-export-1/blobs/{}", hex.to_string().to_uppercase()),
            format!("pipeline-export-1//blobs/{hex}"),
            format!("./pipeline-export-1/blobs/{hex}"),
            format!("pipeline-export-1/blobs/{hex}/"),
            format!("pipeline-export-1/Blobs/{hex}"),
            format!("pipeline-export-1/verdicts/{hex}.json"),
            format!("pipeline-export-2/blobs/{hex}"),
            "pipeline-export-1/stats".to_owned(),
            "x".repeat(100),
            String::new(),
        ] {
            let mut entries = good.clone();
            entries.push((name, b"x".to_vec()));
            refuse(&archive(&entries), "is no part of an export");
        }
        let mut bytes = archive(&good);
        bytes.truncate(bytes.len() - 1024);
        let mut header = header("x", 0, tar::EntryType::Regular);
        header.as_ustar_mut().unwrap().name[0] = 0xff;
        header.set_cksum();
        bytes.extend(header.as_bytes());
        refuse(&bytes, "is no part of an export");
    }

    #[test]
    fn links_directories_devices_and_long_names_are_refused() {
        let (_home, store, _) = full();
        let good = export(&store);
        let end = good.len() - 1024;
        use tar::EntryType as Sort;
        let sorts = [Sort::Symlink, Sort::Link, Sort::Directory, Sort::Char, Sort::Block, Sort::Fifo];
        let hidden = [Sort::GNULongName, Sort::GNULongLink, Sort::XHeader, Sort::XGlobalHeader, Sort::GNUSparse];
        for sort in sorts.into_iter().chain(hidden) {
            let mut header = header(&format!("{TOP}/blobs/{}", Digest::of(b"x")), 0, sort);
            header.set_link_name("../../outside").unwrap();
            header.set_cksum();
            let bytes = [&good[..end], header.as_bytes(), &good[end..]].concat();
            refuse(&bytes, "which is not a plain file");
        }
    }

    #[test]
    fn what_is_there_twice_or_not_needed_or_missing_is_refused() {
        let (_home, store, _) = full();
        let good = entries(&export(&store));
        for index in 0..good.len() {
            let mut twice = good.clone();
            twice.push(good[index].clone());
            refuse(&archive(&twice), "twice");
            let mut less = good.clone();
            let (name, bytes) = less.remove(index);
            // The log may be missing.
            if bytes != b"step 1\n" {
                let expected = if name.ends_with(".action.json") {
                    "comes without its action"
                } else if name.contains("/actions/") {
                    "it holds no record"
                } else {
                    "is missing"
                };
                refuse(&archive(&less), expected);
            }
        }
        let mut more = good.clone();
        more.push((path_of(Name::Blob(Digest::of(b"x"))), b"x".to_vec()));
        refuse(&archive(&more), "no record needs");
        refuse(&archive(&[]), "it holds no record");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused_or_changes_nothing() {
        let (_home, store, record) = full();
        let good = entries(&export(&store));
        for (index, (name, bytes)) in good.iter().enumerate() {
            let mut damaged = good.clone();
            damaged[index].1[bytes.len() / 2] ^= 1;
            refuse(&archive(&damaged), "is damaged");
            damaged[index].1 = bytes[..bytes.len() - 1].to_vec();
            refuse(&archive(&damaged), if name.contains("blobs") { "its digest is" } else { "is damaged" });
        }
        // A change in the headers, too: an archive that is accepted all the same has the same meaning.
        let good = export(&store);
        for position in (0..512).step_by(3).chain([good.len() - 1200, good.len() - 1000, good.len() - 1]) {
            let mut flipped = good.clone();
            flipped[position] ^= 1;
            let (_home, other) = sample::store();
            if other.import(&mut &flipped[..]).is_ok() {
                assert_eq!(other.lookup(&key()).unwrap().as_ref(), Some(&record), "byte {position}");
            } else {
                assert_eq!(other.usage().unwrap().records.count, 0);
            }
        }
    }

    #[test]
    fn an_archive_that_ends_early_is_refused() {
        let (_home, store, _) = full();
        let good = export(&store);
        for length in [1, 511, 512, 600, 1024, good.len() / 2, good.len() - 2048, good.len() - 1600] {
            let (_home, other) = sample::store();
            assert!(other.import(&mut &good[..length]).is_err(), "cut after {length} of {}", good.len());
            let usage = other.usage().unwrap();
            assert_eq!([usage.records, usage.trees, usage.drafts].map(|tally| tally.count), [0; 3]);
        }
        for text in [&b"not a tar"[..], &[0xff; 4096]] {
            let (_home, other) = sample::store();
            assert!(other.import(&mut &text[..]).is_err());
        }
    }

    /// The archive of one record of one forged tree.
    fn forged(tree: &str, blobs: &[&[u8]]) -> Vec<u8> {
        let (_home, store) = sample::store();
        let digest = Digest::of(tree.as_bytes());
        let contents = vec![Content::Tree(digest)];
        let record = Record { result: json!(1), telemetry: json!(null), contents, extras: vec![] };
        let sealed = crate::record::seal(&key(), &record);
        drop(store);
        let mut entries = vec![
            (path_of(Name::Action(key())), ACTION.to_vec()),
            (path_of(Name::Record(key())), sealed),
            (path_of(Name::Tree(digest)), tree.as_bytes().to_vec()),
        ];
        entries.extend(blobs.iter().map(|blob| (path_of(Name::Blob(Digest::of(blob))), blob.to_vec())));
        archive(&entries)
    }

    #[test]
    fn forged_trees_are_refused() {
        let entry = |size: u64| format!("{{\"blob\":\"{}\",\"size\":{size}}}", Digest::of(b"x"));
        let tree = |path: &str| forged(&format!("{{\"{path}\":{}}}", entry(1)), &[b"x"]);
        let (_home, store) = sample::store();
        store.import(&mut &tree("a")[..]).unwrap();
        refuse(&tree("../a"), "unsafe path");
        refuse(&tree("/a"), "unsafe path");
        refuse(&tree(&"a".repeat(256)), "longer than 255 bytes");
        refuse(&forged(&format!("{{\"a\":{}}}", entry(2)), &[b"x"]), "says that a has 2 bytes; it has 1");
        refuse(&forged(&format!("{{\"a\":{0},\"A\":{0}}}", entry(1)), &[b"x"]), "differ only in case");
        refuse(&forged(&format!("{{\"a\":{0},\"a/b\":{0}}}", entry(1)), &[b"x"]), "both a file and a directory");
        refuse(&forged(&"[".repeat(100_000), &[]), "parse tree");
    }

    #[test]
    fn a_size_that_is_only_promised_takes_no_room() {
        let huge = |name: Name, size: u64| {
            let mut header = header(&path_of(name), 0, tar::EntryType::Regular);
            header.set_size(size);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        refuse(&huge(Name::Tree(key()), 1 << 40), "which is too much");
        refuse(&huge(Name::Record(key()), LONGEST_NOTE), "ends in the middle of it");
        refuse(&huge(Name::Blob(key()), 1 << 60), "ends in the middle of it");
    }

    #[test]
    fn an_import_that_fails_at_any_step_leaves_every_record_whole() {
        let (_home, store, record) = full();
        let bytes = export(&store);
        for step in 0.. {
            let (_home, other) = sample::store();
            let outcome = write::tests::failing_at(step, || other.import(&mut &bytes[..]));
            let found = other.verify(false).unwrap();
            assert_eq!((found.faults, found.lost), (vec![], vec![]), "stopped at step {step}");
            assert_eq!(other.usage().unwrap().drafts.count, 0);
            other.import(&mut &bytes[..]).unwrap();
            assert_eq!(other.lookup(&key()).unwrap().as_ref(), Some(&record));
            if outcome.is_ok() {
                assert!(step > 20, "{step} steps");
                break;
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_imported_through_a_link_in_the_store() {
        let (_home, store, _) = full();
        let bytes = export(&store);
        let (home, other) = sample::store();
        let outside = home.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let blob = other.blob_path(&Digest::of(b"{}"));
        std::os::unix::fs::symlink(&outside, blob.parent().unwrap()).unwrap();
        let error = format!("{:#}", other.import(&mut &bytes[..]).unwrap_err());
        assert!(error.contains("is not a directory; take it away"), "{error}");
        assert_eq!(sample::files(outside), Vec::<PathBuf>::new());
    }
}
