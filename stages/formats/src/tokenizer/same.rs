//! The digest of what a tokenizer does, so that two files that do the same are one tokenizer: libraries write them anew with
//! other bytes (the order of fields, merges as lists, the padding of the last batch, parts under newer names).

use super::Tokenizer;
use anyhow::{Result, anyhow};
use std::collections::BTreeSet;

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

impl Tokenizer {
    /// A digest of the ids that texts get: of the vocabulary, the merges or scores, the special tokens, what stands before
    /// a prompt, and the ids of texts in which normalisers and pre-tokenisers differ. Padding, truncation, the way back to
    /// text, and the bytes of the file do not matter.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn digest(&self) -> Result<String> {
        let mut hash = blake3::Hasher::new();
        let mut put = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        // The crate shows merges and scores in its JSON alone: vocabulary by id and merges by rank, behind the options.
        let model = serde_json::to_string(self.inner.get_model())?;
        put(model.find("\"vocab\":").map_or(&model[..], |start| &model[start..]));
        let mut added: Vec<(u32, String, bool)> = self
            .inner
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| (id, token.content, token.special))
            .collect();
        added.sort_unstable();
        for (id, text, is_special) in &added {
            put(&format!("{id} {is_special}"));
            put(text);
        }
        let list = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        put(&list(&self.front));
        let size = self.inner.get_vocab_size(true);
        let ids = (0..size as u32).step_by(size.div_ceil(TRIED).max(1));
        let own = ids.filter_map(|id| self.inner.id_to_token(id));
        let inside = added.iter().take(TRIED).map(|(_, text, _)| format!("a {text} b{text}c"));
        let texts: BTreeSet<String> = TEXTS.iter().map(|text| (*text).to_owned()).chain(own).chain(inside).collect();
        for text in texts {
            put(&list(&self.text(&text).map_err(|error| anyhow!("{error:#}"))?));
        }
        Ok(hash.finalize().to_hex().to_string())
    }
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
}
