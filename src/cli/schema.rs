//! `schema`: the JSON Schema of the pipeline file on stdout.

use super::terminal;
use crate::schema;
use anyhow::Result;

pub fn print() -> Result<u8> {
    terminal::say_json(&text())?;
    Ok(0)
}

pub fn text() -> String {
    let text = serde_json::to_string_pretty(&schema::schema()).expect("a schema is plain data");
    text + "\n"
}
