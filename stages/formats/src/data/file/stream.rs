//! A stream of bytes whose first bytes are known.

use std::io::{BufReader, Cursor, Read};

/// A stream, and a copy of its first bytes.
pub struct Stream {
    pub start: Vec<u8>,
    pub bytes: Box<dyn Read + Send>,
}

/// The first bytes that tell what a file is.
pub const START: u64 = 4096;

impl Stream {
    pub fn new(mut bytes: impl Read + Send + 'static) -> std::io::Result<Stream> {
        let mut start = Vec::new();
        bytes.by_ref().take(START).read_to_end(&mut start)?;
        let whole = Cursor::new(start.clone()).chain(bytes);
        Ok(Stream { start, bytes: Box::new(BufReader::with_capacity(1 << 18, whole)) })
    }
}
