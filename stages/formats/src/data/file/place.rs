//! The place of a row in a file, and the functions that rows go through.

use anyhow::Result;
use serde_json::Value;
use std::fmt;

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

/// A function that reads a row; its arguments are the row and its number from 1.
pub type Reader<'a, T> = &'a (dyn Fn(&Value, usize) -> Result<T> + Sync);
/// A function that takes the results in the order of the file.
pub type Taker<'a, T> = &'a mut dyn FnMut(Place, Result<T>) -> Result<()>;
