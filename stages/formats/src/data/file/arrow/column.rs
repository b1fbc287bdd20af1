//! Columns of a batch of Arrow data: their buffers, and their values as JSON. Every offset is checked, since a file may
//! hold anything.

use super::flat::Table;
use super::schema::{Field, Integer, Kind};
use anyhow::{Context, Result, bail, ensure};
use half::f16;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::Read;

/// The bytes that a row may take as JSON: few bytes of a file could ask for any number.
const LONGEST: usize = 512 << 20;

/// The number of times the bytes of a file that the values of its dictionaries may take besides. A short text takes 30 bytes more than
/// in the file, and files are compressed.
const OF_DICTIONARIES: usize = 64;

/// A compressed buffer of more bytes than this is refused if it takes more than `MOST_PACKED` times the bytes of the file.
const SMALL: usize = 64 << 20;
const MOST_PACKED: usize = 1000;

const DAMAGED: &str = "the Arrow data is damaged";

/// The values of dictionaries by their numbers.
pub type Dictionaries = HashMap<i64, Vec<Value>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Lz4,
    Zstandard,
}

/// The rest of the bytes that values may take.
pub struct Budget(Cell<usize>);

impl Budget {
    pub fn of_a_row() -> Budget {
        Budget(Cell::new(LONGEST))
    }

    /// For all dictionaries of a file of this length.
    pub fn of_dictionaries(file: u64) -> Budget {
        let file = usize::try_from(file).unwrap_or(usize::MAX);
        Budget(Cell::new(LONGEST.saturating_add(file.saturating_mul(OF_DICTIONARIES))))
    }

    fn spend(&self, bytes: usize) -> Result<()> {
        let left = self.0.get().checked_sub(bytes.saturating_add(size_of::<Value>()));
        self.0.set(left.with_context(|| format!("it takes more than {} MiB of memory", LONGEST >> 20))?);
        Ok(())
    }
}

/// Gives the buffers of a batch to its columns, in the order of the schema.
pub struct Loader<'a> {
    body: &'a [u8],
    codec: Codec,
    /// The lengths of columns.
    nodes: std::vec::IntoIter<i64>,
    /// Offsets and lengths in the body.
    buffers: std::vec::IntoIter<[i64; 2]>,
    /// The number of buffers of each column of views.
    view_buffers: std::vec::IntoIter<i64>,
    /// The bytes that were unpacked.
    spent: usize,
}

/// A column, with as many buffers as its type has.
pub struct BatchColumn<'a> {
    field: &'a Field,
    length: usize,
    /// A bit for each row that holds a value; empty: all do.
    valid: Cow<'a, [u8]>,
    /// Numbers, bits, offsets or views.
    first: Cow<'a, [u8]>,
    /// The bytes that offsets and views lead to.
    rest: Vec<Cow<'a, [u8]>>,
    children: Vec<BatchColumn<'a>>,
}

impl<'a> Loader<'a> {
    pub fn new(body: &'a [u8], codec: Codec, batch: &Table) -> Result<Loader<'a>> {
        let numbers = |bytes: &[u8]| -> Vec<i64> {
            bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(std::array::from_fn(|at| bytes[at]))).collect()
        };
        // A node is a length and a number of nulls.
        let nodes: Vec<i64> = numbers(batch.numbers(1, 16)?).into_iter().step_by(2).collect();
        let buffers: Vec<[i64; 2]> =
            numbers(batch.numbers(2, 16)?).chunks_exact(2).map(|two| [two[0], two[1]]).collect();
        let view_buffers = numbers(batch.numbers(4, 8)?);
        let (nodes, buffers, view_buffers) = (nodes.into_iter(), buffers.into_iter(), view_buffers.into_iter());
        Ok(Loader { body, codec, nodes, buffers, view_buffers, spent: 0 })
    }

    pub fn spent(&self) -> usize {
        self.spent
    }

