//! The labels of worklists: what people said, as a file that an action can read.

use super::Run;
use crate::labels;
use crate::labels::book::LabelBook;
use crate::labels::folder::LabelFolder;
use crate::schedule::LabelsThere;
use anyhow::{Context, Result};
use cache::{Content, Store};
use stages::people::label::EffectiveLabels;
use stages::people::progress::LabelCount;
use stages::people::tally::LabelTally;
use stages::people::worklist::{ITEMS, QUESTIONNAIRE, Worklist};
use std::io::{BufReader, Write};

/// Reads a worklist from the store.
///
/// # Errors
/// It is not there, or is none.
pub fn read_worklist(store: &Store, worklist: &Content) -> Result<Worklist> {
    let (questionnaire, items) = (store.read(worklist, QUESTIONNAIRE)?, store.open_file(worklist, ITEMS)?);
    let digest = worklist.to_string();
    let digest = digest.rsplit(':').next().unwrap_or_default();
    Worklist::read(digest.to_owned(), &questionnaire, BufReader::new(items))
}

impl Run<'_> {
    /// The labels of a worklist that count; `None` as [`Run::told`] says. Where they have become enough, a run closes them.
    pub fn labels(&mut self, worklist: &Content) -> Result<Option<Result<LabelsThere, String>>> {
        let found = self.find_labels(worklist);
        self.told(found)
    }

    fn find_labels(&self, worklist: &Content) -> Result<LabelsThere> {
        let worklist = read_worklist(self.store, worklist)?;
        let folder = LabelFolder::read(&self.options.labels)?;
        folder.notes().iter().for_each(|note| tracing::warn!("{}: {note}", self.options.labels.display()));
        folder.notes_of_sheets(&worklist).iter().for_each(|note| tracing::warn!("{note}"));
        let standing = folder.standing(&worklist)?;
        let LabelCount { done, needed } = LabelTally::of(&worklist, &standing.effective).progress(&worklist);
        let mut effective = standing.effective;
        if let Some(session) = self.session.as_ref().filter(|_| done >= needed && !standing.is_closed) {
            let name = session.journal.run().replace(['-', ':'], "_");
            let mut book = LabelBook::open(&self.options.labels, worklist, &name)?;
            book.close("run", labels::now())?;
            effective = book.labels().clone();
        }
        let set = self.file_of(&effective)?;
        Ok(LabelsThere { set, done, needed, later: standing.later })
    }

    /// The labels as a file, which a run puts into the store.
    fn file_of(&self, labels: &EffectiveLabels) -> Result<Content> {
        let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().context("write the labels")?;
        file.write_all(&labels.lines()).and_then(|()| file.flush()).context("write the labels")?;
        match self.session {
            Some(_) => self.store.capture(file.path()),
            None => self.store.identify(file.path()),
        }
    }
}
