//! The labels of one worklist while people label: what is shown next, what is written, how far it has come. A label is
//! on the disk before it is acknowledged.

use super::chain::{self, LabelFile};
use super::folder::LabelFolder;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use stages::people::interval::labels_needed;
use stages::people::label::{EffectiveLabels, Freeze, LabelEntry};
use stages::people::measure::People;
use stages::people::person::{PersonCount, people};
use stages::people::progress::LabelCount;
use stages::people::sitting::{Sitting, Task};
use stages::people::worklist::Worklist;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The labels of a worklist, as one process reads and writes them.
pub struct LabelBook {
    folder: PathBuf,
    session: String,
    pub worklist: Worklist,
    files: LabelFolder,
    /// All labels of the worklist, those after the close included.
    labels: EffectiveLabels,
    clients: BTreeSet<String>,
    writers: BTreeMap<String, LabelWriter>,
}

/// The answer to somebody who wants something written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    Written,
    /// Something of this client id is there already.
    Known,
}

/// The state of a worklist, for a page or a terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelProgress {
    pub count: LabelCount,
    pub people: Vec<PersonCount>,
    pub is_closed: bool,
    /// Labels that came after the close, and count once they are adopted.
    pub later: usize,
}

/// A share of what people say, on its way to a claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    pub share: f64,
    pub items: usize,
    /// The number of further items after which a rule would pass with a chance of 80 %; `None` if thousands would not be
    /// enough.
    pub more: Option<usize>,
}

impl LabelBook {
    /// # Errors
    /// A file cannot be read, or its chain is broken.
    pub fn open(folder: &Path, worklist: Worklist, session: &str) -> Result<LabelBook> {
        let files = LabelFolder::read(folder)?;
        let (labels, clients) = (files.labels(&worklist), files.clients());
        let (folder, session, writers) = (folder.to_owned(), session.to_owned(), BTreeMap::new());
        Ok(LabelBook { folder, session, worklist, files, labels, clients, writers })
    }

    /// Reads what other processes have written since.
    ///
    /// # Errors
    /// As [`LabelBook::open`].
    pub fn refresh(&mut self) -> Result<()> {
        if self.files.refresh(&self.folder)? {
            self.labels = self.files.labels(&self.worklist);
            self.clients = self.files.clients();
        }
        Ok(())
    }

    /// The part of the names of its files that tells this process from others.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The next tasks of a person, at most `count`. Items in `taken` are being shown to others.
    pub fn next_tasks(&self, by: &str, taken: &BTreeSet<usize>, count: usize) -> Vec<Task> {
        let mut sitting = Sitting::new(&self.worklist, &self.labels, by, taken);
        std::iter::from_fn(|| sitting.next_task()).take(count).collect()
    }

    /// All labels of the worklist, those after the close included.
    pub fn labels(&self) -> &EffectiveLabels {
        &self.labels
    }

    /// # Errors
    /// Labels that were frozen are gone.
    pub fn progress(&self) -> Result<LabelProgress> {
        let standing = self.files.standing(&self.worklist)?;
        let count = LabelCount::of(&self.worklist, &self.labels);
        let people = people(&self.worklist, &self.labels);
        Ok(LabelProgress { count, people, is_closed: standing.is_closed, later: standing.later })
    }

    /// The share of a metric so far, and how many more items would show, if people go on like that, that it is above a bound.
    pub fn outlook(&self, metric: &str, bound: f64) -> Option<Outlook> {
        let said = People::of(&self.worklist, &self.labels).said(metric);
        let items = said.len();
        let share = said.iter().map(|(_, value)| value).sum::<f64>() / items as f64;
        let more = labels_needed(bound, share).map(|needed| needed.saturating_sub(items));
        (items > 0).then_some(Outlook { share, items, more })
    }

    /// Writes an entry of a person, and waits until it is on the disk. What was sent before under the same client id is
    /// not written again.
    ///
    /// # Errors
    /// It says nothing of this worklist, or cannot be written; then it is not acknowledged, and may be sent again.
    pub fn write(&mut self, entry: LabelEntry) -> Result<Receipt> {
        if entry.client().is_some_and(|client| self.clients.contains(client)) {
            return Ok(Receipt::Known);
        }
        self.check(&entry)?;
        self.append(entry)?;
        Ok(Receipt::Written)
    }

