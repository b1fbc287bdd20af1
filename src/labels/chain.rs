//! The lines of a label file. Each holds the blake3 of the line before, the first one that of the worklist's digest, and at
//! its end that of itself, so that the last line is as safe as the others. A line that was cut off is skipped: the line after
//! it goes on from the one before. A file is read on from where its last whole line ended.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stages::people::label::LabelEntry;

/// The most bytes of a line.
pub const MOST: usize = 4 << 20;

/// A line as it is written, but for the hash of itself.
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
    /// The hash that the last line holds.
    before: String,
    /// Whether its last bytes are a line that was cut off.
    pub has_open_end: bool,
    /// Whether its lines hold hashes of themselves; those of the first versions do not.
    is_sealed: bool,
    /// The bytes that were read, and how many of them are lines that have ended.
    pub length: u64,
    pub ended: u64,
    /// The number of lines that have ended.
    numbers: usize,
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

/// The bytes before the hash of a line at its end, and after it.
const BEFORE_SEAL: &[u8] = b",\"seal\":\"";
const AFTER_SEAL: &[u8] = b"\"}";

/// The line of an entry, without its line break.
pub fn line(before: &str, entry: &LabelEntry) -> Result<Vec<u8>> {
    let chained = ChainedLine { before: before.to_owned(), entry: entry.clone() };
    let mut line = serde_json::to_vec(&chained).context("write a label")?;
    let seal = hash(&line);
    line.pop();
    line.extend([BEFORE_SEAL, seal.as_bytes(), AFTER_SEAL].concat());
    Ok(line)
}

/// The line as it was before it got the hash of itself, and that hash; `None` of a line without one.
fn unsealed(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (rest, seal) = line.strip_suffix(AFTER_SEAL)?.split_last_chunk::<{ 2 * blake3::OUT_LEN }>()?;
    let body = rest.strip_suffix(BEFORE_SEAL)?;
    Some(([body, b"}"].concat(), &seal[..]))
}

/// The reason why nothing can be made of a line.
enum Illegible {
    /// It ends before it is over.
    Cut,
    Foreign,
    /// It is not what its own hash says.
    Changed,
    NoSeal,
}

fn read_line(text: &[u8], is_sealed: &mut bool) -> Result<ChainedLine, Illegible> {
    let sealed = unsealed(text);
    if sealed.as_ref().is_some_and(|(body, seal)| hash(body).as_bytes() != *seal) {
        return Err(Illegible::Changed);
    }
    let had_seal = std::mem::replace(is_sealed, *is_sealed || sealed.is_some());
    let chained = serde_json::from_slice(sealed.as_ref().map_or(text, |(body, _)| body)).map_err(|error| {
        // What is cut off hardly ever ends with a brace, and what was changed at its end does.
        if error.is_eof() && !text.ends_with(b"}") { Illegible::Cut } else { Illegible::Foreign }
    })?;
    if had_seal && sealed.is_none() { Err(Illegible::NoSeal) } else { Ok(chained) }
}

/// Reads a file of the worklist of this digest.
///
/// # Errors
/// A line is not the one that was written, or the one before it is not.
pub fn read(bytes: &[u8], worklist: &str) -> Result<LabelFile, ChainFault> {
    let first = hash(worklist.as_bytes());
    let mut file = LabelFile { before: first.clone(), last: first, ..LabelFile::default() };
    file.read_on(bytes)?;
    Ok(file)
}

