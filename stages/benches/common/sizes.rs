//! The models that are measured, by name: the same as in `peers/train.py`.

use super::model::Sizes;

pub const MODELS: &[(&str, Sizes)] = &[
    ("tiny", sizes([32, 64, 2, 2, 2, 512])),
    ("260K", sizes([64, 172, 5, 8, 4, 512])),
    ("7M", sizes([256, 688, 6, 8, 8, 4096])),
    ("30M", sizes([512, 1376, 8, 8, 8, 4096])),
    ("350M", sizes([1024, 2816, 24, 16, 16, 32_000])),
    ("1.3B", sizes([2048, 5504, 24, 16, 16, 32_000])),
    ("7B", sizes([4096, 11_008, 32, 32, 32, 32_000])),
];

/// The sizes of a name.
///
/// # Panics
/// There is no such model; the message lists those that there are.
pub fn of(name: &str) -> Sizes {
    let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
    let found = MODELS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no model `{name}`; there are {}", names.join(", "))).1
}

/// Width, inner width, layers, heads, heads of keys, vocabulary.
const fn sizes([width, inner, layers, heads, kv_heads, vocabulary]: [usize; 6]) -> Sizes {
    Sizes { width, inner, layers, heads, kv_heads, vocabulary, context: 512 }
}
