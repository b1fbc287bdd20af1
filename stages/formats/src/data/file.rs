//! A data file as JSON rows: JSON, JSONL, CSV, TSV, plain text, Parquet or Arrow, plain or compressed. The first bytes
//! say what a file is; its name matters only for text that is no JSON.

mod arrow;
mod encoding;
mod lines;
mod parquet;
mod place;
mod stream;
mod table;
mod text;

pub use place::Place;

use crate::contained::contained;
use crate::unreadable::Reading;
use crate::whole;
use anyhow::{Result, bail};
use place::{Reader, Taker};
use serde_json::Value;
use std::io::{self, ErrorKind};
use std::path::Path;
use stream::Stream;

/// The form of a file, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Gzip,
    Zstandard,
    Parquet,
    Arrow,
    Text,
}

/// Files that are no data, by their first bytes: what each is, and the way out.
const FOREIGN: [(&[u8], &str); 6] = [
    (b"FEA1", "it is Feather version 1; write it anew: `pandas.read_feather(IN).to_feather(OUT)` does"),
    (b"\xfd7zXZ\0", "it is packed by xz; unpack it (`xz -d`), or pack it by gzip or zstd"),
    (b"BZh", "it is packed by bzip2; unpack it (`bzip2 -d`), or pack it by gzip or zstd"),
    (b"PK\x03\x04", "it is a zip archive (or a spreadsheet); unpack it, or save it as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it"),
    (b"SQLite format 3\0", "it is a database of SQLite; write its table as CSV"),
];

fn form(start: &[u8]) -> Result<Form> {
    let foreign = FOREIGN.iter().find(|(first, _)| start.starts_with(first)).map(|(_, what)| *what);
    if let Some(what) = whole::in_place(start).or(foreign) {
        bail!("{what}");
    }
    Ok(match start {
        [0x1f, 0x8b, ..] => Form::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Form::Zstandard,
        [b'P', b'A', b'R', b'1', ..] => Form::Parquet,
        start if start.starts_with(arrow::MAGIC) || start.starts_with(&arrow::CONTINUATION) => Form::Arrow,
        _ => Form::Text,
    })
}

/// Calls `read(row, number)` on the rows of a file, up to `most` of them, and hands the results to `each` in the order
/// of the file. Numbers count from 1. Returns the name of the file's form, for people, and the number of rows. Only some
/// rows are in memory at a time.
///
/// # Errors
/// The file cannot be read as a whole, or `each` fails. An error of a single row is one of the results.
pub fn rows<T: Send>(
    path: &Path,
    most: usize,
    read: impl Fn(&Value, usize) -> Result<T> + Sync,
    mut each: impl FnMut(Place, Result<T>) -> Result<()>,
) -> Result<(&'static str, usize)> {
    let mut count = 0;
    // An error of `each` is about rows, and names the file itself.
    let mut refused = None;
    let mut counted = |place, row: Result<T>| {
        count += 1;
        each(place, row).or_else(|error| {
            refused = Some(error);
            bail!("a row was refused")
        })
    };
    let name = of_file(path, most, &read, &mut counted);
    if let Some(error) = refused {
        return Err(error);
    }
    let name = name.reading(path)?;
    if count == 0 {
        let is_empty = path.metadata().is_ok_and(|file| file.len() == 0);
        return Err(if is_empty { whole::empty(path) } else { anyhow::anyhow!("the file has no rows") }).reading(path);
    }
    Ok((name, count))
}

fn of_file<T: Send>(path: &Path, most: usize, read: Reader<T>, each: Taker<T>) -> Result<&'static str> {
    let file = whole::open(path)?;
    let opened = Stream::new(file.try_clone()?)?;
    let packed = form(&opened.start)?;
    let opened = match packed {
        // A file may be several compressed pieces, joined.
        Form::Gzip => {
            Stream::new(flate2::read::MultiGzDecoder::new(opened.bytes)).map_err(|error| unpacking(error.into()))?
        }
        Form::Zstandard => {
            Stream::new(zstd::stream::Decoder::new(opened.bytes)?).map_err(|error| unpacking(error.into()))?
        }
        Form::Parquet => return contained(|| parquet::rows(file, most, read, each)).map(|()| "Parquet"),
        Form::Arrow => return contained(|| arrow::rows(file, most, read, each)).map(|()| "Arrow"),
        Form::Text => opened,
    };
    if form(&opened.start)? != Form::Text {
        bail!("it is compressed twice, or a compressed Parquet or Arrow file; unpack it");
    }
    let ending = text::ending(path);
    let read = text::rows(opened, &ending, most, read, each);
    if packed == Form::Text { read } else { read.map_err(unpacking) }
}

/// Says that an error of reading is one of the compressed data.
fn unpacking(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::UnexpectedEof) => error.context("the compressed data is cut; fetch or pack it again"),
        Some(_) => error.context("the compressed data is damaged; fetch or pack it again"),
        None => error,
    }
}

#[cfg(test)]
mod tests;
