//! An endpoint that speaks the API of OpenAI's chat completions: its parameters, and the body of a request.

use crate::stage::{self, ParameterMistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The server that is asked, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoint {
    /// its address up to `/v1`; the key is the stage's `secret`, and never stands here
    pub url: String,
    /// the model as it is asked for
    pub model: String,
    /// of sampling
    pub temperature: f64,
    /// the longest reply, in tokens
    pub max_tokens: u64,
    /// whether a JSON Schema is sent along (`response_format`)
    pub structured: bool,
    /// times that each question is asked; the choice of most counts
    pub samples: u32,
    /// the most requests at once; fewer while the server refuses some
    pub parallel: usize,
    /// requests a minute; null: as many as the server takes
    pub rpm: Option<u64>,
    /// tokens a minute, by an upper bound until the server tells
    pub tpm: Option<u64>,
    /// seconds until a request has failed
    pub timeout: u64,
    /// asks nobody: only replies that are there count, and the first one that is missing is named
    pub offline: bool,
    /// what may be spent; the stage waits when it is spent, and goes on once it is raised
    pub budget: Option<Budget>,
}

/// The most that the requests of a stage may take, over all its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// requests, those that failed among them
    pub requests: Option<u64>,
    /// tokens read and written
    pub tokens: Option<u64>,
    /// money, by the prices below
    pub cost: Option<f64>,
    /// the price of a million tokens that are read
    pub input_price: f64,
    /// the price of a million tokens that are written
    pub output_price: f64,
}

impl Default for Endpoint {
    fn default() -> Endpoint {
        Endpoint {
            url: String::new(),
            model: String::new(),
            temperature: 0.0,
            max_tokens: 256,
            structured: true,
            samples: 1,
            parallel: 8,
            rpm: None,
            tpm: None,
            timeout: 120,
            offline: false,
            budget: None,
        }
    }
}

/// The path of the API below its address.
const PATH: &str = "/chat/completions";

/// The most requests at once.
const MOST_AT_ONCE: usize = 256;

impl Endpoint {
    /// Mistakes, with the paths of their values below `under`.
    pub fn mistakes(&self, under: &str) -> Vec<ParameterMistake> {
        let at = |name: &str, message: &str| ParameterMistake::new(&format!("{under}.{name}"), message);
        let mut mistakes = Vec::new();
        let rest = ["https://", "http://"].into_iter().find_map(|scheme| self.url.strip_prefix(scheme));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        if host.is_none_or(str::is_empty) {
            mistakes.push(at("url", "an address begins with `https://` or `http://`, and names a host"));
        } else if host.is_some_and(|host| host.contains('@')) || self.url.contains(['?', '#']) {
            mistakes.push(at("url", "an address holds neither a key nor a query: a key is the stage's `secret`"));
        }
        if self.model.is_empty() {
            mistakes.push(at("model", "name the model that is asked"));
        }
        let counts = [
            ("max_tokens", self.max_tokens),
            ("samples", self.samples.into()),
            ("parallel", self.parallel as u64),
            ("rpm", self.rpm.unwrap_or(1)),
            ("tpm", self.tpm.unwrap_or(1)),
            ("timeout", self.timeout),
        ];
        mistakes.extend(stage::at_least_one(&counts));
        mistakes.extend(stage::not_negative(&[("temperature", self.temperature)]));
        if self.parallel > MOST_AT_ONCE {
            mistakes.push(at("parallel", "more than 256 requests at once help nobody"));
        }
        let budget = self.budget.unwrap_or_default();
        mistakes.extend(stage::not_negative(&[
            ("budget.cost", budget.cost.unwrap_or(0.0)),
            ("budget.input_price", budget.input_price),
            ("budget.output_price", budget.output_price),
        ]));
        if budget.cost.is_some() && budget.input_price == 0.0 && budget.output_price == 0.0 {
            mistakes.push(at("budget.cost", "a cost needs `input_price` and `output_price`"));
        }
        if self.samples > 1 && self.temperature == 0.0 {
            mistakes.push(at("samples", "samples at temperature 0 are all alike: raise `temperature`"));
        }
        let is_below = |path: &str| path.strip_prefix(under).is_some_and(|rest| rest.starts_with('.'));
        let below = |mistake: ParameterMistake| match is_below(&mistake.path) {
            true => mistake,
            false => ParameterMistake { path: format!("{under}.{}", mistake.path), ..mistake },
        };
        mistakes.into_iter().map(below).collect()
    }

    /// The address that requests go to.
    pub fn address(&self) -> String {
        let url = self.url.trim_end_matches('/');
        if url.ends_with(PATH) { url.to_owned() } else { format!("{url}{PATH}") }
    }

    /// The host, by which it is named.
    pub fn host(&self) -> &str {
        self.url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }

    /// The body of a request.
    pub fn body(&self, messages: &[Value], schema: &Value) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.model));
        body.insert("messages".to_owned(), json!(messages));
        body.insert("temperature".to_owned(), json!(self.temperature));
        body.insert("max_tokens".to_owned(), json!(self.max_tokens));
        if self.structured {
            let named = json!({"name": "judgement", "strict": true, "schema": schema});
            body.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": named}));
        }
        Value::Object(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_holds_a_key_is_refused() {
        let mistakes = |url: &str| {
            let endpoint = Endpoint { url: url.to_owned(), model: "m".to_owned(), ..Endpoint::default() };
            endpoint.mistakes("endpoint").into_iter().map(|mistake| mistake.path).collect::<Vec<_>>()
        };
        assert!(mistakes("https://host/v1").is_empty() && mistakes("http://127.0.0.1:80").is_empty());
        for wrong in ["", "host/v1", "https://", "https://me:key@host/v1", "https://host/v1?key=x"] {
            assert_eq!(mistakes(wrong), ["endpoint.url"], "{wrong}");
        }
    }

    #[test]
    fn mistakes_of_counts_stand_at_their_place_in_the_block() {
        let endpoint = Endpoint {
            url: "https://host".to_owned(),
            model: "m".to_owned(),
            parallel: 0,
            budget: Some(Budget { cost: Some(1.0), ..Budget::default() }),
            ..Endpoint::default()
        };
        let paths: Vec<String> = endpoint.mistakes("endpoint").into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["endpoint.parallel", "endpoint.budget.cost"]);
        assert_eq!((endpoint.address().as_str(), endpoint.host()), ("https://host/chat/completions", "host"));
    }
}
