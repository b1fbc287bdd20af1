//! Records: the result of an action, under the action's key.

use crate::{content::Content, digest::Digest, open, remote::layout::Part, store::Store, write};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub result: Value,
    /// Times, memory, machine: not part of the comparison of two records.
    pub telemetry: Value,
    /// Everything that `result` refers to.
    pub contents: Vec<Content>,
    /// Kept as long as the record (the log of the attempt). Not part of the comparison, and losing one is no miss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extras: Vec<Content>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    Written,
    /// The key already has this result.
    Same,
    /// The key already has another result, which stays; this one is kept as a note beside it.
    Different,
}

/// A record as it is stored. The key is inside, so a record under the wrong name is no record.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub key: Digest,
    pub record: Record,
    /// The files behind the contents when the record was written, so that most lookups open no list of files. Empty
    /// where that would be long.
    #[serde(default)]
    files: Vec<(Part, Digest, u64)>,
}

/// The part of a page that most lookups need: no time is spent reading the rest.
#[derive(Deserialize)]
struct Brief<T> {
    key: Digest,
    record: BriefRecord<T>,
    #[serde(default)]
    files: Vec<(Part, Digest, u64)>,
}

#[derive(Deserialize)]
struct BriefRecord<T> {
    result: T,
}

/// The most files that a record lists; with more of them, checking each takes too long.
const LISTED: usize = 256;

impl Store {
    /// Looks up the record of a key. `None` unless everything it refers to is there; a record that is torn, damaged or
    /// incomplete is a miss with a warning.
    ///
    /// With a remote, a record that was found there is as good: its content comes when it is read.
    pub fn lookup(&self, key: &Digest) -> Result<Option<Record>> {
        match self.lookup_here(key)? {
            Some(record) => Ok(Some(record)),
            None => Ok(self.noted(key)?.map(|found| found.record)),
        }
    }

    pub(crate) fn lookup_here(&self, key: &Digest) -> Result<Option<Record>> {
        let Some(Page { record, files, .. }) = read_page(&self.record_path(key), key)? else { return Ok(None) };
        if !files.is_empty() && files.iter().all(|file| self.is_there(file)) {
            return Ok(Some(record));
        }
        // Finding out what is missing takes longer.
        if let Err(error) = self.check_contents(&record) {
            tracing::warn!("record {key} is of no use any more: {error:#}");
            return Ok(None);
        }
        Ok(Some(record))
    }

    /// The typed result of the record that [`Store::lookup`] would give. A result of another type is a miss with a
    /// warning.
    pub fn result<T: DeserializeOwned>(&self, key: &Digest) -> Result<Option<T>> {
        match self.result_here(key)? {
            Some(result) => Ok(Some(result)),
            None => Ok(self.noted(key)?.and_then(|found| typed(key, found.record))),
        }
    }

    /// The same of a record of this store alone.
    pub fn result_here<T: DeserializeOwned>(&self, key: &Digest) -> Result<Option<T>> {
        let path = self.record_path(key);
        let Some(bytes) = read_bytes(&path)? else { return Ok(None) };
        let brief = is_sealed(&bytes).then(|| serde_json::from_slice::<Brief<T>>(&bytes).ok()).flatten();
        match brief {
            Some(Brief { key: of, record, files })
                if of == *key && !files.is_empty() && files.iter().all(|file| self.is_there(file)) =>
            {
                Ok(Some(record.result))
            }
            // Finding out what is wrong takes longer.
            _ => Ok(self.lookup_here(key)?.and_then(|record| typed(key, record))),
        }
    }

    /// Writes the record unless the key has one. The content that it refers to must be in the store.
    pub fn commit(&self, key: &Digest, record: &Record) -> Result<Commit> {
        self.check_contents(record).with_context(|| format!("commit record {key}"))?;
        let path = self.record_path(key);
        let bytes = sealed(key, record, &self.files_of(record)?);
        if write::create(self.draft(&bytes)?, &path, self.is_durable)? {
            return Ok(Commit::Written);
        }
        let standing = read_record(&path, key)?;
        match &standing {
            Some(standing) if is_same(standing, record) => return Ok(Commit::Same),
            Some(standing) if self.check_contents(standing).is_ok() => {
                self.note(key, record)?;
                return Ok(Commit::Different);
            }
            // The existing record can never be a hit again, so it must not block the key. It is kept as a note.
            Some(standing) => self.note(key, standing)?,
            None => {}
        }
        write::replace(self.draft(&bytes)?, &path, self.is_durable)?;
        Ok(Commit::Written)
    }

