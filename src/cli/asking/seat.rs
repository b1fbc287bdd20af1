//! A person at a terminal: the question they have, what they chose of it so far, and what they have said. Everything that they say
//! is on the disk before the next question comes.

use super::draft::{FormDraft, KeyEffect, narrow};
use crate::chapter::words::Language;
use crate::chapter::words::labelling as words;
use crate::labels;
use crate::labels::book::{LabelBook, SaidLabel};
use anyhow::Result;
use console::Key;
use stages::people::label::{Correction, Judgement, LabelEntry, Withdrawal};
use stages::people::sitting::Task;
use stages::people::worklist::WorkItem;
use std::collections::BTreeSet;
use std::time::Instant;

pub struct Seat {
    pub book: LabelBook,
    pub stage: String,
    pub by: String,
    pub language: Language,
    /// `None` when nothing is left for them.
    task: Option<Task>,
    since: Instant,
    pub draft: FormDraft,
    /// The choice after which a suggestion is shown.
    pub second: Option<SuggestedChoice>,
    pub note: Option<String>,
    pub view: SeatView,
    /// The thing that became of the last key.
    pub remark: String,
    history: Vec<MadeLabel>,
    /// The number of lines that were tried to write, by which each has its own client id.
    tried: usize,
    /// The first line that the screen shows of what is longer than it, and the number of lines that it shows.
    pub offset: usize,
    pub seen: usize,
}

/// The thing that the screen shows.
#[derive(Clone, Debug, PartialEq)]
pub enum SeatView {
    Question,
    Help,
    /// A note that is being typed.
    Note(String),
}

/// A choice that is on the disk, and the ranks that are suggested, in the order that was shown.
#[derive(Clone, Debug, PartialEq)]
pub struct SuggestedChoice {
    client: String,
    judgement: Judgement,
    pub ranks: Vec<f64>,
}

/// A label of this session, which can be undone.
struct MadeLabel {
    task: Task,
    client: String,
}

/// The thing that a person wants after a key.
#[derive(Clone, Debug, PartialEq)]
pub enum SeatWish {
    Key,
    /// This text in their editor.
    Edit(String),
    Leave,
}

impl Seat {
    pub fn new(book: LabelBook, stage: &str, by: &str, language: Language) -> Result<Seat> {
        let draft = FormDraft::new(book.worklist.asked.form, 0, None);
        let mut seat = Seat {
            book,
            stage: stage.to_owned(),
            by: by.to_owned(),
            language,
            task: None,
            since: Instant::now(),
            draft,
            second: None,
            note: None,
            view: SeatView::Question,
            remark: String::new(),
            history: Vec::new(),
            tried: 0,
            offset: 0,
            seen: 1,
        };
        seat.go_on()?;
        Ok(seat)
    }

    /// The number of labels of this session.
    pub fn made(&self) -> usize {
        self.history.len()
    }

    /// The item that is asked about, and the order in which its answers are shown.
    pub fn shown(&self) -> Option<(&WorkItem, &[usize])> {
        let task = self.task.as_ref()?;
        Some((&self.book.worklist.items[task.item], &task.order))
    }

    /// Goes on to the next question.
    fn go_on(&mut self) -> Result<()> {
        self.book.refresh()?;
        let task = self.book.next_tasks(&self.by, &BTreeSet::new(), 1).pop();
        self.take_up(task);
        Ok(())
    }

    fn take_up(&mut self, task: Option<Task>) {
        let asked = &self.book.worklist.asked;
        let answers = task.as_ref().map_or(0, |task| task.order.len());
        self.draft = FormDraft::new(asked.form, answers, asked.criteria.as_ref());
        (self.task, self.since) = (task, Instant::now());
        (self.second, self.note, self.offset) = (None, None, 0);
    }