    pub fn column(&mut self, field: &'a Field) -> Result<BatchColumn<'a>> {
        let length = self.nodes.next().and_then(|length| usize::try_from(length).ok()).context(DAMAGED)?;
        let mut column = BatchColumn {
            field,
            length,
            valid: Cow::default(),
            first: Cow::default(),
            rest: Vec::new(),
            children: Vec::new(),
        };
        let (has_valid, has_first, more) = match field.kind {
            _ if field.dictionary.is_some() => (true, true, 0),
            Kind::Null => (false, false, 0),
            Kind::Bytes { .. } => (true, true, 1),
            Kind::View { .. } => {
                column.valid = self.buffer()?;
                column.first = self.buffer()?;
                let more = self.view_buffers.next().and_then(|count| usize::try_from(count).ok()).context(DAMAGED)?;
                (false, false, more)
            }
            Kind::Struct | Kind::FixedList(_) => (true, false, 0),
            Kind::Odd { buffers, has_nulls, .. } => (has_nulls, buffers > 0, buffers.saturating_sub(1)),
            _ => (true, true, 0),
        };
        if has_valid {
            column.valid = self.buffer()?;
        }
        if has_first {
            column.first = self.buffer()?;
        }
        for _ in 0..more {
            column.rest.push(self.buffer()?);
        }
        if field.dictionary.is_none() {
            column.children = field.children.iter().map(|child| self.column(child)).collect::<Result<_>>()?;
        }
        Ok(column)
    }

    fn buffer(&mut self) -> Result<Cow<'a, [u8]>> {
        let [offset, length] = self.buffers.next().context(DAMAGED)?;
        let (offset, length) = (usize::try_from(offset).context(DAMAGED)?, usize::try_from(length).context(DAMAGED)?);
        let end = offset.checked_add(length).context(DAMAGED)?;
        let bytes = self.body.get(offset..end).context(DAMAGED)?;
        if self.codec == Codec::None || bytes.is_empty() {
            return Ok(Cow::Borrowed(bytes));
        }
        let (size, packed) = bytes.split_first_chunk::<8>().context(DAMAGED)?;
        let size = i64::from_le_bytes(*size);
        if size == -1 {
            return Ok(Cow::Borrowed(packed));
        }
        let size = usize::try_from(size).context(DAMAGED)?;
        ensure!(
            size <= SMALL || size / MOST_PACKED <= packed.len(),
            "a buffer is packed more than {MOST_PACKED} times"
        );
        let mut unpacked = Vec::new();
        // One byte more, to see that nothing follows.
        let limit = size as u64 + 1;
        let read = match self.codec {
            Codec::Lz4 => lz4_flex::frame::FrameDecoder::new(packed).take(limit).read_to_end(&mut unpacked),
            Codec::Zstandard => zstd::stream::Decoder::new(packed)?.take(limit).read_to_end(&mut unpacked),
            Codec::None => Ok(0),
        };
        read.context("the compressed data is damaged")?;
        ensure!(unpacked.len() == size, "the compressed data is damaged");
        self.spent += size;
        Ok(Cow::Owned(unpacked))
    }
}

