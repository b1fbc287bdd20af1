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
//! store/v1/claims/ab/cd….json      who works at a key at the moment; worthless once he is gone
//! store/v1/quarantine/             what `verify` took out of the way; never read
//! store/v1/stats                   what files held when they were last read; may go at any time
//! store/v1/lock                    held by whoever relies on the store, alone by whoever removes from it
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

mod archive;
mod claim;
mod collect;
mod content;
mod digest;
#[cfg(test)]
mod hostile;
mod inventory;
mod lock;
mod open;
mod place;
mod record;
#[cfg(test)]
mod sample;
mod stats;
mod store;
mod tree;
mod verify;
mod write;

pub use archive::{Imported, ImportedRecord};
pub use claim::{Claim, Claiming, Owner};
pub use collect::{Collected, Policy, Roots};
pub use content::Content;
pub use digest::Digest;
pub use inventory::{Tally, Usage};
pub use lock::{Alone, Held};
pub use place::Damaged;
pub use record::{Commit, Record};
pub use store::Store;
pub use verify::Verified;