impl LabelFile {
    /// Reads what comes after the lines that had ended. Returns whether a line that had counted does so no longer.
    ///
    /// # Errors
    /// As [`read`]; then the file is to be read anew.
    pub fn read_on(&mut self, bytes: &[u8]) -> Result<bool, ChainFault> {
        if std::mem::take(&mut self.has_open_end) {
            self.torn.pop();
        }
        let (known, mut is_shorter) = (self.lines.len(), false);
        // Whole lines that nothing can be made of: that they were cut off is known by the line after them.
        let mut cut: Vec<usize> = Vec::new();
        let mut foreign: Option<usize> = None;
        let texts: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let ended: usize = texts.iter().filter(|text| text.ends_with(b"\n")).map(|text| text.len()).sum();
        (self.length, self.ended) = (self.ended + bytes.len() as u64, self.ended + ended as u64);
        let before_these = self.numbers;
        for (at, text) in texts.iter().enumerate() {
            let number = before_these + at + 1;
            let Some(text) = text.strip_suffix(b"\n") else {
                self.has_open_end = true;
                break;
            };
            self.numbers = number;
            if text.is_empty() {
                continue;
            }
            let fault = |line: usize, reason: &'static str| ChainFault { line, reason };
            let chained = match read_line(text, &mut self.is_sealed) {
                Ok(chained) => chained,
                Err(Illegible::Changed) => return Err(fault(number, CHANGED_ITSELF)),
                Err(Illegible::NoSeal) => return Err(fault(number, NO_SEAL)),
                // Several in a row, where the disk was full more than once.
                Err(Illegible::Cut) => {
                    cut.push(number);
                    continue;
                }
                Err(Illegible::Foreign) => match foreign {
                    Some(line) => return Err(fault(line, NO_LABEL)),
                    None => {
                        foreign = Some(number);
                        continue;
                    }
                },
            };
            if chained.before == self.last {
                self.torn.extend(cut.drain(..).chain(foreign.take()));
            } else if let Some(line) = foreign.or(cut.first().copied()) {
                return Err(fault(line, NO_LABEL));
            } else if chained.before == self.before && !self.lines.is_empty() {
                // Whole but for its line break, which was written when the file was opened again: nobody was told of it.
                self.lines.pop();
                is_shorter |= self.lines.len() < known;
                self.torn.push(number - 1);
                self.last.clone_from(&self.before);
            } else {
                // Either the line before is another one, or what this one says of it: the next line knows.
                let mut sealed = self.is_sealed;
                let next = texts[at + 1..].iter().find_map(|text| read_line(text.trim_ascii_end(), &mut sealed).ok());
                let is_itself = next.is_some_and(|next| next.before != hash(text)) || number == 1;
                return Err(fault(if is_itself { number } else { number - 1 }, CHANGED));
            }
            self.add(hash(text), chained.entry);
        }
        if let Some(line) = foreign {
            return Err(ChainFault { line, reason: NO_LABEL });
        }
        // Their line breaks were written, and what was to follow was not: the disk was full.
        self.torn.extend(cut);
        if self.has_open_end {
            self.torn.push(self.numbers + 1);
        }
        Ok(is_shorter)
    }

    fn add(&mut self, hash: String, entry: LabelEntry) {
        self.before = std::mem::replace(&mut self.last, hash.clone());
        self.lines.push(ChainLine { hash, entry });
    }

    /// Takes a line in that was written at the end: this many bytes, with the line break of one that had been cut off.
    pub fn wrote(&mut self, line: &[u8], entry: &LabelEntry, bytes: u64) {
        self.numbers += 1 + usize::from(std::mem::take(&mut self.has_open_end));
        self.is_sealed = true;
        self.length += bytes;
        self.ended = self.length;
        self.add(hash(line), entry.clone());
    }
}

