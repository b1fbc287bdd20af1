//! The labels of one worklist while people label: what is shown next, what is written, how far it has come. A label is
//! on the disk before it is acknowledged.

use super::chain::ChainLine;
use super::folder::{Growth, LabelFolder};
use super::writer::{LabelWriter, UnfitLabel};
use crate::labels;
use anyhow::{Context, Result, bail};
use stages::people::interval::labels_needed;
use stages::people::label::{Correction, EffectiveLabels, Freeze, Judgement, Label, LabelEntry, Withdrawal};
use stages::people::measure::People;
use stages::people::person::{PersonCount, people};
use stages::people::progress::LabelCount;
use stages::people::sitting::{Sitting, Task};
use stages::people::tally::LabelTally;
use stages::people::worklist::Worklist;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The labels of a worklist, as one process reads and writes them.
pub struct LabelBook {
    folder: PathBuf,
    session: String,
    pub worklist: Worklist,
    files: LabelFolder,
    /// All labels of the worklist, those after the close included.
    labels: EffectiveLabels,
    tally: LabelTally,
    clients: HashSet<String>,
    /// Client ids of labels that were corrected or withdrawn, by whomever.
    amended: HashSet<String>,
    /// Whether files could not be read, so that lines may be there that were not taken in.
    is_behind: bool,
    writers: BTreeMap<String, LabelWriter>,
}

