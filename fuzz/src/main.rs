//! One program for all targets: libFuzzer, on the target that the variable `TARGET` names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline_fuzz::targets::{TARGETS, Target};
use std::sync::LazyLock;

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(" ");
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("TARGET is one of: {}", names()))
});

fuzz_target!(|bytes: &[u8]| (CHOSEN.read)(bytes));
