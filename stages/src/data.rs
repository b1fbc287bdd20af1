//! What kinds read of data files.

pub use formats::data::{LabelledAnswer as Judged, RowFilter as Sieve, labelled as judged, *};
pub use formats::dialogue::{Message, Prompt};
