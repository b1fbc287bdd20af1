//! Parquet, row by row.

use super::place::{Place, Reader, Taker};
use anyhow::{Context, Result, ensure};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The rows that are read at a time.
const AT_ONCE: usize = 1024;

pub fn rows<T: Send>(file: File, most: usize, read: Reader<T>, each: Taker<T>) -> Result<()> {
    refuse_cut(&file)?;
    let file = SerializedFileReader::new(file)?;
    let mut rows = file.get_row_iter(None)?.take(most);
    let mut count = 0;
    loop {
        let mut some = Vec::with_capacity(AT_ONCE);
        for row in rows.by_ref().take(AT_ONCE) {
            // Nothing can be read after a damaged page.
            some.push(row.with_context(|| format!("row {}", count + some.len() + 1))?);
        }
        if some.is_empty() {
            return Ok(());
        }
        let result = |(index, row): (usize, &Row)| {
            let number = count + index + 1;
            (Place::Row(number), read(&object(row), number))
        };
        let results: Vec<(Place, Result<T>)> = some.par_iter().enumerate().map(result).collect();
        count += results.len();
        results.into_iter().try_for_each(|(place, result)| each(place, result))?;
    }
}

/// The last bytes of a file.
const MAGIC: [u8; 4] = *b"PAR1";

fn refuse_cut(file: &File) -> Result<()> {
    let length = file.metadata()?.len();
    let mut end = [0; MAGIC.len()];
    let has_end = length >= 12 && file.read_exact_at(&mut end, length - MAGIC.len() as u64).is_ok();
    ensure!(
        has_end && end == MAGIC,
        "the Parquet file is cut: it has {length} bytes, and its end, which says where its rows lie, is not there; fetch \
         it again"
    );
    Ok(())
}

fn object(row: &Row) -> Value {
    Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
}

/// Converts a field as the parquet crate does, except for texts that some writers store as plain bytes. Bytes that are
/// no text become an object, which no field of a row may be: nobody reads such a column, or its reader says so.
fn value(field: &Field) -> Value {
    match field {
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Value::from(text),
            Err(_) => json!({"bytes": bytes.len()}),
        },
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => other.to_json_value(),
    }
}
