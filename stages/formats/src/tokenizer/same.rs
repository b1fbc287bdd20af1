//! The digest of what a tokenizer does, so that two files that do the same are one tokenizer: libraries write them anew with
//! other bytes (the order of fields, merges as lists, the padding of the last batch, parts under newer names).

use super::Tokenizer;
use anyhow::{Result, anyhow};
use std::collections::{BTreeMap, BTreeSet};

/// Texts in which normalisers and pre-tokenisers differ: spaces, forms of letters, case, numbers, scripts, code, control
/// characters.
const TEXTS: [&str; 30] = [
    "",
    " ",
    "a",
    " a",
    "a ",
    "  two  spaces   here ",
    "\ta\tb\n\nc\r\nd \n e",
    "a\u{3000}b\u{a0}c\u{2009}d\u{2028}e",
    "▁a▁b ▁",
    "ĠaĠb",
    "Hello, WORLD! It's the THE'D we'll they'Re",
    "camelCase snake_case_x KEBAB-case x0x1",
    "0 12 345 6789 1234567890 3.14 -1e-5 0x1F",
    "１２３ ＡＢＣ ｱｲｳ ﾊﾟ ㍿ ① Ⅳ ½ ﬁ",
    "ﾃﾞｰﾀ ば ば é é ñ Å Å",
    "naïve café déjà-vu Ångström ẞß İi",
    "吾輩は猫である。名前はまだ無い。",
    "東京都へ行く、と「彼」は言う！？……〜ー",
    "カタカナひらがな漢字まじり文とＨａｌｆ width",
    "𠮷野家の𩸽と辻󠄁さん",
    "你在做什么呢 잘 지내요 한글 Где мой чайник שלום مرحبا नमस्ते กำ",
    "😀🎉👍🏽👩‍💻👨‍👩‍👧‍👦🇯🇵❤️1️⃣",
    "fn main() {\n    println!(\"{}\", 42);\n}\n\n\n\tx  =  1;",
    "https://a.example/b?c=1&d=%E3%81%82#e x@y.z C:\\d\\e.txt",
    "<s></s><unk><pad><|im_start|>user\n<|im_end|> [INST] <0x41> [CLS]",
    "!!!???...---===***((()))[[]]{{}}<<>>",
    "\u{0}\u{1}\u{7}\u{8}\u{b}\u{1b}[1m\u{7f}\u{85}\u{ad}\u{200b}\u{200d}\u{2060}\u{feff}\u{fffd}\u{ffff}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "e\u{301}a\u{323}\u{302}n\u{303}o か\u{3099} ハ\u{309a}",
    "The end.The end. (The end) \"The end\" 'the end'",
];

/// The number of tokens whose own texts are tried as well.
const TRIED: usize = 256;

/// All that decides which ids texts get. Two tokenizers are the same if it is equal.
struct Conduct {
    /// Vocabulary by id and merges by rank, or pieces with their scores.
    model: String,
    /// Added tokens: the id, the text, whether it is special.
    added: Vec<(u32, String, bool)>,
    /// Ids before a prompt.
    front: Vec<u32>,
    /// Ids of texts.
    texts: BTreeMap<String, Vec<u32>>,
}

impl Conduct {
    fn digest(&self) -> String {
        let Conduct { model, added, front, texts } = self;
        let mut hash = blake3::Hasher::new();
        let mut put = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        let list = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        put(model);
        for (id, text, is_special) in added {
            put(&format!("{id} {is_special}"));
            put(text);
        }
        put(&list(front));
        texts.values().for_each(|ids| put(&list(ids)));
        hash.finalize().to_hex().to_string()
    }
}

/// Whether tokenizers with these digests are the same.
pub fn is_same(one: &str, other: &str) -> bool {
    one.split(' ').any(|digest| other.split(' ').any(|other| digest == other))
}

