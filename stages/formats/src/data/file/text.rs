//! Text files: JSONL, JSON, CSV, TSV and documents by the line; UTF-8, UTF-16 or Shift_JIS.

use super::encoding::{decoded, encoding_of};
use super::lines::blocks;
use super::place::{Place, Reader, Taker};
use super::stream::{START, Stream};
use super::table;
use crate::json;
use anyhow::{Result, anyhow, bail, ensure};
use encoding_rs::{UTF_16BE, UTF_16LE};
use memchr::{memchr, memchr_iter};
use rayon::prelude::*;
use serde_json::{Deserializer, Value};
use std::io::{Cursor, Read};
use std::path::Path;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The ending of a file's name in lower case, without that of its compression. The store writes `csv-gz` for `csv.gz`.
pub fn ending(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let unpacked = [".gz", ".zst", "-gz", "-zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
    unpacked.rsplit_once('.').map_or_else(String::new, |(_, ending)| ending.to_owned())
}

/// Rows of a text file; the name of its form.
pub fn rows<T: Send>(
    opened: Stream,
    ending: &str,
    most: usize,
    read: Reader<T>,
    each: Taker<T>,
) -> Result<&'static str> {
    let Stream { start, mut bytes } = opened;
    if let Some(encoding) = [(UTF_16LE, b"\xff\xfe"), (UTF_16BE, b"\xfe\xff")]
        .into_iter()
        .find_map(|(encoding, mark)| start.starts_with(mark).then_some(encoding))
    {
        let whole = all(&mut bytes)?;
        let (text, _, is_bad) = encoding.decode(&whole);
        if is_bad {
            bail!("it begins as UTF-16, but is not");
        }
        let text = text.into_owned().into_bytes();
        let start = text[..text.len().min(START as usize)].to_vec();
        return utf8(Stream { start, bytes: Box::new(Cursor::new(text)) }, ending, most, read, each);
    }
    utf8(Stream { start, bytes }, ending, most, read, each)
}

fn utf8<T: Send>(opened: Stream, ending: &str, most: usize, read: Reader<T>, each: Taker<T>) -> Result<&'static str> {
    let Stream { start, mut bytes } = opened;
    let first = start.strip_prefix(BOM).unwrap_or(&start).trim_ascii_start().first().copied();
    let mut whole = || -> Result<Vec<u8>> {
        let mut whole = all(&mut bytes)?;
        Ok(if whole.starts_with(BOM) { whole.split_off(BOM.len()) } else { whole })
    };
    match (ending, first) {
        ("csv", _) => table::rows(&whole()?, b',', most, read, each).map(|()| "CSV"),
        ("tsv" | "tab", _) => table::rows(&whole()?, b'\t', most, read, each).map(|()| "TSV"),
        ("txt" | "text", _) => documents(&mut bytes, most, read, each).map(|()| "text"),
        (_, Some(b'[')) => {
            let whole = whole()?;
            let values: Vec<Value> = json::from_python(utf8_of(&whole)?).map_err(|error| {
                anyhow!(
                    "not a JSON list of rows, at line {}, column {}{}",
                    error.line(),
                    error.column(),
                    cut_by(&error)
                )
            })?;
            in_order(values, most, read, each).map(|()| "JSON")
        }
        (_, Some(b'{')) if !has_whole_first_line(&start) => {
            let whole = whole()?;
            match objects(&whole) {
                Some(values) => in_order(rows_inside(values?)?, most, read, each).map(|()| "JSON"),
                None => json_lines(&mut Cursor::new(whole), most, read, each).map(|()| "JSONL"),
            }
        }
        _ => json_lines(&mut bytes, most, read, each).map(|()| "JSONL"),
    }
}

/// The most bytes of a file that is read as a whole. A few megabytes that were packed may stand for any number.
const MOST: u64 = 2 << 30;

fn all(bytes: &mut dyn Read) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    bytes.take(MOST + 1).read_to_end(&mut whole)?;
    ensure!(
        whole.len() as u64 <= MOST,
        "it has more than {} GiB, and is in a form that is read as a whole; save it as JSONL or Parquet",
        MOST >> 30
    );
    Ok(whole)
}

fn utf8_of(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| anyhow!("not UTF-8"))
}

/// Whether the first line may be a row of JSONL: all of it, or as much as there is, is no object that ends later, and it
/// is not the only line, which may hold all rows.
fn has_whole_first_line(start: &[u8]) -> bool {
    let start = start.strip_prefix(BOM).unwrap_or(start).trim_ascii_start();
    let Some(end) = start.iter().position(|byte| *byte == b'\n') else {
        // A long first line. That of one row is followed by others; that of one object with all rows is rare, and
        // begins with its name.
        return !HOLDERS.iter().any(|holder| {
            let name = start.strip_prefix(b"{").map(|rest| rest.trim_ascii_start());
            name.is_some_and(|name| name.starts_with(format!("\"{holder}\"").as_bytes()))
        });
    };
    let line = start[..end].trim_ascii();
    match serde_json::from_slice::<serde::de::IgnoredAny>(line) {
        Ok(_) => !HOLDERS.iter().any(|holder| {
            let object = serde_json::from_slice::<Value>(line).ok();
            object.is_some_and(|object| object.get(holder).is_some_and(is_list_of_objects))
        }),
        Err(error) => !error.is_eof(),
    }
}

/// Fields of an object that holds all rows.
const HOLDERS: [&str; 6] = ["data", "rows", "train", "test", "examples", "instances"];

fn is_list_of_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_object))
}

