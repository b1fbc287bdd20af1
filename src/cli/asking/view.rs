//! The question of a person as text: what the screen shows, in the words of the page.

use super::draft::{EditDraft, FormDraft, RankingDraft, RatingsDraft};
use super::screen::{ScreenText, beside, wrapped};
use super::seat::{Seat, SeatView};
use crate::chapter::labelling::{question, said};
use crate::chapter::words::Language;
use crate::chapter::words::labelling as words;
use crate::report::visible::visible;
use stages::people::criteria::Sheet;
use stages::people::form::Form;

/// The narrowest screen on which two answers stand side by side.
const BESIDE: usize = 60;

pub fn text(seat: &Seat, columns: usize) -> ScreenText {
    let language = seat.language;
    let wrap = |text: &str| wrapped(&visible(text), columns);
    let count = seat.book.count();
    let [done, needed, own] = [count.done, count.needed, seat.book.count_of(&seat.by)].map(|number| number.to_string());
    let count = words::COUNT.fill(language, &[("done", &done), ("needed", &needed), ("own", &own)]);
    let mut head = wrap(&format!("{}: {count}", seat.stage));
    let body = match (&seat.view, seat.shown()) {
        (SeatView::Help, _) => help(seat, columns),
        (_, None) => wrap(words::DONE.say(language)),
        (_, Some((item, order))) => {
            head.extend(wrap(question(&seat.book.worklist.asked, language)));
            let answers: Vec<&str> = order.iter().map(|place| item.answers[*place].as_str()).collect();
            [
                wrap(&item.prompt.to_string()),
                vec![String::new()],
                shown_answers(seat, &answers, columns),
                chosen(seat, columns),
            ]
            .concat()
        }
    };
    head.push("─".repeat(columns.min(80)));
    let mut foot = vec!["─".repeat(columns.min(80))];
    match (&seat.view, &seat.note) {
        (SeatView::Note(typed), _) => foot.extend(wrap(&format!("{}: {typed}_", words::NOTE.say(language)))),
        (SeatView::Question, Some(note)) => foot.extend(wrap(&format!("{}: {note}", words::NOTE.say(language)))),
        _ => {}
    }
    if seat.shown().is_some() {
        foot.extend(wrap(keys(seat.book.worklist.asked.form).say(language)));
    }
    foot.extend(wrap(words::KEYS_OF_TERMINAL.say(language)));
    foot.extend(if seat.remark.is_empty() { Vec::new() } else { wrap(&seat.remark) });
    ScreenText { head, body, foot }
}

fn keys(form: Form) -> words::Phrase {
    match form {
        Form::Pairs => words::KEYS_OF_PAIRS,
        Form::Ranking => words::KEYS_OF_RANKING,
        Form::Ratings => words::KEYS_OF_RATINGS,
        Form::Edit => words::KEYS_OF_EDIT,
    }
}

fn letter(place: usize) -> char {
    char::from(b'A' + (place % 26) as u8)
}

/// The name of an answer, with the digit that means it.
fn name(place: usize, language: Language) -> String {
    let letter = letter(place).to_string();
    format!("[{}] {}", place + 1, words::ANSWER.fill(language, &[("letter", &letter)]))
}

fn shown_answers(seat: &Seat, answers: &[&str], columns: usize) -> Vec<String> {
    let titled = |place: usize| format!("{}\n{}", name(place, seat.language), visible(answers[place]));
    if seat.book.worklist.asked.form == Form::Pairs && answers.len() == 2 && columns >= BESIDE {
        return beside(&titled(0), &titled(1), columns);
    }
    let mut lines = Vec::new();
    for place in 0..answers.len() {
        lines.extend(wrapped(&titled(place), columns));
        lines.push(String::new());
    }
    lines
}

/// The choice so far, and what a model suggests after it.
fn chosen(seat: &Seat, columns: usize) -> Vec<String> {
    let language = seat.language;
    let mut lines = match &seat.draft {
        FormDraft::Pairs => Vec::new(),
        FormDraft::Ranking(draft) => vec![ranked(draft)],
        FormDraft::Ratings(draft) => rated(draft, seat.book.worklist.asked.criteria.as_ref(), language, columns),
        FormDraft::Edit(EditDraft { answer, text: Some(text), .. }) => {
            wrapped(&format!("{} →\n{}", letter(*answer), visible(text)), columns)
        }
        FormDraft::Edit(_) => Vec::new(),
    };
    if let Some(second) = &seat.second {
        let order = suggested(&second.ranks);
        lines.push(String::new());
        lines.extend(wrapped(&words::SUGGESTED.fill(language, &[("order", &order)]), columns));
        lines.extend(wrapped(words::AS_YOURS.say(language), columns));
        lines.extend(wrapped(words::KEEP.say(language), columns));
    }
    lines
}

fn ranked(draft: &RankingDraft) -> String {
    let mut line = String::new();
    for (place, one) in draft.order.iter().enumerate() {
        line += if place == 0 {
            ""
        } else if one.is_tied {
            " = "
        } else {
            " > "
        };
        line.push(letter(one.answer));
    }
    line + if draft.has_tie { " = …" } else { "" }
}

fn suggested(ranks: &[f64]) -> String {
    let mut groups: Vec<f64> = ranks.to_vec();
    groups.sort_by(f64::total_cmp);
    groups.dedup();
    let group = |rank: &f64| {
        let tied = ranks.iter().enumerate().filter(|(_, own)| *own == rank);
        tied.map(|(place, _)| letter(place).to_string()).collect::<Vec<_>>().join(" = ")
    };
    groups.iter().map(group).collect::<Vec<_>>().join(" > ")
}

fn rated(draft: &RatingsDraft, sheet: Option<&Sheet>, language: Language, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, scale) in draft.scales.iter().enumerate() {
        let question =
            sheet.and_then(|sheet| sheet.criterion(&scale.name)).map(|known| said(&known.question, language));
        let title = format!("{} ({}–{})", question.unwrap_or(&scale.name), scale.low, scale.high);
        lines.extend(wrapped(&visible(&title), columns));
        let cell = |answer: usize| {
            let at = number * draft.answers + answer;
            let rating = draft.ratings[at].map_or("·".to_owned(), |rating| rating.to_string());
            let [open, close] = if at == draft.at { ["[", "]"] } else { [" ", " "] };
            format!("{}:{open}{rating}{close}", letter(answer))
        };
        lines.push(format!("  {}", (0..draft.answers).map(cell).collect::<Vec<_>>().join("  ")));
    }
    lines
}

fn help(seat: &Seat, columns: usize) -> Vec<String> {
    let language = seat.language;
    let mut lines = wrapped(words::KEYS.say(language), columns);
    let Some(sheet) = &seat.book.worklist.asked.criteria else { return lines };
    lines.extend([String::new(), words::CRITERIA.say(language).to_owned()]);
    for criterion in &sheet.criteria {
        lines.push(String::new());
        lines.extend(wrapped(&visible(said(&criterion.question, language)), columns));
        for (rating, anchor) in &criterion.anchors {
            let named = if language == Language::Japanese { &anchor.ja } else { &anchor.en };
            let (example, text) = (words::EXAMPLE.say(language), said(&anchor.example, language));
            lines.extend(wrapped(&visible(&format!("  {rating}: {named}\n     {example}: {text}")), columns));
        }
    }
    lines
}
