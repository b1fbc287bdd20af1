//! The parameters of a reward that is asked for scores: of a stage of kind `reward`.

use crate::command::UserCommand;
use crate::server::ServerSettings;
use crate::stage::{self, ParameterMistake, Parameters};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AskedRewardParameters {
    #[serde(flatten)]
    pub command: UserCommand,
    /// a server in the place of a command: `{url, model}`. It is posted `{"query": [texts], "prompts": [prompts]}`, where a text is a
    /// prompt with its answer, and replies `{"rewards": [numbers]}`
    pub endpoint: Option<RewardEndpoint>,
    /// answers in one call
    pub batch: usize,
    /// seconds that a call may take
    pub timeout: u64,
}

/// A server that scores texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardEndpoint {
    /// the address that is posted to; the key is the stage's `secret`, and never stands here
    pub url: String,
    /// the name of the model, sent along as `model`; null: not sent
    pub model: Option<String>,
    /// the most requests at once; fewer while the server refuses some
    pub parallel: usize,
    /// requests a minute; null: as many as the server takes
    pub rpm: Option<u64>,
}

/// Paths of parameters that say how it is called, and not what.
pub const BESIDE_KEY: [&str; 4] = ["batch", "endpoint.parallel", "endpoint.rpm", "timeout"];

impl Default for AskedRewardParameters {
    fn default() -> AskedRewardParameters {
        AskedRewardParameters { command: UserCommand::default(), endpoint: None, batch: 64, timeout: 60 }
    }
}

impl Default for RewardEndpoint {
    fn default() -> RewardEndpoint {
        RewardEndpoint { url: String::new(), model: None, parallel: 4, rpm: None }
    }
}

impl Parameters for AskedRewardParameters {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[("batch", self.batch as u64), ("timeout", self.timeout)]);
        mistakes.extend(self.command.mistakes());
        mistakes.extend(self.endpoint.iter().flat_map(|endpoint| self.settings(endpoint).mistakes("endpoint")));
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        match (self.command.is_empty(), &self.endpoint) {
            (true, None) => {
                let mut mistake = ParameterMistake::new("command", "there is nothing that scores");
                mistake.help = Some(
                    "write `command: [program, argument, …]`, a text for the shell, or `endpoint: {url: …}`".to_owned(),
                );
                vec![mistake]
            }
            (false, Some(_)) => {
                vec![ParameterMistake::new(
                    "endpoint",
                    "`command` and `endpoint` exclude each other: one reward is one of them",
                )]
            }
            (true, Some(_)) => {
                let UserCommand { env, sandbox, network, readable, .. } = &self.command;
                let of_commands = [
                    ("env", !env.is_empty()),
                    ("network", *network),
                    ("readable", !readable.is_empty()),
                    ("sandbox", *sandbox),
                ];
                let given = of_commands.into_iter().filter(|(_, is_given)| *is_given);
                given
                    .map(|(name, _)| {
                        ParameterMistake::new(
                            name,
                            format!("`{name}` is for a command: nothing runs here for an `endpoint`"),
                        )
                    })
                    .collect()
            }
            (false, None) => Vec::new(),
        }
    }
}

impl AskedRewardParameters {
    /// Where the server is, and how it is asked.
    pub fn settings(&self, endpoint: &RewardEndpoint) -> ServerSettings {
        ServerSettings {
            url: endpoint.url.clone(),
            parallel: endpoint.parallel,
            rpm: endpoint.rpm,
            timeout: self.timeout,
            ..ServerSettings::default()
        }
    }
}
