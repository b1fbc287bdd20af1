//! Labelling in a terminal, for a person on ssh: the questions of the page, one at a time, by the same keys. A choice counts when
//! it is on the disk; one that could not be written is chosen again.

mod draft;
mod editor;
mod screen;
mod seat;
mod view;

use super::label::{self, LabelPlace};
use super::refusal::refused;
use super::terminal;
use crate::chapter::words::Language;
use crate::chapter::words::labelling as words;
use anyhow::{Context, Result};
use console::Term;
use screen::ScreenSize;
use seat::{Seat, SeatWish};
use std::io::{ErrorKind, IsTerminal};

/// Asks one person until they leave.
///
/// # Errors
/// As [`label::open`]; or there is no terminal.
pub fn ask(place: &LabelPlace, stage: &str, person: &str, language: Language) -> Result<u8> {
    label::check_person(person)?;
    let terminal = Term::stdout();
    if !terminal.is_term() || !std::io::stdin().is_terminal() {
        return Err(refused("`--terminal` asks at a terminal, and there is none: `--json` is for programs".to_owned()));
    }
    let (book, _) = label::open(place, stage, &label::session())?;
    let mut seat = Seat::new(book, stage, person, language)?;
    // What was typed is known by every later line; the screen is drawn anew.
    loop {
        let (rows, columns) = terminal.size();
        let size = ScreenSize { rows: rows.into(), columns: columns.into() };
        let shown = screen::fitted(&view::text(&seat, size.columns), size, seat.offset);
        (seat.offset, seat.seen) = (shown.offset, shown.seen);
        terminal
            .write_str(&screen::drawn(&shown.lines, terminal::stdout_has_color()))
            .context("write to the terminal")?;
        terminal.flush().context("write to the terminal")?;
        let key = match terminal.read_key() {
            Ok(key) => key,
            // The line was cut off: everything that was chosen is on the disk.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::Interrupted) => break,
            Err(error) => return Err(error).context("read a key"),
        };
        match seat.press(&key)? {
            SeatWish::Key => {}
            SeatWish::Edit(text) => seat.edited(editor::edit(&text)),
            SeatWish::Leave => break,
        }
    }
    let labels = seat.made().to_string();
    terminal::say(&format!("\n{}\n", words::LEFT_SAYS.fill(language, &[("labels", &labels)])))?;
    Ok(0)
}
