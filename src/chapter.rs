//! The report of a run as one HTML page: a pure fold of the journal and of what the store keeps beside it. The same facts
//! give the same bytes, in a file or from a server: each section is a function of [`facts::Facts`] and a language, and nothing here
//! reads a file, a clock or the environment.

mod answers;
pub mod charts;
pub mod comparison;
mod curves;
mod dark;
pub mod data;
pub mod facts;
mod families;
pub mod figures;
mod gates;
mod glossary;
mod graph;
mod health;
pub mod labelling;
pub mod live;
mod models;
pub mod page;
pub mod paper;
mod provenance;
mod reward;
mod standing;
mod study;
mod table;
mod text;
pub mod verdict;
pub mod words;

#[cfg(test)]
mod tests;
