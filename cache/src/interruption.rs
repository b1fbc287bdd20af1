//! The error of work that was given up because its store was interrupted.

use std::{fmt, io};

/// The error of work that was given up.
#[derive(Debug)]
struct Interruption;

impl fmt::Display for Interruption {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interruption {}

pub fn interrupted() -> io::Error {
    io::Error::other(Interruption)
}

/// Whether work was given up because its store was interrupted ([`Store::interruptible`]).
pub fn is_interruption(error: &anyhow::Error) -> bool {
    let inner = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<Interruption>())
    };
    error.chain().any(inner)
}
