//! Schemas of values that recur. Most values can also be a text with `${…}` in it.

use serde_json::{Map, Value, json};

/// A pattern for `${…}` in a text, whose value is not known here.
pub const TEMPLATE: &str = r"\$\{";

pub fn list_of(items: Value) -> Value {
    json!({"type": "array", "minItems": 1, "items": items})
}

pub fn whole_number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub fn one_of(words: &[&str]) -> Value {
    choice(words.iter().map(|word| json!({"const": word})).collect())
}

/// One of these options, or a text with `${…}` that becomes one.
pub fn choice(mut options: Vec<Value>) -> Value {
    options.push(json!({"type": "string", "pattern": TEMPLATE}));
    json!({"anyOf": options})
}

/// Adds a text with `${…}` to a schema. It stays one schema of several types, whose mistakes an editor can explain: a
/// bound applies to numbers only, a pattern to texts only.
pub fn templated(schema: Value) -> Value {
    let mut types = match &schema["type"] {
        Value::String(one) => vec![json!(one)],
        Value::Array(types) => types.clone(),
        _ => unreachable!("a choice holds its `${{…}}` itself"),
    };
    if types.contains(&json!("string")) {
        return schema;
    }
    types.push(json!("string"));
    joined(schema, json!({"type": types, "pattern": TEMPLATE}))
}

/// The keys of both objects; the second takes precedence.
pub fn joined(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => Value::Object(one.into_iter().chain(other).collect()),
        (_, other) => other,
    }
}

/// A key, its description, and the schema of its value.
pub type Key = (&'static str, &'static str, Value);

/// A mapping of these keys and no others.
pub fn mapping(keys: Vec<Key>) -> Value {
    let described = |(key, doc, value): Key| (key.to_owned(), joined(json!({"description": doc}), value));
    let properties: Map<String, Value> = keys.into_iter().map(described).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}
