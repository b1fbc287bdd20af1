//! Measured numbers as lines of JSON: one a number, written out at once, so that the end of a section loses nothing
//! that it had found.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use stages::device;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A number, or what there is in its place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// The section, and whether it ran in WGSL or in SPIR-V: the process that reads the lines adds them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub section: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<f64>,
    /// Where the prediction comes from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// A message of what failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failed: String,
    /// Why it was left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dropped: String,
    /// The time it took, divided by the predicted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowness: Option<f64>,
}

pub fn number(name: impl Into<String>, value: f64, unit: &str) -> Line {
    Line { name: name.into(), value: Some(value), unit: unit.to_owned(), ..Line::default() }
}

pub fn text(name: impl Into<String>, note: impl Into<String>) -> Line {
    Line { name: name.into(), note: note.into(), ..Line::default() }
}

pub fn failed(name: impl Into<String>, message: impl Into<String>) -> Line {
    Line { name: name.into(), failed: message.into(), ..Line::default() }
}

pub fn dropped(name: impl Into<String>, why: impl Into<String>) -> Line {
    Line { name: name.into(), dropped: why.into(), ..Line::default() }
}

impl Line {
    pub fn beside(mut self, predicted: f64, source: &str) -> Line {
        self.predicted = Some(predicted);
        self.source = source.to_owned();
        self
    }

    pub fn noting(mut self, note: impl Into<String>) -> Line {
        self.note = note.into();
        self
    }

    pub fn tell(self) {
        let text = serde_json::to_string(&self).expect("a line is JSON");
        let mut out = std::io::stdout().lock();
        // Without a reader there is nobody to tell.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Does some work; an error or a panic becomes a line. Where the device is lost, this process ends: nothing it computes
/// would be right.
pub fn attempt<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panic: {}", text.unwrap_or("without a message"))
        }
    };
    failed(name, shortened(&message, 600)).tell();
    if device::is_lost() {
        failed("device", format!("it computes no longer after `{name}`: the section ends")).tell();
        std::process::exit(3);
    }
    None
}

/// The beginning of a message.
pub fn shortened(message: &str, most: usize) -> String {
    let text: String = message.trim().chars().take(most).collect();
    if text.len() < message.trim().len() { text + " …" } else { text }
}
