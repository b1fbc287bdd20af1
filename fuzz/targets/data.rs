//! Data files.

use super::place::{self, parts};
use formats::data::{self, DataRows, DataSource, ReadOptions, RowFilter, RowsToWrite};
use std::io::Write;
use std::path::Path;

/// The forms in which a stage asks for rows.
const WANTED: [DataRows; 5] = [
    DataRows::Texts,
    DataRows::Prompts,
    DataRows::Examples,
    DataRows::Labelled,
    DataRows::Preferences { with_margins: true },
];

/// Names of text files, which say how they are read.
const NAMES: [&str; 4] = ["rows.jsonl", "rows.csv", "rows.tsv", "rows.txt"];

/// A file that passes the check of a form can be described in it, and what is converted is a row. One form for an input,
/// by `choice`: an input is then read three times, and not seventy times.
fn check(choice: u8, source: &DataSource) {
    let sources = std::slice::from_ref(source);
    let choice = usize::from(choice);
    let rows = WANTED[choice / 4 % 5];
    let checked = data::check(rows, sources, 0);
    let described = data::inspect(sources, Some(rows), |prompt, answer| {
        Ok(answer.map_or_else(|| prompt.to_string().len(), str::len))
    });
    if let (Ok(_), Err(error)) = (checked, described) {
        panic!("{rows:?} pass the check, and cannot be described: {error:#}");
    }
    let (_, format) = RowsToWrite::ALL[choice % RowsToWrite::ALL.len()];
    if let Ok(rows) = data::convert(sources, format, &mut RowFilter::new(u64::MAX)) {
        assert!(rows.iter().all(serde_json::Value::is_object));
    }
    if choice.is_multiple_of(8) {
        let _ = data::first_dialogues(sources);
    }
}

/// Text. The first byte says by which name it is read, and as rows of which form.
pub fn rows(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    check(*choice, &DataSource::from(place::file(name, bytes)));
}

/// Compressed text: as it is, or as rows within one layer of gzip or zstd, which are the rows of the text.
pub fn packed(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let packed = match choice % 3 {
        0 => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(text).and_then(|()| packed.finish()).expect("memory takes everything")
        }
        1 => zstd::stream::encode_all(text, 1).expect("memory takes everything"),
        _ => return all(&place::file("rows.jsonl", text)),
    };
    let read = |bytes: &[u8]| {
        let mut rows = Vec::new();
        let path = place::file("rows.jsonl", bytes);
        let keep = |_, row: anyhow::Result<_>| {
            rows.push(row.ok());
            Ok(())
        };
        let end = data::file::rows(&path, usize::MAX, |row, _| Ok(row.clone()), keep);
        (end.is_ok(), rows)
    };
    // A text that is itself one of the packed forms is read as such.
    let (of_packed, of_text) = (read(&packed), read(text));
    assert!(of_packed == of_text || !of_packed.0, "packed rows are other rows");
}

/// Parquet, whatever the first four bytes are.
pub fn parquet(bytes: &[u8]) {
    let rest = bytes.get(4..).unwrap_or_default();
    all(&place::file("rows.parquet", &[b"PAR1", rest].concat()));
}

/// Arrow, as a file and as a stream.
pub fn arrow(bytes: &[u8]) {
    all(&place::file("rows.arrow", bytes));
    all(&place::file("rows.arrow", &[b"ARROW1\0\0", bytes].concat()));
}

fn all(path: &Path) {
    let _ = data::file::rows(path, usize::MAX, |row, _| Ok(row.to_string()), |_, _| Ok(()));
}

/// The Jinja texts of `columns:` on some rows.
pub fn columns(bytes: &[u8]) {
    let pieces = parts(bytes);
    let Some(texts) = pieces.iter().map(|part| str::from_utf8(part).ok()).collect::<Option<Vec<_>>>() else { return };
    let columns = ["prompt", "answer", "text"].iter().zip(&texts).map(|(name, text)| ((*name).into(), (*text).into()));
    let options = ReadOptions { columns: columns.collect(), ..ReadOptions::default() };
    if options.check().is_err() {
        return;
    }
    let rows: &[u8] = b"{\"q\": \"why\", \"a\": [\"so\", 2, null], \"n\": {\"m\": 1.5}}\n{\"q\": \"\", \"a\": []}\n";
    let source = DataSource::from(place::file("rows.jsonl", rows));
    let sources = [DataSource { options, ..source }];
    let _ = data::check(WANTED[bytes.len() % WANTED.len()], &sources, u64::MAX);
}
