//! Forms of values that recur in the schema, most of which may also be a text with `${…}` in it.

use serde_json::{Value, json};

/// `${…}` somewhere in a text: its value is not known here.
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

/// One of some, or a text that will become one.
pub fn choice(mut options: Vec<Value>) -> Value {
    options.push(json!({"type": "string", "pattern": TEMPLATE}));
    json!({"anyOf": options})
}

/// Also a text with `${…}` in it. One schema of several types, since an editor can say of it what is wrong; a bound
/// counts for numbers only, a pattern for texts only.
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

/// The keys of both; the second counts.
pub fn joined(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => Value::Object(one.into_iter().chain(other).collect()),
        (_, other) => other,
    }
}
