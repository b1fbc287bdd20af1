//! Tokens that the files beside a `tokenizer.json` name. `transformers` 5 adds those that the tokenizer lacks, in the order
//! of their ids, and takes the flags of all from there.

use crate::contained::contained;
use crate::json;
use crate::unreadable::Reading;
use anyhow::{Result, anyhow};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

/// The names of special tokens that every tokenizer of `transformers` may have.
const COMMON: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The names of lists of special tokens, the newer one first.
const LISTS: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// `tokenizer_config.json`, and what older libraries wrote beside it.
pub struct Settings {
    path: PathBuf,
    fields: Map<String, Value>,
    /// `added_tokens_decoder`, by id. `None`: older libraries did not write it.
    added: Option<BTreeMap<u32, AddedToken>>,
    /// Further special tokens: those of a SentencePiece model.
    more: Vec<AddedToken>,
}

/// A token with its flags, as either file has it.
#[derive(Deserialize)]
struct TokenFields {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl TokenFields {
    fn token(self) -> AddedToken {
        let TokenFields { content, single_word, lstrip, rstrip, normalized, special } = self;
        let normalized = normalized.unwrap_or(!special);
        AddedToken { content, single_word, lstrip, rstrip, normalized, special }
    }
}

/// A token that a field names: its text, or the text and its flags.
fn token(value: &Value) -> Option<AddedToken> {
    match value {
        Value::String(text) => Some(AddedToken::from(text.clone(), true)),
        Value::Object(_) => Some(AddedToken { special: true, ..TokenFields::deserialize(value).ok()?.token() }),
        _ => None,
    }
}

impl Settings {
    /// # Errors
    /// A file is there and cannot be read.
    pub fn load(directory: &Path) -> Result<Settings> {
        let path = directory.join("tokenizer_config.json");
        let mut fields: Map<String, Value> = json::read_if_there(&path)?.unwrap_or_default();
        let added: Option<BTreeMap<u32, TokenFields>> =
            fields.remove("added_tokens_decoder").map(serde_json::from_value).transpose().reading(&path)?;
        if added.is_none() {
            let more: Option<Map<String, Value>> = json::read_if_there(&directory.join("special_tokens_map.json"))?;
            fields.extend(more.unwrap_or_default());
        }
        let with_flags = |added: BTreeMap<u32, TokenFields>| added.into_iter().map(|(id, token)| (id, token.token()));
        Ok(Settings { path, fields, added: added.map(|added| with_flags(added).collect()), more: Vec::new() })
    }

    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A field that is true or not; null is not.
    pub fn says(&self, name: &str, default: bool) -> bool {
        self.fields.get(name).map_or(default, |value| *value == Value::Bool(true))
    }

    /// A field that holds the text of a token.
    pub fn text(&self, name: &str) -> Option<String> {
        token(self.field(name)?).map(|token| token.content)
    }

    /// Tokens with an id, in rising order.
    pub fn with_ids(&self) -> impl Iterator<Item = (u32, &AddedToken)> {
        self.added.iter().flatten().map(|(id, token)| (*id, token))
    }

    /// Names a special token where nothing is said of it.
    pub fn put_default(&mut self, name: &str, token: String) {
        self.fields.entry(name).or_insert_with(|| token.into());
    }

    /// Lists further tokens where the settings list none.
    pub fn put_tokens(&mut self, tokens: Vec<AddedToken>) {
        if LISTS.iter().all(|name| !self.fields.contains_key(*name)) {
            self.more = tokens;
        }
    }

    /// Looks for the tokens with an id in a text as it was written, and not as it was normalised.
    pub fn match_as_written(&mut self) {
        self.added.iter_mut().flatten().for_each(|(_, token)| token.normalized = false);
    }

    /// The texts of tokens that every tokenizer may have, by their names.
    pub fn common(&self) -> impl Iterator<Item = (&'static str, String)> {
        COMMON.into_iter().filter_map(|name| Some((name, self.text(name)?)))
    }

    /// Special tokens with a name: those of every tokenizer, and those of this one.
    fn named(&self) -> Vec<AddedToken> {
        let common = COMMON.iter().filter_map(|name| self.field(name));
        let own = self
            .fields
            .iter()
            .filter(|(name, value)| name.ends_with("_token") && !COMMON.contains(&name.as_str()) && value.is_string());
        common.chain(own.map(|(_, value)| value)).filter_map(token).collect()
    }

    /// Special tokens in a list.
    fn listed(&self) -> Vec<AddedToken> {
        let values: Vec<&Value> = match LISTS.iter().find_map(|name| self.field(name)) {
            Some(Value::Array(tokens)) => tokens.iter().collect(),
            Some(Value::Object(tokens)) => tokens.values().collect(),
            _ => Vec::new(),
        };
        values.into_iter().filter_map(token).chain(self.more.iter().cloned()).collect()
    }

