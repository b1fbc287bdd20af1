//! Templates of plain texts, filled with values.

use super::{Bounds, LONGEST, bound, count_printed, guarded, too_long};
use anyhow::{Context, Result, anyhow, bail};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error};
use serde::Serialize;

/// A template of a text.
pub struct TextTemplate(Environment<'static>);

const BOUNDS: Bounds = Bounds { fuel: 1_000_000, depth: 50, most: 16 << 20 };

const NAME: &str = "text";

impl TextTemplate {
    /// # Errors
    /// The text is no Jinja.
    pub fn new(source: &str) -> Result<TextTemplate> {
        let mut environment = Environment::new();
        bound(&mut environment, &BOUNDS);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(with_line)?;
        environment.set_syntax(syntax);
        environment.set_formatter(|out, state, value| {
            count_printed(state, value)?;
            minijinja::escape_formatter(out, state, value)
        });
        if let Some(place) = too_long(source) {
            let line = source[..place.start].matches('\n').count() + 1;
            bail!("a tag of more than {LONGEST} bytes beside its texts (line {line} of the template)");
        }
        environment.add_template_owned(NAME, guarded(source)).map_err(with_line)?;
        Ok(TextTemplate(environment))
    }

    /// # Errors
    /// The template goes beyond its bounds, or fails by its own words.
    pub fn render(&self, values: &impl Serialize) -> Result<String> {
        let template = self.0.get_template(NAME).map_err(with_line)?;
        template.render(Value::from(Serde(values))).map_err(with_line).context("render the template")
    }
}

/// The message and the line of an error of minijinja, without a file name, since there is no file.
pub fn with_line(error: Error) -> anyhow::Error {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => anyhow!("{what} (line {line} of the template)"),
        None => anyhow!("{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_and_ends_where_it_would_not() {
        let render =
            |source: &str| TextTemplate::new(source).and_then(|text| text.render(&serde_json::json!({"a": [1, 2]})));
        assert_eq!(render("{% for x in a %}\n{{ x }}-{% endfor %}").unwrap(), "1-2-");
        assert!(TextTemplate::new("{{ a").is_err());
        assert!(render("{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}").is_err());
    }
}
