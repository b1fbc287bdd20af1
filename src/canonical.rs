//! JSON in the one form that is hashed.

use anyhow::{Context, Result};
use cache::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::sync::Arc;

/// The largest whole number that canonical JSON keeps apart from its neighbours: its numbers are doubles (RFC 8785,
/// 3.2.2.3), so two numbers beyond it could give one key. The same holds below zero.
pub const EXACT: u64 = 1 << 53;

/// JSON in its canonical form (RFC 8785): an action, whose hash is its key and whose text lies in `action.json`, or the
/// parameters in it. It is kept as text, because a tree of values takes ten times the memory and hardly one of
/// thousands of actions is ever looked into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Canonical(Arc<str>);

impl Canonical {
    pub fn of(value: &impl Serialize) -> Result<Canonical> {
        let text = serde_json_canonicalizer::to_string(value).context("write canonical JSON")?;
        Ok(Canonical(text.into()))
    }

    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("it is JSON")
    }

    /// Begins an object. Its fields must be added in the order of their names, at least one.
    pub fn object() -> Fields {
        Fields(Vec::with_capacity(512))
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

/// An object that is being written. It is canonical if its values are and its names are in order.
pub struct Fields(Vec<u8>);

impl Fields {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend(name.as_bytes());
        self.0.extend(b"\":");
    }

    /// Adds a field. `name` consists of plain letters.
    pub fn add(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        self.name(name);
        serde_json_canonicalizer::to_writer(value, &mut self.0).context("write canonical JSON")
    }

    pub fn take(&mut self, name: &str, value: &Canonical) {
        self.name(name);
        self.0.extend(value.0.as_bytes());
    }

    pub fn end(mut self) -> Canonical {
        self.0.push(b'}');
        Canonical(String::from_utf8(self.0).expect("JSON is text").into())
    }
}

impl From<Value> for Canonical {
    fn from(value: Value) -> Canonical {
        if is_plain(&value) {
            return Canonical(value.to_string().into());
        }
        Canonical::of(&value).expect("no value of JSON is without a canonical form")
    }
}

/// Whether plain JSON is canonical already, as it is for most stages, and takes a fifth of the time. Different are only
/// doubles, whole numbers that no double holds exactly, and the order of names that are not ASCII (RFC 8785, 3.2.2 and
/// 3.2.3).
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() <= EXACT),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields.iter().all(|(name, value)| name.is_ascii() && is_plain(value)),
    }
}

impl Serialize for Canonical {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_transcode::transcode(&mut serde_json::Deserializer::from_str(&self.0), serializer)
    }
}

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Canonical, D::Error> {
        Value::deserialize(deserializer).map(Canonical::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_json_is_canonical_and_all_else_goes_the_long_way() {
        let text =
            (0..0x250u32).chain([0x2028, 0xe000, 0xffff, 0x1f600]).filter_map(char::from_u32).collect::<String>();
        let exact = EXACT as i64;
        let plain = json!({"b": [null, true, exact, -exact, 0, text], "a": {"": "x", "A~": [], "_": {}}, "B": 2});
        assert!(is_plain(&plain));
        assert_eq!(Canonical::from(plain.clone()), Canonical::of(&plain).unwrap());
        for other in
            [json!([1.0]), json!({"é": 1}), json!(exact + 1), json!(-exact - 1), json!(u64::MAX), json!({"a": [-0.0]})]
        {
            assert!(!is_plain(&other), "{other}");
        }
        let number = |value: Value| Canonical::from(value).text().to_owned();
        assert_eq!(
            (number(json!(1e21)), number(json!(2.0)), number(json!(1e-7))),
            ("1e+21".into(), "2".into(), "1e-7".into())
        );
    }

    #[test]
    fn names_stand_in_the_order_of_utf_16() {
        let value = Canonical::from(json!({"\u{1f600}": 1, "\u{fb33}": 2, "z": 3}));
        assert_eq!(value.text(), "{\"z\":3,\"\u{1f600}\":1,\"\u{fb33}\":2}");
    }
}
