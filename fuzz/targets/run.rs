//! What runs leave, what people decided, and what commands and workers say.

use super::place::{self, parts};
use crate::approvals::{self, Approval, Ruling};
use crate::event::Event;
use crate::executor::line as wire;
use crate::gate::DeclaredLooks;
use crate::journal as journals;
use crate::labels::chain;
use crate::ledger::items::ItemSet;
use crate::ledger::{Entry, LookKey, LookQuestion, file};
use crate::tail::tail;
use stages::io::Handover;
use stages::kinds::exec::{forward, results as handed};
use stages::people::label::{EffectiveLabels, LabelEntry, Withdrawal};
use stages::secret::Secrets;

/// An event that is read is written as a line that reads the same, and the keys are those of the events.
pub fn journal(bytes: &[u8]) {
    let path = place::file("journal.jsonl", bytes);
    let read = journals::what_can_be_read(&path).expect("a line that is no event is no error");
    for event in &read.events {
        let line = serde_json::to_string(event).expect("an event can be written");
        let again: Event = serde_json::from_str(&line).expect("what was written can be read");
        // Numbers that are none are null when they are written.
        assert_eq!(serde_json::to_string(&again).expect("an event can be written"), line);
    }
    read.unread.iter().for_each(|line| _ = line.is_of_newer_version());
    let keys = journals::keys(&path).expect("it is there").count();
    assert!(keys >= read.events.iter().filter(|event| is_of_digest(event)).count());
    let root = place::directory(&[]);
    if let Ok(run) = journals::import(&root, bytes) {
        let runs: Vec<_> = std::fs::read_dir(root.join("runs")).expect("it was made").collect();
        assert_eq!(runs.len(), 1, "{run}");
    }
}

fn is_of_digest(event: &Event) -> bool {
    let (Event::Hit { key, .. } | Event::Started { key, .. }) = event else { return false };
    key.parse::<cache::Digest>().is_ok()
}

/// A line of the ledger is written as it was read; and whoever asks gets at most the whole level.
pub fn looks(bytes: &[u8]) {
    let folder = place::directory(&[("20261130-run.jsonl", bytes)]);
    let text = str::from_utf8(bytes).unwrap_or_default();
    for line in text.lines() {
        if let Ok(entry) = serde_json::from_str::<Entry>(line) {
            let written = serde_json::to_string(&entry).expect("an entry can be written");
            assert_eq!(serde_json::from_str::<Entry>(&written).ok(), Some(entry), "{written}");
        }
    }
    let Ok(ledger) = file::read(&folder) else { return };
    let items = ItemSet::of([("1", "why?"), ("2", "")].into_iter(), "sft");
    for over in [None, Some(DeclaredLooks::Open), Some(DeclaredLooks::Exactly(3))] {
        for (claim, after) in [("c1", None), ("new", Some("c1"))] {
            let key = LookKey { claim: claim.to_owned(), numbers: "n1".to_owned(), over };
            let after = after.map(str::to_owned);
            let question = LookQuestion { key: key.clone(), items: items.clone(), count: 2, is_growing: true, after };
            let permission = ledger.permission(&question);
            assert!((0.0..=1.0).contains(&permission.stake), "{permission:?}");
            permission.note("2 prompts", 0.95);
            ledger.known(&key);
        }
    }
}

/// A decision can be added to a file that can be read, and is the last one there.
pub fn approvals(bytes: &[u8]) {
    let path = place::file("a.approvals.jsonl", bytes);
    let Ok(before) = approvals::read(&path) else { return };
    let text = |text: &str| text.to_owned();
    let new = Approval {
        stage: text("ppo"),
        decision: Ruling::Approve,
        reason: text("read\n\"twenty\""),
        by: text("aoi"),
        at: text("2026-11-22T03:00:00Z"),
        candidate: text("step 30"),
        rules: Vec::new(),
        question: text("q1"),
        from: None,
    };
    approvals::append(&path, &new).expect("a line can be added");
    let after = approvals::read(&path).expect("it can still be read");
    assert!(approvals::decisions(&after)["q1"].is_approved);
    assert_eq!(after, [before, vec![new]].concat());
}

/// A file of labels that can be read takes a further line, and loses none that counted by it. Read in two parts it is the same, and a
/// label that counts is written as it was read.
pub fn labels(bytes: &[u8]) {
    let Ok(file) = chain::read(bytes, "w") else { return };
    let half = &bytes[..bytes.len() / 2];
    if let Ok(mut grown) = chain::read(half, "w") {
        let at = grown.ended as usize;
        if grown.read_on(&bytes[at..]).is_ok() {
            assert_eq!(grown.lines, file.lines);
            assert_eq!((&grown.last, &grown.torn), (&file.last, &file.torn));
        }
    }
    let mut counted = EffectiveLabels::default();
    for line in &file.lines {
        if let LabelEntry::Label(label) = &line.entry {
            let _ = label.judgement.clone().of_shown(&label.order);
            let _ = (label.judgement.ranks(None), label.judgement.ratings(None));
            counted.add(label.clone());
        }
    }
    let text = String::from_utf8(counted.lines()).expect("labels are written as text");
    let again = EffectiveLabels::read(&text).expect("what was written can be read");
    assert_eq!(again.digest(), counted.digest());
    let text = |text: &str| text.to_owned();
    let (of, by, at, client) = (text("c1"), text("mai"), text("2026-11-30T03:00:00.000Z"), text("c2"));
    let entry = LabelEntry::Withdrawal(Withdrawal { of, by, at, client });
    let line = chain::line(&file.last, &entry).expect("an entry can be written");
    let end: &[u8] = if file.has_open_end { b"\n" } else { b"" };
    let longer = chain::read(&[bytes, end, &line, b"\n"].concat(), "w").expect("a file that was read can be added to");
    assert_eq!(longer.lines.len(), file.lines.len() + 1);
    assert_eq!(longer.lines.last().map(|line| &line.entry), Some(&entry));
}

/// What a worker is told: a word that is understood is the word of what was understood, if that is how we write it.
pub fn line(bytes: &[u8]) {
    if let Some(told) = wire::read(bytes) {
        let again = Handover::read(&told.handover.word()).expect("our own word is understood");
        assert_eq!(again, told.handover);
    }
}

fn secrets() -> Secrets {
    Secrets::read(&["TOKEN".to_owned()], |_| Some("hidden".into())).expect("the secret is long enough")
}

/// `metrics.json` and `items.jsonl` of a command: numbers are finite or missing.
pub fn results(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(metrics) = handed::metrics(text) {
        assert!(metrics.values().flatten().all(|number| number.is_finite()));
    }
    if let Ok(rows) = handed::items(text) {
        let _ = crate::gate::Items::of_rows(rows);
    }
}

/// `events.jsonl` of a command, as it is shown and followed: no secret passes, and what is shown is one line.
pub fn progress(bytes: &[u8]) {
    let secrets = secrets();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(shown) = forward::shown(line, &secrets) {
            assert!(!shown.windows(6).any(|window| window == b"hidden"), "a secret is shown");
            assert_eq!(shown.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
    let redacted = secrets.redacted_bytes(bytes);
    assert!(!redacted.windows(6).any(|window| window == b"hidden"), "a secret is left");
    let mut pieces = parts(bytes).into_iter();
    let path = place::file("events.jsonl", pieces.next().unwrap_or_default());
    let mut tail = tail(&path);
    let _ = tail.progress();
    for piece in pieces {
        let mut file = std::fs::File::options().append(true).open(&path).expect("it is there");
        std::io::Write::write_all(&mut file, piece).expect("write");
        let _ = tail.progress();
    }
}
