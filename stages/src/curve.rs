//! A point of a training curve as numbers by name.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The field of a point that says when it was: optimiser steps, or updates of PPO.
pub const STEP: &str = "step";

/// A group of metrics in a point, whose names count as if they stood beside the others.
pub const METRICS: &str = "metrics";

/// The field of a line that holds answers in place of numbers.
pub const SAMPLES: &str = "samples";

/// The answers of the candidate of one step to a few prompts, in place of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateSamples {
    pub step: u64,
    pub samples: Vec<SampleAnswer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleAnswer {
    pub prompt: String,
    pub answer: String,
    /// Whether it ended by itself.
    pub ended: bool,
}

/// The numbers of a point, except for its step, in their order; `None` for one that is not finite. A field that is an
/// object gives a name for each of its numbers (`seconds.generation`); texts, bools and lists are left out.
pub fn numbers(point: &Map<String, Value>) -> Vec<(String, Option<f64>)> {
    let mut numbers = Vec::new();
    let fields = point.iter().filter(|(name, _)| name.as_str() != STEP);
    fields.for_each(|(name, value)| flatten(name, value, &mut numbers));
    numbers
}

fn flatten(path: &str, value: &Value, numbers: &mut Vec<(String, Option<f64>)>) {
    match value {
        Value::Object(fields) if path == METRICS => {
            fields.iter().for_each(|(name, value)| flatten(name, value, numbers));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, numbers));
        }
        Value::Number(number) => numbers.push((path.to_owned(), number.as_f64())),
        Value::Null => numbers.push((path.to_owned(), None)),
        Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
    }
}
