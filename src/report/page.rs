//! Sheets as text for a terminal. No other file names the table crate.

use super::sheet::{Cell, Grid, Header, MAY_BREAK, Pair, Series, Sheet, TOGETHER, Tone, Width};
use super::visible::visible;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Table};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The page that text is printed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The width in terminal cells; a Japanese character takes two.
    pub width: u16,
    pub has_color: bool,
    /// Whether a word that is longer than its column is broken: on a terminal alone. In a file, a path stays one to be
    /// copied and searched for.
    pub breaks_words: bool,
}

/// The width of the terminal at stdout, if there is one.
pub fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// Terminal cells between two columns.
const GAP: u16 = 2;

/// Terminal cells of a number column, with its gap, beside columns that share the page.
const NUMBER: usize = 9;

/// The least width of a column that shares the page, in terminal cells.
const NARROWEST: usize = 12;

/// Terminal cells of the first column of a grid that may split, and of each other column, of which a content is the
/// widest.
const FIRST: usize = 20;
const OTHER: usize = 19;

/// Terminal cells of a bar that covers the whole range of its series.
const BAR: f64 = 25.0;

/// The sheets that are not empty, separated by empty lines.
pub fn print(sheets: &[Sheet], page: Page) -> String {
    let texts = sheets.iter().filter(|sheet| !sheet.is_empty()).map(|sheet| sheet_text(sheet, page));
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

fn sheet_text(sheet: &Sheet, page: Page) -> String {
    let line = |text: &str| if text.is_empty() { String::new() } else { format!("{}\n", visible(text)) };
    let parts = [entries_text(&sheet.entries, page), grid_text(&sheet.grid, page)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}{}{}", line(&sheet.heading), parts.join("\n"), line(&sheet.note))
}

fn entries_text(entries: &[Pair], page: Page) -> String {
    let mut table = empty_table(page);
    for entry in entries {
        table.add_row([styled(&entry.label.text, entry.label.tone), styled(&entry.value.text, entry.value.tone)]);
    }
    constrain(&mut table, 0, ColumnConstraint::ContentWidth);
    keep_paths(&mut table, page);
    if table.is_empty() { String::new() } else { lines(table) }
}

fn grid_text(grid: &Grid, page: Page) -> String {
    if grid.headers.is_empty() {
        return String::new();
    }
    if !grid.may_split {
        return lines(fitted(grid, page));
    }
    let room = (usize::from(page.width).saturating_sub(FIRST) / OTHER).max(1);
    let others: Vec<usize> = (1..grid.headers.len()).collect();
    let groups = others.chunks(room).map(|group| {
        let columns: Vec<usize> = std::iter::once(0).chain(group.iter().copied()).collect();
        let group = Grid {
            headers: columns.iter().map(|at| grid.headers[*at].clone()).collect(),
            rows: grid.rows.iter().map(|row| columns.iter().map(|at| row[*at].clone()).collect()).collect(),
            ..Grid::default()
        };
        lines(fitted(&group, page))
    });
    groups.collect::<Vec<_>>().join("\n")
}

/// The grid with whole names if the page is wide enough, else with names broken where they may be.
fn fitted(grid: &Grid, page: Page) -> Table {
    let whole = set(grid, page, false);
    let width: u16 = whole.column_max_content_widths().iter().map(|width| width + GAP).sum();
    let texts =
        grid.rows.iter().flatten().map(|cell| &cell.text).chain(grid.headers.iter().map(|header| &header.title));
    match width > page.width && texts.into_iter().any(|text| text.contains(MAY_BREAK)) {
        true => set(grid, page, true),
        false => whole,
    }
}

fn set(grid: &Grid, page: Page, breaks_names: bool) -> Table {
    let mut table = empty_table(page);
    // What may break is our own mark, and gone before the characters of others are made visible.
    let whole_names = |text: &str| match breaks_names {
        true => visible(&text.replace(&format!(" {MAY_BREAK}"), "\n").replace(MAY_BREAK, "\n")).into_owned(),
        false => visible(&text.replace(MAY_BREAK, "")).into_owned(),
    };
    let titles = grid.headers.iter().map(|header| &header.title).chain(grid.series.iter().map(|series| &series.title));
    let titles: Vec<String> = titles.map(|title| whole_names(title)).collect();
    if titles.iter().any(|title| !title.is_empty()) {
        table.load_style(NOTHING.header_separator(LineStyle::none().fill('─')));
        table.set_header(titles.iter().map(|title| comfy_table::Cell::new(title).add_attribute(Attribute::Bold)));
    }
    let share = share(&grid.headers, page);
    for (at, row) in grid.rows.iter().enumerate() {
        let cells = grid.headers.iter().zip(row).map(|(header, Cell { text, tone })| {
            let text = whole_names(text);
            styled(
                &match header.width {
                    Width::AtMost(width) => fold(&text, width),
                    Width::Share => fold(&text, share),
                    Width::Free | Width::Whole | Width::Exactly(_) => text,
                },
                *tone,
            )
        });
        let bar = grid.series.iter().map(|series| styled(&bar(series, at), Tone::Plain));
        table.add_row(cells.chain(bar));
    }
    for (at, header) in grid.headers.iter().enumerate() {
        if let Some(column) = table.column_mut(at).filter(|_| header.is_number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        match header.width {
            Width::Whole => constrain(&mut table, at, ColumnConstraint::ContentWidth),
            Width::Exactly(width) => {
                constrain(&mut table, at, ColumnConstraint::Absolute(comfy_table::Width::Fixed(width + GAP)));
            }
            Width::Free | Width::AtMost(_) | Width::Share => {}
        }
    }
    if grid.series.is_some() {
        constrain(&mut table, grid.headers.len(), ColumnConstraint::ContentWidth);
    }
    keep_paths(&mut table, page);
    table
}

/// The longest path that is kept whole, in characters.
const LONGEST_PATH: usize = 1000;

/// Makes columns as wide as the longest path in them, whatever the width of the page, where words are not broken.
fn keep_paths(table: &mut Table, page: Page) {
    if page.breaks_words {
        return;
    }
    for at in 0..table.column_count() {
        let cells = table.column_cells_iter(at).flatten().map(comfy_table::Cell::content);
        let paths = cells.flat_map(|text| longest_path(&text)).max();
        if let Some(longest) = paths.and_then(|longest| u16::try_from(longest).ok()) {
            constrain(table, at, ColumnConstraint::LowerBoundary(comfy_table::Width::Fixed(longest + GAP)));
        }
    }
}

fn longest_path(text: &str) -> Option<usize> {
    let words = text.split_whitespace().filter(|word| word.contains('/'));
    words.map(UnicodeWidthStr::width).filter(|width| *width <= LONGEST_PATH).max()
}

/// The width of each column that shares the page.
fn share(headers: &[Header], page: Page) -> usize {
    let sharing = headers.iter().filter(|header| header.width == Width::Share).count();
    let room = usize::from(page.width).saturating_sub(NUMBER * (headers.len() - sharing));
    (room / sharing.max(1)).saturating_sub(usize::from(GAP)).max(NARROWEST)
}

/// The bar of a row: `#` up to y, and `|` at x.
fn bar(series: &Series, row: usize) -> String {
    let [low, high] = series.range;
    let Some([mark, end]) = series.points.get(row) else { return String::new() };
    let place = |value: &f64| ((value - low).max(0.0) / (high - low) * BAR).round() as usize;
    let (mark, end) = (place(mark), place(end));
    let letter = |at: usize| match at {
        at if at == mark => '|',
        at if at < end => '#',
        _ => ' ',
    };
    let bar: String = (0..=end.max(mark)).map(letter).collect();
    bar.trim_end().to_owned()
}

fn empty_table(page: Page) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_width(page.width).set_content_arrangement(ContentArrangement::Dynamic);
    if page.has_color {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table
}

fn constrain(table: &mut Table, column: usize, constraint: ColumnConstraint) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(constraint);
    }
}

