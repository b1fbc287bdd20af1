//! A content store: files and directories named by the hash of their content, and records that say which
//! content an action gave.
//!
//! A key is any digest and a result is any JSON: nothing here depends on what they mean.
//!
//! Under the root:
//!
//! ```text
//! store.json                       `{"shared": true}`: what is made here is for other users as well
//! store/v1/blobs/ab/cd…            the bytes of one file, read-only, named by blake3
//! store/v1/trees/ab/cd….json       path → blob, size, executable bit; `logs/`: null is an
//!                                  empty directory; named by blake3 of these bytes
//! store/v1/actions/ab/cd….json     key → record; its existence is the commit
//! store/v1/actions/ab/cd….variant-1.json   another result under the same key, kept as a note
//! store/v1/actions/ab/cd….disowned-1.json  a record that was found wrong, with the reason; never used
//! store/v1/verdicts/ab/cd….json    a value remembered under a key; may go at any time
//! store/v1/remote/ID/where.json     the remote of this directory; ID is a hash of this file
//! store/v1/remote/ID/ab/cd….json    key → record that was found there; its content may be there alone
//! store/v1/remote/ID/ab/cd….owed    the record of this key is still to be pushed there
//! store/v1/remote/ID/ab/cd….damaged the version of an object that was found damaged; named by the hash of its name
//! store/v1/claims/ab/cd….json      the process that works at a key; worthless once it is gone
//! store/v1/quarantine/             what `verify` moved away; never read
//! store/v1/stats                   the content of files when they were last read; may go at any time
//! store/v1/lock                    locked shared by runs that use the store, exclusively by a removal
//! store/v1/tmp/                    drafts; nothing here is ever read
//! ```
//!
//! Invariants:
//!
//! * Blobs are written before the tree that names them, trees before the record. Each file is complete and on the disk
//!   before it gets its name, so a process killed at any point leaves the old state or the new one.
//! * The first record of a key stays. Only a record that can no longer be used (torn, or its content lost) is
//!   replaced.
//! * Bytes leave the store only after their hash was checked. Missing or damaged content is a miss.

mod archive;
mod claim;
mod collect;
mod content;
mod digest;
mod disown;
#[cfg(test)]
mod hostile;
mod interruption;
mod inventory;
mod lock;
mod open;
mod place;
mod record;
mod remote;
#[cfg(test)]
#[path = "../../tests/support/s3.rs"]
mod s3;
#[cfg(test)]
mod sample;
mod stats;
mod store;
mod tree;
mod verify;
#[cfg(test)]
#[path = "../../tests/support/wait.rs"]
mod wait;
mod write;

pub use archive::{Import, ImportRecord};
pub use claim::{Claim, ClaimResult, Owner, host};
pub use collect::{Collection, Policy, Roots};
pub use content::{Content, Damage};
pub use digest::Digest;
pub use disown::Disavowal;
pub use interruption::is_interruption;
pub use inventory::{Tally, Usage};
pub use lock::{ExclusiveHold, Hold};
pub use record::{Commit, Record};
pub use remote::{
    Address, Answer, DeadUploads, ForeignRecord, Probe, Push, Remote, RemoteFailure, RemoteSettings, SECRETS,
};
pub use store::{Store, is_shared};
pub use verify::Verification;