const NO_LABEL: &str = "no label as `pipeline label` writes them";
const CHANGED: &str = "it is not as it was written: the next line holds another hash of it";
const CHANGED_ITSELF: &str = "it is not as it was written: it holds another hash of itself";
const NO_SEAL: &str = "it is not as it was written: it holds no hash of itself, as lines before it do";

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
            {"before":"f2f21520bebe5d07c6813b972de3617a0a0d50a36be3784e9fece54cff8d8032","entry":"label","item":"i1","by":"m","order":[1,0],"judgement":{"pair":"second"},"seconds":4.5,"at":"2026-11-30T03:00:00Z","client":"c1","seal":"5d08eca6a7bbdbe880b855e43436fb72b2a80de1d23c316b8883510f1d6413bf"}
            {"before":"7cb4c4fc849aa4151b9447d84149c52a812ce2a9fda065c661b86e79294f3766","entry":"withdrawal","of":"c1","by":"m","at":"2026-11-30T03:01:00Z","client":"c2","seal":"b579808697150214b7c1679a9bbd79d454b86f42e1a0815f8ed6450dc975dfac"}
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
    fn any_byte_that_is_changed_in_a_line_is_found() {
        let bytes = written(&[label("c1"), label("c2"), label("c3")]);
        let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
        for at in 0..bytes.len() - 1 {
            let line = 1 + ends.iter().filter(|end| **end < at).count();
            for bit in [1, 2, 32] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                let found = read(&changed, "w").unwrap_err().line;
                // Without its line break, a line is one with the next.
                assert!(found == line || bytes[at] == b'\n', "byte {at}: line {found}, not {line}");
            }
        }
    }

    #[test]
    fn lines_of_the_first_version_have_no_hash_of_themselves_and_are_still_read() {
        let new = written(&[label("c1"), label("c2")]);
        let (mut old, mut before) = (Vec::new(), hash(b"w"));
        for client in ["c1", "c2"] {
            let chained = ChainedLine { before, entry: label(client) };
            let line = serde_json::to_vec(&chained).unwrap();
            before = hash(&line);
            old.extend([&line[..], b"\n"].concat());
        }
        let file = read(&old, "w").unwrap();
        assert_eq!(file.lines.len(), 2);
        // A newer program goes on in it.
        let last = line(&file.last, &label("c3")).unwrap();
        assert_eq!(read(&[&old[..], &last, b"\n"].concat(), "w").unwrap().lines.len(), 3);
        let at = old.len() - 20;
        old[at] ^= 1;
        assert_eq!(read(&[&old[..], &last, b"\n"].concat(), "w").unwrap_err().line, 2);
        // The hash of a line cannot be taken off it.
        let (body, _) = unsealed(new.split(|byte| *byte == b'\n').nth(1).unwrap()).unwrap();
        let first = new.split_inclusive(|byte| *byte == b'\n').next().unwrap();
        assert_eq!(read(&[first, &body, b"\n"].concat(), "w").unwrap_err().reason, NO_SEAL);
    }

    #[test]
    fn a_file_that_grows_is_read_on_from_where_it_had_ended() {
        let (mut bytes, mut before) = (Vec::new(), hash(b"w"));
        let mut grown = read(&bytes, "w").unwrap();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for client in ["c1", "c2", "c3", "c4"] {
            let whole = line(&before, &label(client)).unwrap();
            // One that is cut off, and its line break with the next: as a writer goes on that was killed.
            parts.extend([whole[..30].to_vec(), [b"\n", &whole[..]].concat(), b"\n".to_vec()]);
            before = hash(&whole);
        }
        for part in parts {
            let at = grown.ended as usize;
            bytes.extend(part);
            grown.read_on(&bytes[at..]).unwrap();
            assert_eq!(grown, read(&bytes, "w").unwrap());
        }
        assert_eq!((grown.lines.len(), &*grown.torn), (4, &[1, 3, 5, 7][..]));
    }

    #[test]
    fn a_disk_that_was_full_leaves_lines_that_are_skipped() {
        let whole = written(&[label("c1")]);
        let last = read(&whole, "w").unwrap().last;
        let next = line(&last, &label("c2")).unwrap();
        let cut = [&whole[..], &next[..50], b"\n", &next[..60], b"\n"].concat();
        let file = read(&cut, "w").unwrap();
        assert_eq!((file.lines.len(), &*file.torn), (1, &[2, 3][..]));
        assert_eq!(read(&[&cut[..], &next, b"\n"].concat(), "w").unwrap().lines.len(), 2);
    }
}
