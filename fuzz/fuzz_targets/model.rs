//! Any bytes as a configuration or a chat template: they are refused or read. No panic, no hang.

#![no_main]

use formats::chat::Template;
use formats::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    _ = serde_json::from_slice(bytes).map(Config::of);
    _ = std::str::from_utf8(bytes).map(|text| Template::new(text, Default::default()));
});
