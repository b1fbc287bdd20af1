//! Opens plain files and nothing else, whoever wrote what lies at a path. A pipe would block its reader for ever, a
//! device has no end, a link leads elsewhere, and a file may be larger than memory.
//!
//! Three rules hold wherever a file is read that somebody else may have made:
//!
//! * It is opened here, and read up to a bound that the caller names.
//! * Only "not found" means that there is nothing ([`found`]). Any other failure of a system call is an error.
//! * What lies in a directory that a command could write to is reached through [`Beneath`], which follows no link.

#[cfg(unix)]
mod beneath;
mod open;

#[cfg(unix)]
pub use beneath::Beneath;
pub use open::{
    exists, found, inside, is_directory, is_file, is_not_a_file, is_there, is_too_large, lock, make_directory,
    not_a_file, read, read_user, regular, rest, text, to_append, write,
};
