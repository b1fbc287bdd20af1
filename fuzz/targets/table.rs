//! The targets.

/// A reader, given any bytes.
pub struct Target {
    pub name: &'static str,
    pub read: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[];
