//! What every kind that reads data reports of its rows.

use crate::stage::{Direction, Metric};
pub use formats::data::{LabelledAnswer as Judged, RowFilter as Sieve, labelled as judged, *};
pub use formats::dialogue::{Message, Prompt};

/// Reported by every kind that trains.
pub const METRICS: [Metric; 3] = [
    Metric { name: formats::data::METRICS[0], direction: Direction::Neutral, doc: "rows of the data files" },
    Metric {
        name: formats::data::METRICS[1],
        direction: Direction::Lower,
        doc: "rows not used: bad ones that `--skip-bad-rows` let pass, and rows that prefer nothing",
    },
    Metric { name: formats::data::METRICS[2], direction: Direction::Lower, doc: "rows cut to the longest length" },
];
