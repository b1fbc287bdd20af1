//! A reward model as the sequence classifier that `transformers` loads: one label, and a padding token with which no
//! answer ends. `transformers` reads a reward at the last token that is no padding, so that an end token which is also
//! padding would move it one token to the front.

use anyhow::Result;
use formats::config::Config;
use formats::json;
use formats::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The files that name the padding token, beside the configuration.
const NAMING: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

pub fn names_padding(name: &str) -> bool {
    NAMING.contains(&name)
}

/// Gives a configuration one label: by default a classifier of `transformers` has two.
pub fn label(source: &mut Value) {
    (source["id2label"], source["label2id"]) = (json!({"0": "reward"}), json!({"reward": 0}));
}

/// The padding token of a reward model: its id and its text. `None`: it has none, and `transformers` refuses to score
/// several texts at once.
pub struct RewardPadding(Option<(u32, String)>);

impl RewardPadding {
    /// The model's own, if no answer ends with it, else that of the tokenizer, its first token, or another special one.
    pub fn of(config: &Config, tokenizer: &Tokenizer, ends: &[u32]) -> RewardPadding {
        let own = config.source["pad_token_id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let of_tokenizer = tokenizer.named("pad_token");
        let candidates = own.into_iter().chain(of_tokenizer).chain(config.bos).chain(tokenizer.special());
        let is_good = |id: &u32| (*id as usize) < config.vocabulary && !ends.contains(id) && !config.eos.contains(id);
        RewardPadding(candidates.into_iter().find(is_good).map(|id| (id, tokenizer.token(id))))
    }

    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the token into a configuration, and into the files that name it: from `base` to `target`.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn write(&self, source: &mut Value, base: &Path, target: &Path) -> Result<()> {
        source["pad_token_id"] = self.0.as_ref().map_or(Value::Null, |(id, _)| (*id).into());
        for name in NAMING {
            let Some(mut fields) = json::read_if_there::<Value>(&base.join(name))? else { continue };
            let is_named = fields.get("pad_token").is_some() || name == NAMING[0];
            if let (Some((_, token)), true) = (&self.0, is_named) {
                fields["pad_token"] = token.as_str().into();
            }
            let path = target.join(name);
            // A link into the store must not be written through.
            files::found(fs::remove_file(&path))?;
            json::write(&path, &fields)?;
        }
        Ok(())
    }
}
