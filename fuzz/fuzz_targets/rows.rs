//! Any bytes as a data file: they are refused, or every row is read or refused. No panic, no hang.

#![no_main]

use formats::data::{file, row};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    _ = file::rows_of(bytes.to_vec(), |value, number| {
        _ = row::id(value, number);
        _ = (row::format(value), row::group(value), row::margin(value), row::document(value));
        row::read(value)
    });
});
