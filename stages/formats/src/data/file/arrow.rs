//! Arrow: the file format, which is Feather version 2, and the stream that `save_to_disk` of the library `datasets`
//! writes. Batch by batch. (The crate `arrow-ipc` would change features of crates that the computing ones stand on.)

mod column;
mod flat;
mod schema;

use super::place::{Place, Reader, Taker};
use anyhow::{Context, Result, bail, ensure};
use column::{BatchColumn, Budget, Codec, Dictionaries, Loader};
use flat::Table;
use rayon::prelude::*;
use schema::{Field, fields};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The first and last bytes of the file format.
pub const MAGIC: &[u8] = b"ARROW1";

/// The first bytes of a message, and so of a stream.
pub const CONTINUATION: [u8; 4] = [0xff; 4];

/// The rows that are read at a time.
const AT_ONCE: usize = 1024;

/// The headers of messages, of the union `MessageHeader`.
const SCHEMA: u8 = 1;
const DICTIONARY: u8 = 2;
const BATCH: u8 = 3;

pub fn rows<T: Send>(file: File, most: usize, read: Reader<T>, each: Taker<T>) -> Result<()> {
    let mut messages = ArrowMessages::open(file)?;
    let budget = Budget::of_dictionaries(messages.left);
    let Some(first) = messages.next()? else { bail!("the Arrow data has no schema") };
    let fields = match first.header()? {
        (SCHEMA, table) => fields(&table)?,
        _ => bail!("the Arrow data does not begin with its schema"),
    };
    let twice = fields.iter().enumerate().find(|(at, field)| fields[..*at].iter().any(|one| one.name == field.name));
    if let Some((_, field)) = twice {
        bail!("two columns have the name `{}`", field.name);
    }
    let mut dictionaries = Dictionaries::new();
    let mut count = 0;
    while count < most {
        let Some(message) = messages.next()? else { return Ok(()) };
        match message.header()? {
            (DICTIONARY, table) => add_dictionary(&table, &message.body, &fields, &mut dictionaries, &budget)?,
            (BATCH, table) => {
                let (columns, length) = batch(&table, &message.body, &fields)?;
                let mut at = 0;
                let length = length.min(most - count);
                while at < length {
                    let end = length.min(at + AT_ONCE);
                    let row = |index: usize| -> Result<Result<T>> {
                        let budget = Budget::of_a_row();
                        let cell = |column: &BatchColumn| {
                            Ok((column.name().to_owned(), column.value(index, &dictionaries, &budget)?))
                        };
                        let cells: Map<String, Value> = columns.iter().map(cell).collect::<Result<_>>()?;
                        Ok(read(&Value::Object(cells), count + index + 1))
                    };
                    let results: Vec<Result<Result<T>>> = (at..end).into_par_iter().map(row).collect();
                    for (index, result) in results.into_iter().enumerate() {
                        let number = count + at + index + 1;
                        // The rest of a damaged batch is damaged as well.
                        each(Place::Row(number), result.with_context(|| format!("row {number}"))?)?;
                    }
                    at = end;
                }
                count += length;
            }
            (other, _) => bail!("the Arrow data has a message of kind {other}, which holds no rows"),
        }
    }
    Ok(())
}

/// The columns of a record batch, and the number of its rows.
fn batch<'a>(table: &Table, body: &'a [u8], fields: &'a [Field]) -> Result<(Vec<BatchColumn<'a>>, usize)> {
    let length = usize::try_from(table.i64(0, 0)?).context("a batch has a negative number of rows")?;
    let compression = table.table(3)?;
    let codec = match compression.map(|compression| compression.u8(0, 0)).transpose()? {
        None => Codec::None,
        Some(0) => Codec::Lz4,
        Some(1) => Codec::Zstandard,
        Some(other) => bail!("the batch is compressed in an unknown way ({other})"),
    };
    let mut loader = Loader::new(body, codec, table)?;
    let columns: Vec<BatchColumn> = fields.iter().map(|field| loader.column(field)).collect::<Result<_>>()?;
    ensure!(columns.iter().all(|column| column.length() == length), "the columns of a batch differ in length");
    // Columns of nulls take no bytes, so that few bytes could ask for any number of rows.
    ensure!(length <= 64 * (loader.spent() + body.len()) + (1 << 16), "a batch has more rows than it has bits");
    Ok((columns, length))
}

