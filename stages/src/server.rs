//! Servers that are asked by HTTP, whatever they are asked: what goes out at once and how fast, what may be spent, what is tried
//! again, and the replies that are kept. It knows the API of none of them.

pub mod asked;
pub mod replies;
pub mod sending;
pub mod together;
pub mod traffic;

use crate::stage::{self, ParameterMistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a server is, and how it is asked; nothing of what it is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerSettings {
    /// The address that requests go to.
    pub url: String,
    /// The most requests at once.
    pub parallel: usize,
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Seconds until a request has failed.
    pub timeout: u64,
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

impl Budget {
    /// The bounds as people are told them; `None` without any.
    pub fn told(&self) -> Option<String> {
        let bounds = [
            self.requests.map(|most| format!("{most} requests")),
            self.tokens.map(|most| format!("{most} tokens")),
            self.cost.map(|most| format!("{most:.2} of money")),
        ];
        let bounds: Vec<String> = bounds.into_iter().flatten().collect();
        (!bounds.is_empty()).then(|| bounds.join(", "))
    }

    /// The price of so many tokens; `None` where there are no prices.
    pub fn cost_of(&self, usage: Usage) -> Option<f64> {
        let has_prices = self.input_price > 0.0 || self.output_price > 0.0;
        let cost = usage.prompt_tokens as f64 * self.input_price + usage.completion_tokens as f64 * self.output_price;
        has_prices.then_some(cost / 1e6)
    }
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// The most requests at once that anybody may ask for.
const MOST_AT_ONCE: usize = 256;

impl ServerSettings {
    /// Mistakes, with the paths of their values below `under`.
    pub fn mistakes(&self, under: &str) -> Vec<ParameterMistake> {
        let mut mistakes: Vec<ParameterMistake> =
            address_mistake(&self.url).map(|message| ParameterMistake::new("url", message)).into_iter().collect();
        mistakes.extend(stage::at_least_one(&[
            ("parallel", self.parallel as u64),
            ("rpm", self.rpm.unwrap_or(1)),
            ("tpm", self.tpm.unwrap_or(1)),
            ("timeout", self.timeout),
        ]));
        if self.parallel > MOST_AT_ONCE {
            mistakes.push(ParameterMistake::new("parallel", "more than 256 requests at once help nobody"));
        }
        let budget = self.budget.unwrap_or_default();
        mistakes.extend(stage::not_negative(&[
            ("budget.cost", budget.cost.unwrap_or(0.0)),
            ("budget.input_price", budget.input_price),
            ("budget.output_price", budget.output_price),
        ]));
        if budget.cost.is_some() && budget.input_price == 0.0 && budget.output_price == 0.0 {
            mistakes.push(ParameterMistake::new("budget.cost", "a cost needs `input_price` and `output_price`"));
        }
        below(under, mistakes)
    }
}

/// The same mistakes, with the paths of their values below `under`.
pub fn below(under: &str, mistakes: Vec<ParameterMistake>) -> Vec<ParameterMistake> {
    let at = |mistake: ParameterMistake| ParameterMistake { path: format!("{under}.{}", mistake.path), ..mistake };
    mistakes.into_iter().map(at).collect()
}

/// The mistake in the address of a server.
pub fn address_mistake(url: &str) -> Option<&'static str> {
    let rest = ["https://", "http://"].into_iter().find_map(|scheme| url.strip_prefix(scheme));
    match rest.and_then(|rest| rest.split('/').next()).filter(|host| !host.is_empty()) {
        None => Some("an address begins with `https://` or `http://`, and names a host"),
        Some(host) if host.contains('@') || url.contains(['?', '#']) => {
            Some("an address holds neither a key nor a query: a key is the stage's `secret`")
        }
        Some(_) => None,
    }
}

/// Whether what is sent to an address can be read on its way: it goes to another machine, and not by TLS.
pub fn is_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(host) => host.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_here = match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    };
    !is_here
}

/// The host of an address, by which a server is named.
pub fn host(url: &str) -> &str {
    url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_holds_a_key_is_refused() {
        assert_eq!(["https://host/v1", "http://127.0.0.1:80"].map(address_mistake), [None, None]);
        for wrong in ["", "host/v1", "https://", "https://me:key@host/v1", "https://host/v1?key=x"] {
            assert!(address_mistake(wrong).is_some(), "{wrong}");
        }
        assert_eq!(host("https://host:8000/v1"), "host:8000");
        let own = ["http://127.0.0.1:80/v1", "http://localhost:8000", "http://[::1]:1/v1", "https://judge.example"];
        assert_eq!(own.map(is_open), [false; 4]);
        assert!(
            is_open("http://judge.example/v1")
                && is_open("http://10.0.0.2:8000/v1")
                && is_open("http://127.0.0.1.example")
        );
    }

    #[test]
    fn mistakes_of_counts_stand_at_their_place_in_the_block() {
        let budget = Some(Budget { cost: Some(1.0), ..Budget::default() });
        let settings =
            ServerSettings { url: "https://host".to_owned(), timeout: 1, budget, ..ServerSettings::default() };
        let paths: Vec<String> = settings.mistakes("endpoint").into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["endpoint.parallel", "endpoint.budget.cost"]);
    }
}
