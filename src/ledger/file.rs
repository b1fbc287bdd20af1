//! The ledger as a folder beside the pipeline file, `rlhf.looks/`: one append-only file for each run, one JSON object a
//! line, meant for version control. Branches of a repository add files, so that they merge without conflicts.

use super::{Entry, Ledger, Look, LookKey, LookNotes, LookQuestion, LookVerdict, Permission};
use crate::gate::Decision;
use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder of a pipeline's ledger: `pipelines/rlhf.yaml` → `pipelines/rlhf.looks`.
pub fn folder(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("looks")
}

/// Everything in the folder; nothing if there is none.
///
/// # Errors
/// A file cannot be read, or a line of it is no entry.
pub fn read(folder: &Path) -> Result<Ledger> {
    Ok(read_files(&files(folder)?)?.0)
}

/// The ledger, and the file in which each look stands first.
fn read_files(files: &BTreeMap<PathBuf, u64>) -> Result<(Ledger, HashMap<LookKey, PathBuf>)> {
    let (mut ledger, mut places) = (Ledger::default(), HashMap::new());
    for path in files.keys() {
        for entry in entries(path)? {
            if let Entry::Look(look) = &entry
                && !places.contains_key(&look.key)
            {
                places.insert(look.key.clone(), path.clone());
            }
            ledger.enter(entry);
        }
    }
    if let Some(look) = ledger.unfounded() {
        let path = places.get(&look.key).cloned().unwrap_or_default();
        bail!(
            "read {}: the look of `{}` at {} names items that no line lists, or has no number or stake; {MENDING}",
            path.display(),
            look.stage,
            look.at
        );
    }
    Ok((ledger, places))
}

const MENDING: &str = "take the folder from version control again";

/// The files of the folder with their lengths, in the order of their names, which is that of their times.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let at = || format!("read {}", folder.display());
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            bail!("{}: it is a file, and the looks are kept in a folder of this name; move it away", at())
        }
        Err(error) => return Err(error).with_context(at),
    };
    let mut files = BTreeMap::new();
    for entry in listed {
        let entry = entry.with_context(at)?;
        if entry.path().extension().is_some_and(|extension| extension == "jsonl") {
            files.insert(entry.path(), entry.metadata().with_context(at)?.len());
        }
    }
    Ok(files)
}

/// The most bytes of a file of looks.
const MOST: u64 = 256 << 20;

fn entries(path: &Path) -> Result<Vec<Entry>> {
    let reading = || format!("read {}", path.display());
    let bytes = files::read_user(path, MOST).with_context(reading)?;
    let text = String::from_utf8(bytes).with_context(reading)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let entry = |(number, line): (usize, &str)| {
        let at = || {
            format!("read {}: line {}: no look as `pipeline run` enters them; {MENDING}", path.display(), number + 1)
        };
        // The position in the line says nothing to people.
        serde_json::from_str(line).map_err(|_| anyhow!(at()))
    };
    lines.map(entry).collect()
}

/// The looks that a run asked for, as they stood in the folder then, so that a run that finds everything need not read
/// all that was ever entered. It is only an index: it holds while neither the folder nor the files with its looks were
/// touched, and can be thrown away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    folder: Option<Stamp>,
    files: BTreeMap<PathBuf, Stamp>,
    /// A list, since keys of JSON are text.
    looks: Vec<(LookKey, Permission, Option<Decision>)>,
}

/// The state of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

/// `None` where it cannot be told: then the index counts as out of date, and the folder is read.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp { length: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
}

impl Index {
    fn holds(&self, folder: &Path) -> bool {
        self.folder.is_some()
            && self.folder == stamp(folder)
            && self.files.iter().all(|(path, known)| stamp(path).as_ref() == Some(known))
    }
}

/// The ledger as one run uses it: it reads what other runs enter, and enters its own looks.
pub struct LedgerSession {
    folder: PathBuf,
    /// The file of this run, made with its first entry.
    own: PathBuf,
    /// False: nothing is written (`--no-ledger`, or a plan); what this run takes is remembered while it lives.
    is_kept: bool,
    /// Nothing was read either.
    is_alone: bool,
    /// The index of an earlier run; empty where it does not hold.
    index: Index,
    /// Read when the index does not tell.
    read: Option<ReadLedger>,
    asked: BTreeSet<LookKey>,
}

#[derive(Default)]
struct ReadLedger {
    ledger: Ledger,
    places: HashMap<LookKey, PathBuf>,
    files: BTreeMap<PathBuf, u64>,
}

impl LedgerSession {
    /// `run` names the file, and must be new. Without `is_kept` nothing is written.
    pub fn open(folder: &Path, run: &str, is_kept: bool, index: Index) -> LedgerSession {
        let own = folder.join(format!("{run}.jsonl"));
        let index = if index.holds(folder) { index } else { Index::default() };
        let (folder, asked) = (folder.to_owned(), BTreeSet::new());
        LedgerSession { folder, own, is_kept, is_alone: false, index, read: None, asked }
    }