/// The judgement of a person on a task, as it comes in.
pub struct SaidLabel {
    pub by: String,
    /// Names the answers by the places in which they were shown.
    pub judgement: Judgement,
    pub seconds: f64,
    /// The name that the sender gave it: the same again is no other label.
    pub client: String,
    pub note: Option<String>,
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
    /// Prompts whose comparisons fall apart.
    pub disconnected: usize,
    /// Sentences about labels that were made by other criteria sheets.
    pub of_other_sheets: Vec<String>,
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
        let mut book = LabelBook {
            folder: folder.to_owned(),
            session: session.to_owned(),
            worklist,
            files: LabelFolder::read(folder)?,
            labels: EffectiveLabels::default(),
            tally: LabelTally::default(),
            clients: HashSet::new(),
            amended: HashSet::new(),
            is_behind: false,
            writers: BTreeMap::new(),
        };
        book.read_anew();
        Ok(book)
    }

    /// Reads what other processes have written since.
    ///
    /// # Errors
    /// As [`LabelBook::open`].
    pub fn refresh(&mut self) -> Result<()> {
        let was_behind = std::mem::replace(&mut self.is_behind, true);
        let growth = self.files.refresh(&self.folder)?;
        self.is_behind = false;
        match growth {
            Growth::Lines(grown) if !was_behind => {
                let new = grown.iter().flat_map(|(name, known)| &self.files.files[name].lines[*known..]);
                let new: Vec<LabelEntry> = new.map(|line| line.entry.clone()).collect();
                new.into_iter().for_each(|entry| self.take_in(entry));
            }
            Growth::Lines(_) | Growth::Anew => self.read_anew(),
        }
        Ok(())
    }

    fn read_anew(&mut self) {
        self.labels = self.files.labels(&self.worklist);
        self.tally = LabelTally::of(&self.worklist, &self.labels);
        self.clients = self.files.lines().filter_map(|line| line.entry.client().map(str::to_owned)).collect();
        self.amended = self.files.lines().filter_map(|line| line.entry.amends().map(str::to_owned)).collect();
    }

    /// Takes in an entry of a line that is in the files.
    fn take_in(&mut self, entry: LabelEntry) {
        let is_known = entry.client().is_some_and(|client| !self.clients.insert(client.to_owned()));
        match entry {
            LabelEntry::Label(label) if is_known || self.amended.contains(&label.client) => self.fold(&label.item),
            LabelEntry::Label(label) if self.worklist.takes(&label) => {
                let old = self.labels.of(&label.item, &label.by, label.round).cloned();
                self.labels.add(label.clone());
                let new = self.labels.of(&label.item, &label.by, label.round);
                self.tally.exchange(&self.worklist, &self.labels, old.as_ref(), new);
            }
            LabelEntry::Correction(Correction { of, .. }) | LabelEntry::Withdrawal(Withdrawal { of, .. }) => {
                let of_label = |line: &ChainLine| match &line.entry {
                    LabelEntry::Label(label) if label.client == of => Some(label.item.clone()),
                    _ => None,
                };
                let items: BTreeSet<String> = self.files.lines().filter_map(of_label).collect();
                items.iter().for_each(|item| self.fold(item));
                self.amended.insert(of);
            }
            LabelEntry::Label(_) | LabelEntry::Close(_) | LabelEntry::Adopt(_) => {}
        }
    }

    /// Makes the labels of one item anew from all lines.
    fn fold(&mut self, item: &str) {
        let new = self.files.labels_of(item, &self.worklist);
        for old in self.labels.remove_item(item) {
            self.tally.exchange(&self.worklist, &self.labels, Some(&old), None);
        }
        new.iter().for_each(|label| self.labels.add(label.clone()));
        new.iter().for_each(|label| self.tally.exchange(&self.worklist, &self.labels, None, Some(label)));
    }

    /// The part of the names of its files that tells this process from others.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The next tasks of a person, at most `count`. Items in `taken` are being shown to others.
    pub fn next_tasks(&self, by: &str, taken: &BTreeSet<usize>, count: usize) -> Vec<Task> {
        let mut sitting = Sitting::new(&self.worklist, &self.tally, by, taken);
        std::iter::from_fn(|| sitting.next_task()).take(count).collect()
    }

    /// All labels of the worklist, those after the close included.
    pub fn labels(&self) -> &EffectiveLabels {
        &self.labels
    }

    /// The labels that count: the frozen ones once enough were there, until then all.
    ///
    /// # Errors
    /// Labels that were frozen are gone.
    pub fn counted(&self) -> Result<EffectiveLabels> {
        Ok(self.files.standing(&self.worklist)?.effective)
    }

    /// Labels that are there, and labels that are needed.
    pub fn count(&self) -> LabelCount {
        self.tally.progress(&self.worklist)
    }

    /// The number of items that a person has labelled. What is hidden among them is not counted: it would be known by that.
    pub fn count_of(&self, by: &str) -> usize {
        let is_open = |task: &&Task| task.round == 0 && !self.worklist.items[task.item].is_gold;
        self.tally.own(by).filter(is_open).count()
    }

    /// The state of the worklist, for which all labels are looked at.
    ///
    /// # Errors
    /// Labels that were frozen are gone.
    pub fn progress(&self) -> Result<LabelProgress> {
        let standing = self.files.standing(&self.worklist)?;
        let count = self.count();
        let people = people(&self.worklist, &self.labels);
        let disconnected =
            People::of(&self.worklist, &self.labels).disconnected().map_or(0, |prompts| prompts as usize);
        let of_other_sheets = self.files.notes_of_sheets(&self.worklist);
        let (is_closed, later) = (standing.is_closed, standing.later);
        Ok(LabelProgress { count, people, is_closed, later, disconnected, of_other_sheets })
    }

    /// The share of a metric so far, and how many more items would show, if people go on like that, that it is above a bound.
    pub fn outlook(&self, metric: &str, bound: f64) -> Option<Outlook> {
        // It is no share, and moves otherwise.
        if metric == "alpha" {
            return None;
        }
        let said = People::of(&self.worklist, &self.labels).said(metric);
        let items = said.len();
        let share = said.iter().map(|(_, value)| value).sum::<f64>() / items as f64;
        let more = labels_needed(bound, share).map(|needed| needed.saturating_sub(items));
        (items > 0).then_some(Outlook { share, items, more })
    }

    /// The ranks that are suggested to a person after their choice, in the order in which the answers were shown; also of gold and
    /// of what is shown once more, which would else be known by it.
    pub fn suggestion(&self, task: &Task) -> Option<Vec<f64>> {
        let ranks = self.worklist.items[task.item].suggestion.as_ref()?;
        task.order.iter().map(|place| ranks.get(*place).copied()).collect()
    }

    /// The label of a task: what a person said of the answers in the order in which they were shown. A task whose order is
    /// empty was shown by nobody here, and its judgement is already that of the item.
    pub fn label(&self, task: Task, said: SaidLabel) -> Label {
        let (Task { item, round, order }, SaidLabel { by, judgement, seconds, client, note }) = (task, said);
        Label {
            item: self.worklist.items[item].digest.clone(),
            criteria: self.worklist.criteria(),
            by,
            round,
            judgement: judgement.of_shown(&order),
            order,
            before_hint: None,
            seconds,
            at: labels::now(),
            client,
            note,
        }
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

    fn check(&self, entry: &LabelEntry) -> Result<(), UnfitLabel> {
        let sheet = self.worklist.asked.criteria.as_ref();
        let client = entry.client().unwrap_or_default();
        if client.is_empty() || client.len() > MOST_CLIENT {
            return Err(UnfitLabel(format!(
                "write a label: its client id is empty or longer than {MOST_CLIENT} bytes"
            )));
        }
        let (of, judgement) = match entry {
            LabelEntry::Label(label) => {
                let Some(place) = self.worklist.place(&label.item) else {
                    return Err(UnfitLabel("write a label: its item is not in the worklist".to_owned()));
                };
                let mut order = label.order.clone();
                order.sort_unstable();
                let is_imported = order.is_empty();
                if !is_imported && !order.iter().copied().eq(0..self.worklist.items[place].answers.len()) {
                    return Err(UnfitLabel("write a label: the order shown is none of its answers".to_owned()));
                }
                if !(label.seconds >= 0.0 && label.seconds.is_finite()) {
                    return Err(UnfitLabel(format!("write a label: {} seconds are no time", label.seconds)));
                }
                if label.criteria != self.worklist.criteria() {
                    return Err(UnfitLabel(
                        "write a label: it was made by another criteria sheet; load the page again".to_owned(),
                    ));
                }
                (None, Some((place, &label.judgement)))
            }
            LabelEntry::Correction(one) => (Some((&one.of, &one.by)), self.place_of(&one.of).zip(Some(&one.judgement))),
            LabelEntry::Withdrawal(one) => (Some((&one.of, &one.by)), None),
            LabelEntry::Close(_) | LabelEntry::Adopt(_) => {
                return Err(UnfitLabel("write a label: people close nothing".to_owned()));
            }
        };
        if let Some((of, by)) = of
            && !self.labels.iter().any(|label| label.client == *of && label.by == *by)
        {
            return Err(UnfitLabel(format!("write a label: `{by}` made none of the client id `{of}`")));
        }
        if let Some((place, judgement)) = judgement {
            let answers = self.worklist.items[place].answers.len();
            judgement.check(self.worklist.asked.form, answers, sheet).map_err(UnfitLabel)?;
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
            let message =
                format!("write a label: `{by}` is no name for a file: letters, digits, `_` and `.`, at most 40");
            return Err(UnfitLabel(message).into());
        }
        let name = format!("{}/{by}-{}.jsonl", self.worklist.digest, self.session);
        if self.writers.get(&by).is_some_and(|writer| !writer.is_in_place()) {
            self.writers.remove(&by);
            self.files.files.remove(&name);
        }
        if !self.writers.contains_key(&by) {
            let path = self.folder.join(&name);
            let (writer, file) = LabelWriter::open(&path, &self.worklist.digest)?;
            let inode = writer.handle.metadata().with_context(|| format!("open {}", path.display()))?.ino();
            let known = self.files.files.get(&name).map_or(0, |known| known.lines.len());
            let has_more = file.lines.len() != known;
            self.files.insert(name.clone(), file, inode);
            self.writers.insert(by.clone(), writer);
            if has_more {
                self.read_anew();
            }
        }
        let (writer, file) = (self.writers.get_mut(&by), self.files.files.get_mut(&name));
        let (Some(writer), Some(file)) = (writer, file) else { bail!("write a label: {name} is gone") };
        if let Err(error) = writer.write(file, &entry) {
            // A part of it may be there: the file is read again before the next one.
            self.writers.remove(&by);
            self.files.files.remove(&name);
            return Err(error);
        }
        self.take_in(entry);
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

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dialogue::Prompt;
    use stages::people::form::Form;
    use stages::people::label::{Judgement, Label, PairChoice};
    use stages::people::worklist::{Questionnaire, WorkItem};

    fn worklist() -> Worklist {
        let item = |number: usize| {
            let (prompt, answers) = (Prompt::Text(format!("p{number}")), vec!["a".to_owned(), "b".to_owned()]);
            WorkItem { id: number.to_string(), ..WorkItem::of(prompt, answers) }
        };
        let form = Form::Pairs;
        let asked = Questionnaire {
            form,
            items: 3,
            overlapped: 0,
            gold_share: 0.0,
            repeats: 0.0,
            seed: 1,
            is_active: false,
            criteria: None,
        };
        Worklist::new("w1".to_owned(), asked, (0..3).map(item).collect())
    }

    fn label(book: &LabelBook, item: usize, client: &str) -> LabelEntry {
        LabelEntry::Label(Label {
            item: book.worklist.items[item].digest.clone(),
            criteria: String::new(),
            by: "m".to_owned(),
            round: 0,
            order: vec![0, 1],
            judgement: Judgement::Pair(PairChoice::First),
            before_hint: None,
            seconds: 2.0,
            at: format!("2026-11-30T03:00:0{item}.000Z"),
            client: client.to_owned(),
            note: None,
        })
    }

    fn open(folder: &Path, session: &str) -> LabelBook {
        LabelBook::open(folder, worklist(), session).unwrap()
    }

    fn only_choice(book: &LabelBook) -> Option<Judgement> {
        book.labels().iter().next().map(|label| label.judgement.clone())
    }

    #[test]
    fn what_is_sent_again_is_not_written_again_even_to_another_process() {
        let place = tempfile::tempdir().unwrap();
        let mut book = open(place.path(), "s1");
        let sent = label(&book, 0, "c1");
        assert_eq!(book.write(sent.clone()).unwrap(), Receipt::Written);
        assert_eq!(book.write(sent.clone()).unwrap(), Receipt::Known);
        // The server died, and the page sends what was not acknowledged to the next one.
        drop(book);
        let mut next = open(place.path(), "s2");
        assert_eq!(next.write(sent).unwrap(), Receipt::Known);
        assert_eq!((next.labels().len(), next.progress().unwrap().count.done), (1, 1));
    }

    #[test]
    fn a_line_that_was_cut_off_costs_no_label_before_or_after_it() {
        let place = tempfile::tempdir().unwrap();
        let mut book = open(place.path(), "s1");
        book.write(label(&book, 0, "c1")).unwrap();
        let path = place.path().join("w1/m-s1.jsonl");
        let whole = std::fs::read(&path).unwrap().len();
        book.write(label(&book, 1, "c2")).unwrap();
        drop(book);
        let both = std::fs::read(&path).unwrap();
        for length in [1, (both.len() - whole) / 2, both.len() - whole - 1] {
            std::fs::write(&path, &both[..whole + length]).unwrap();
            let mut again = open(place.path(), "s1");
            assert_eq!(again.labels().len(), 1);
            again.write(label(&again, 1, "c2")).unwrap();
            again.write(label(&again, 2, "c3")).unwrap();
            let read = LabelFolder::read(place.path()).unwrap();
            assert_eq!(read.labels(&again.worklist).len(), 3);
            assert_eq!(read.notes(), ["w1/m-s1.jsonl: line 2 was cut off and is skipped"]);
        }
    }

    #[test]
    fn a_file_has_one_writer() {
        let place = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (open(place.path(), "s1"), open(place.path(), "s1"));
        one.write(label(&one, 0, "c1")).unwrap();
        let refused = format!("{:#}", other.write(label(&other, 1, "c2")).unwrap_err());
        assert!(refused.contains("another process writes it"), "{refused}");
        drop(one);
        other.refresh().unwrap();
        other.write(label(&other, 1, "c2")).unwrap();
        assert_eq!(LabelFolder::read(place.path()).unwrap().labels(&worklist()).len(), 2);
    }

    #[test]
    fn a_correction_and_a_withdrawal_are_later_lines_of_the_same_person() {
        let place = tempfile::tempdir().unwrap();
        let mut book = open(place.path(), "s1");
        book.write(label(&book, 0, "c1")).unwrap();
        let text = str::to_owned;
        let correction = |by: &str, client: &str| {
            LabelEntry::Correction(Correction {
                of: text("c1"),
                by: text(by),
                judgement: Judgement::Pair(PairChoice::Tie),
                after_hint: false,
                at: text("2026-11-30T03:01:00.000Z"),
                client: text(client),
                note: None,
            })
        };
        let refused = format!("{:#}", book.write(correction("n", "c2")).unwrap_err());
        assert_eq!(refused, "write a label: `n` made none of the client id `c1`");
        assert_eq!(book.write(correction("m", "c2")).unwrap(), Receipt::Written);
        assert_eq!(only_choice(&book), Some(Judgement::Pair(PairChoice::Tie)));
        let (of, by, at) = (text("c1"), text("m"), text("2026-11-30T03:02:00.000Z"));
        book.write(LabelEntry::Withdrawal(Withdrawal { of, by, at, client: text("c3") })).unwrap();
        assert_eq!((only_choice(&book), book.next_tasks("m", &BTreeSet::new(), 9).len()), (None, 3));
    }

    #[test]
    fn what_says_nothing_of_the_worklist_is_not_written() {
        let place = tempfile::tempdir().unwrap();
        let mut book = open(place.path(), "s1");
        let LabelEntry::Label(good) = label(&book, 0, "c1") else { unreachable!() };
        let odd = [
            Label { item: "another".to_owned(), ..good.clone() },
            Label { order: vec![0, 0], ..good.clone() },
            Label { seconds: f64::NAN, ..good.clone() },
            Label { criteria: "old".to_owned(), ..good.clone() },
            Label { judgement: Judgement::Ranking(vec![1, 2]), ..good.clone() },
            Label { by: "../m".to_owned(), ..good.clone() },
            Label { client: String::new(), ..good },
        ];
        for label in odd {
            assert!(book.write(LabelEntry::Label(label.clone())).is_err(), "{label:?}");
        }
        assert!(!place.path().join("w1").exists());
    }
}
