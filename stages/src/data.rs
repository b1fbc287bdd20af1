//! What kinds read of data files.

pub use formats::data::*;
pub use formats::dialogue::{Message, Prompt};
