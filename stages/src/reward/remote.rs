//! A server that scores texts. Its API is that which servers of reward models commonly have (`--remote_rm_url` of OpenRLHF): a
//! batch of texts is posted, each a prompt with its answer, and a list of numbers comes back.

use super::answer::AskedAnswerLine;
use super::parameters::RewardEndpoint;
use crate::io::{Interruption, Io};
use crate::secret::Secrets;
use crate::server::replies::ReplyFolder;
use crate::server::sending::{CUT, Sender};
use crate::server::{ServerSettings, Usage, together};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub struct RemoteReward {
    model: Option<String>,
    parallel: usize,
    sender: Sender,
}

impl RemoteReward {
    /// # Errors
    /// The book of what was sent cannot be read.
    pub fn open(
        io: &Io,
        endpoint: &RewardEndpoint,
        settings: &ServerSettings,
        secrets: Secrets,
        identity: &str,
    ) -> Result<RemoteReward> {
        let book = ReplyFolder::open(io.replies()?)?.book(identity);
        let sender = Sender::open(settings, Arc::new(secrets), &book)?;
        Ok(RemoteReward { model: endpoint.model.clone(), parallel: endpoint.parallel, sender })
    }

    /// Makes calls, several at once; `keep` gets the scores of each as soon as they are there.
    ///
    /// # Errors
    /// The server refuses, fails too often, or `keep` does.
    pub fn call_all(
        &self,
        io: &Io,
        calls: &[&[&AskedAnswerLine]],
        keep: impl Fn(&[&AskedAnswerLine], Vec<f64>) -> Result<()> + Sync,
    ) -> Result<()> {
        let call = |asked: &&[&AskedAnswerLine]| -> Result<()> {
            let body = self.body(asked).to_string();
            let most = Usage { prompt_tokens: body.len() as u64, completion_tokens: 0 };
            // One that is too long would come again as long: it is not asked for again.
            let read = |reply: &str| match rewards(reply, asked.len()) {
                Err(fault) if fault != TOO_LONG => Err(fault),
                _ => Ok(None),
            };
            let sent = self.sender.send(&body, most, read)?;
            let reply = sent.context("ask for rewards: there is no budget that could be spent")?;
            let scores = rewards(&reply, asked.len()).map_err(|fault| anyhow::anyhow!("ask for rewards: {fault}"))?;
            keep(asked, scores)
        };
        let each = |_| match io.is_to_stop() {
            // What is on its way may cost something: it is waited for, and kept.
            true => {
                let stopped = Interruption { step: None };
                self.sender.close(&stopped.to_string());
                Err(stopped.into())
            }
            false => Ok(()),
        };
        together::all(self.parallel, calls, call, each).map(drop)
    }

    fn body(&self, asked: &[&AskedAnswerLine]) -> Value {
        let mut body = Map::new();
        let queries: Vec<&str> = asked.iter().map(|asked| asked.query.as_str()).collect();
        let prompts: Vec<&str> = asked.iter().map(|asked| asked.prompt.as_str()).collect();
        body.insert("query".to_owned(), json!(queries));
        body.insert("prompts".to_owned(), json!(prompts));
        if let Some(model) = &self.model {
            body.insert("model".to_owned(), json!(model));
        }
        Value::Object(body)
    }
}

/// The fault of a reply of which the sender kept the beginning alone.
const TOO_LONG: &str = "a reply of more than 4 MiB";

/// The numbers in a reply, or why there are none.
fn rewards(reply: &str, wanted: usize) -> Result<Vec<f64>, String> {
    let reply: Value = serde_json::from_str(reply).map_err(|_| "no JSON".to_owned())?;
    let Some(rewards) = reply.get("rewards").and_then(Value::as_array) else {
        return Err(if reply[CUT].is_string() { TOO_LONG } else { "no list `rewards`" }.to_owned());
    };
    // Some servers put each number into a list of its own.
    let number = |value: &Value| value.as_f64().or_else(|| value.as_array().filter(|one| one.len() == 1)?[0].as_f64());
    let numbers: Vec<f64> = rewards.iter().filter_map(number).collect();
    match numbers.len() {
        found if found == wanted && rewards.len() == wanted => Ok(numbers),
        found => Err(format!("{found} numbers in the list `rewards` of {}, for {wanted} texts", rewards.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_a_number_for_each_text_or_is_none() {
        assert_eq!(rewards(r#"{"rewards": [1, [-0.5]], "extra_logs": {}}"#, 2), Ok(vec![1.0, -0.5]));
        for wrong in ["<html>", "{}", r#"{"rewards": 1}"#, r#"{"rewards": [1]}"#, r#"{"rewards": [1, null]}"#] {
            assert!(rewards(wrong, 2).is_err(), "{wrong}");
        }
    }
}
