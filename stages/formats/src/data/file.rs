//! A data file as JSON rows: JSON, JSONL or Parquet, plain or compressed. The first bytes say what a file is, so its
//! name does not matter.

use crate::unreadable::Reading;
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use rayon::prelude::*;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

/// The place of a row in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a text file, from 1.
    Line(usize),
    /// A row of another file, from 1.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(formatter, "line {line}"),
            Place::Row(row) => write!(formatter, "row {row}"),
        }
    }
}

pub type Outcomes<T> = Vec<(Place, Result<T>)>;

/// The name of the file's format, for people, and its rows.
pub type FileRows<T> = (&'static str, Outcomes<T>);

/// The form of a file, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Gzip,
    Zstandard,
    Parquet,
    Text,
}

fn form(start: &[u8]) -> Form {
    match start {
        [0x1f, 0x8b, ..] => Form::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Form::Zstandard,
        [b'P', b'A', b'R', b'1', ..] => Form::Parquet,
        _ => Form::Text,
    }
}

/// Calls `read(row, number)` on every row and returns its results in the order of the file. Numbers count from 1.
///
/// # Errors
/// The file cannot be read as a whole. An error of a single row is one of the results.
pub fn rows<T: Send>(path: &Path, read: impl Fn(&Value, usize) -> Result<T> + Sync) -> Result<FileRows<T>> {
    rows_of(fs::read(path).reading(path)?, read).reading(path)
}

/// The bytes of a file of lines that [`first_rows`] reads, and the size up to which it reads another file.
const BEGINNING: u64 = 256 << 10;
const SMALL: u64 = 32 << 20;

/// As [`rows`], of the beginning of a file of lines, or of another file that is small; of others nothing.
///
/// # Errors
/// As [`rows`].
pub fn first_rows<T: Send>(path: &Path, read: impl Fn(&Value, usize) -> Result<T> + Sync) -> Result<Outcomes<T>> {
    let file = fs::File::open(path).reading(path)?;
    let size = file.metadata().reading(path)?.len();
    let mut bytes = Vec::new();
    file.take(BEGINNING).read_to_end(&mut bytes).reading(path)?;
    if size <= BEGINNING {
        return Ok(rows_of(bytes, read).reading(path)?.1);
    }
    if form(&bytes) == Form::Text && !bytes.trim_ascii_start().starts_with(b"[") {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        return Ok(if bytes.is_empty() { Vec::new() } else { rows_of(bytes, read).reading(path)?.1 });
    }
    Ok(if size <= SMALL { rows(path, read)?.1 } else { Vec::new() })
}

/// As [`rows`], from the bytes of a file.
///
/// # Errors
/// As [`rows`].
pub fn rows_of<T: Send>(mut bytes: Vec<u8>, read: impl Fn(&Value, usize) -> Result<T> + Sync) -> Result<FileRows<T>> {
    let packed = form(&bytes);
    let mut whole = Vec::new();
    match packed {
        // A file may be several compressed pieces, joined.
        Form::Gzip => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut whole).map(drop),
        Form::Zstandard => zstd::stream::copy_decode(&bytes[..], &mut whole),
        Form::Parquet | Form::Text => Ok(()),
    }
    .context("the compressed data is damaged")?;
    if matches!(packed, Form::Gzip | Form::Zstandard) {
        bytes = whole;
    }
    let (name, rows) = match form(&bytes) {
        Form::Parquet if packed == Form::Parquet => ("Parquet", parquet_rows(bytes.into(), read)?),
        Form::Text => text_rows(&bytes, read)?,
        _ => bail!("it is compressed twice, or a compressed Parquet file; unpack it"),
    };
    if rows.is_empty() {
        bail!("the file has no rows");
    }
    Ok((name, rows))
}

fn text_rows<T: Send>(bytes: &[u8], read: impl Fn(&Value, usize) -> Result<T> + Sync) -> Result<FileRows<T>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"[") {
        let values: Vec<Value> = serde_json::from_slice(bytes)
            .map_err(|error| anyhow!("not a JSON list of rows, at line {}, column {}", error.line(), error.column()))?;
        let outcome = |(index, value): (usize, Value)| (Place::Row(index + 1), read(&value, index + 1));
        return Ok(("JSON", values.into_par_iter().enumerate().map(outcome).collect()));
    }
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines: Vec<(usize, &[u8])> = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    let outcome = |(index, (line, text)): (usize, &(usize, &[u8]))| {
        let value = match std::str::from_utf8(text) {
            Ok(text) => serde_json::from_str(text).map_err(|error| anyhow!("not JSON, at column {}", error.column())),
            Err(_) => Err(anyhow!("not UTF-8")),
        };
        (Place::Line(line + 1), value.and_then(|value: Value| read(&value, index + 1)))
    };
    Ok(("JSONL", lines.par_iter().enumerate().map(outcome).collect()))
}

fn parquet_rows<T>(bytes: Bytes, read: impl Fn(&Value, usize) -> Result<T>) -> Result<Outcomes<T>> {
    let file = SerializedFileReader::new(bytes)?;
    let mut out = Vec::new();
    for (index, row) in file.get_row_iter(None)?.enumerate() {
        // Nothing can be read after a damaged page.
        let row = row.with_context(|| format!("row {}", index + 1))?;
        out.push((Place::Row(index + 1), object(&row).and_then(|value| read(&value, index + 1))));
    }
    Ok(out)
}

fn object(row: &Row) -> Result<Value> {
    let field =
        |(name, field): (&String, &Field)| Ok((name.clone(), json(field).with_context(|| format!("field `{name}`"))?));
    row.get_column_iter().map(field).collect::<Result<_>>().map(Value::Object)
}

/// Converts a field as the parquet crate does, except for texts that some writers store as plain bytes.
fn json(field: &Field) -> Result<Value> {
    match field {
        Field::Bytes(bytes) => Ok(Value::from(bytes.as_utf8().context("it is no text")?)),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(json).collect::<Result<_>>().map(Value::Array),
        other => Ok(other.to_json_value()),
    }
}
