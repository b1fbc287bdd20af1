//! Texts of other programs that say what no code of theirs says: the one place where they are recognised.

/// Words of drivers and backends for a device that is full, in lower case: burn passes them on in a panic.
const FULL_DEVICE: [&str; 6] =
    ["out of memory", "outofmemory", "outofdevicememory", "couldn't find resource", "buffer too large", "buffertoobig"];

/// Words of backends for a device that its driver has given up, in lower case.
const LOST_DEVICE: [&str; 4] = ["device is lost", "device was lost", "device_lost", "device is poisoned"];

/// The head of a backtrace, which Rust writes unasked and which says nothing without the rest.
const BACKTRACE: [&str; 2] = ["stack backtrace:", "note: Some details are omitted, run with `RUST_BACKTRACE"];

/// Remarks of graphics drivers that they make whenever they are opened, and that are the cause of nothing.
const DRIVER_REMARKS: [&str; 4] = [
    "XDG_RUNTIME_DIR is invalid or not set in the environment",
    "is not a conformant vulkan implementation",
    "libEGL warning: ",
    "MESA: warning: ",
];

/// Whether an error says that the memory of the device was too small.
pub fn is_of_memory(error: &str) -> bool {
    let error = error.to_lowercase();
    FULL_DEVICE.iter().any(|sign| error.contains(sign))
}

/// Whether an error says that the device is gone.
pub fn is_of_lost_device(error: &str) -> bool {
    let error = error.to_lowercase();
    LOST_DEVICE.iter().any(|sign| error.contains(sign))
}

/// Whether a line of a log says nothing about the stage: a backtrace, a driver's usual remark.
pub fn is_of_no_use(line: &str) -> bool {
    let is_frame = line.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    is_frame
        || BACKTRACE.iter().any(|head| line.starts_with(head))
        || DRIVER_REMARKS.iter().any(|remark| line.contains(remark))
}
