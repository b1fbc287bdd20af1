//! `columns`: the fields of a row by the fields of the file, where their names differ, or by Jinja texts.

use super::row;
use crate::jinja::{self, Bounds};
use anyhow::{Context, Result, anyhow, bail};
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Fields that are taken from the row where `columns` does not name them.
const KEPT: [&str; 3] = ["id", "prompt_group", "subset"];

/// Fields that a row may lack, so that their column may be missing.
const OPTIONAL: [&str; 8] = ["system", "input", "history", "margin", "output", "id", "prompt_group", "subset"];

/// A text of a row takes some tens of steps, and some more for each turn of a dialogue.
const BOUNDS: Bounds = Bounds { fuel: 100_000, depth: 64, most: 64 << 20 };

/// The fields, and the column from which each is read.
pub struct Columns {
    fields: Vec<(String, Column)>,
    templates: Environment<'static>,
}

enum Column {
    /// A field, a field in it, …; a number is a place in a list.
    Path(String),
    /// A template, by the name of the field.
    Template,
}

impl Columns {
    /// # Errors
    /// A field has no meaning, or a text is no template.
    pub fn of(columns: &BTreeMap<String, String>) -> Result<Columns> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        jinja::bound(&mut templates, &BOUNDS);
        templates.set_formatter(|out, state, value| {
            jinja::count_printed(state, value)?;
            minijinja::escape_formatter(out, state, value)
        });
        templates.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let mut fields = Vec::new();
        for (field, from) in columns {
            if !row::FIELDS.contains(&field.as_str()) {
                if row::FIELDS.contains(&from.as_str()) {
                    bail!("`columns` is the other way round: `{{{from}: {field}}}`");
                }
                bail!("`columns` names `{field}`, which is no field of a row; there are: {}", row::FIELDS.join(", "));
            }
            let is_template = from.contains("{{") || from.contains("{%");
            if is_template {
                if jinja::too_long(from).is_some() {
                    bail!("`columns`: `{field}`: a tag of more than {} bytes beside its texts", jinja::LONGEST);
                }
                let bad = |error: minijinja::Error| anyhow!("`columns`: `{field}`: {}", reason(&error));
                templates.add_template_owned(field.clone(), jinja::guarded(from)).map_err(bad)?;
            } else if from.is_empty() {
                bail!("`columns` reads `{field}` from a field without a name");
            }
            fields.push((field.clone(), if is_template { Column::Template } else { Column::Path(from.clone()) }));
        }
        Ok(Columns { fields, templates })
    }

    /// The row with the fields that are named here, and no others.
    ///
    /// # Errors
    /// The row lacks a column.
    pub fn apply<'a>(&self, row: &'a Value) -> Result<Cow<'a, Value>> {
        if self.fields.is_empty() {
            return Ok(Cow::Borrowed(row));
        }
        let mut read = Map::new();
        for (field, column) in &self.fields {
            let value = match column {
                Column::Path(path) => match at(row, path) {
                    Some(value) if !value.is_null() => value.clone(),
                    _ if OPTIONAL.contains(&field.as_str()) => continue,
                    Some(_) => bail!("field `{path}` is empty, from which `columns` reads `{field}`"),
                    None => bail!("no field `{path}`, from which `columns` reads `{field}`; {}", there_are(row)),
                },
                Column::Template => {
                    let template = self.templates.get_template(field).context("it was added")?;
                    let text = template.render(minijinja::Value::from(minijinja::value::Serde(&without_nulls(row))));
                    let bad = |error| anyhow!("`columns`: `{field}`: {}; {}", reason(&error), there_are(row));
                    Value::String(text.map_err(bad)?)
                }
            };
            read.insert(field.clone(), value);
        }
        for kept in KEPT.iter().filter(|kept| !self.fields.iter().any(|(field, _)| field == *kept)) {
            if let Some(value) = row.get(kept) {
                read.insert((*kept).to_owned(), value.clone());
            }
        }
        Ok(Cow::Owned(Value::Object(read)))
    }

    /// Whether the column is read: a field of the file, by its first name.
    pub fn reads(&self, name: &str) -> bool {
        let is_read = |(field, column): &(String, Column)| match column {
            Column::Path(path) => path == name || path.split('.').next() == Some(name),
            Column::Template => {
                let template = self.templates.get_template(field);
                template.is_ok_and(|template| template.undeclared_variables(false).contains(name))
            }
        };
        KEPT.contains(&name) || self.fields.iter().any(is_read)
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The value at a dotted path. A field whose very name has dots comes first.
fn at<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = row;
    let mut rest = path;
    loop {
        if let Some(found) = value.get(rest) {
            return Some(found);
        }
        let (name, more) = rest.split_once('.').map_or((rest, None), |(name, more)| (name, Some(more)));
        value = match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            other => other.get(name)?,
        };
        match more {
            Some(more) => rest = more,
            None => return Some(value),
        }
    }
}

/// The row with an empty text for each null, which is how a template is to write an empty cell.
fn without_nulls(row: &Value) -> Cow<'_, Value> {
    match row {
        Value::Object(fields) if fields.values().any(Value::is_null) => {
            let filled = |value: &Value| if value.is_null() { Value::from("") } else { value.clone() };
            Cow::Owned(fields.iter().map(|(name, value)| (name.clone(), filled(value))).collect())
        }
        _ => Cow::Borrowed(row),
    }
}

fn there_are(row: &Value) -> String {
    let names: Vec<&str> = row.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    format!("the row has: {}", names.join(", "))
}

fn reason(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(columns: &[(&str, &str)], row: Value) -> String {
        let columns = columns.iter().map(|(field, from)| ((*field).to_owned(), (*from).to_owned())).collect();
        let read = Columns::of(&columns).and_then(|columns| Ok(columns.apply(&row)?.to_string()));
        read.unwrap_or_else(|error| format!("{error:#}"))
    }

    #[test]
    fn a_column_is_a_field_a_path_or_a_text() {
        let row =
            json!({"id": 7, "info": {"post": "p", "tags": ["a", "b"]}, "a.b": "dotted", "pick": 1, "prompt": "no"});
        let columns = [("prompt", "info.post"), ("completion", "info.tags.1"), ("system", "a.b")];
        assert_eq!(read(&columns, row.clone()), r#"{"completion":"b","id":7,"prompt":"p","system":"dotted"}"#);
        let text = [("prompt", "{{ info.post }}\n{{ info.tags[pick] }}"), ("system", "absent")];
        assert_eq!(read(&text, row.clone()), r#"{"id":7,"prompt":"p\nb"}"#);
        assert_eq!(
            read(&[("prompt", "q")], row.clone()),
            "no field `q`, from which `columns` reads `prompt`; the row has: a.b, id, info, pick, prompt"
        );
        assert!(read(&[("prompt", "{{ nothing }}")], row.clone()).starts_with("`columns`: `prompt`: "));
        assert!(read(&[("prompt", "{{ nothing")], row.clone()).starts_with("`columns`: `prompt`: "));
        assert!(
            read(&[("promt", "q")], row)
                .starts_with("`columns` names `promt`, which is no field of a row; there are: ")
        );
        let row = json!({"q": null, "title": "t", "body": null});
        assert_eq!(read(&[("prompt", "q")], row.clone()), "field `q` is empty, from which `columns` reads `prompt`");
        assert_eq!(read(&[("prompt", "{{ title }}: {{ body }}")], row.clone()), r#"{"prompt":"t: "}"#);
        assert_eq!(read(&[("q", "prompt")], row), "`columns` is the other way round: `{prompt: q}`");
    }
}
