//! The schema of a kind's `with:` block: that of its type, with the doc comment of each parameter. Bounds are found by
//! asking the kind itself, so that they are written once.

use super::forms::{TEMPLATE, joined, templated};
use serde_json::{Map, Value, json};
use stages::stage::Kind;

pub fn schema(kind: &Kind) -> Value {
    let required = required(kind);
    let mut schema = described(kind, "", (kind.schema)());
    if required.is_empty() {
        // `with:` may be empty.
        schema["type"] = json!(["object", "null", "string"]);
    } else {
        for name in &required {
            schema["properties"][name].as_object_mut().map(|parameter| parameter.remove("default"));
        }
        schema["required"] = json!(required);
    }
    schema
}

/// The parameters that an empty block is refused for.
pub fn required(kind: &Kind) -> Vec<String> {
    match (kind.parse)(&Map::new()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.into_iter().map(|mistake| mistake.path).collect(),
    }
}

/// Makes the schema of a type fit for editors. `path` is its place in the block.
fn described(kind: &Kind, path: &str, mut schema: Value) -> Value {
    let Some(keys) = schema.as_object_mut() else { return schema };
    // Names and doc comments of Rust types are not for users; `uint` is a format of schemars.
    for key in ["title", "format"] {
        keys.remove(key);
    }
    // A block that may be left out is one parameter, and has the words of it.
    if keys.contains_key("properties") && keys.get("type").is_some_and(|of| of == "object") {
        keys.remove("description");
    }
    if keys.get("default").is_some_and(Value::is_null) {
        keys.remove("default");
    }
    if let Some(Value::Object(properties)) = keys.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            *property = described(kind, &path, property.take());
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = keys.get_mut(inner).filter(|inner| inner.is_object()) {
            *inner = described(kind, &format!("{path}.*"), inner.take());
        }
    }
    let options: Option<Vec<Value>> = ["enum", "oneOf"].into_iter().find_map(|key| match keys.remove(key) {
        Some(Value::Array(options)) => Some(options),
        _ => None,
    });
    if let Some(options) = options {
        keys.remove("type");
        let whole = |option: Value| if option.is_object() { option } else { json!({"const": option}) };
        let template = json!({"type": "string", "pattern": TEMPLATE});
        let options: Vec<Value> = options.into_iter().map(whole).chain([template]).collect();
        return joined(schema, json!({"anyOf": options}));
    }
    let bounds = bounds(kind, path, &schema);
    match schema.get("type") {
        Some(_) => templated(joined(schema, bounds)),
        None => schema,
    }
}

/// Bounds of a number, found by asking the kind to parse 0, −1, 1 and 1.5.
fn bounds(kind: &Kind, path: &str, schema: &Value) -> Value {
    let is = |name: &str| {
        schema["type"] == name || schema["type"].as_array().is_some_and(|types| types.contains(&json!(name)))
    };
    let is_refused = |number: f64| {
        let number = if is("integer") { json!(number as i64) } else { json!(number) };
        let nested = path.rsplit('.').fold(number, |inner, key| json!({key: inner}));
        let block = nested.as_object().cloned().unwrap_or_default();
        (kind.parse)(&block).is_err_and(|mistakes| mistakes.iter().any(|mistake| mistake.path == path))
    };
    if is("integer") {
        return if is_refused(0.0) { json!({"minimum": 1}) } else { json!({"minimum": 0}) };
    }
    if !is("number") {
        return json!({});
    }
    let lower = match (is_refused(0.0), is_refused(-1.0)) {
        (true, _) => json!({"exclusiveMinimum": 0}),
        (false, true) => json!({"minimum": 0}),
        (false, false) => json!({}),
    };
    let upper = match (is_refused(1.0), is_refused(1.5)) {
        (true, _) => json!({"exclusiveMaximum": 1}),
        (false, true) => json!({"maximum": 1}),
        (false, false) => json!({}),
    };
    joined(lower, upper)
}