    /// # Errors
    /// A label file that others write is damaged.
    pub fn press(&mut self, key: &Key) -> Result<SeatWish> {
        if let SeatView::Note(typed) = &mut self.view {
            match key {
                Key::Char(letter) if !letter.is_control() => typed.push(*letter),
                Key::Backspace => drop(typed.pop()),
                Key::Enter => {
                    self.note = Some(typed.trim().to_owned()).filter(|note| !note.is_empty());
                    self.view = SeatView::Question;
                }
                Key::Escape => self.view = SeatView::Question,
                _ => {}
            }
            return Ok(SeatWish::Key);
        }
        let key = narrow(key);
        self.remark.clear();
        match key {
            Key::PageDown | Key::Char(' ') => self.offset += self.seen,
            Key::PageUp => self.offset = self.offset.saturating_sub(self.seen),
            Key::Char('q') => return Ok(SeatWish::Leave),
            _ if self.view == SeatView::Help => (self.view, self.offset) = (SeatView::Question, 0),
            Key::Char('?') => (self.view, self.offset) = (SeatView::Help, 0),
            Key::Char('u') => self.undo(),
            _ if self.task.is_none() => {}
            Key::Char('n') => self.view = SeatView::Note(self.note.clone().unwrap_or_default()),
            // What was suggested is kept or changed; the item was judged already.
            Key::Char('s') if self.second.is_none() => self.judge(Judgement::Skip)?,
            Key::Enter if self.second.is_some() && self.draft.is_untouched() => {
                let kept = self.second.as_ref().map(|second| second.judgement.clone());
                self.judge_again(kept)?;
            }
            key => match self.draft.press(&key) {
                KeyEffect::Foreign | KeyEffect::Changed => {}
                KeyEffect::Judged(judgement) if self.second.is_some() => self.judge_again(Some(judgement))?,
                KeyEffect::Judged(judgement) => self.judge(judgement)?,
                KeyEffect::Edits(answer) => {
                    let text = self.text_to_edit(answer);
                    return Ok(SeatWish::Edit(text));
                }
            },
        }
        Ok(SeatWish::Key)
    }

    /// The text of an answer, or what was made of it.
    fn text_to_edit(&mut self, answer: usize) -> String {
        let FormDraft::Edit(draft) = &mut self.draft else { return String::new() };
        let made = draft.text.take().filter(|_| draft.answer == answer);
        draft.answer = answer;
        let original = self.shown().map(|(item, order)| item.answers[order[answer]].clone());
        made.or(original).unwrap_or_default()
    }

    /// Takes what the editor left.
    pub fn edited(&mut self, edited: Result<String>) {
        let FormDraft::Edit(draft) = &mut self.draft else { return };
        match edited {
            Ok(text) => draft.text = Some(text).filter(|text| !text.trim().is_empty()),
            Err(error) => self.remark = format!("{error:#}"),
        }
    }

    fn client(&mut self) -> String {
        self.tried += 1;
        format!("{}-{}-{}", self.by, self.book.session(), self.tried)
    }

    fn judge(&mut self, judgement: Judgement) -> Result<()> {
        let Some(task) = self.task.clone() else { return Ok(()) };
        let (client, is_skip) = (self.client(), judgement == Judgement::Skip);
        let said = SaidLabel {
            by: self.by.clone(),
            judgement: judgement.clone(),
            seconds: self.since.elapsed().as_secs_f64(),
            client: client.clone(),
            note: self.note.clone(),
        };
        let label = self.book.label(task.clone(), said);
        if !self.write(LabelEntry::Label(label)) {
            return Ok(());
        }
        let suggestion = self.book.suggestion(&task).filter(|_| !is_skip);
        self.history.push(MadeLabel { task, client: client.clone() });
        match suggestion {
            None => self.go_on()?,
            Some(ranks) => {
                let asked = &self.book.worklist.asked;
                let answers = ranks.len();
                self.draft = FormDraft::new(asked.form, answers, asked.criteria.as_ref());
                (self.second, self.offset) = (Some(SuggestedChoice { client, judgement, ranks }), usize::MAX / 2);
            }
        }
        Ok(())
    }

    /// Takes what they say once they have seen the suggestion: the same, or another judgement. Both are kept.
    fn judge_again(&mut self, judgement: Option<Judgement>) -> Result<()> {
        let (Some(task), Some(judgement), Some(second)) = (self.task.clone(), judgement, self.second.clone()) else {
            return Ok(());
        };
        let correction = Correction {
            of: second.client,
            by: self.by.clone(),
            judgement: judgement.of_shown(&task.order),
            after_hint: true,
            at: labels::now(),
            client: self.client(),
            note: self.note.clone(),
        };
        if self.write(LabelEntry::Correction(correction)) { self.go_on() } else { Ok(()) }
    }

    /// Takes the last label of this session back, and asks it again.
    fn undo(&mut self) {
        let Some(MadeLabel { task, client: of }) = self.history.pop() else { return };
        let (by, client) = (self.by.clone(), self.client());
        let withdrawal = Withdrawal { of: of.clone(), by, at: labels::now(), client };
        if self.write(LabelEntry::Withdrawal(withdrawal)) {
            self.take_up(Some(task));
        } else {
            self.history.push(MadeLabel { task, client: of });
        }
    }

    /// Whether an entry is on the disk; else the screen says why it is not, and the question stays.
    fn write(&mut self, entry: LabelEntry) -> bool {
        let written = self.book.refresh().and_then(|()| self.book.write(entry));
        self.remark = match &written {
            Ok(_) => words::SAVED.say(self.language).to_owned(),
            Err(error) => format!("{} ({error:#})", words::NOT_WRITTEN.say(self.language)),
        };
        written.is_ok()
    }
}
