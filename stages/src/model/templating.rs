//! The chat template that a stage gives a model, which keeps it from then on.

use super::Artifact;
use crate::stage::ParameterMistake;
use anyhow::{Context, Result};
use formats::chat::{Arguments, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the kinds that read dialogues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Templating {
    /// Jinja template for dialogues, instead of the model's own; the model keeps it from then on
    pub chat_template: Option<String>,
    /// values of names that the template uses, such as `{enable_thinking: false}`; the model keeps them
    pub template_args: Arguments,
}

impl Templating {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let is_name = |name: &str| crate::stage::is_variable(name);
        let bad = self.template_args.keys().filter(|name| !is_name(name));
        bad.map(|name| ParameterMistake::new("template_args", format!("`{name}` is no name that a template can use")))
            .collect()
    }

    /// The source of the template that takes the place of `own`; `None` if that stays.
    ///
    /// # Errors
    /// There is no template for the arguments, or it does not use one of them.
    pub fn over(&self, own: Option<&Template>, load: impl FnOnce(&str) -> Result<Template>) -> Result<Option<String>> {
        if self == &Templating::default() {
            return Ok(None);
        }
        let given = self.chat_template.as_deref().map(load).transpose().context("read `chat_template`")?;
        let template = given.as_ref().or(own).context(
            "`template_args` are for a chat template, and the model has none; give it one by `chat_template`",
        )?;
        template.source_with(&self.template_args).map(Some)
    }
}

impl Artifact {
    /// Gives the model another chat template or other values in it, also in the files that are written.
    ///
    /// # Errors
    /// The template is no Jinja, or it does not use the names of the arguments.
    pub fn with_templating(self, templating: &Templating) -> Result<Artifact> {
        match templating.over(self.tokenizer.chat_template(), |source| self.template_of(source))? {
            Some(source) => self.with_chat_template(source),
            None => Ok(self),
        }
    }
}