impl BatchColumn<'_> {
    pub fn name(&self) -> &str {
        &self.field.name
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// The value of a row. What has no form in JSON becomes an object, which no field of a row may be: nobody reads such a
    /// column, or its reader says so.
    pub fn value(&self, row: usize, dictionaries: &Dictionaries, budget: &Budget) -> Result<Value> {
        ensure!(row < self.length, DAMAGED);
        budget.spend(0)?;
        if !self.valid.is_empty() && !bit(&self.valid, row)? {
            return Ok(Value::Null);
        }
        if let Some(index) = self.field.dictionary {
            let number = usize::try_from(self.integer(row, index.integer)?).context(DAMAGED)?;
            let values = dictionaries.get(&index.id).with_context(|| format!("there is no dictionary {}", index.id))?;
            let value = values.get(number).context(DAMAGED)?;
            spend_all(value, budget)?;
            return Ok(value.clone());
        }
        let list = |items: std::ops::Range<usize>| -> Result<Vec<Value>> {
            items.map(|item| self.children[0].value(item, dictionaries, budget)).collect()
        };
        Ok(match self.field.kind {
            Kind::Null => Value::Null,
            Kind::Bool => Value::from(bit(&self.first, row)?),
            Kind::Integer(integer) => {
                let number = self.integer(row, integer)?;
                i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from))?
            }
            Kind::Float(2) => Value::from(f64::from(f16::from_le_bytes(self.array(row)?))),
            Kind::Float(4) => Value::from(f64::from(f32::from_le_bytes(self.array(row)?))),
            Kind::Float(_) => Value::from(f64::from_le_bytes(self.array(row)?)),
            Kind::Bytes { offset, is_text } => {
                let range = self.range(row, offset)?;
                text(self.rest[0].get(range).context(DAMAGED)?, is_text, budget)?
            }
            Kind::View { is_text } => text(self.view(row)?, is_text, budget)?,
            Kind::Fixed(width) => {
                let start = row.checked_mul(width).context(DAMAGED)?;
                let bytes = start.checked_add(width).and_then(|end| self.first.get(start..end)).context(DAMAGED)?;
                text(bytes, false, budget)?
            }
            Kind::Decimal { bytes, scale } => match self.wide(row, bytes)? {
                Some(number) => decimal(number, scale),
                None => odd("decimal"),
            },
            Kind::Date { is_days } => {
                let seconds = match is_days {
                    true => i64::from(i32::from_le_bytes(self.array(row)?)) * 86_400,
                    false => i64::from_le_bytes(self.array(row)?).div_euclid(1000),
                };
                let day =
                    moment(seconds.into(), 0).map(|moment| Value::from(moment.split('T').next().unwrap_or_default()));
                day.unwrap_or_else(|| odd("date"))
            }
            Kind::Time { bytes, digits } => {
                let number = self.integer(row, Integer { bytes, is_signed: true })?;
                let time = moment(number, digits).filter(|moment| moment.starts_with("1970-01-01T"));
                time.map_or_else(
                    || odd("time"),
                    |time| Value::from(time.trim_start_matches("1970-01-01T").trim_end_matches('Z')),
                )
            }
            Kind::Timestamp { digits, has_zone } => {
                let number = i64::from_le_bytes(self.array(row)?);
                // Without a zone it is the time of some clock.
                let shown = |moment: String| Value::from(if has_zone { &moment } else { moment.trim_end_matches('Z') });
                moment(number.into(), digits).map_or_else(|| odd("timestamp"), shown)
            }
            Kind::List(offset) => Value::Array(list(self.range(row, offset)?)?),
            Kind::FixedList(size) => {
                let start = row.checked_mul(size).context(DAMAGED)?;
                Value::Array(list(start..start.checked_add(size).context(DAMAGED)?)?)
            }
            Kind::Struct => {
                let cell = |column: &BatchColumn| -> Result<(String, Value)> {
                    Ok((column.name().to_owned(), column.value(row, dictionaries, budget)?))
                };
                Value::Object(self.children.iter().map(cell).collect::<Result<_>>()?)
            }
            Kind::Map => entries(list(self.range(row, 4)?)?),
            Kind::Odd { name, .. } => odd(name),
        })
    }

    /// The numbers at the place of a row, `N` bytes each.
    fn array<const N: usize>(&self, row: usize) -> Result<[u8; N]> {
        array(&self.first, row)
    }

    fn integer(&self, row: usize, integer: Integer) -> Result<i128> {
        Ok(match (integer.bytes, integer.is_signed) {
            (1, true) => i8::from_le_bytes(self.array(row)?).into(),
            (1, false) => u8::from_le_bytes(self.array(row)?).into(),
            (2, true) => i16::from_le_bytes(self.array(row)?).into(),
            (2, false) => u16::from_le_bytes(self.array(row)?).into(),
            (4, true) => i32::from_le_bytes(self.array(row)?).into(),
            (4, false) => u32::from_le_bytes(self.array(row)?).into(),
            (_, true) => i64::from_le_bytes(self.array(row)?).into(),
            (_, false) => u64::from_le_bytes(self.array(row)?).into(),
        })
    }

    /// A number of up to 32 bytes, if it fits.
    fn wide(&self, row: usize, bytes: usize) -> Result<Option<i128>> {
        Ok(match bytes {
            4 | 8 => Some(self.integer(row, Integer { bytes, is_signed: true })?),
            16 => Some(i128::from_le_bytes(self.array(row)?)),
            _ => {
                let halves: [u8; 32] = self.array(row)?;
                let half = |start: usize| i128::from_le_bytes(std::array::from_fn(|at| halves[start + at]));
                (half(16) == half(0) >> 127).then(|| half(0))
            }
        })
    }

    /// The range that two offsets of so many bytes name.
    fn range(&self, row: usize, offset: usize) -> Result<std::ops::Range<usize>> {
        let one = |row: usize| self.integer(row, Integer { bytes: offset, is_signed: true });
        let (start, end) =
            (usize::try_from(one(row)?).context(DAMAGED)?, usize::try_from(one(row + 1)?).context(DAMAGED)?);
        ensure!(start <= end, DAMAGED);
        Ok(start..end)
    }

    fn view(&self, row: usize) -> Result<&[u8]> {
        let view: [u8; 16] = self.array(row)?;
        let number = |at: usize| -> Result<usize> {
            let number = i32::from_le_bytes([view[at], view[at + 1], view[at + 2], view[at + 3]]);
            usize::try_from(number).context(DAMAGED)
        };
        let length = number(0)?;
        // Short ones stand in the view itself.
        if length <= 12 {
            return self.first.get(16 * row + 4..16 * row + 4 + length).context(DAMAGED);
        }
        let start = number(12)?;
        self.rest.get(number(8)?).and_then(|bytes| bytes.get(start..start + length)).context(DAMAGED)
    }
}