fn add_dictionary(
    table: &Table,
    body: &[u8],
    fields: &[Field],
    dictionaries: &mut Dictionaries,
    budget: &Budget,
) -> Result<()> {
    let id = table.i64(0, 0)?;
    let field =
        fields.iter().find_map(|field| field.with_dictionary(id)).context("a dictionary belongs to no column")?;
    // Its values are as the column would be without a dictionary.
    let values = [field.without_dictionary()];
    let data = table.table(1)?.context("a dictionary has no values")?;
    let (columns, length) = batch(&data, body, &values)?;
    let values: Vec<Value> =
        (0..length).map(|index| columns[0].value(index, dictionaries, budget)).collect::<Result<_>>()?;
    let is_more = table.u8(2, 0)? != 0;
    if !is_more {
        dictionaries.remove(&id);
    }
    dictionaries.entry(id).or_default().extend(values);
    Ok(())
}

/// The messages of a file or stream.
struct ArrowMessages {
    bytes: BufReader<File>,
    /// The bytes that follow, without the list of places at the end of the file format.
    left: u64,
    /// Whether the end is proven by what follows it.
    has_end: bool,
}

struct ArrowMessage {
    metadata: Vec<u8>,
    body: Vec<u8>,
}

impl ArrowMessage {
    fn header(&self) -> Result<(u8, Table<'_>)> {
        let table = Table::root(&self.metadata)?;
        Ok((table.u8(1, 0)?, table.table(2)?.context("a message has no header")?))
    }
}

impl ArrowMessages {
    fn open(mut file: File) -> Result<ArrowMessages> {
        let length = file.metadata()?.len();
        let mut first = [0; 8];
        file.rewind()?;
        file.read_exact(&mut first).context(CUT)?;
        if !first.starts_with(MAGIC) {
            file.rewind()?;
            return Ok(ArrowMessages { bytes: BufReader::new(file), left: length, has_end: false });
        }
        // The footer, its length and the magic; in front of them the magic and its padding.
        let mut last = [0; 10];
        ensure!(length >= 18, CUT);
        file.seek(SeekFrom::End(-10))?;
        file.read_exact(&mut last)?;
        ensure!(last.ends_with(MAGIC), CUT);
        let footer = i32::from_le_bytes([last[0], last[1], last[2], last[3]]);
        let left = u64::try_from(footer).ok().and_then(|footer| (length - 18).checked_sub(footer)).context(CUT)?;
        file.seek(SeekFrom::Start(8))?;
        Ok(ArrowMessages { bytes: BufReader::with_capacity(1 << 18, file), left, has_end: true })
    }

    /// `None` at the end.
    fn next(&mut self) -> Result<Option<ArrowMessage>> {
        if self.left == 0 && self.has_end {
            return Ok(None);
        }
        let mut length = self.array()?;
        if length == CONTINUATION {
            length = self.array()?;
        }
        let length = i32::from_le_bytes(length);
        if length == 0 {
            return Ok(None);
        }
        let metadata = self.take(length.into())?;
        let size = Table::root(&metadata)?.i64(3, 0)?;
        let body = self.take(size)?;
        Ok(Some(ArrowMessage { metadata, body }))
    }

    fn array(&mut self) -> Result<[u8; 4]> {
        let bytes = self.take(4)?;
        Ok([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn take(&mut self, length: i64) -> Result<Vec<u8>> {
        let length = u64::try_from(length).ok().filter(|length| *length <= self.left).context(CUT)?;
        let mut taken = Vec::new();
        self.bytes.by_ref().take(length).read_to_end(&mut taken)?;
        ensure!(taken.len() as u64 == length, CUT);
        self.left -= length;
        Ok(taken)
    }
}

const CUT: &str = "the Arrow data is cut or damaged; fetch it again";
