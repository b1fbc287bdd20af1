//! FlatBuffers, as far as Arrow needs them: tables whose fields are found through a list of offsets. Every offset is
//! checked, since a file may hold anything.

use anyhow::{Context, Result, ensure};

const DAMAGED: &str = "the Arrow metadata is damaged";

#[derive(Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The offsets of its fields, from `at`; 0 where a field has its default.
    offsets: &'a [u8],
}

impl<'a> Table<'a> {
    pub fn root(bytes: &'a [u8]) -> Result<Table<'a>> {
        Table::at(bytes, follow(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Result<Table<'a>> {
        let back = i64::from(i32::from_le_bytes(array(bytes, at)?));
        let list = usize::try_from(i64::try_from(at)? - back).context(DAMAGED)?;
        let length = usize::from(u16::from_le_bytes(array(bytes, list)?));
        let offsets = slice(bytes, list, length)?;
        // The lengths of the list and of the table stand before the offsets.
        Ok(Table { bytes, at, offsets: offsets.get(4..).context(DAMAGED)? })
    }

    /// The place of a field; `None` if it has its default.
    fn place(&self, field: usize) -> Option<usize> {
        let offset = self.offsets.get(2 * field..2 * field + 2)?;
        let offset = usize::from(u16::from_le_bytes([offset[0], offset[1]]));
        (offset != 0).then(|| self.at + offset)
    }

    pub fn u8(&self, field: usize, default: u8) -> Result<u8> {
        self.place(field).map_or(Ok(default), |at| Ok(u8::from_le_bytes(array(self.bytes, at)?)))
    }

    pub fn i16(&self, field: usize, default: i16) -> Result<i16> {
        self.place(field).map_or(Ok(default), |at| Ok(i16::from_le_bytes(array(self.bytes, at)?)))
    }

    pub fn i32(&self, field: usize, default: i32) -> Result<i32> {
        self.place(field).map_or(Ok(default), |at| Ok(i32::from_le_bytes(array(self.bytes, at)?)))
    }

    pub fn i64(&self, field: usize, default: i64) -> Result<i64> {
        self.place(field).map_or(Ok(default), |at| Ok(i64::from_le_bytes(array(self.bytes, at)?)))
    }

    pub fn table(&self, field: usize) -> Result<Option<Table<'a>>> {
        self.place(field).map(|at| Table::at(self.bytes, follow(self.bytes, at)?)).transpose()
    }

    pub fn text(&self, field: usize) -> Result<Option<&'a str>> {
        let text = |at| std::str::from_utf8(self.list(at, 1)?.1).context(DAMAGED);
        self.place(field).map(text).transpose()
    }

    /// The bytes of a list of numbers or structures, each of `size` bytes; nothing if it is absent.
    pub fn numbers(&self, field: usize, size: usize) -> Result<&'a [u8]> {
        self.place(field).map_or(Ok(&[][..]), |at| Ok(self.list(at, size)?.1))
    }

    pub fn tables(&self, field: usize) -> Result<Vec<Table<'a>>> {
        let Some(at) = self.place(field) else { return Ok(Vec::new()) };
        let (start, list) = self.list(at, 4)?;
        (0..list.len() / 4).map(|index| Table::at(self.bytes, follow(self.bytes, start + 4 * index)?)).collect()
    }

    /// The place of the first element of a list, and its bytes.
    fn list(&self, at: usize, size: usize) -> Result<(usize, &'a [u8])> {
        let at = follow(self.bytes, at)?;
        let count = usize::try_from(u32::from_le_bytes(array(self.bytes, at)?))?;
        Ok((at + 4, slice(self.bytes, at + 4, count.checked_mul(size).context(DAMAGED)?)?))
    }
}

/// The place that an offset at a place leads to; always further on.
fn follow(bytes: &[u8], at: usize) -> Result<usize> {
    let offset = usize::try_from(u32::from_le_bytes(array(bytes, at)?))?;
    let target = at.checked_add(offset).context(DAMAGED)?;
    ensure!(offset > 0 && target < bytes.len(), DAMAGED);
    Ok(target)
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    at.checked_add(length).and_then(|end| bytes.get(at..end)).context(DAMAGED)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    Ok(slice(bytes, at, N)?.try_into()?)
}
