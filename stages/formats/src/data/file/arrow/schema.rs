//! The columns of Arrow data and their types, as far as they can be read as JSON.

use super::flat::Table;
use anyhow::{Context, Result, bail, ensure};

/// The deepest nesting of types.
const DEEPEST: usize = 64;

/// The most columns, nested ones included: a few bytes could describe any number of them.
const MOST: usize = 1 << 16;

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub children: Vec<Field>,
    pub dictionary: Option<DictionaryIndex>,
}

/// The numbers in a column that has a dictionary.
#[derive(Clone, Copy, Debug)]
pub struct DictionaryIndex {
    pub id: i64,
    pub integer: Integer,
}

#[derive(Clone, Copy, Debug)]
pub struct Integer {
    /// 1, 2, 4 or 8.
    pub bytes: usize,
    pub is_signed: bool,
}

/// Fractions of a second that a number counts: 10 to this power in a second.
pub type Digits = u32;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Null,
    Integer(Integer),
    /// 2, 4 or 8 bytes.
    Float(usize),
    Bool,
    /// Text or bytes; offsets of 4 or 8 bytes.
    Bytes {
        offset: usize,
        is_text: bool,
    },
    /// Text or bytes, each with its beginning in the column and the rest elsewhere.
    View {
        is_text: bool,
    },
    /// 4, 8, 16 or 32 bytes.
    Decimal {
        bytes: usize,
        scale: i32,
    },
    /// Days, or milliseconds.
    Date {
        is_days: bool,
    },
    Time {
        bytes: usize,
        digits: Digits,
    },
    Timestamp {
        digits: Digits,
        has_zone: bool,
    },
    /// Offsets of 4 or 8 bytes.
    List(usize),
    FixedList(usize),
    Struct,
    Map,
    /// Bytes of a fixed number.
    Fixed(usize),
    /// A type that has no form in JSON: its name, and the number of its buffers without that of nulls.
    Odd {
        name: &'static str,
        buffers: usize,
        has_nulls: bool,
    },
}

impl Field {
    /// This field or one in it whose values lie in the dictionary.
    pub fn with_dictionary(&self, id: i64) -> Option<&Field> {
        match self.dictionary {
            Some(index) if index.id == id => Some(self),
            _ => self.children.iter().find_map(|child| child.with_dictionary(id)),
        }
    }

    pub fn without_dictionary(&self) -> Field {
        Field { dictionary: None, ..self.clone() }
    }
}

/// The columns of a schema.
pub fn fields(schema: &Table) -> Result<Vec<Field>> {
    ensure!(schema.i16(0, 0)? == 0, "its numbers are big-endian, which is not read; write it on another machine");
    let mut count = 0;
    schema.tables(1)?.iter().map(|table| field(table, 0, &mut count)).collect()
}

fn field(table: &Table, depth: usize, count: &mut usize) -> Result<Field> {
    *count += 1;
    ensure!(depth <= DEEPEST && *count <= MOST, "its columns are nested too deep, or too many");
    let name = table.text(0)?.unwrap_or_default().to_owned();
    let children: Vec<Field> =
        table.tables(5)?.iter().map(|child| field(child, depth + 1, count)).collect::<Result<_>>()?;
    let details = table.table(3)?.with_context(|| format!("the column `{name}` has no type"))?;
    let kind = kind(table.u8(2, 0)?, &details).with_context(|| format!("the column `{name}`"))?;
    let wanted = match kind {
        Kind::List(_) | Kind::FixedList(_) | Kind::Map => Some(1),
        _ => None,
    };
    ensure!(wanted.is_none_or(|wanted| children.len() == wanted), "the column `{name}` is a list of nothing");
    let dictionary = match table.table(4)? {
        None => None,
        Some(encoding) => {
            let integer =
                encoding.table(1)?.map_or(Ok(Integer { bytes: 4, is_signed: true }), |table| integer(&table))?;
            Some(DictionaryIndex { id: encoding.i64(0, 0)?, integer })
        }
    };
    Ok(Field { name, kind, children, dictionary })
}

fn integer(table: &Table) -> Result<Integer> {
    let bits = table.i32(0, 0)?;
    ensure!([8, 16, 32, 64].contains(&bits), "it holds whole numbers of {bits} bits");
    Ok(Integer { bytes: usize::try_from(bits / 8)?, is_signed: table.u8(1, 0)? != 0 })
}

/// The type of a column: `tag` is its number in the union `Type` of Arrow's `Schema.fbs`.
fn kind(tag: u8, table: &Table) -> Result<Kind> {
    let odd = |name: &'static str, buffers: usize| Kind::Odd { name, buffers, has_nulls: true };
    Ok(match tag {
        1 => Kind::Null,
        2 => Kind::Integer(integer(table)?),
        3 => Kind::Float(match table.i16(0, 0)? {
            0 => 2,
            1 => 4,
            2 => 8,
            other => bail!("it holds fractions of the unknown precision {other}"),
        }),
        4 => Kind::Bytes { offset: 4, is_text: false },
        5 => Kind::Bytes { offset: 4, is_text: true },
        6 => Kind::Bool,
        7 => {
            let bits = table.i32(2, 128)?;
            ensure!([32, 64, 128, 256].contains(&bits), "it holds decimals of {bits} bits");
            Kind::Decimal { bytes: usize::try_from(bits / 8)?, scale: table.i32(1, 0)? }
        }
        8 => Kind::Date { is_days: table.i16(0, 1)? == 0 },
        9 => {
            let bits = table.i32(1, 32)?;
            ensure!([32, 64].contains(&bits), "it holds times of {bits} bits");
            Kind::Time { bytes: usize::try_from(bits / 8)?, digits: digits(table.i16(0, 1)?)? }
        }
        10 => Kind::Timestamp { digits: digits(table.i16(0, 0)?)?, has_zone: table.text(1)?.is_some() },
        11 => odd("interval", 1),
        12 => Kind::List(4),
        13 => Kind::Struct,
        14 => {
            let is_dense = table.i16(0, 0)? != 0;
            Kind::Odd { name: "union", buffers: if is_dense { 2 } else { 1 }, has_nulls: false }
        }
        15 => Kind::Fixed(usize::try_from(table.i32(0, 0)?)?),
        16 => Kind::FixedList(usize::try_from(table.i32(0, 0)?)?),
        17 => Kind::Map,
        18 => odd("duration", 1),
        19 => Kind::Bytes { offset: 8, is_text: false },
        20 => Kind::Bytes { offset: 8, is_text: true },
        21 => Kind::List(8),
        22 => Kind::Odd { name: "run-end encoded", buffers: 0, has_nulls: false },
        23 => Kind::View { is_text: false },
        24 => Kind::View { is_text: true },
        25 | 26 => odd("list view", 2),
        other => bail!("its type (number {other}) is not known"),
    })
}

fn digits(unit: i16) -> Result<Digits> {
    let unit = u32::try_from(unit).ok().filter(|unit| *unit <= 3).context("it counts an unknown unit of time")?;
    Ok(3 * unit)
}
