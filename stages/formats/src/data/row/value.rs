//! Typed access to the fields of a row. An error names the field and what it holds.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::borrow::Cow;

pub fn has(row: &Value, field: &str) -> bool {
    row.get(field).is_some_and(|value| !value.is_null())
}

pub fn is_text(row: &Value, field: &str) -> bool {
    row.get(field).is_some_and(Value::is_string)
}

pub fn is_list(row: &Value, field: &str) -> bool {
    row.get(field).is_some_and(Value::is_array)
}

/// The first of several names of a field under which the row holds a value.
pub fn first_of(row: &Value, fields: &[&'static str]) -> Option<&'static str> {
    fields.iter().copied().find(|field| has(row, field))
}

pub fn text(row: &Value, field: &str) -> Result<String> {
    match row.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => bail!("field `{field}` is {}, not a text", name(other)),
        None => bail!("no field `{field}`"),
    }
}

pub fn filled(row: &Value, field: &str) -> Result<String> {
    let text = text(row, field)?;
    if text.trim().is_empty() {
        bail!("field `{field}` is empty");
    }
    Ok(text)
}

/// A text that may be missing, null or empty.
pub fn optional(row: &Value, field: &str) -> Result<Option<String>> {
    match row.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => Ok(Some(text(row, field)?).filter(|text| !text.is_empty())),
    }
}

/// A field of a table of texts, such as CSV, as the value that its text writes.
fn typed<'a>(row: &'a Value, field: &str) -> Cow<'a, Value> {
    let value = &row[field];
    let written = value.as_str().map(str::trim).and_then(|text| match text {
        "True" | "TRUE" => Some(Value::Bool(true)),
        "False" | "FALSE" => Some(Value::Bool(false)),
        _ => serde_json::from_str(text).ok(),
    });
    written.map_or(Cow::Borrowed(value), Cow::Owned)
}

pub fn number(row: &Value, field: &str) -> Result<f64> {
    let value = typed(row, field);
    value.as_f64().with_context(|| format!("field `{field}` is {}, not a number", name(&row[field])))
}

/// A whole number; tables often store one as a fraction.
pub fn whole(row: &Value, field: &str) -> Result<i64> {
    let value = typed(row, field);
    whole_of(&value).with_context(|| format!("field `{field}` is {}, not a whole number", name(&row[field])))
}

/// True or false, also written as 1 or 0.
pub fn truth(row: &Value, field: &str) -> Result<bool> {
    match typed(row, field).as_ref() {
        Value::Bool(truth) => Ok(*truth),
        value => match whole_of(value) {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => bail!("field `{field}` is {}, neither true nor false", name(&row[field])),
        },
    }
}

pub fn list<T>(row: &Value, field: &str, item: impl Fn(&Value) -> Option<T>, of: &str) -> Result<Vec<T>> {
    let value = typed(row, field);
    if value.is_null() {
        bail!("no field `{field}`");
    }
    let Some(values) = value.as_array() else {
        bail!("field `{field}` is no list of {of}");
    };
    values.iter().map(|value| item(value).with_context(|| format!("field `{field}` is no list of {of}"))).collect()
}

pub fn texts(row: &Value, field: &str) -> Result<Vec<String>> {
    list(row, field, |value| value.as_str().map(str::to_owned), "texts")
}

pub fn whole_of(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e9).map(|n| n as i64))
}

pub fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
