//! The store, and what comes from other stores.

use super::place::{self, parts};
use cache::{ClaimResult, Content, Digest, Store};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn open() -> (PathBuf, Store) {
    let root = place::directory(&[]);
    let store = Store::open(&root).expect("open a store").without_fsync();
    (root.join("store/v1"), store)
}

/// Writes a file where the store has its own.
fn put(root: &Path, part: &str, digest: &Digest, ending: &str, bytes: &[u8]) {
    let hex = digest.to_string();
    let path = root.join(part).join(&hex[..2]).join(format!("{}{ending}", &hex[2..]));
    fs::create_dir_all(path.parent().expect("it has one")).and_then(|()| fs::write(path, bytes)).expect("write a file");
}

/// What was taken in stands in the store whole.
fn check_import(store: &Store, archive: &[u8]) {
    let Ok(import) = store.import(&mut &archive[..]) else { return };
    for taken in &import.records {
        assert_eq!(Digest::of(&taken.action), taken.key);
        let record = store.lookup(&taken.key).expect("read the record").expect("it was taken in");
        assert!(record.contents.iter().all(|content| store.has(content)), "{record:?}");
    }
    let actions: Vec<_> = import.records.iter().map(|taken| (taken.key, taken.action.clone())).collect();
    let mut written = Vec::new();
    store.export(&actions, import.journal, &mut written).expect("what was taken in can be given");
    let (_, other) = open();
    other.import(&mut &written[..]).expect("what was given can be taken in");
}

/// Any bytes as an archive.
pub fn archive(bytes: &[u8]) {
    check_import(&open().1, bytes);
}

/// An archive in which every name and every hash is right: the parts of the input are the bytes of its files, by their
/// first letter an action (`a`), the record of the last action (`r`), a tree (`t`), the journal (`j`) or a blob. Mentions
/// of `#N` stand for the digest of the part N, so that records can name trees, and trees blobs.
pub fn export(bytes: &[u8]) {
    let mut digests: Vec<Digest> = Vec::new();
    let mut key = Digest::of(b"");
    let mut tar = Vec::new();
    for part in parts(bytes).into_iter().take(9) {
        let Some((kind, content)) = part.split_first() else { continue };
        let mut content = content.to_vec();
        for (number, digest) in digests.iter().enumerate() {
            content = with(&content, format!("#{number}").as_bytes(), digest.to_string().as_bytes());
        }
        let name = match kind {
            b'a' => {
                key = Digest::of(&content);
                format!("actions/{key}.action.json")
            }
            b'r' => {
                content = sealed(&key, &content);
                format!("actions/{key}.json")
            }
            b't' => format!("trees/{}.json", Digest::of(&content)),
            b'j' => "journal.jsonl".to_owned(),
            _ => format!("blobs/{}", Digest::of(&content)),
        };
        digests.push(Digest::of(&content));
        append(&mut tar, &format!("pipeline-export-1/{name}"), &content);
    }
    tar.extend([0; 1024]);
    check_import(&open().1, &tar);
}

fn with(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        out.extend(&rest[..at]);
        out.extend(new);
        rest = &rest[at + old.len()..];
    }
    out.extend(rest);
    out
}

/// One file of a tar: ustar, its sum right.
fn append(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0; 512];
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend(header);
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// The bytes of a record, with its hash.
fn sealed(key: &Digest, record: &[u8]) -> Vec<u8> {
    let rest = [b"\",\"key\":\"", key.to_string().as_bytes(), b"\",\"record\":", record, b"}\n"].concat();
    [br#"{"blake3":""#, Digest::of(&rest).to_string().as_bytes(), &rest].concat()
}

/// A record whose hash is right, and any bytes in its place.
pub fn record(bytes: &[u8]) {
    let (root, store) = open();
    let key = Digest::of(b"action");
    for bytes in [bytes.to_vec(), sealed(&key, bytes)] {
        put(&root, "actions", &key, ".json", &bytes);
        let record = store.lookup(&key).expect("a bad record is a miss");
        let result = store.result::<serde_json::Value>(&key).expect("a bad record is a miss");
        assert_eq!(record.map(|record| record.result), result);
        put(&root, "verdicts", &key, ".json", &bytes);
        store.recall(&key);
    }
}

/// The list of the files of a directory: it can be laid out only inside the directory that is asked for.
pub fn tree(bytes: &[u8]) {
    let (root, store) = open();
    // The blob that trees of the corpus name.
    put(&root, "blobs", &Digest::of(b"ab"), "", b"ab");
    let digest = Digest::of(bytes);
    put(&root, "trees", &digest, ".json", bytes);
    let tree = Content::Tree(digest);
    let Ok(files) = store.files(&tree) else { return };
    let target = root.join("laid");
    if store.place(&tree, &target).is_ok() {
        assert!(files.iter().all(|file| store.has(file)));
        let captured = store.capture(&target).expect("what was laid out can be read");
        assert_eq!(store.files(&captured).expect("it was read").len(), files.len());
    }
    let outside: Vec<_> =
        fs::read_dir(root.parent().and_then(Path::parent).expect("the place")).expect("read").collect();
    assert_eq!(outside.len(), 1, "something lies beside the store");
}

/// The note of a process that works at a key: it is alive, or the key is free.
pub fn claim(bytes: &[u8]) {
    let (root, store) = open();
    let key = Digest::of(b"action");
    put(&root, "claims", &key, ".json", bytes);
    let owner = store.owner(&key);
    match (owner, store.claim(&key)) {
        (Ok(None), Ok(ClaimResult::Theirs(owner))) => panic!("nobody, and {owner:?}"),
        (Ok(Some(owner)), Ok(ClaimResult::Mine(_))) => panic!("{owner:?}, and nobody"),
        (_, claimed) => drop(claimed),
    }
}

/// What was known of files: whatever it says, a file is what its bytes are.
pub fn stats(bytes: &[u8]) {
    let (root, store) = open();
    fs::write(root.join("stats"), bytes).expect("write a file");
    let path = root.join("input.txt");
    fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("write a file");
    let Content::File { blob, .. } = store.identify(&path).expect("it is a file") else { panic!("it is a file") };
    assert_eq!(blob, Digest::of(bytes));
    store.save_stats();
    let (root, _) = (root, drop(store));
    assert!(root.join("stats").exists());
}
