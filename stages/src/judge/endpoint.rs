//! An endpoint that speaks the API of OpenAI's chat completions: its parameters, and the body of a request.

use crate::server::{self, Budget, ServerSettings};
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

/// Paths of parameters that say how it is asked, and not what.
pub const BESIDE_KEY: [&str; 6] =
    ["endpoint.budget", "endpoint.offline", "endpoint.parallel", "endpoint.rpm", "endpoint.timeout", "endpoint.tpm"];

/// The path of the API below its address.
const PATH: &str = "/chat/completions";

impl Endpoint {
    /// Mistakes, with the paths of their values below `under`.
    pub fn mistakes(&self, under: &str) -> Vec<ParameterMistake> {
        let mut mistakes = Vec::new();
        if self.model.is_empty() {
            mistakes.push(ParameterMistake::new("model", "name the model that is asked"));
        }
        mistakes.extend(stage::at_least_one(&[("max_tokens", self.max_tokens), ("samples", self.samples.into())]));
        mistakes.extend(stage::not_negative(&[("temperature", self.temperature)]));
        if self.samples > 1 && self.temperature == 0.0 {
            let message = "samples at temperature 0 are all alike: raise `temperature`";
            mistakes.push(ParameterMistake::new("samples", message));
        }
        let of_server = self.settings().mistakes(under);
        of_server.into_iter().chain(server::below(under, mistakes)).collect()
    }

    /// Where the server is, and how it is asked.
    pub fn settings(&self) -> ServerSettings {
        ServerSettings {
            url: self.address(),
            parallel: self.parallel,
            rpm: self.rpm,
            tpm: self.tpm,
            timeout: self.timeout,
            budget: self.budget,
        }
    }

    /// The address that requests go to.
    pub fn address(&self) -> String {
        let url = self.url.trim_end_matches('/');
        if url.ends_with(PATH) { url.to_owned() } else { format!("{url}{PATH}") }
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
    fn mistakes_stand_at_their_place_in_the_block() {
        let endpoint = Endpoint { url: "https://host".to_owned(), parallel: 0, samples: 2, ..Endpoint::default() };
        let paths: Vec<String> = endpoint.mistakes("endpoint").into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["endpoint.parallel", "endpoint.model", "endpoint.samples"]);
        let url = |url: &str| Endpoint { url: url.to_owned(), model: "m".to_owned(), ..Endpoint::default() };
        assert_eq!(url("host").mistakes("endpoint")[0].path, "endpoint.url");
        assert_eq!(url("https://host/v1/").address(), "https://host/v1/chat/completions");
    }
}
