//! Texts of other programs that say what no code of theirs says: the one place where they are recognised.

/// Words of drivers and backends for a device that is full, in lower case: burn passes them on in a panic.
const FULL_DEVICE: [&str; 6] =
    ["out of memory", "outofmemory", "outofdevicememory", "couldn't find resource", "buffer too large", "buffertoobig"];

/// The head of a backtrace, which Rust writes unasked and which says nothing without the rest.
const BACKTRACE: [&str; 2] = ["stack backtrace:", "note: Some details are omitted, run with `RUST_BACKTRACE"];

/// Whether an error says that the memory of the device was too small.
pub fn is_of_memory(error: &str) -> bool {
    let error = error.to_lowercase();
    FULL_DEVICE.iter().any(|sign| error.contains(sign))
}

/// Whether a line of a log belongs to a backtrace.
pub fn is_of_trace(line: &str) -> bool {
    BACKTRACE.iter().any(|head| line.starts_with(head))
}
