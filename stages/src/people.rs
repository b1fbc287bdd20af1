//! Judgements of people: what they are asked, what they say, how far they agree, and what it makes of the answers. Pure; `kinds/label.rs` is the kind that they are the data of.

pub mod active;
pub mod aggregate;
pub mod agreement;
pub mod compared;
pub mod criteria;
pub mod drift;
pub mod exports;
pub mod form;
pub mod identity;
pub mod interval;
pub mod items;
pub mod label;
pub mod likeness;
pub mod measure;
pub mod person;
pub mod progress;
pub mod review;
pub mod rows;
pub mod sitting;
pub mod tally;
pub mod worklist;

#[cfg(test)]
mod tests;
