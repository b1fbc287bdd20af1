//! Looks up in advance, on another thread, what the last run used: most runs use most of it again, and in a chain of
//! stages each lookup has to wait for the one before.

use crate::action::Record;
use crate::journal;
use cache::{Digest, Store};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The number of records handed over at a time.
const BATCH: usize = 16;
/// The number of keys left to a run that has caught up: looking up the same ones twice would help nobody.
const LEAD: usize = 48;
/// The value of `asked` when the run needs no more records.
const FORGOTTEN: usize = usize::MAX;

/// Records that were looked up. Valid only while the store is locked: nobody removes them then.
pub struct Prefetch {
    found: HashMap<Digest, Record>,
    coming: Receiver<Vec<(Digest, Record)>>,
    /// The number of keys that the run asked for. Runs ask in nearly the same order.
    asked: Arc<AtomicUsize>,
}

/// Starts looking up what the run of this journal used.
pub fn prefetch(journal: PathBuf, store: &Store) -> Prefetch {
    let (give, coming) = channel();
    let asked = Arc::<AtomicUsize>::default();
    let (store, place) = (store.clone(), asked.clone());
    // Without a thread nothing comes, and the run looks up everything itself.
    let _ = thread::Builder::new().spawn(move || look_up(&journal, &store, &place, &give));
    Prefetch { found: HashMap::new(), coming, asked }
}

impl Prefetch {
    /// Takes a record; `None` if it was not found, or not yet.
    pub fn take(&mut self, key: &Digest) -> Option<Record> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if !self.found.contains_key(key) {
            self.found.extend(self.coming.try_iter().flatten());
        }
        self.found.remove(key)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.asked.store(FORGOTTEN, Ordering::Relaxed);
    }
}

/// An error here happens again, and is reported, when the run itself asks.
fn look_up(journal: &Path, store: &Store, asked: &AtomicUsize, give: &Sender<Vec<(Digest, Record)>>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut from = 0;
    for (at, key) in journal::keys(journal).into_iter().flatten().enumerate() {
        let asked = asked.load(Ordering::Relaxed);
        if asked == FORGOTTEN {
            return;
        }
        if at <= asked {
            from = asked + LEAD;
        }
        if at < from {
            continue;
        }
        if let Ok(Some(record)) = store.result_here(&key) {
            batch.push((key, record));
        }
        if batch.len() == BATCH && give.send(std::mem::take(&mut batch)).is_err() {
            // The receiver is gone.
            return;
        }
    }
    let _ = give.send(batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Candidate;
    use crate::event::Event;
    use serde_json::Value;
    use std::collections::BTreeMap;
    use std::fs;

    fn key(number: usize) -> Digest {
        Digest::of(number.to_string().as_bytes())
    }

    /// A store that has the record of every third key, and the journal of a run that used all keys in order.
    fn place(keys: usize) -> (tempfile::TempDir, Store, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap().without_fsync();
        let file = root.path().join("a.txt");
        fs::write(&file, "a").unwrap();
        let content = store.capture(&file).unwrap();
        let mut lines = Vec::new();
        for number in 0..keys {
            let candidate = Candidate {
                step: number as u64,
                content: content.clone(),
                metrics: BTreeMap::new(),
                tables: BTreeMap::new(),
            };
            if number % 3 == 0 {
                let record = Record { candidates: vec![candidate] };
                store.commit(&key(number), &record.to_store(Value::Null, Vec::new()).unwrap()).unwrap();
            }
            let (stage, key) = (format!("s{number}"), key(number).to_string());
            let hit = Event::Hit { stage: stage.clone(), part: None, key: key.clone(), action: Value::Null.into() };
            // A repeated key, which does not count.
            let finished = Event::Finished { stage, part: None, key, seconds: 1.0, device: None, at: None };
            lines.extend([hit, finished].map(|event| serde_json::to_string(&event).unwrap()));
        }
        let journal = root.path().join("journal.jsonl");
        // A kill cut the last line short.
        fs::write(&journal, lines.join("\n") + "\n{\"event\":\"hit\",\"key\":\"00").unwrap();
        (root, store, journal)
    }

    fn found(keys: usize, asked: usize) -> Vec<u64> {
        let (_root, store, journal) = place(keys);
        let (give, coming) = channel();
        look_up(&journal, &store, &AtomicUsize::new(asked), &give);
        drop(give);
        let found: Vec<(Digest, Record)> = coming.iter().flatten().collect();
        assert!(found.iter().all(|(of, record)| *of == key(record.last().step as usize)));
        found.into_iter().map(|(_, record)| record.last().step).collect()
    }

    #[test]
    fn what_lies_ahead_is_found_and_the_next_ones_are_left_to_the_run() {
        let every_third = |from: u64| (from..150).filter(|number| number % 3 == 0).collect::<Vec<_>>();
        assert_eq!(found(150, 0), every_third(LEAD as u64));
        assert_eq!(found(150, 60), every_third(60 + LEAD as u64));
        assert_eq!(found(150, 149), Vec::<u64>::new());
    }

    #[test]
    fn each_is_given_once_and_what_is_not_there_is_not_made_up() {
        let (_root, store, journal) = place(150);
        let mut records = prefetch(journal.clone(), &store);
        while records.found.len() < 34 {
            records.found.extend(records.coming.recv().unwrap());
        }
        let taken = (0..150).filter_map(|number| records.take(&key(number))).map(|record| record.last().step);
        assert!(taken.collect::<Vec<_>>().windows(2).all(|pair| pair[0] < pair[1]));
        assert!((0..150).all(|number| records.take(&key(number)).is_none()));
        let mut nothing = prefetch(journal.with_file_name("none"), &store);
        assert!(nothing.coming.recv().unwrap().is_empty() && nothing.take(&key(60)).is_none());
    }
}
