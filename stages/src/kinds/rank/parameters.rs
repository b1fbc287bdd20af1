//! The parameters of `rank`.

use crate::judge::endpoint::Endpoint;
use crate::judge::prompt::JudgeLanguage;
use crate::people::criteria::Sheet;
use crate::people::form::Form;
use crate::people::rows;
use crate::stage::{self, ExpectedJudgements, ParameterMistake, Parameters, PortMistake};
use formats::dtype::Dtype;
use formats::jinja::TextTemplate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file of all replies, item by item.
pub const REPLIES: &str = "replies.jsonl";

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JudgeRanking {
    /// what the judge does: OPTIONS, as of `label`; it edits nothing. ratings are asked of an endpoint, by a criteria sheet
    pub form: Form,
    /// asks in both orders; where they differ a pair is a tie, and lists are put together
    pub both_orders: bool,
    /// OPTIONS: the language of the shipped template, and of the criteria in it
    pub language: JudgeLanguage,
    /// Jinja text in the place of the shipped one; it has `question`, `answers` (each with `letter` and `text`), `fence`,
    /// `form`, `criteria` and `is_odds`
    pub template: Option<String>,
    /// the criteria sheet in the file itself, in the place of the input
    pub criteria: Option<Sheet>,
    /// an endpoint that speaks the API of OpenAI, in the place of `judge`: `{url, model}`, and more as the documentation has it
    pub endpoint: Option<Endpoint>,
    /// the largest share of items that may lack a judgement, since a reply cannot be read
    pub max_unparsed: f64,
    /// so many items are judged once more with an answer that tells the judge to choose it: `injection_gain`
    pub probe_injections: usize,
    /// texts that a judge on this machine reads at once
    pub batch: usize,
    /// f32, f16 or bf16: what the matrices of the judge are kept and multiplied in
    pub dtype: Dtype,
}

impl Default for JudgeRanking {
    fn default() -> JudgeRanking {
        JudgeRanking {
            form: Form::Pairs,
            both_orders: true,
            language: JudgeLanguage::En,
            template: None,
            criteria: None,
            endpoint: None,
            max_unparsed: 0.02,
            probe_injections: 0,
            batch: 32,
            dtype: Dtype::F32,
        }
    }
}

impl Parameters for JudgeRanking {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[("batch", self.batch as u64)]);
        if !(0.0..=1.0).contains(&self.max_unparsed) {
            mistakes.push(ParameterMistake::new("max_unparsed", "`max_unparsed` lies between 0 and 1"));
        }
        if self.form == Form::Edit {
            mistakes.push(ParameterMistake::new("form", "a judge edits nothing: take `pairs`, `ranking` or `ratings`"));
        }
        if let Some(endpoint) = &self.endpoint {
            mistakes.extend(endpoint.mistakes("endpoint"));
        }
        if let Some(Err(error)) = self.template.as_deref().map(TextTemplate::new) {
            mistakes.push(ParameterMistake::new("template", format!("`template`: {error:#}")));
        }
        let of_sheet = self.criteria.iter().flat_map(Sheet::mistakes);
        let at = |(path, message): (String, String)| ParameterMistake::new(&format!("criteria.{path}"), message);
        mistakes.extend(of_sheet.map(at));
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        if self.form == Form::Ratings && self.criteria.is_none() {
            conflicts.push(ParameterMistake::new("form", "ratings need a criteria sheet: `criteria`"));
        }
        if self.form == Form::Ratings && self.endpoint.is_none() {
            conflicts.push(ParameterMistake::new(
                "form",
                "ratings are asked of an `endpoint`; a reward model gives scores by the kind `score`",
            ));
        }
        if self.form == Form::Ratings && self.probe_injections > 0 {
            conflicts
                .push(ParameterMistake::new("probe_injections", "a rating chooses nothing: take `pairs` or `ranking`"));
        }
        if self.form == Form::Ratings && self.endpoint.as_ref().is_some_and(|endpoint| endpoint.samples > 1) {
            conflicts.push(ParameterMistake::new("endpoint.samples", "a rating is asked for once"));
        }
        conflicts
    }
}

/// The files, by the form.
pub fn files(parameters: &Value) -> Vec<&'static str> {
    let form = Form::deserialize(&parameters["form"]).unwrap_or(Form::Pairs);
    [rows::names(form), &[rows::PER_ITEM, REPLIES]].concat()
}

/// Whether an endpoint is asked.
pub fn has_endpoint(parameters: &Value) -> bool {
    !parameters["endpoint"].is_null()
}

/// The judge gives what people gave.
pub fn misjudged(
    parameters: &Value,
    expected: &[ExpectedJudgements],
    _is_connected: &dyn Fn(&str) -> bool,
) -> Vec<PortMistake> {
    let form = Form::deserialize(&parameters["form"]).unwrap_or(Form::Pairs);
    let refused = |other: &ExpectedJudgements| PortMistake {
        port: other.port,
        message: format!("`{}` gives {}, and the judge is to give {}", other.port, other.form.name(), form.name()),
        help: "both are to have the same `form`".to_owned(),
    };
    expected.iter().filter(|other| other.form != form).map(refused).collect()
}

/// There is one judge; and asking in one order alone is told.
pub fn unconnected(parameters: &Value, connected: &[&str]) -> Vec<ParameterMistake> {
    let mistake = match (has_endpoint(parameters), connected.contains(&"judge")) {
        (false, false) => {
            let message = "there is no judge: connect `judge`, or name an `endpoint: {url, model}`";
            Some(ParameterMistake::new("endpoint", message))
        }
        (true, true) => Some(ParameterMistake::new("endpoint", "`judge` and `endpoint` exclude each other")),
        _ => None,
    };
    let one_order = || {
        let message = "in one order alone nobody can tell what the judge thinks from where an answer stands";
        ParameterMistake { is_warning: true, ..ParameterMistake::new("both_orders", message) }
    };
    let warning = (parameters["both_orders"] == Value::Bool(false)).then(one_order);
    mistake.into_iter().chain(warning).collect()
}
