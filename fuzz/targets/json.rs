//! JSON that Python may have written, and JSON as it is hashed.

use super::place;
use crate::canonical::Canonical;
use serde_json::Value;

/// JSON reads as strict JSON does; JSON with NaN reads the same from text and from a file, apart from what NaN becomes.
pub fn json(bytes: &[u8]) {
    let strict = serde_json::from_slice::<Value>(bytes).ok();
    let of_file = formats::json::read::<Value>(&place::file("a.json", bytes)).ok();
    let of_text = str::from_utf8(bytes).ok().and_then(|text| formats::json::from_python::<Value>(text).ok());
    assert_eq!(of_file.is_some(), of_text.is_some());
    if let Some(strict) = strict {
        assert_eq!(of_file.as_ref(), Some(&strict));
        assert_eq!(of_text.as_ref(), Some(&strict));
    }
    if let Some(value) = of_text {
        let path = place::file("a.json", b"");
        formats::json::write(&path, &value).expect("any value can be written");
        assert_eq!(formats::json::read::<Value>(&path).expect("what was written can be read"), value);
    }
}

/// The canonical text is that of the library even where a shorter way is taken, and its own canonical text.
pub fn canonical(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let text = Canonical::of(&value).expect("any value has a canonical form");
    assert_eq!(Canonical::from(value), text);
    let again = serde_json::from_str::<Value>(text.text()).expect("canonical JSON is JSON");
    assert_eq!(Canonical::from(again), text);
}
