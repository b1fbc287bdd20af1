//! People's judgements of answers: what they are asked, what they say, how far they agree, and what it makes of the
//! answers. Pure; `kinds/label.rs` is the kind that they are the data of.

pub mod criteria;
pub mod label;
pub mod progress;
pub mod sitting;
pub mod worklist;