    /// A value remembered under a key. One that cannot be read was never remembered.
    pub fn recall(&self, key: &Digest) -> Option<Value> {
        let remembered = read_record(&self.path("verdicts", key, ".json"), key);
        remembered.inspect_err(|error| tracing::warn!("{error:#}")).ok().flatten().map(|record| record.result)
    }

    /// Remembers a value that can be recomputed. The latest counts.
    pub fn remember(&self, key: &Digest, value: &Value) -> Result<()> {
        let record = Record { result: value.clone(), telemetry: Value::Null, contents: Vec::new(), extras: Vec::new() };
        let (path, bytes) = (self.path("verdicts", key, ".json"), seal(key, &record));
        if !write::create(self.draft(&bytes)?, &path, self.is_durable)? {
            write::replace(self.draft(&bytes)?, &path, self.is_durable)?;
        }
        Ok(())
    }

    /// The number of other results that this key has had: if there are any, its work is not deterministic.
    pub fn variants(&self, key: &Digest) -> usize {
        // It is a number for people: what cannot be asked is not counted.
        let is_there = |number: &usize| files::is_there(&self.variant_path(key, *number)).unwrap_or(false);
        (1..).take_while(is_there).count()
    }

    fn variant_path(&self, key: &Digest, number: usize) -> PathBuf {
        self.path("actions", key, &format!(".variant-{number}.json"))
    }

    /// Every file behind the contents of a record, with its length.
    fn files_of(&self, record: &Record) -> Result<Vec<(Part, Digest, u64)>> {
        let mut files = Vec::new();
        let length = |part, digest: &Digest| {
            let path = self.file_path(part, digest);
            fs::symlink_metadata(&path)
                .map(|metadata| metadata.len())
                .with_context(|| format!("read {}", path.display()))
        };
        for content in &record.contents {
            match content {
                Content::File { blob, .. } => files.push((Part::Blobs, *blob, length(Part::Blobs, blob)?)),
                Content::Tree(digest) => {
                    files.push((Part::Trees, *digest, length(Part::Trees, digest)?));
                    files.extend(
                        self.tree_here(digest)?.files.values().map(|entry| (Part::Blobs, entry.blob, entry.size)),
                    );
                }
            }
        }
        Ok(if files.len() > LISTED { Vec::new() } else { files })
    }