    /// Freezes the labels that are there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn close(&mut self, by: &str, at: String) -> Result<()> {
        let freeze = self.freeze(by, at);
        self.append(LabelEntry::Close(freeze))
    }

    /// Takes in the labels that came after the close. Returns false if they change nothing.
    ///
    /// # Errors
    /// Labels that were frozen are gone, or it cannot be written.
    pub fn adopt(&mut self, by: &str, at: String) -> Result<bool> {
        if self.files.standing(&self.worklist)?.later == 0 {
            return Ok(false);
        }
        let freeze = self.freeze(by, at);
        self.append(LabelEntry::Adopt(freeze))?;
        Ok(true)
    }

    fn freeze(&self, by: &str, at: String) -> Freeze {
        let (worklist, set, heads) = (self.worklist.digest.clone(), self.labels.digest(), self.files.heads());
        Freeze { worklist, set, heads, by: by.to_owned(), at }
    }

    fn check(&self, entry: &LabelEntry) -> Result<()> {
        let sheet = self.worklist.asked.criteria.as_ref();
        let client = entry.client().unwrap_or_default();
        if client.is_empty() || client.len() > MOST_CLIENT {
            bail!("write a label: its client id is empty or longer than {MOST_CLIENT} bytes");
        }
        let (of, judgement) = match entry {
            LabelEntry::Label(label) => {
                let Some(place) = self.worklist.place(&label.item) else {
                    bail!("write a label: its item is not in the worklist");
                };
                let mut order = label.order.clone();
                order.sort_unstable();
                if !order.iter().copied().eq(0..self.worklist.items[place].answers.len()) {
                    bail!("write a label: the order shown is none of its answers");
                }
                if !(label.seconds >= 0.0 && label.seconds.is_finite()) {
                    bail!("write a label: {} seconds are no time", label.seconds);
                }
                if label.criteria != self.worklist.criteria() {
                    bail!("write a label: it was made by another criteria sheet; load the page again");
                }
                (None, Some((place, &label.judgement)))
            }
            LabelEntry::Correction(one) => (Some((&one.of, &one.by)), self.place_of(&one.of).zip(Some(&one.judgement))),
            LabelEntry::Withdrawal(one) => (Some((&one.of, &one.by)), None),
            LabelEntry::Close(_) | LabelEntry::Adopt(_) => bail!("write a label: people close nothing"),
        };
        if let Some((of, by)) = of
            && !self.labels.iter().any(|label| label.client == *of && label.by == *by)
        {
            bail!("write a label: `{by}` made none of the client id `{of}`");
        }
        if let Some((place, judgement)) = judgement {
            let answers = self.worklist.items[place].answers.len();
            judgement.check(self.worklist.asked.form, answers, sheet).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    fn place_of(&self, client: &str) -> Option<usize> {
        let label = self.labels.iter().find(|label| label.client == client)?;
        self.worklist.place(&label.item)
    }

    fn append(&mut self, entry: LabelEntry) -> Result<()> {
        let by = entry.by().to_owned();
        if !is_pseudonym(&by) {
            bail!("write a label: `{by}` is no name for a file: letters, digits, `_` and `.`, at most 40");
        }
        let name = format!("{}/{by}-{}.jsonl", self.worklist.digest, self.session);
        if !self.writers.contains_key(&by) {
            let (writer, file) = LabelWriter::open(&self.folder.join(&name), &self.worklist.digest)?;
            self.files.files.insert(name.clone(), file);
            self.writers.insert(by.clone(), writer);
        }
        let (writer, file) = (self.writers.get_mut(&by), self.files.files.get_mut(&name));
        let (Some(writer), Some(file)) = (writer, file) else { bail!("write a label: {name} is gone") };
        writer.write(file, &entry)?;
        self.clients.extend(entry.client().map(str::to_owned));
        match entry {
            LabelEntry::Label(label) if self.worklist.takes(&label) => self.labels.add(label),
            LabelEntry::Label(_) | LabelEntry::Close(_) | LabelEntry::Adopt(_) => {}
            LabelEntry::Correction(_) | LabelEntry::Withdrawal(_) => self.labels = self.files.labels(&self.worklist),
        }
        Ok(())
    }
}

/// The most bytes of a client id.
const MOST_CLIENT: usize = 100;

/// Whether a name can be part of the name of a file, and tells nothing that a pseudonym does not.
pub fn is_pseudonym(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.';
    !name.is_empty() && !name.starts_with('.') && name.chars().count() <= 40 && name.chars().all(is_letter)
}

/// The one writer of a file: it holds a lock while it lives.
struct LabelWriter {
    path: PathBuf,
    handle: File,
}

impl LabelWriter {
    fn open(path: &Path, worklist: &str) -> Result<(LabelWriter, LabelFile)> {
        let at = || format!("open {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(at)?;
        }
        let handle = File::options().create(true).append(true).read(true).open(path).with_context(at)?;
        if flock(&handle, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("{}: another process writes it; take another session", at());
        }
        let bytes = files::read_user(path, u64::MAX).with_context(at)?;
        let file = chain::read(&bytes, worklist)
            .map_err(|fault| anyhow::anyhow!("read {}: line {}: {}", path.display(), fault.line, fault.reason))?;
        if let Some(parent) = path.parent() {
            File::open(parent).and_then(|folder| folder.sync_all()).with_context(at)?;
        }
        Ok((LabelWriter { path: path.to_owned(), handle }, file))
    }

    /// Writes a line and waits until it is on the disk. Bytes of a line that was cut off are ended first.
    fn write(&mut self, file: &mut LabelFile, entry: &LabelEntry) -> Result<()> {
        let line = chain::line(&file.last, entry)?;
        if line.len() > chain::MOST {
            bail!("write a label: it takes {} bytes, at most {} are kept", line.len(), chain::MOST);
        }
        let mut bytes = if file.has_open_end { b"\n".to_vec() } else { Vec::new() };
        bytes.extend(&line);
        bytes.push(b'\n');
        let written = self.handle.write_all(&bytes).and_then(|()| self.handle.sync_data());
        if let Err(error) = written {
            // A part of it may be there.
            let length = self.handle.metadata().map_or(file.length, |metadata| metadata.len());
            file.has_open_end |= length != file.length;
            file.length = length;
            return Err(error).with_context(|| format!("write {}", self.path.display()));
        }
        let hash = chain::hash(&line);
        file.last.clone_from(&hash);
        file.lines.push(chain::ChainLine { hash, entry: entry.clone() });
        file.length += bytes.len() as u64;
        file.has_open_end = false;
        Ok(())
    }
}
