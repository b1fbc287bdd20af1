//! CSV and TSV: the first row names the fields, each cell is a text.

use super::encoding::whole_text;
use super::place::{Place, Reader, Taker};
use anyhow::{Result, anyhow, bail};
use rayon::prelude::*;
use serde_json::{Map, Value};

/// The rows that are read at a time.
const AT_ONCE: usize = 4096;

pub fn rows<T: Send>(bytes: &[u8], delimiter: u8, most: usize, read: Reader<T>, each: Taker<T>) -> Result<()> {
    let text = whole_text(bytes)?;
    let mut table = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let header: Vec<String> = table.headers().map_err(fault)?.iter().map(|name| name.trim().to_owned()).collect();
    if let Some(name) = header.iter().enumerate().find(|(at, name)| header[..*at].contains(name)).map(|(_, name)| name)
    {
        bail!("line 1: two columns have the name `{name}`");
    }
    let row = |record: &csv::StringRecord, number: usize| -> Result<T> {
        if record.len() != header.len() {
            bail!("the row has {} cells, the first line names {}", record.len(), header.len());
        }
        let cells = header.iter().zip(record.iter()).filter(|(name, _)| !name.is_empty());
        let value = |cell: &str| if cell.is_empty() { Value::Null } else { Value::from(cell) };
        let cells: Map<String, Value> = cells.map(|(name, cell)| (name.clone(), value(cell))).collect();
        read(&Value::Object(cells), number)
    };
    let mut records = table.records().take(most).peekable();
    let mut count = 0;
    let mut last = csv::Position::new();
    while records.peek().is_some() {
        let some: Vec<csv::StringRecord> = records.by_ref().take(AT_ONCE).collect::<Result<_, _>>().map_err(fault)?;
        let result = |(index, record): (usize, &csv::StringRecord)| {
            (
                Place::Line(record.position().map_or(0, |position| line_of(position, &text))),
                row(record, count + index + 1),
            )
        };
        let results: Vec<(Place, Result<T>)> = some.par_iter().enumerate().map(result).collect();
        count += results.len();
        last = some.last().and_then(csv::StringRecord::position).cloned().unwrap_or(last);
        results.into_iter().try_for_each(|(place, result)| each(place, result))?;
    }
    if count < most && ends_within_quotes(&text[last.byte() as usize..], delimiter) {
        bail!(
            "line {}: the row ends within quotes: a quote is left open there, or the file is cut",
            line_of(&last, &text)
        );
    }
    Ok(())
}

/// Whether the last row of a text is open: one more line would be a part of it.
fn ends_within_quotes(rows: &str, delimiter: u8) -> bool {
    let last = |rows: &str| {
        let mut table = csv::ReaderBuilder::new();
        let mut table = table.delimiter(delimiter).flexible(true).has_headers(false).from_reader(rows.as_bytes());
        table.records().last().and_then(Result::ok)
    };
    last(rows) != last(&format!("{rows}\n"))
}

/// The line on which a row begins. After `\r\n` the reader stands between the two.
fn line_of(position: &csv::Position, text: &str) -> usize {
    let is_between = text.as_bytes().get(position.byte() as usize) == Some(&b'\n');
    position.line() as usize + usize::from(is_between)
}

fn fault(error: csv::Error) -> anyhow::Error {
    let line = error.position().map_or_else(String::new, |position| format!("line {}: ", position.line()));
    anyhow!("{line}no row of CSV: {error}")
}
