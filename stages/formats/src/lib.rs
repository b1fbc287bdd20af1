//! Files of foreign origin: rows of data, chat templates, tokenizers, configurations, weights and adapters. Reads and
//! writes them on the host, without burn, so that all of it is checked and fuzzed in minutes.

pub mod architectures;
pub mod chat;
pub mod config;
mod contained;
pub mod data;
pub mod describe;
pub mod dialogue;
pub mod directory;
pub mod dropout;
pub mod dtype;
pub mod jinja;
pub mod json;
pub mod layers;
pub mod layout;
pub mod llama2c;
pub mod peft;
pub mod rope;
pub mod tokenizer;
pub mod unreadable;
pub mod weights;
mod whole;