    /// The ledger of a run that reads none and keeps none: the looks of this run alone count.
    pub fn none() -> LedgerSession {
        let (folder, own, index) = (PathBuf::new(), PathBuf::new(), Index::default());
        let (read, asked) = (Some(ReadLedger::default()), BTreeSet::new());
        LedgerSession { folder, own, is_kept: false, is_alone: true, index, read, asked }
    }

    /// Takes a look: asks for permission, and enters it if it is new and not refused. No other run can take the same one
    /// meanwhile.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn take(&mut self, question: &LookQuestion, notes: LookNotes) -> Result<Permission> {
        let _held = if self.is_kept { Some(self.lock()?) } else { None };
        if self.is_kept {
            self.read_again()?;
        }
        self.asked.insert(question.key.clone());
        let is_alone = self.is_alone;
        let ledger = self.ledger()?;
        let permission = Permission { is_alone, ..ledger.permission(question) };
        if permission.is_known || permission.is_spent() {
            return Ok(permission);
        }
        let mut new = Vec::new();
        if !ledger.knows(&question.items) {
            new.push(Entry::Items { name: question.items.name(), members: question.items.clone() });
        }
        new.push(Entry::Look(Box::new(Look::of(question, &permission, notes))));
        self.enter(new)?;
        Ok(permission)
    }

    /// Enters the verdict of a look.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn judged(&mut self, judged: LookVerdict) -> Result<()> {
        let decision = Some(judged.decision);
        if self.index.looks.iter().any(|(key, _, verdict)| key.claim == judged.claim && *verdict == decision)
            || self.ledger()?.verdict(&judged.claim) == decision
        {
            return Ok(());
        }
        self.enter(vec![Entry::Verdict(judged)])
    }

    /// The permission of a look that stands in the ledger.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn known(&mut self, key: &LookKey) -> Result<Option<Permission>> {
        self.asked.insert(key.clone());
        if let Some((_, known, _)) = self.index.looks.iter().find(|(indexed, ..)| indexed == key) {
            return Ok(Some(known.clone()));
        }
        let is_alone = self.is_alone;
        Ok(self.ledger()?.known(key).map(|known| Permission { is_alone, ..known }))
    }

    /// The index of what this run asked for; `None` if the one that it had says all of it.
    pub fn index(&self) -> Option<Index> {
        let read = self.read.as_ref().filter(|_| self.is_kept)?;
        let known = |key: &LookKey| Some((key.clone(), read.ledger.known(key)?, read.ledger.verdict(&key.claim)));
        let looks: Vec<_> = self.asked.iter().filter_map(known).collect();
        let files: BTreeSet<&PathBuf> = looks.iter().filter_map(|(key, ..)| read.places.get(key)).collect();
        let files = files.into_iter().filter_map(|path| Some((path.clone(), stamp(path)?))).collect();
        Some(Index { folder: stamp(&self.folder), files, looks })
    }

    fn ledger(&mut self) -> Result<&Ledger> {
        if self.read.is_none() {
            let files = files(&self.folder)?;
            let (ledger, places) = read_files(&files)?;
            self.read = Some(ReadLedger { ledger, places, files });
        }
        Ok(&self.read.as_ref().expect("it was read above").ledger)
    }

    fn enter(&mut self, entries: Vec<Entry>) -> Result<()> {
        self.ledger()?;
        let read = self.read.as_mut().expect("it was read above");
        if self.is_kept {
            let mut lines = Vec::new();
            for entry in &entries {
                serde_json::to_writer(&mut lines, entry).context("write a look")?;
                lines.push(b'\n');
            }
            let write = || -> std::io::Result<u64> {
                let mut file = File::options().create(true).append(true).open(&self.own)?;
                file.write_all(&lines)?;
                file.sync_all()?;
                Ok(file.metadata()?.len())
            };
            let length = write().with_context(|| format!("write {}", self.own.display()))?;
            read.files.insert(self.own.clone(), length);
        }
        for entry in entries {
            if let Entry::Look(look) = &entry {
                read.places.entry(look.key.clone()).or_insert_with(|| self.own.clone());
            }
            read.ledger.enter(entry);
        }
        Ok(())
    }

    /// Holds the folder until the result is dropped.
    fn lock(&self) -> Result<File> {
        let at = || format!("lock {}", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(at)?;
        let folder = File::open(&self.folder).with_context(at)?;
        // A file system without locks cannot keep two runs apart; it is no reason to do nothing at all.
        if let Err(error) = flock(&folder, FlockOperation::LockExclusive) {
            tracing::warn!("{}: {error}", at());
        }
        Ok(folder)
    }

    /// Reads everything anew if another run has written since.
    fn read_again(&mut self) -> Result<()> {
        if let Some(read) = &self.read
            && read.files != files(&self.folder)?
        {
            self.read = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::ItemSet;
    use super::*;
    use crate::gate::DeclaredLooks;
    use expect_test::expect;

    fn question(claim: &str) -> LookQuestion {
        let items = ItemSet::of([("1", "a"), ("2", "b")].into_iter(), "eval");
        let over = Some(DeclaredLooks::Exactly(2));
        let key = LookKey { claim: claim.to_owned(), numbers: "n".to_owned(), over };
        LookQuestion { key, items, count: 2, is_growing: false, after: None }
    }

    fn notes() -> LookNotes {
        LookNotes {
            at: "2026-11-29T03:00:00Z".to_owned(),
            run: "1".to_owned(),
            stage: "ppo_1".to_owned(),
            candidate: "ppo_1@30".to_owned(),
            content: "tree:0123456789ab".to_owned(),
            rules: vec!["mean_score > 0 with 95% confidence over 2 looks".to_owned()],
        }
    }

    fn open(folder: &Path, run: &str, is_kept: bool) -> LedgerSession {
        LedgerSession::open(folder, run, is_kept, Index::default())
    }

    fn take(session: &mut LedgerSession, claim: &str) -> Permission {
        session.take(&question(claim), notes()).unwrap()
    }

    fn passed(claim: &str) -> LookVerdict {
        let because = vec!["mean_score 1 > 0".to_owned()];
        LookVerdict { claim: claim.to_owned(), decision: Decision::Pass, hands_on: true, is_void: false, because }
    }

    #[test]
    fn the_lines_are_a_promise_to_those_who_keep_them() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place.path().join("rlhf.yaml"));
        assert_eq!(folder.file_name().unwrap(), "rlhf.looks");
        let mut session = open(&folder, "one", true);
        assert!(session.known(&question("c1").key).unwrap().is_none());
        assert!(!folder.exists(), "a run without looks makes no folder");
        take(&mut session, "c1");
        session.judged(passed("c1")).unwrap();
        session.judged(passed("c1")).unwrap();
        expect![[r#"
            {"entry":"items","name":"264884e0fe2dbdc3","members":"1ff621ee3430890e3acbabc85b6b9cef"}
            {"entry":"look","claim":"c1","numbers":"n","over":{"exactly":2},"items":"264884e0fe2dbdc3","count":2,"at":"2026-11-29T03:00:00Z","run":"1","stage":"ppo_1","candidate":"ppo_1@30","content":"tree:0123456789ab","rules":["mean_score > 0 with 95% confidence over 2 looks"],"number":1,"stake":0.5}
            {"entry":"verdict","claim":"c1","decision":"pass","hands_on":true,"because":["mean_score 1 > 0"]}
        "#]].assert_eq(&fs::read_to_string(folder.join("one.jsonl")).unwrap());
        assert!(take(&mut open(&folder, "two", true), "c1").is_known);
        assert!(!folder.join("two.jsonl").exists(), "what stands there is not written again");
    }

    #[test]
    fn an_index_spares_reading_and_holds_only_while_nothing_is_touched() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a.looks");
        let mut session = open(&folder, "one", true);
        let taken = take(&mut session, "c1");
        session.judged(passed("c1")).unwrap();
        let index = session.index().unwrap();
        let index: Index = serde_json::from_str(&serde_json::to_string(&index).unwrap()).unwrap();
        let known = |index: &Index| {
            let mut session = LedgerSession::open(&folder, "two", true, index.clone());
            let known = session.known(&question("c1").key).unwrap();
            session.judged(passed("c1")).unwrap();
            (known, session.read.is_some())
        };
        let stands = Permission { is_known: true, ..taken };
        assert_eq!(known(&index), (Some(stands.clone()), false));
        take(&mut open(&folder, "three", true), "c2");
        assert_eq!(known(&index), (Some(stands), true), "another run entered a look");
        let one = folder.join("one.jsonl");
        let items = fs::read_to_string(&one).unwrap().lines().next().unwrap().to_owned();
        fs::write(&one, items).unwrap();
        assert_eq!(known(&index).0, None, "the look was taken out of the file");
    }

    #[test]
    fn two_runs_at_once_cannot_both_spend_the_last_look() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a.looks");
        let mut runs: Vec<LedgerSession> = ["1", "2", "3"].iter().map(|run| open(&folder, run, true)).collect();
        runs.iter_mut().for_each(|run| assert!(run.known(&question("x").key).unwrap().is_none()));
        let spent = std::thread::scope(|scope| {
            let all: Vec<_> = runs
                .iter_mut()
                .enumerate()
                .map(|(number, run)| scope.spawn(move || take(run, &number.to_string()).is_spent()))
                .collect();
            all.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>()
        });
        assert_eq!(spent, 1);
        assert_eq!(read(&folder).unwrap().looks_at(&question("").items).count(), 2);
    }

    #[test]
    fn a_run_that_keeps_no_ledger_counts_its_own_looks_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a.looks");
        take(&mut open(&folder, "1", true), "c1");
        let mut alone = LedgerSession::none();
        assert_eq!((take(&mut alone, "c2").number, take(&mut alone, "c3").number), (1, 2));
        let mut ahead = open(&folder, "2", false);
        assert_eq!(take(&mut ahead, "c2").number, 2);
        assert_eq!(files(&folder).unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("1.jsonl"), "\n<<<<<<< HEAD\n").unwrap();
        let error = format!("{:#}", read(place.path()).unwrap_err());
        assert!(error.contains("1.jsonl: line 2: no look as `pipeline run` enters them"), "{error}");
    }
}