fn styled(text: &str, tone: Tone) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(broken(&visible(text)));
    match tone {
        Tone::Plain => cell,
        Tone::Quiet => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::Green),
        Tone::Doubtful => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// The most characters of a line without a space, and of a cell: the table crate takes time with the square of a line.
const LONGEST_WORD: usize = 1000;
const LONGEST_CELL: usize = 100_000;

/// A text whose words are not too long to be set; the rest of a text that nobody reads to its end is counted.
fn broken(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut length = 0;
    let mut left = text.chars();
    for character in left.by_ref().take(LONGEST_CELL) {
        length = if character.is_whitespace() { 0 } else { length + 1 };
        if length > LONGEST_WORD {
            shown.push('\n');
            length = 1;
        }
        shown.push(character);
    }
    let rest = left.count();
    if rest > 0 { format!("{shown}… and {rest} more characters") } else { shown }
}

/// The table as lines without trailing spaces. Columns that are empty in every row are hidden.
fn lines(mut table: Table) -> String {
    for at in 0..table.column_count() {
        let is_empty = table.column_cells_iter(at).all(|cell| cell.is_none_or(|cell| cell.content().is_empty()));
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, GAP));
            if is_empty {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
    }
    let mut text = table.trim_fmt().replace(TOGETHER, " ");
    text.push('\n');
    text
}

/// Folds text to lines of `width` terminal cells: Latin between words, Japanese anywhere but before a closing mark.
fn fold(text: &str, width: usize) -> String {
    text.split('\n').map(|line| fold_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn fold_line(text: &str, width: usize) -> String {
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

/// The parts of a text between which a line may be broken; each keeps its trailing spaces.
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

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn japanese_is_folded_anywhere_but_before_a_closing_mark_and_latin_between_words() {
        let texts = [
            ("お孫さんが遊びに来てくれたのですね。うれしかったでしょう。", 28),
            ("What did you like to grow there?", 12),
            ("今日はPaul McCartneyを聴いた", 14),
            ("", 10),
        ];
        let folded: Vec<String> = texts.iter().map(|(text, width)| fold(text, *width)).collect();
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
}
