//! `schema`: the JSON Schema of the pipeline file, or of the user's configuration, on stdout.

use super::terminal;
use crate::schema;
use anyhow::Result;
use serde_json::Value;

pub fn print(is_of_configuration: bool) -> Result<u8> {
    terminal::say_json(&if is_of_configuration { written(&schema::configuration()) } else { text() })?;
    Ok(0)
}

pub fn text() -> String {
    written(&schema::schema())
}

fn written(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).expect("a schema is plain data") + "\n"
}
