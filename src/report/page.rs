//! The look of the report: tables, numbers and durations. Knows nothing of events.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Table};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where text is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// In terminal cells; a Japanese character takes two.
    pub width: u16,
    pub has_color: bool,
}

impl Page {
    /// How many columns of `each` cells stand beside one of `first`; at least one does.
    pub fn columns(self, first: usize, each: usize) -> usize {
        (usize::from(self.width).saturating_sub(first) / each).max(1)
    }
}

/// What a cell says about what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Quiet,
    Good,
    Doubtful,
    Bad,
}

/// Terminal cells between two columns.
const GAP: u16 = 2;

/// A table with a ruled head.
pub fn table(page: Page, head: &[&str]) -> Table {
    let mut table = bare_table(page);
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─')));
    table.set_header(head.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// Columns without lines or a head.
pub fn bare_table(page: Page) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_width(page.width).set_content_arrangement(ContentArrangement::Dynamic);
    if page.has_color {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table
}

/// How wide the table is when no cell is broken.
pub fn natural_width(table: &Table) -> u16 {
    table.column_max_content_widths().iter().map(|width| width + GAP).sum()
}

/// Takes out the columns in which no row says anything, and closes the gaps between the others.
fn tidy(table: &mut Table) {
    for at in 0..table.column_count() {
        let is_empty = table.column_cells_iter(at).all(|cell| cell.is_none_or(|cell| cell.content().is_empty()));
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, GAP));
            if is_empty {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
    }
}

/// Numbers stand to the right.
pub fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Columns that are never broken over lines: names and numbers.
pub fn keep_whole(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Quiet => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::Green),
        Tone::Doubtful => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// Holds a name and its number together on one line of a cell, until [`print`] makes it a space again.
pub const TOGETHER: char = '\u{a0}';

/// The table as lines without spaces at their ends.
pub fn print(mut table: Table) -> String {
    tidy(&mut table);
    let mut text = table.trim_fmt().replace(TOGETHER, " ");
    text.push('\n');
    text
}

/// Folds text to lines of `width` terminal cells: Latin between words, Japanese anywhere but before a mark that closes
/// what stands before it.
pub fn fold_text(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for piece in pieces(text) {
        let glyphs = piece.trim_end();
        if used > 0 && used + glyphs.width() > width {
            lines.truncate(lines.trim_end().len());
            lines.push('\n');
            used = 0;
        }
        lines.push_str(piece);
        used += piece.width();
    }
    lines
}

/// Parts of a text that may stand at the beginning of a line; each keeps the spaces behind it.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before = None;
    for (at, character) in text.char_indices() {
        let may_break = before.is_some_and(|before: char| match (is_wide(before), is_wide(character)) {
            (false, false) => before == ' ' && character != ' ',
            _ => {
                character != ' '
                    && !"、。，．・：；？！ー」』）】〉》〕…ぁぃぅぇぉっゃゅょァィゥェォッャュョ".contains(character)
            }
        });
        if may_break {
            pieces.push(&text[start..at]);
            start = at;
        }
        before = Some(character);
    }
    pieces.push(&text[start..]);
    pieces
}

fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}

/// A measured value in at most five figures: `0.4123`, `12.35`, `2000`, `1.2e-5`. What came out as no finite number
/// is said to be none.
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "NaN".to_owned() };
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e7 {
        format!("{value:.0}")
    } else if !(1e-3..1e7).contains(&size) {
        format!("{value:.2e}")
    } else {
        // Four figures, but never fewer than three places of what is smaller than ten.
        let places = if size < 10.0 {
            3
        } else if size < 100.0 {
            2
        } else if size < 1000.0 {
            1
        } else {
            0
        };
        format!("{value:.places$}")
    }
}

/// `512 B`, `1.5 MiB`: powers of 1024.
pub fn bytes(count: u64) -> String {
    let mut amount = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// A time of the journal without its fractions: `2026-11-21 23:15:00 UTC`. What is no time is shown as it is.
pub fn moment(rfc_3339: &str) -> String {
    let parsed = rfc_3339.parse::<jiff::Timestamp>();
    parsed.map_or_else(|_| rfc_3339.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    // Rounded before it is split, so that 59.96 s is never `60.0 s` and 119.7 s never `1 min 60 s`.
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn numbers_show_what_matters_of_them() {
        let values = [0.0, 2000.0, -0.994, 0.41234, 12.3456, 123.456, 12345.6, 0.00012, -3.4e-7, 1.0e9, f64::NAN];
        let shown: Vec<String> = values.iter().map(|value| number(Some(*value))).chain([number(None)]).collect();
        expect!["0 2000 -0.994 0.412 12.35 123.5 12346 1.20e-4 -3.40e-7 1.00e9 NaN NaN"].assert_eq(&shown.join(" "));
    }

    #[test]
    fn japanese_is_folded_anywhere_but_before_a_closing_mark_and_latin_between_words() {
        let texts = [
            ("お孫さんが遊びに来てくれたのですね。うれしかったでしょう。", 28),
            ("What did you like to grow there?", 12),
            ("今日はPaul McCartneyを聴いた", 14),
            ("", 10),
        ];
        let folded: Vec<String> = texts.iter().map(|(text, width)| fold_text(text, *width)).collect();
        expect![[r#"
            お孫さんが遊びに来てくれたの
            ですね。うれしかったでしょ
            う。
            --
            What did you
            like to grow
            there?
            --
            今日はPaul
            McCartneyを聴
            いた
            --
        "#]]
        .assert_eq(&folded.join("\n--\n"));
    }

    #[test]
    fn durations_never_show_sixty_of_anything() {
        let shown: Vec<String> = [0.04, 9.94, 9.96, 59.4, 59.96, 119.7, 3599.9, 7620.0].map(duration).to_vec();
        expect!["0.0 s, 9.9 s, 10 s, 59 s, 1 min 00 s, 2 min 00 s, 1 h 00 min, 2 h 07 min"]
            .assert_eq(&shown.join(", "));
    }
}
