//! Requests that a stage will send to a server, as far as they are known before it runs.

use super::Call;
use crate::io::Io;
use crate::server::Usage;
use serde_json::Value;

/// A way to know what a stage will ask for.
pub struct Foretelling {
    /// The port whose rows are asked about.
    pub items: &'static str,
    /// The one who is asked, by the parameters; `None` if nobody is.
    pub asked: fn(&Value) -> Option<String>,
    /// The bound of what may be spent in the whole, by the parameters, as people are told it.
    pub budget: fn(&Value) -> Option<String>,
    /// The most requests about a row with so many answers, by the parameters.
    pub of_row: fn(&Value, usize) -> u64,
    /// Requests about rows that are there.
    pub all: fn(&Call, &Io) -> anyhow::Result<AskedTotals>,
}

/// Everything that a stage will ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AskedTotals {
    /// Replies that are there.
    pub kept: u64,
    /// Requests that are to be sent.
    pub requests: u64,
    /// The most that they may take.
    pub most: Usage,
    /// The price of that, where prices are known.
    pub cost: Option<f64>,
}
