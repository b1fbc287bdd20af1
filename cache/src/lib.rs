//! A content store: files and directories named by the hash of their content, and records that say which
//! content an action gave.
//!
//! It knows nothing of stages, gates, runs or YAML; a key is any digest and a result is any JSON.
//!
//! Under the root:
//!
//! ```text
//! store/v1/blobs/ab/cd…            the bytes of one file, read-only, named by blake3
//! store/v1/trees/ab/cd….json       path → blob, size, executable bit; named by blake3 of these bytes
//! store/v1/actions/ab/cd….json     key → record; its existence is the commit
//! store/v1/actions/ab/cd….variant-1.json   another result under the same key, kept as a note
//! store/v1/verdicts/ab/cd….json    a value remembered under a key; may go at any time
//! store/v1/tmp/                    what is being written; nothing here is ever read
//! ```
//!
//! What holds whatever happens:
//!
//! * Blobs are written before the tree that names them, trees before the record. Each file is complete and on
//!   the disk before it gets its name, so a process killed at any point leaves the old state or the new one.
//! * The first record of a key stays. Only a record that can no longer be used (torn, or its content lost) is
//!   replaced.
//! * Bytes leave the store only after their hash was checked. What is missing or damaged is a miss.

mod content;
mod digest;
mod place;
mod record;
#[cfg(test)]
mod sample;
mod store;
mod tree;
mod write;

pub use content::Content;
pub use digest::Digest;
pub use place::Damaged;
pub use record::{Commit, Record};
pub use store::Store;
