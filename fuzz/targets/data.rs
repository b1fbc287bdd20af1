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

/// A file that can be checked for a form can be read in it, and can be described; what is converted can be read again.
fn check(source: &DataSource) {
    let sources = std::slice::from_ref(source);
    for rows in WANTED {
        let checked = data::check(rows, sources, 0);
        let described = data::inspect(sources, Some(rows), |prompt, answer| {
            Ok(answer.map_or_else(|| prompt.to_string().len(), str::len))
        });
        assert!(checked.is_err() || described.is_ok(), "{rows:?}: {:#}", described.err().expect("it is none"));
    }
    let _ = data::first_dialogues(sources);
    for (name, format) in RowsToWrite::ALL {
        let _ = data::convert(sources, format, &mut RowFilter::new(u64::MAX))
            .map(|rows| assert!(rows.iter().all(serde_json::Value::is_object), "{name}"));
    }
}

/// Text by each of the names that tell how it is read.
pub fn rows(bytes: &[u8]) {
    for name in ["rows.jsonl", "rows.csv", "rows.tsv", "rows.txt"] {
        check(&DataSource::from(place::file(name, bytes)));
    }
}

/// Compressed text: as it is, and as rows within one layer of gzip or zstd.
pub fn packed(bytes: &[u8]) {
    check(&DataSource::from(place::file("rows.jsonl", bytes)));
    let Some((choice, text)) = bytes.split_first() else { return };
    let packed = match choice % 3 {
        0 => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(text).and_then(|()| packed.finish()).expect("memory takes everything")
        }
        1 => zstd::stream::encode_all(text, 1).expect("memory takes everything"),
        _ => return,
    };
    let read = |name: &str, bytes: &[u8]| {
        let mut rows = Vec::new();
        let path = place::file(name, bytes);
        let end = data::file::rows(&path, usize::MAX, |row, _| Ok(row.clone()), |_, row| Ok(rows.push(row.ok())));
        (end.is_ok(), rows)
    };
    assert_eq!(read("rows.jsonl", &packed), read("rows.jsonl", text), "packed rows are other rows");
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
    for wanted in WANTED {
        let _ = data::check(wanted, &sources, u64::MAX);
    }
}
