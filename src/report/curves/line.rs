//! One line of a curve, whose numbers are handed on as they are read: no value of it is held in between.

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use stages::curve::{METRICS, STEP};
use std::borrow::Cow;
use std::fmt;

/// Takes a number under its name, and returns the index of its series. The second argument is where that lies if this line
/// has the fields of the one before.
pub type Take<'a> = &'a mut dyn FnMut(&str, usize, f64) -> usize;

/// The reading of a line.
pub struct CurveLine<'a> {
    take: Take<'a>,
    /// The names of the objects around the field that is read, each with a point behind it.
    path: &'a mut String,
    step: Option<f64>,
    /// The series of the next number, if this line has the fields of the one before.
    likely: usize,
}

impl CurveLine<'_> {
    /// Reads a line, and returns its step if it names one; `None` if it is no JSON object. `path` is room for names, the
    /// same for all lines.
    pub fn read(text: &str, path: &mut String, take: Take) -> Option<Option<f64>> {
        path.clear();
        let mut line = CurveLine { take, path, step: None, likely: 0 };
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.deserialize_map(LineFields(&mut line)).ok()?;
        reader.end().ok()?;
        Some(line.step)
    }

    fn add(&mut self, value: f64) {
        self.likely = (self.take)(self.path, self.likely, value) + 1;
    }
}

/// The fields of an object.
struct LineFields<'a, 'b>(&'a mut CurveLine<'b>);

impl<'de> Visitor<'de> for LineFields<'_, '_> {
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<(), M::Error> {
        while let Some(FieldName(name)) = fields.next_key()? {
            let outside = self.0.path.len();
            if outside == 0 && name == STEP {
                // Another type of step is none, and so is the number of one.
                self.0.step = fields.next_value::<serde_json::Value>()?.as_f64();
                continue;
            }
            self.0.path.push_str(&name);
            fields.next_value_seed(LineField { line: self.0, is_metrics: name == METRICS, outside })?;
            self.0.path.truncate(outside);
        }
        Ok(())
    }
}

/// A name, which need not be copied where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a field: a number is a point of a series, an object has more of them, and others are none.
struct LineField<'a, 'b> {
    line: &'a mut CurveLine<'b>,
    is_metrics: bool,
    /// The length of the path without the name of this field.
    outside: usize,
}

impl<'de> DeserializeSeed<'de> for LineField<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LineField<'_, '_> {
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("any value")
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.line.add(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.line.add(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.line.add(value as f64);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.line.add(f64::NAN);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, fields: M) -> Result<(), M::Error> {
        match self.is_metrics {
            true => self.line.path.truncate(self.outside),
            false => self.line.path.push('.'),
        }
        LineFields(self.line).visit_map(fields)
    }
}
