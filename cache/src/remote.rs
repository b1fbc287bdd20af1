//! A remote: a bucket or a shared directory in which machines leave each other records and what they name.

mod settings;

pub use settings::{Address, RemoteSettings};
