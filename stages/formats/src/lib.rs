//! Files of foreign origin: rows of data, chat templates, tokenizers, configurations, weights and adapters. Reads and
//! writes them on the host, without burn, so that all of it is checked and fuzzed in minutes.

pub mod architectures;
pub mod chat;
pub mod config;
pub mod data;
pub mod describe;
pub mod dialogue;
pub mod directory;
pub mod dtype;
pub mod json;
pub mod layout;
pub mod llama2c;
pub mod peft;
pub mod tokenizer;
pub mod unreadable;
pub mod weights;

/// The message about a file that holds a pointer of Git LFS instead of its content.
pub(crate) const LFS_POINTER: &str = "it is a Git LFS pointer, not the file: `git lfs pull` fetches it";