impl Tokenizer {
    /// Digests of the ids that texts get, parted by a space; two tokenizers are the same if they have one in common. They
    /// are of the vocabulary, the merges or scores, the special tokens, what stands before a prompt, and the ids of texts
    /// in which normalisers and pre-tokenisers differ. Padding, truncation, the way back to text, and the bytes of the
    /// file do not matter. Where a token for padding was put behind all others, as trainers do it for a model that has
    /// none, there is a second one without it: no text holds it. Which token pads is no part of any, since a reward model
    /// may get another one.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn digest(&self) -> Result<String> {
        let whole = self.conduct(None)?.digest();
        Ok(match self.spare_padding() {
            None => whole,
            spare => format!("{whole} {}", self.conduct(spare)?.digest()),
        })
    }

    fn conduct(&self, spare: Option<u32>) -> Result<Conduct> {
        // The crate shows merges and scores in its JSON alone: vocabulary by id and merges by rank, behind the options.
        let model = serde_json::to_string(self.inner.get_model())?;
        let model = model.find("\"vocab\":").map_or(&model[..], |start| &model[start..]).to_owned();
        let mut added: Vec<(u32, String, bool)> = self
            .inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(id, _)| Some(*id) != spare)
            .map(|(id, token)| (id, token.content, token.special))
            .collect();
        added.sort_unstable();
        let size = self.size() - usize::from(spare.is_some());
        let ids = (0..size as u32).step_by(size.div_ceil(TRIED).max(1));
        let own = ids.filter_map(|id| self.inner.id_to_token(id));
        let inside = added.iter().take(TRIED).map(|(_, text, _)| format!("a {text} b{text}c"));
        let texts: BTreeSet<String> = TEXTS.iter().map(|text| (*text).to_owned()).chain(own).chain(inside).collect();
        let ids = |text: String| -> Result<(String, Vec<u32>)> {
            let ids = self.text(&text).map_err(|error| anyhow!("{error:#}"))?;
            Ok((text, ids))
        };
        let texts = texts.into_iter().map(ids).collect::<Result<_>>()?;
        Ok(Conduct { model, added, front: self.front.clone(), texts })
    }

    /// The token for padding, where it was added behind all others and is nothing else beside.
    fn spare_padding(&self) -> Option<u32> {
        let padding = self.named("pad_token")?;
        let has_one_name = self.names.values().filter(|id| **id == padding).count() == 1;
        let is_added = || {
            let text = self.token(padding);
            !self.inner.get_vocab(false).contains_key(&text)
        };
        let is_last = padding as usize + 1 == self.rows() && self.rows() == self.size();
        (has_one_name && is_last && self.special.contains(&padding) && is_added()).then_some(padding)
    }
}

