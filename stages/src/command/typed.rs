//! The command and its environment as typed.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;

/// The command as typed.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Line {
    Shell(String),
    Program(Vec<String>),
}

/// Written by hand like the deserialization, which a derive cannot see.
impl JsonSchema for Line {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Line".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}

impl JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}

impl Default for Line {
    fn default() -> Line {
        Line::Program(Vec::new())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Shell(_) => formatter.write_str("the command"),
            Line::Program(words) => write!(formatter, "`{}`", words.first().map_or("", String::as_str)),
        }
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Line, D::Error> {
        struct Lines;
        impl<'de> Visitor<'de> for Lines {
            type Value = Line;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a list of program and arguments, or a text for the shell")
            }

            fn visit_str<E>(self, text: &str) -> Result<Line, E> {
                Ok(Line::Shell(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Line, A::Error> {
                let mut line = Vec::new();
                while let Some(word) = words.next_element()? {
                    line.push(word);
                }
                Ok(Line::Program(line))
            }
        }
        deserializer.deserialize_any(Lines)
    }
}

/// A text; a number, true or false is read as its text.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Text(text)),
            Value::Number(number) => Ok(Text(number.to_string())),
            Value::Bool(value) => Ok(Text(value.to_string())),
            other => {
                let found = match other {
                    Value::Null => serde::de::Unexpected::Unit,
                    Value::Array(_) => serde::de::Unexpected::Seq,
                    _ => serde::de::Unexpected::Map,
                };
                Err(serde::de::Error::invalid_type(found, &"a text, a number, true or false"))
            }
        }
    }
}
