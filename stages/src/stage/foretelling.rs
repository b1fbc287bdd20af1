//! Requests that a stage will send to a server, as far as they are known before it runs.

use super::Call;
use crate::io::Io;
use crate::server::{Budget, Usage};
use serde_json::Value;

/// A way to know what a stage will ask for.
pub struct Foretelling {
    /// The port whose rows are asked about.
    pub items: &'static str,
    /// The one who is asked, by the parameters; `None` if nobody is.
    pub asked: fn(&Value) -> Option<ForetoldServer>,
    /// The most requests about a row with so many answers, by the parameters.
    pub of_row: fn(&Value, usize) -> u64,
    /// Requests about rows that are there.
    pub all: fn(&Call, &Io) -> anyhow::Result<AskedTotals>,
}

/// A server that a stage will ask.
#[derive(Clone, Debug, PartialEq)]
pub struct ForetoldServer {
    pub name: String,
    pub budget: Budget,
    /// Nobody is asked: replies that are missing are an error.
    pub is_offline: bool,
}

/// Everything that a stage will ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AskedTotals {
    /// Replies that are there.
    pub kept: u64,
    /// Requests that were sent for the same questions, whether or not their replies are there.
    pub spent: u64,
    /// Requests that are to be sent.
    pub requests: u64,
    /// The most that they may take.
    pub most: Usage,
    /// The price of that, where prices are known.
    pub cost: Option<f64>,
}
