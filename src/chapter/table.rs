//! Tables of the page: numbers of one column stand with their decimal points under each other.

use maud::{Markup, html};

/// A cell.
pub enum TableEntry {
    Text(Markup),
    Number(String),
}

/// A text that is no number.
pub fn words(text: &str) -> TableEntry {
    TableEntry::Text(html! { (text) })
}

/// The figure space, as wide as a digit, and the punctuation space, as wide as a point.
const DIGIT: char = '\u{2007}';
const POINT: char = '\u{2008}';

/// Texts of numbers with as much room behind each as the longest fraction takes.
fn aligned<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let fraction = |text: &str| text.split_once('.').map(|(_, digits)| digits.chars().count());
    let longest = texts.clone().filter_map(fraction).max();
    let pad = |text: &str| {
        let Some(longest) = longest else { return text.to_owned() };
        let (point, digits) = match fraction(text) {
            Some(digits) => (None, digits),
            None => (Some(POINT), 0),
        };
        text.chars().chain(point).chain(std::iter::repeat_n(DIGIT, longest - digits)).collect()
    };
    texts.map(pad).collect()
}

/// Columns up to which a table fits on paper in the usual size.
const WIDE: usize = 10;

/// A table with a name that a screen reader says. A wide one scrolls by itself, so that the page never does.
pub fn table(name: &str, headers: &[&str], rows: &[Vec<TableEntry>]) -> Markup {
    rows_with_marks(name, headers, rows, &[])
}

/// The same, where some rows are marked out.
pub fn rows_with_marks(name: &str, headers: &[&str], rows: &[Vec<TableEntry>], marked: &[usize]) -> Markup {
    let is_number = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).any(|entry| matches!(entry, TableEntry::Number(_)))
    };
    let columns: Vec<Option<Vec<String>>> = (0..headers.len())
        .map(|column| {
            let text = |row: &'_ Vec<TableEntry>| match row.get(column) {
                Some(TableEntry::Number(text)) => text.clone(),
                _ => String::new(),
            };
            let texts: Vec<String> = rows.iter().map(text).collect();
            is_number(column).then(|| aligned(texts.iter().map(String::as_str)))
        })
        .collect();
    html! {
        div.scroll role="region" tabindex="0" aria-label=(name) {
            table .wide[headers.len() > WIDE] {
                thead {
                    tr {
                        @for (column, header) in headers.iter().enumerate() {
                            th scope="col" .n[columns[column].is_some()] {
                                // A long name may be broken at its underscores.
                                @for (at, part) in header.split_inclusive('_').enumerate() {
                                    @if at > 0 { wbr; }
                                    (part)
                                }
                            }
                        }
                    }
                }
                tbody {
                    @for (at, row) in rows.iter().enumerate() {
                        tr .chosen[marked.contains(&at)] {
                            @for (column, entry) in row.iter().enumerate() {
                                @match entry {
                                    TableEntry::Number(_) => {
                                        td.n { (columns[column].as_ref().map_or("", |texts| texts[at].as_str())) }
                                    },
                                    TableEntry::Text(text) if column == 0 => { th scope="row" { (text) } },
                                    TableEntry::Text(text) => { td .n[columns[column].is_some()] { (text) } },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Labelled values.
pub fn pairs(pairs: &[(&str, Markup)]) -> Markup {
    html! {
        dl.pairs {
            @for (label, value) in pairs {
                div { dt { (label) } dd { (value) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_points_stand_under_each_other() {
        let shown = aligned(["1.25", "12", "-0.5", "–"].into_iter());
        assert_eq!(shown, ["1.25", "12\u{2008}\u{2007}\u{2007}", "-0.5\u{2007}", "–\u{2008}\u{2007}\u{2007}"]);
        assert_eq!(aligned(["1", "20"].into_iter()), ["1", "20"]);
    }
}
