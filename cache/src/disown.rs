//! Results that were found wrong: the record is moved aside with the reason, kept and listed, and never used again. Nothing
//! else is lost, so that no other key has to change for it.

use crate::{
    digest::Digest,
    inventory::remove,
    open,
    record::Record,
    record::{seal, unseal},
    store::Store,
    write,
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Between the key and the number, in the name of such a record.
pub(crate) const MARK: &str = ".disowned-";

/// The field of its telemetry that says why.
const FIELD: &str = "disowned";

/// A record that was moved aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Disavowal {
    pub key: Digest,
    pub at: String,
    pub reason: String,
    pub record: Record,
}

#[derive(Serialize, Deserialize)]
struct Why {
    at: String,
    reason: String,
}

impl Store {
    /// Moves the record of a key aside. False: it has none.
    pub fn disown(&self, key: &Digest, reason: &str, at: &str) -> Result<bool> {
        let disown = || format!("disown the record {key}");
        let Some(mut record) = self.lookup(key).with_context(disown)? else { return Ok(false) };
        let why = Why { at: at.to_owned(), reason: reason.to_owned() };
        match &mut record.telemetry {
            Value::Object(fields) => drop(fields.insert(FIELD.to_owned(), json!(why))),
            other => *other = json!({ FIELD: why }),
        }
        // First the copy: a kill in between leaves both, and the key as it was.
        for number in 1.. {
            let path = self.path("actions", key, &format!("{MARK}{number}.json"));
            if write::create(self.draft(&seal(key, &record))?, &path, self.is_durable).with_context(disown)? {
                break;
            }
        }
        let path = self.path("actions", key, ".json");
        remove(&path).with_context(disown)?;
        write::sync_parent(&path, self.is_durable)?;
        Ok(true)
    }

    /// Every record that was moved aside, by key and in the order in which that happened.
    pub fn disavowals(&self) -> Result<Vec<Disavowal>> {
        let mut disavowals = Vec::new();
        for item in self.items("actions")? {
            let (Some(key), true) = (item.digest, item.suffix.starts_with(MARK)) else { continue };
            let read = || format!("read {}", item.path.display());
            let record =
                unseal(&open::read(&item.path).with_context(read)?).map(|page| page.record).with_context(read)?;
            let why = Why::deserialize(&record.telemetry[FIELD]).with_context(read)?;
            disavowals.push(Disavowal { key, at: why.at, reason: why.reason, record });
        }
        Ok(disavowals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commit, sample};

    #[test]
    fn what_is_disowned_is_kept_with_its_reason_and_used_no_more() {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        let record = |score: f64| Record {
            result: json!(score),
            telemetry: json!({"seconds": 1}),
            contents: vec![content.clone()],
            extras: vec![],
        };
        let key = Digest::of(b"action");
        assert!(!store.disown(&key, "nothing is there", "now").unwrap());
        for (score, reason) in [(1.0, "the data was cut"), (2.0, "again")] {
            assert_eq!(store.commit(&key, &record(score)).unwrap(), Commit::Written);
            assert!(store.disown(&key, reason, "2026-11-30").unwrap());
            assert_eq!(store.lookup(&key).unwrap(), None);
        }
        let told: Vec<_> = store.disavowals().unwrap().into_iter().map(|one| (one.reason, one.record.result)).collect();
        assert_eq!(told, [("the data was cut".to_owned(), json!(1.0)), ("again".to_owned(), json!(2.0))]);
        assert_eq!(store.verify(true).unwrap().faults, Vec::<String>::new());
        assert_eq!(store.variants(&key), 0);
        assert_eq!(store.commit(&key, &record(1.0)).unwrap(), Commit::Written, "it counts as any other");
    }
}