    /// Adds what the tokenizer lacks, and changes the flags of what it has.
    ///
    /// # Errors
    /// A token would get another id than it is said to have.
    pub fn add_to(&self, inner: &mut HuggingFace) -> Result<()> {
        let known: BTreeMap<String, AddedToken> =
            inner.get_added_tokens_decoder().into_values().map(|token| (token.content.clone(), token)).collect();
        let (named, listed) = (self.named(), self.listed());
        let is_in = |tokens: &[AddedToken], text: &str| tokens.iter().any(|token| token.content == text);
        let has_id = |text: &str| self.with_ids().any(|(_, token)| token.content == text);
        let mut wanted: Vec<AddedToken> = Vec::new();
        for (_, token) in self.with_ids() {
            let is_special = token.special || is_in(&named, &token.content);
            wanted.push(AddedToken { special: is_special, ..token.clone() });
        }
        for token in named.into_iter().filter(|token| !has_id(&token.content)) {
            match known.get(&token.content) {
                // A token of tokenizer.json keeps its flags, but old libraries call special what has a name.
                Some(flags) if self.added.is_none() => wanted.push(AddedToken { special: true, ..flags.clone() }),
                Some(_) => {}
                None => wanted.push(token),
            }
        }
        wanted
            .extend(listed.into_iter().filter(|token| !known.contains_key(&token.content) && !has_id(&token.content)));
        wanted.retain(|token| known.get(&token.content) != Some(token));
        if wanted.is_empty() {
            return Ok(());
        }
        let lacks = |token: &AddedToken| inner.token_to_id(&token.content).is_none();
        let new: Vec<(u32, String)> =
            self.with_ids().filter(|(_, token)| lacks(token)).map(|(id, token)| (id, token.content.clone())).collect();
        contained(|| inner.add_tokens(wanted).map_err(|error| anyhow!("{error}"))).reading(&self.path)?;
        for (id, text) in new {
            let given = inner.token_to_id(&text);
            if given != Some(id) {
                let given = given.map_or_else(|| "none".to_owned(), |given| given.to_string());
                let fault = anyhow!(
                    "`added_tokens_decoder` says that `{text}` is token {id}; tokenizer.json lacks it, and the next free \
                     number is {given}"
                );
                return Err(fault).reading(&self.path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tokenizer, end_of};
    use super::*;
    use serde_json::json;
    use std::fs;
    use tempfile::TempDir;

    /// The byte-level tokenizer of the tests (1006 tokens) without `</s>` among its added tokens, and other settings.
    fn changed(settings: &Value) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let from = Path::new("../tests/parity/tokenizers/bytes/tokenizer.json");
        let mut source: Value = json::read(from).unwrap();
        source["added_tokens"].as_array_mut().unwrap().retain(|token| token["content"] != "<|im_end|>");
        json::write(&directory.path().join("tokenizer.json"), &source).unwrap();
        json::write(&directory.path().join("tokenizer_config.json"), settings).unwrap();
        directory
    }

    fn ids(settings: &Value, text: &str) -> Vec<u32> {
        Tokenizer::load(changed(settings).path()).unwrap().text(text).unwrap()
    }

    /// The ids are those of `AutoTokenizer` of transformers 5.24 for the same files.
    #[test]
    fn tokens_that_only_the_settings_name_are_added() {
        let plain = ids(&json!({}), "a<|im_end|>").len();
        assert!(plain > 2, "it is text");
        let flags = |content: &str, special: bool| {
            json!({"content": content, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false,
                "special": special})
        };
        for settings in [
            json!({"eos_token": "<|im_end|>"}),
            json!({"eos_token": {"__type": "AddedToken", "content": "<|im_end|>", "lstrip": false}}),
            json!({"extra_special_tokens": ["<|im_end|>"]}),
            json!({"additional_special_tokens": ["<|im_end|>"]}),
            json!({"image_token": "<|im_end|>"}),
            json!({"added_tokens_decoder": {"1005": flags("<|im_end|>", true)}}),
            json!({"added_tokens_decoder": {"1005": flags("<|im_end|>", false)}}),
        ] {
            let found = ids(&settings, "a<|im_end|>");
            assert_eq!(found.len(), 2, "{settings}");
            assert_eq!(found[1], 1005, "{settings}");
        }
        let wrong = json!({"added_tokens_decoder": {"1007": flags("<|im_end|>", true)}});
        let error = Tokenizer::load(changed(&wrong).path()).map(drop).unwrap_err();
        let right = "`<|im_end|>` is token 1007; tokenizer.json lacks it, and the next free number is 1005";
        assert!(format!("{error:#}").ends_with(right), "{error:#}");
    }

    #[test]
    fn a_token_that_the_settings_call_special_is_no_text() {
        let settings = json!({"eos_token": "<|im_end|>"});
        let tokenizer = Tokenizer::load(changed(&settings).path()).unwrap();
        assert_eq!(tokenizer.decode(&tokenizer.text("a<|im_end|>").unwrap()).unwrap(), "a");
        assert!(tokenizer.special().any(|id| id == 1005));
    }

    /// transformers 5 begins a text as `tokenizer.json` says, and reads `add_bos_token` only where there is none.
    #[test]
    fn a_text_begins_as_the_post_processor_says() {
        let directory = changed(&json!({"add_bos_token": true, "bos_token": "<s>"}));
        assert_eq!(Tokenizer::load(directory.path()).unwrap().front(), [1001]);
        let path = directory.path().join("tokenizer.json");
        let mut source: Value = json::read(&path).unwrap();
        source["post_processor"] = Value::Null;
        json::write(&path, &source).unwrap();
        assert!(Tokenizer::load(directory.path()).unwrap().front().is_empty());
    }

    #[test]
    fn the_end_token_of_a_tokenizer_is_found() {
        let end = |settings: Value| end_of(changed(&settings).path()).unwrap();
        assert_eq!(end(json!({})), None);
        assert_eq!(end(json!({"eos_token": "</s>"})), Some(1002));
        assert_eq!(end(json!({"eos_token": "<|im_end|>"})), Some(1005));
        let empty = tempfile::tempdir().unwrap();
        fs::write(empty.path().join("tokenizer_config.json"), r#"{"eos_token": "</s>"}"#).unwrap();
        assert_eq!(end_of(empty.path()).unwrap(), None, "there is no tokenizer yet");
    }
}
