//! The lines of a label file. Each holds the blake3 of the line before, the first one that of the worklist's digest. A
//! line that was cut off is skipped: the line after it goes on from the one before.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stages::people::label::LabelEntry;

/// The most bytes of a line.
pub const MOST: usize = 4 << 20;

/// A line as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct ChainedLine {
    before: String,
    #[serde(flatten)]
    entry: LabelEntry,
}

/// A line that counts, and its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainLine {
    pub hash: String,
    pub entry: LabelEntry,
}

/// A file of labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFile {
    pub lines: Vec<ChainLine>,
    /// Numbers of lines that were cut off, from 1.
    pub torn: Vec<usize>,
    /// The hash that the next line holds.
    pub last: String,
    /// Whether its last bytes are a line that was cut off.
    pub has_open_end: bool,
    pub length: u64,
}

/// A line that is not what was written.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainFault {
    /// From 1.
    pub line: usize,
    pub reason: &'static str,
}

pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The line of an entry, without its line break.
pub fn line(before: &str, entry: &LabelEntry) -> Result<Vec<u8>> {
    let chained = ChainedLine { before: before.to_owned(), entry: entry.clone() };
    serde_json::to_vec(&chained).context("write a label")
}

/// Reads a file of the worklist of this digest.
///
/// # Errors
/// A line is not the one that was written, or the one before it is not.
pub fn read(bytes: &[u8], worklist: &str) -> Result<LabelFile, ChainFault> {
    let mut file = LabelFile { last: hash(worklist.as_bytes()), length: bytes.len() as u64, ..LabelFile::default() };
    let mut before = file.last.clone();
    // A whole line that nothing can be made of: that it was cut off is known by the line after it.
    let mut doubtful: Option<usize> = None;
    let texts: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for (at, text) in texts.iter().enumerate() {
        let number = at + 1;
        let Some(text) = text.strip_suffix(b"\n") else {
            file.has_open_end = true;
            file.torn.push(number);
            break;
        };
        if text.is_empty() {
            continue;
        }
        let fault = |line: usize, reason: &'static str| ChainFault { line, reason };
        let Ok(chained) = serde_json::from_slice::<ChainedLine>(text) else {
            if let Some(line) = doubtful {
                return Err(fault(line, NO_LABEL));
            }
            doubtful = Some(number);
            continue;
        };
        if chained.before == file.last {
            file.torn.extend(doubtful.take());
        } else if let Some(line) = doubtful {
            return Err(fault(line, NO_LABEL));
        } else if chained.before == before && !file.lines.is_empty() {
            // Whole but for its line break, which was written when the file was opened again: nobody was told of it.
            file.lines.pop();
            file.torn.push(number - 1);
            file.last.clone_from(&before);
        } else {
            // Either the line before is another one, or what this one says of it: the next line knows.
            let next = texts[number..].iter().find_map(|text| serde_json::from_slice::<ChainedLine>(text).ok());
            let is_itself = next.is_some_and(|next| next.before != hash(text)) || at == 0;
            return Err(fault(if is_itself { number } else { at }, CHANGED));
        }
        before = std::mem::replace(&mut file.last, hash(text));
        file.lines.push(ChainLine { hash: file.last.clone(), entry: chained.entry });
    }
    match doubtful {
        Some(line) => Err(ChainFault { line, reason: NO_LABEL }),
        None => Ok(file),
    }
}

const NO_LABEL: &str = "no label as `pipeline label` writes them";
const CHANGED: &str = "it is not as it was written: the next line holds another hash of it";

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use stages::people::label::{Judgement, Label, PairChoice, Withdrawal};

    fn label(client: &str) -> LabelEntry {
        let text = str::to_owned;
        LabelEntry::Label(Label {
            item: text("i1"),
            criteria: String::new(),
            by: text("m"),
            round: 0,
            order: vec![1, 0],
            judgement: Judgement::Pair(PairChoice::Second),
            before_hint: None,
            seconds: 4.5,
            at: text("2026-11-30T03:00:00Z"),
            client: text(client),
            note: None,
        })
    }

    fn written(entries: &[LabelEntry]) -> Vec<u8> {
        let (mut bytes, mut before) = (Vec::new(), hash(b"w"));
        for entry in entries {
            let line = line(&before, entry).unwrap();
            before = hash(&line);
            bytes.extend(line);
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn the_lines_are_a_promise_to_those_who_keep_them() {
        let (of, by, at, client) =
            ("c1".to_owned(), "m".to_owned(), "2026-11-30T03:01:00Z".to_owned(), "c2".to_owned());
        let entries = [label("c1"), LabelEntry::Withdrawal(Withdrawal { of, by, at, client })];
        let bytes = written(&entries);
        expect![[r#"
            {"before":"f2f21520bebe5d07c6813b972de3617a0a0d50a36be3784e9fece54cff8d8032","entry":"label","item":"i1","by":"m","order":[1,0],"judgement":{"pair":"second"},"seconds":4.5,"at":"2026-11-30T03:00:00Z","client":"c1"}
            {"before":"5d08eca6a7bbdbe880b855e43436fb72b2a80de1d23c316b8883510f1d6413bf","entry":"withdrawal","of":"c1","by":"m","at":"2026-11-30T03:01:00Z","client":"c2"}
        "#]]
        .assert_eq(std::str::from_utf8(&bytes).unwrap());
        let file = read(&bytes, "w").unwrap();
        assert_eq!(file.lines.iter().map(|line| line.entry.clone()).collect::<Vec<_>>(), entries);
        assert!(file.torn.is_empty() && !file.has_open_end);
        assert_eq!(read(&bytes, "another").unwrap_err().line, 1);
    }

    #[test]
    fn a_line_that_was_cut_off_is_skipped_and_the_chain_goes_on() {
        let whole = written(&[label("c1")]);
        let last = read(&whole, "w").unwrap().last;
        let cut = line(&last, &label("c2")).unwrap();
        for length in [1, 40, cut.len()] {
            let mut bytes = [&whole[..], &cut[..length]].concat();
            let open = read(&bytes, "w").unwrap();
            assert_eq!((open.lines.len(), &*open.torn, &open.last), (1, &[2][..], &last));
            bytes.push(b'\n');
            bytes.extend(line(&last, &label("c3")).unwrap());
            bytes.push(b'\n');
            let file = read(&bytes, "w").unwrap();
            let clients: Vec<_> = file.lines.iter().filter_map(|line| line.entry.client()).collect();
            assert_eq!((clients, file.torn), (vec!["c1", "c3"], vec![2]), "cut after {length} bytes");
        }
    }

    #[test]
    fn any_byte_that_is_changed_in_a_line_before_the_last_is_found() {
        let bytes = written(&[label("c1"), label("c2"), label("c3")]);
        let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
        for at in 0..ends[1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let line = if at <= ends[0] { 1 } else { 2 };
            let found = read(&changed, "w").unwrap_err().line;
            // Without its line break, a line is one with the next.
            assert!(found == line || bytes[at] == b'\n', "byte {at}: line {found}, not {line}");
        }
    }
}