/// The objects of a text in which they take several lines each; `None` if it is something else.
fn objects(whole: &[u8]) -> Option<Result<Vec<Value>>> {
    let text = std::str::from_utf8(whole).ok()?;
    let values: Result<Vec<Value>, _> = Deserializer::from_str(text).into_iter::<Value>().collect();
    match values {
        Ok(values) => Some(Ok(values)),
        Err(error) => {
            let first_line = text.trim_start().lines().next().unwrap_or_default();
            // Something over several lines, and broken: that is told, not that its first line is no row.
            let is_open =
                matches!(first_line.trim_end(), "{" | "{}") || first_line.trim_end().ends_with([',', '[', '{']);
            is_open.then(|| {
                Err(anyhow!("not JSON objects, at line {}, column {}{}", error.line(), error.column(), cut_by(&error)))
            })
        }
    }
}

/// The rows of a file of objects: they themselves, or those in the only one of them.
fn rows_inside(values: Vec<Value>) -> Result<Vec<Value>> {
    let [Value::Object(only)] = &values[..] else { return Ok(values) };
    let holder = HOLDERS.iter().find(|holder| only.get(**holder).is_some_and(is_list_of_objects));
    if let Some(holder) = holder {
        return match &only[*holder] {
            Value::Array(rows) => Ok(rows.clone()),
            _ => Ok(values),
        };
    }
    refuse_columns(&values[0])?;
    Ok(values)
}

/// Refuses an object of columns, as pandas writes it without `orient="records"`.
pub fn refuse_columns(row: &Value) -> Result<()> {
    let is_column = |value: &Value| value.as_object().is_some_and(|cells| cells.contains_key("0"));
    let is_table = row.as_object().is_some_and(|row| !row.is_empty() && row.values().all(is_column));
    if is_table {
        bail!("it holds columns, not rows; pandas writes rows by `to_json(orient=\"records\", lines=True)`");
    }
    Ok(())
}

/// Rows that are in memory already.
pub fn in_order<T: Send>(values: Vec<Value>, most: usize, read: Reader<T>, each: Taker<T>) -> Result<()> {
    let numbered: Vec<(usize, Value)> = values.into_iter().take(most).enumerate().collect();
    let results: Vec<Result<T>> = numbered.into_par_iter().map(|(index, value)| read(&value, index + 1)).collect();
    results.into_iter().enumerate().try_for_each(|(index, result)| each(Place::Row(index + 1), result))
}

fn json_lines<T: Send>(bytes: &mut dyn Read, most: usize, read: Reader<T>, each: Taker<T>) -> Result<()> {
    let row = |line: &str, number: usize| -> Result<T> {
        let value: Value = json::from_python(line).map_err(|error| anyhow!("{}", fault(line, &error)))?;
        refuse_columns(&value).and_then(|()| read(&value, number))
    };
    by_line(bytes, most, &row, each)
}

fn documents<T: Send>(bytes: &mut dyn Read, most: usize, read: Reader<T>, each: Taker<T>) -> Result<()> {
    by_line(bytes, most, &|line: &str, number| read(&serde_json::json!({"text": line}), number), each)
}

/// Lines that are not blank, as text.
fn by_line<T: Send>(
    bytes: &mut dyn Read,
    most: usize,
    read: &(dyn Fn(&str, usize) -> Result<T> + Sync),
    each: Taker<T>,
) -> Result<()> {
    let mut encoding = None;
    let mut count = 0;
    blocks(bytes, |first, block| {
        let old_mac = memchr(b'\n', block).is_none() && memchr(b'\r', block).is_some();
        let lines = lines_of(block, if old_mac { b'\r' } else { b'\n' }).enumerate();
        let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).take(most - count);
        let lines: Vec<(usize, &[u8])> = lines.collect();
        let other = *encoding.get_or_insert_with(|| encoding_of(&lines));
        let result = |(index, (line, text)): (usize, &(usize, &[u8]))| {
            let text = text.strip_prefix(BOM).unwrap_or(text);
            let outcome = decoded(text, other).and_then(|text| read(text.trim_end_matches('\r'), count + index + 1));
            (Place::Line(first + line), outcome)
        };
        let results: Vec<(Place, Result<T>)> = lines.par_iter().enumerate().map(result).collect();
        count += results.len();
        results.into_iter().try_for_each(|(place, result)| each(place, result))?;
        Ok(count < most)
    })
}

/// The pieces between the bytes that end a line.
fn lines_of(block: &[u8], end: u8) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr_iter(end, block).chain([block.len()]);
    ends.map(move |end| {
        let line = &block[start..end];
        start = end + 1;
        line
    })
}

/// Words on a text that ends too early.
fn cut_by(error: &serde_json::Error) -> &'static str {
    if error.is_eof() { ": it is cut, as it ends within a value" } else { "" }
}

/// The reason why a line is no row of JSON.
fn fault(line: &str, error: &serde_json::Error) -> String {
    if line.bytes().all(|byte| byte == 0) {
        return "it holds zero bytes alone: the file was not written to its end".to_owned();
    }
    if error.is_eof() {
        return format!("not JSON, at column {}{}", error.column(), cut_by(error));
    }
    let said = error.to_string();
    let why = [
        ("surrogate", "half of a character (a surrogate without the other one)"),
        ("unexpected end of hex escape", "half of a character (a surrogate without the other one)"),
        ("recursion limit", "lists or objects are nested deeper than 128 times"),
        ("number out of range", "a number is too large"),
        ("trailing characters", "more follows after the row, which takes a line of its own"),
        ("control character", "a control character in a text has to be written as `\\n`, `\\t` or `\\u00…`"),
    ];
    let why = why.iter().find(|(word, _)| said.contains(word)).map(|(_, why)| *why);
    match why {
        Some(why) => format!("not JSON, at column {}: {why}", error.column()),
        None => format!("not JSON, at column {}", error.column()),
    }
}