/// The first difference of two tokenizers, as a sentence about models with these names; `None`: they give the same ids.
///
/// # Errors
/// A tokenizer fails.
pub fn difference(one: &Tokenizer, other: &Tokenizer, names: [&str; 2]) -> Result<Option<String>> {
    if is_same(&one.digest()?, &other.digest()?) {
        return Ok(None);
    }
    let (first, second) = (one.conduct(None)?, other.conduct(None)?);
    let [vocabulary, of_other] = [one, other].map(|tokenizer| tokenizer.inner.get_vocab(false));
    let [name, other_name] = names;
    if vocabulary.len() != of_other.len() {
        let sizes = [&vocabulary, &of_other].map(|vocabulary| vocabulary.len());
        return Ok(Some(format!(
            "the vocabulary of `{name}` has {} tokens, that of `{other_name}` {}",
            sizes[0], sizes[1]
        )));
    }
    let by_id: BTreeMap<u32, &String> = vocabulary.iter().map(|(text, id)| (*id, text)).collect();
    if let Some((id, text)) = by_id.into_iter().find(|(id, text)| of_other.get(*text) != Some(id)) {
        let there = of_other.get(text).map_or_else(|| "no token".to_owned(), |id| format!("token {id}"));
        return Ok(Some(format!(
            "the vocabularies differ: `{text}` is token {id} of `{name}` and {there} of `{other_name}`"
        )));
    }
    for (name, added, others) in [(name, &first.added, &second.added), (other_name, &second.added, &first.added)] {
        if let Some((_, text, is_special)) = added.iter().find(|token| !others.contains(token)) {
            let sort = if *is_special { "special token" } else { "added token" };
            return Ok(Some(format!("`{text}` is a {sort} of `{name}` alone, or has another id there")));
        }
    }
    if first.model != second.model {
        let differ =
            "their vocabularies are the same; their merges or scores, or what stands for text without a piece, differ";
        return Ok(Some(differ.to_owned()));
    }
    if first.front != second.front {
        let begins = |tokenizer: &Tokenizer| match tokenizer.front() {
            [] => "nothing".to_owned(),
            ids => ids.iter().map(|id| format!("`{}`", tokenizer.token(*id))).collect::<Vec<_>>().join(" "),
        };
        return Ok(Some(format!("`{name}` puts {} before a text, `{other_name}` {}", begins(one), begins(other))));
    }
    let differs = first.texts.iter().find(|(text, ids)| second.texts.get(*text).is_some_and(|others| others != *ids));
    let text = differs.map_or_else(String::new, |(text, _)| format!(": {text:?}"));
    Ok(Some(format!("they normalise or split texts in another way{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use serde_json::{Value, json};
    use std::fs;
    use std::path::Path;

    fn source(name: &str) -> Value {
        json::read(&Path::new("../tests/parity/tokenizers").join(name).join("tokenizer.json")).unwrap()
    }

    fn digest(bytes: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("tokenizer.json"), bytes).unwrap();
        Tokenizer::load(directory.path()).unwrap().digest().unwrap()
    }

    /// The same object with its fields in the other order, at every depth but that of the vocabulary.
    fn turned(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| format!("{}:{}", json!(name), turned(value));
                format!("{{{}}}", fields.iter().rev().map(field).collect::<Vec<_>>().join(", "))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(turned).collect::<Vec<_>>().join(",\n")),
            other => other.to_string(),
        }
    }

    #[test]
    fn a_file_that_was_written_again_is_the_same_tokenizer() {
        for name in ["bytes", "unigram"] {
            let plain = source(name);
            let right = digest(&plain.to_string());
            assert_eq!(digest(&turned(&plain)), right, "{name}: the order of fields");
            let mut saved = plain.clone();
            saved["version"] = json!("1.0");
            // What TRL's trainers leave there.
            saved["truncation"] =
                json!({"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0});
            saved["padding"] = json!({"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": null,
                "pad_id": 2, "pad_type_id": 0, "pad_token": "</s>"});
            assert_eq!(digest(&serde_json::to_string_pretty(&saved).unwrap()), right, "{name}: padding and truncation");
        }
        let mut old = source("bytes");
        let merges = old["model"]["merges"].as_array().unwrap().clone();
        assert!(merges[0].is_array());
        let join = |pair: &Value| json!(format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        old["model"]["merges"] = merges.iter().map(join).collect();
        old["model"]["continuing_subword_prefix"] = json!("");
        old["model"]["end_of_word_suffix"] = json!("");
        old["model"].as_object_mut().unwrap().remove("dropout");
        assert_eq!(digest(&old.to_string()), digest(&source("bytes").to_string()), "merges as texts");
        // The space before a text under its newer name.
        let mut newer = source("unigram");
        newer["normalizer"] = Value::Null;
        newer["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
        let mut older = newer.clone();
        older["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [newer["pre_tokenizer"]]});
        assert_eq!(digest(&newer.to_string()), digest(&older.to_string()), "parts of one part");
    }

    #[test]
    fn tokenizers_that_give_other_ids_are_others() {
        let plain = source("bytes");
        let mut all = vec![digest(&plain.to_string()), digest(&source("unigram").to_string())];
        let mut other = |change: &dyn Fn(&mut Value)| {
            let mut changed = plain.clone();
            change(&mut changed);
            all.push(digest(&changed.to_string()));
        };
        other(&|file| file["normalizer"] = json!({"type": "NFKC"}));
        other(&|file| file["normalizer"] = Value::Null);
        other(&|file| file["normalizer"] = json!({"type": "Lowercase"}));
        other(&|file| {
            file["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true});
        });
        other(&|file| {
            file["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true});
        });
        other(&|file| file["model"]["merges"].as_array_mut().unwrap().swap(20, 400));
        other(&|file| drop(file["model"]["merges"].as_array_mut().unwrap().pop()));
        other(&|file| {
            let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
            (vocabulary["a"], vocabulary["b"]) = (vocabulary["b"].clone(), vocabulary["a"].clone());
        });
        other(&|file| drop(file["added_tokens"].as_array_mut().unwrap().pop()));
        other(&|file| {
            let token = json!({"id": 1006, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true});
            file["added_tokens"].as_array_mut().unwrap().push(token);
        });
        other(&|file| file["post_processor"] = Value::Null);
        let count = all.len();
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), count);
        let mut scores = source("unigram");
        scores["model"]["vocab"][300][1] = json!(-3.25);
        assert_ne!(digest(&scores.to_string()), digest(&source("unigram").to_string()));
    }

    /// The byte-level tokenizer of the tests with another token behind its last one, and these settings beside it.
    fn with_token(text: &str, settings: &Value) -> Tokenizer {
        let directory = tempfile::tempdir().unwrap();
        let mut file = source("bytes");
        let token = json!({"id": 1006, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        file["added_tokens"].as_array_mut().unwrap().push(token);
        json::write(&directory.path().join("tokenizer.json"), &file).unwrap();
        json::write(&directory.path().join("tokenizer_config.json"), settings).unwrap();
        Tokenizer::load(directory.path()).unwrap()
    }

    #[test]
    fn a_token_for_padding_behind_all_others_makes_no_other_tokenizer() {
        let plain = digest(&source("bytes").to_string());
        let right = |tokenizer: Tokenizer| is_same(&tokenizer.digest().unwrap(), &plain);
        assert!(right(with_token("[PAD]", &json!({"pad_token": "[PAD]"}))));
        assert!(!right(with_token("[PAD]", &json!({}))), "nothing says that it is for padding");
        assert!(
            !right(with_token("<|end|>", &json!({"pad_token": "<|end|>", "eos_token": "<|end|>"}))),
            "texts end with it"
        );
        assert!(!right(with_token("<|end|>", &json!({"eos_token": "<|end|>"}))));
    }

    /// A reward model gets another token for padding where an answer ends with its own.
    #[test]
    fn another_name_for_padding_makes_no_other_tokenizer() {
        let digest = |text: &str, padding: &str| {
            with_token(text, &json!({"pad_token": padding, "eos_token": "</s>"})).digest().unwrap()
        };
        for text in ["[PAD]", "<|user|>"] {
            let paddings = ["</s>", "<s>", text];
            let digests = paddings.map(|padding| digest(text, padding));
            assert!(digests.iter().all(|other| is_same(&digests[0], other)), "{text}");
        }
        // Both hold another token in the same place, and neither is for padding.
        assert!(!is_same(&digest("<|user|>", "</s>"), &digest("<|end|>", "</s>")));
    }

    #[test]
    fn the_first_difference_of_two_tokenizers_is_told() {
        let plain = source("bytes");
        let open = |change: &dyn Fn(&mut Value)| {
            let mut changed = plain.clone();
            change(&mut changed);
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("tokenizer.json"), changed.to_string()).unwrap();
            Tokenizer::load(directory.path()).unwrap()
        };
        let told = |other: &Tokenizer| difference(&open(&|_| {}), other, ["sft", "rm"]).unwrap().unwrap_or_default();
        assert_eq!(told(&open(&|_| {})), "");
        let sizes = |file: &mut Value| drop(file["model"]["merges"].as_array_mut().unwrap().pop());
        assert!(told(&open(&sizes)).starts_with("their vocabularies are the same; their merges or scores, "));
        let end = told(&with_token("<|end|>", &json!({})));
        assert_eq!(end, "`<|end|>` is a special token of `rm` alone, or has another id there");
        let swapped = |file: &mut Value| {
            let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
            (vocabulary["a"], vocabulary["b"]) = (vocabulary["b"].clone(), vocabulary["a"].clone());
        };
        let vocabulary = told(&open(&swapped));
        let right = "the vocabularies differ: `a` is token 64 of `sft` and token 65 of `rm`";
        assert_eq!(vocabulary, right);
        let front = told(&open(&|file| file["post_processor"] = Value::Null));
        assert_eq!(front, "`sft` puts `<s>` before a text, `rm` nothing");
        let normalised = told(&open(&|file| file["normalizer"] = json!({"type": "Lowercase"})));
        assert!(normalised.starts_with("they normalise or split texts in another way: \""), "{normalised}");
        let unigram = Tokenizer::load(Path::new("../tests/parity/tokenizers/unigram")).unwrap();
        assert!(told(&unigram).starts_with("the vocabulary of `sft` has "), "{}", told(&unigram));
    }
}