fn array<const N: usize>(bytes: &[u8], row: usize) -> Result<[u8; N]> {
    let start = row.checked_mul(N).context(DAMAGED)?;
    let bytes = start.checked_add(N).and_then(|end| bytes.get(start..end)).context(DAMAGED)?;
    Ok(bytes.try_into()?)
}

fn bit(bytes: &[u8], row: usize) -> Result<bool> {
    Ok(bytes.get(row / 8).context(DAMAGED)? >> (row % 8) & 1 == 1)
}

fn text(bytes: &[u8], is_text: bool, budget: &Budget) -> Result<Value> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            budget.spend(bytes.len())?;
            Ok(Value::from(text))
        }
        Err(_) if is_text => bail!("a text is not UTF-8"),
        Err(_) => Ok(json!({"bytes": bytes.len()})),
    }
}

fn odd(name: &str) -> Value {
    json!({"unread": name})
}

/// A map with texts as its keys is an object.
fn entries(list: Vec<Value>) -> Value {
    let entry = |entry: &Value| -> Option<(String, Value)> {
        let mut cells = entry.as_object()?.iter();
        // The names of key and value are free; `key` and `value` are usual, and a row keeps its fields in order.
        let (key, value) = match (entry.get("key"), entry.get("value")) {
            (Some(key), Some(value)) => (key, value),
            _ => (cells.next()?.1, cells.next()?.1),
        };
        Some((key.as_str()?.to_owned(), value.clone()))
    };
    match list.iter().map(entry).collect::<Option<Map<String, Value>>>() {
        Some(map) => Value::Object(map),
        None => Value::Array(list),
    }
}

fn decimal(number: i128, scale: i32) -> Value {
    let digits = number.unsigned_abs().to_string();
    let sign = if number < 0 { "-" } else { "" };
    let text = match usize::try_from(scale) {
        Ok(0) => digits,
        // More places than any decimal has are damage, and would fill the memory.
        Ok(scale) if scale <= 76 => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            format!("{whole}.{part}")
        }
        Err(_) if scale >= -76 => digits + &"0".repeat(scale.unsigned_abs() as usize),
        _ => return odd("decimal"),
    };
    Value::from(format!("{sign}{text}"))
}

/// A number of fractions of a second since 1970, 10 to the power of `digits` in a second: `2024-01-31T12:00:00Z`.
fn moment(number: i128, digits: u32) -> Option<String> {
    let nanoseconds = number.checked_mul(10_i128.pow(9 - digits))?;
    Some(jiff::Timestamp::from_nanosecond(nanoseconds).ok()?.to_string())
}

/// Spends what a copy of a value takes.
fn spend_all(value: &Value, budget: &Budget) -> Result<()> {
    budget.spend(value.as_str().map_or(0, str::len))?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| spend_all(item, budget)),
        Value::Object(cells) => cells.values().try_for_each(|cell| spend_all(cell, budget)),
        _ => Ok(()),
    }
}