    fn is_there(&self, (part, digest, size): &(Part, Digest, u64)) -> bool {
        fs::symlink_metadata(self.file_path(*part, digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == *size)
    }

    fn file_path(&self, part: Part, digest: &Digest) -> PathBuf {
        match part {
            Part::Trees => self.path("trees", digest, ".json"),
            Part::Blobs => self.blob_path(digest),
        }
    }

    fn check_contents(&self, record: &Record) -> Result<()> {
        record.contents.iter().try_for_each(|content| self.check_present(content))
    }

    /// Keeps another result beside the record, once.
    fn note(&self, key: &Digest, record: &Record) -> Result<()> {
        for number in 1.. {
            let path = self.variant_path(key, number);
            let is_noted = read_record(&path, key)?.is_some_and(|noted| is_same(&noted, record));
            if is_noted || write::create(self.draft(&seal(key, record))?, &path, self.is_durable)? {
                break;
            }
        }
        Ok(())
    }

    fn record_path(&self, key: &Digest) -> PathBuf {
        self.path("actions", key, ".json")
    }
}

impl Page {
    /// The lengths of files that the page tells: hints, if it comes from elsewhere.
    pub fn lengths(&self) -> BTreeMap<Digest, u64> {
        self.files.iter().map(|(_, digest, size)| (*digest, *size)).collect()
    }
}

fn typed<T: DeserializeOwned>(key: &Digest, record: Record) -> Option<T> {
    let typed = T::deserialize(record.result);
    typed.inspect_err(|error| tracing::warn!("record {key} is of no use: {error}")).ok()
}

pub(crate) fn is_same(one: &Record, other: &Record) -> bool {
    one.result == other.result && one.contents == other.contents
}

const BEFORE_DIGEST: &str = r#"{"blake3":""#;

/// A record as one line of JSON. Its first field is the digest of everything after it: with a flipped bit it would
/// often still be JSON, with another number in it.
pub(crate) fn seal(key: &Digest, record: &Record) -> Vec<u8> {
    sealed(key, record, &[])
}

pub(crate) fn sealed(key: &Digest, record: &Record, files: &[(Part, Digest, u64)]) -> Vec<u8> {
    let record = serde_json::to_string(record).expect("a record is plain data");
    let files = match files {
        [] => String::new(),
        files => format!(",\"files\":{}", serde_json::to_string(files).expect("names and numbers are plain data")),
    };
    let rest = format!("\",\"key\":\"{key}\",\"record\":{record}{files}}}\n");
    format!("{BEFORE_DIGEST}{}{rest}", Digest::of(rest.as_bytes())).into_bytes()
}

pub(crate) fn unseal(bytes: &[u8]) -> Option<Page> {
    if is_sealed(bytes) { serde_json::from_slice(bytes).ok() } else { None }
}

fn is_sealed(bytes: &[u8]) -> bool {
    let parts = bytes.strip_prefix(BEFORE_DIGEST.as_bytes()).and_then(|bytes| bytes.split_at_checked(64));
    parts.is_some_and(|(digest, rest)| Digest::of(rest).hex() == digest)
}

fn read_record(path: &Path, key: &Digest) -> Result<Option<Record>> {
    Ok(read_page(path, key)?.map(|page| page.record))
}

pub(crate) fn read_page(path: &Path, key: &Digest) -> Result<Option<Page>> {
    let Some(bytes) = read_bytes(path)? else { return Ok(None) };
    match unseal(&bytes) {
        Some(page) if page.key == *key => Ok(Some(page)),
        _ => {
            tracing::warn!("record {} is damaged", path.display());
            Ok(None)
        }
    }
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match open::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if open::is_foreign(&error) => {
            tracing::warn!("record {} is damaged: {error}", path.display());
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("read record {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn key() -> Digest {
        Digest::of(b"action")
    }

    fn record(score: f64, contents: Vec<Content>) -> Record {
        Record { result: json!({"score": score}), telemetry: json!({"seconds": 1.5}), contents, extras: vec![] }
    }

    #[test]
    fn what_is_remembered_comes_back_unless_it_was_damaged() {
        let (_home, store) = sample::store();
        assert_eq!(store.recall(&key()), None);
        for value in [json!({"p": 0.25}), json!({"p": 0.9583275921953511})] {
            store.remember(&key(), &value).unwrap();
            assert_eq!(store.recall(&key()), Some(value));
        }
        let path = store.path("verdicts", &key(), ".json");
        let flipped = fs::read_to_string(&path).unwrap().replace("0.95", "0.05");
        fs::remove_file(&path).unwrap();
        fs::write(&path, flipped).unwrap();
        assert_eq!(store.recall(&key()), None);
    }

    #[test]
    fn a_record_comes_back_as_it_was_to_the_last_bit() {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        // The first two come back one bit off from serde_json without `float_roundtrip`, as one number in ten does.
        for (number, score) in [0.9583275921953511, 0.9636279947347471, 5e-324, -0.0, f64::MAX].into_iter().enumerate()
        {
            let key = Digest::of(&[number as u8]);
            let record = record(score, vec![content.clone()]);
            assert_eq!(store.lookup(&key).unwrap(), None);
            assert_eq!(store.commit(&key, &record).unwrap(), Commit::Written);
            let back = store.lookup(&key).unwrap().unwrap();
            assert_eq!(back, record);
            assert_eq!(back.result["score"].as_f64().unwrap().to_bits(), score.to_bits());
        }
    }

    #[test]
    fn a_record_on_disk_is_one_line_of_json() {
        let content = "file.txt:de7af176ca1ee5ba7d9e7f3de36ddd1e0e5d0db4e16a2e5b9dbf36e0a2d0dd5e".parse().unwrap();
        let text = String::from_utf8(seal(&key(), &record(0.5, vec![content]))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap();
        expect![[r#"
            {"blake3":"acea4458a397d255dd8a4a41aa04a642f0223e724a4cba54cceb956a38e8ab7a","key":"03b58451cab1e89b16ac6ecefe124ec6cf475071aa3375097a96cfc88420b843","record":{"result":{"score":0.5},"telemetry":{"seconds":1.5},"contents":["file.txt:de7af176ca1ee5ba7d9e7f3de36ddd1e0e5d0db4e16a2e5b9dbf36e0a2d0dd5e"]}}
        "#]].assert_eq(&text);
    }

    #[test]
    fn extras_are_kept_with_the_record_but_make_no_difference_and_their_loss_is_no_miss() {
        let (home, store) = sample::store();
        let log = store.capture(&sample::write(home.path(), "log.txt", "step 1")).unwrap();
        let plain = record(1.0, vec![]);
        let with_log = Record { extras: vec![log.clone()], ..plain.clone() };
        assert!(!String::from_utf8(seal(&key(), &plain)).unwrap().contains("extras"));
        expect![[r#"
            {"blake3":"bc1012ff3c35d1e1f2e3fe04fa6aaf36d6f1b94fc0d9da679fe527526a173114","key":"03b58451cab1e89b16ac6ecefe124ec6cf475071aa3375097a96cfc88420b843","record":{"result":{"score":1.0},"telemetry":{"seconds":1.5},"contents":[],"extras":["file.txt:b6a6eec823641da8ceb37efadb2ef6e5e01699393a195cd75151cce451a824f9"]}}
        "#]].assert_eq(&String::from_utf8(seal(&key(), &with_log)).unwrap());
        assert_eq!(store.commit(&key(), &with_log).unwrap(), Commit::Written);
        assert_eq!(store.commit(&key(), &plain).unwrap(), Commit::Same);
        fs::remove_file(store.blob_path(&Digest::of(b"step 1"))).unwrap();
        assert_eq!(store.lookup(&key()).unwrap(), Some(with_log));
        assert!(!store.has(&log));
    }

    #[test]
    fn the_first_writer_wins_and_another_result_is_noted_once() {
        let (_home, store) = sample::store();
        let commit = |score| store.commit(&key(), &record(score, vec![])).unwrap();
        assert_eq!(commit(1.0), Commit::Written);
        assert_eq!(commit(1.0), Commit::Same);
        assert_eq!(commit(2.0), Commit::Different);
        assert_eq!(commit(2.0), Commit::Different);
        assert_eq!(commit(3.0), Commit::Different);
        assert_eq!(store.lookup(&key()).unwrap(), Some(record(1.0, vec![])));
        let variant = |number| store.path("actions", &key(), &format!(".variant-{number}.json"));
        assert_eq!(read_record(&variant(1), &key()).unwrap(), Some(record(2.0, vec![])));
        assert_eq!(read_record(&variant(2), &key()).unwrap(), Some(record(3.0, vec![])));
        assert!(!variant(3).exists());
        assert_eq!((store.variants(&key()), store.variants(&Digest::of(b"other"))), (2, 0));
    }

    #[test]
    fn telemetry_is_no_difference() {
        let (_home, store) = sample::store();
        let mut record = record(1.0, vec![]);
        assert_eq!(store.commit(&key(), &record).unwrap(), Commit::Written);
        record.telemetry = json!({"seconds": 99});
        assert_eq!(store.commit(&key(), &record).unwrap(), Commit::Same);
    }

    #[test]
    fn of_many_writers_at_once_exactly_one_wins() {
        let (_home, store) = sample::store();
        let commits: Vec<Commit> = std::thread::scope(|scope| {
            let write = |number: u8| store.commit(&key(), &record(number.into(), vec![])).unwrap();
            let writers: Vec<_> = (0..8).map(|number| scope.spawn(move || write(number))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winner = commits.iter().position(|commit| *commit == Commit::Written).unwrap();
        assert_eq!(commits.iter().filter(|commit| **commit == Commit::Different).count(), 7);
        assert_eq!(store.lookup(&key()).unwrap(), Some(record(winner as f64, vec![])));
    }

    #[test]
    fn a_record_of_content_that_is_not_there_is_not_written() {
        let (_home, store) = sample::store();
        let record = record(1.0, vec![Content::Tree(Digest::of(b"nothing"))]);
        let error = format!("{:#}", store.commit(&key(), &record).unwrap_err());
        assert!(error.ends_with("its list of files is missing"), "{error}");
        assert!(!store.record_path(&key()).exists());
    }

    #[test]
    fn a_damaged_record_is_a_miss_at_every_byte_and_is_written_anew() {
        let (_home, store) = sample::store();
        let sound = record(0.25, vec![]);
        store.commit(&key(), &sound).unwrap();
        let bytes = fs::read(store.record_path(&key())).unwrap();
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            sample::overwrite(&store.record_path(&key()), &damaged);
            assert_eq!(store.lookup(&key()).unwrap(), None, "bit flipped in byte {position}");
            sample::overwrite(&store.record_path(&key()), &bytes[..position]);
            assert_eq!(store.lookup(&key()).unwrap(), None, "cut after byte {position}");
        }
        assert_eq!(store.commit(&key(), &sound).unwrap(), Commit::Written);
        assert_eq!(store.lookup(&key()).unwrap(), Some(sound));
    }

    #[test]
    fn a_record_under_the_name_of_another_key_is_a_miss() {
        let (_home, store) = sample::store();
        store.commit(&key(), &record(1.0, vec![])).unwrap();
        let other = Digest::of(b"other");
        fs::create_dir_all(store.record_path(&other).parent().unwrap()).unwrap();
        fs::copy(store.record_path(&key()), store.record_path(&other)).unwrap();
        assert_eq!(store.lookup(&other).unwrap(), None);
    }

    #[test]
    fn a_record_whose_content_is_lost_makes_way_and_stays_as_a_note() {
        let (home, store) = sample::store();
        let capture = |text| store.capture(&sample::write(home.path(), "out.txt", text)).unwrap();
        let first = record(1.0, vec![capture("first")]);
        store.commit(&key(), &first).unwrap();
        fs::remove_file(store.blob_path(&Digest::of(b"first"))).unwrap();
        let second = record(2.0, vec![capture("second")]);
        assert_eq!(store.commit(&key(), &second).unwrap(), Commit::Written);
        assert_eq!(store.lookup(&key()).unwrap(), Some(second));
        let note = store.path("actions", &key(), ".variant-1.json");
        assert_eq!(read_record(&note, &key()).unwrap(), Some(first));
    }

    /// Damages a blob (the vocabulary) or the tree, looks the record up, and compares what the log says.
    fn check(damage: fn(blob: &Path, tree: &Path), log: Expect) {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        let record = record(1.0, vec![content.clone()]);
        store.commit(&key(), &record).unwrap();
        let Content::Tree(tree) = content else { unreachable!() };
        let blob = Digest::of("ねこ\n".as_bytes());
        damage(&store.blob_path(&blob), &store.path("trees", &tree, ".json"));
        let (lookup, lines) = sample::log_of(|| store.lookup(&key()).unwrap());
        assert_eq!(lookup, None);
        let names = [(key().to_string(), "KEY"), (tree.to_string(), "TREE"), (blob.to_string(), "BLOB")];
        let directory = store.path("trees", &tree, ".json").display().to_string();
        let lines = lines.replace(&directory, "the file of TREE");
        log.assert_eq(names.iter().fold(lines, |lines, (digest, name)| lines.replace(digest, name)).trim());
        // Running the action again repairs it.
        store.capture(&home.path().join("model")).unwrap();
        assert_eq!(store.commit(&key(), &record).unwrap(), Commit::Same);
        assert_eq!(store.lookup(&key()).unwrap(), Some(record));
    }

    #[test]
    fn a_missing_or_damaged_part_is_a_miss_and_the_warning_says_which() {
        check(
            |blob, _| fs::remove_file(blob).unwrap(),
            expect!["WARN record KEY is of no use any more: restore tree:TREE: blob BLOB is missing"],
        );
        check(
            |blob, _| sample::overwrite(blob, b"cut"),
            expect!["WARN record KEY is of no use any more: restore tree:TREE: blob BLOB has 3 bytes instead of 7"],
        );
        check(
            |_, tree| fs::remove_file(tree).unwrap(),
            expect!["WARN record KEY is of no use any more: restore tree:TREE: its list of files is missing"],
        );
        check(
            |_, tree| sample::overwrite(tree, b"{}"),
            expect![[r#"
            WARN removing the file of TREE: its content is not what its name says
             WARN record KEY is of no use any more: restore tree:TREE: its list of files is damaged"#]],
        );
        check(
            |blob, tree| fs::remove_file(blob).and_then(|()| fs::remove_file(tree)).unwrap(),
            expect!["WARN record KEY is of no use any more: restore tree:TREE: its list of files is missing"],
        );
    }

    /// `cargo test --release -p cache -- --ignored --nocapture lookups_per_second`
    ///
    /// Time of this thread on a processor, so that a busy machine does not count: nothing here waits for the disk.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "a measurement"]
    fn lookups_per_second() {
        const COUNT: u32 = 10_000;
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join(".pipeline")).unwrap().without_fsync();
        let key = |number: u32| Digest::of(&number.to_le_bytes());
        for number in 0..COUNT {
            let directory = home.path().join(number.to_string());
            sample::write(&directory, "model.txt", &number.to_string());
            let content = store.adopt(&directory).unwrap();
            let result = json!({"candidates": [{"step": 1, "content": content}], "metrics": {"loss": 0.1}});
            let telemetry = json!({"seconds": 1.25, "device": "cpu", "log": content});
            let contents = vec![content];
            store.commit(&key(number), &Record { result, telemetry, contents, extras: vec![] }).unwrap();
        }
        let on_processor = || -> f64 {
            let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let mut times: Vec<f64> = (0..9)
            .map(|_| {
                let store = Store::open(&home.path().join(".pipeline")).unwrap();
                let begin = on_processor();
                assert!((0..COUNT).all(|number| store.lookup(&key(number)).unwrap().is_some()));
                (on_processor() - begin) / 1e3 / f64::from(COUNT)
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{COUNT} lookups: {:.1} µs each (median of 9; {:.1} to {:.1})", times[4], times[0], times[8]);
    }
}
