//! The files of a model.

use super::place::{self, parts};
use formats::chat::Template;
use formats::config::Config;
use formats::dialogue::Message;
use formats::dtype::Dtype;
use formats::peft::Lora;
use formats::tokenizer::Tokenizer;
use formats::{describe, layout, weights as tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// A file of safetensors: the length of the header in two bytes, the header, the numbers. The eight bytes of the format
/// would hit the length of a file once in many.
fn safetensors(bytes: &[u8]) -> Vec<u8> {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return bytes.to_vec() };
    let length = u64::from(u16::from_le_bytes(*length));
    [&length.to_le_bytes()[..], rest].concat()
}

/// Every tensor lies in the file.
pub fn weights(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), safetensors(bytes)] {
        if let Ok(file) = tensors::tensors(&bytes, Path::new("fuzzed.safetensors")) {
            for (name, view) in file.tensors() {
                let _ = tensors::tensor(&file, &name, [view.shape().iter().product(), 1]);
                assert!(view.data().len() <= bytes.len());
            }
        }
        let directory = place::directory(&[("model.safetensors", &bytes)]);
        let _ = tensors::summary(&directory);
    }
}

/// The names of the parts of an input, for a whole model.
const FILES: [&str; 6] = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "model.safetensors.index.json",
];

fn directory(names: &[&str], bytes: &[u8]) -> std::path::PathBuf {
    let pieces = parts(bytes);
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .zip(pieces)
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(name, bytes)| (*name, if name.ends_with(".safetensors") { safetensors(bytes) } else { bytes.to_vec() }))
        .collect();
    place::directory(&files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect::<Vec<_>>())
}

/// A model that can be described passes the checks, and its numbers can be read as every precision.
pub fn model(bytes: &[u8]) {
    let directory = directory(&FILES, bytes);
    let checked = describe::check(&directory);
    let _ = describe::check_reward(&directory);
    let _ = describe::check_tokenizer(&directory);
    let Ok(description) = describe::describe(&directory) else { return };
    checked.expect("what can be described passes the checks");
    let files = tensors::Files::open(&directory).expect("they were described");
    for weight in layout::weights(&description.config) {
        for dtype in Dtype::ALL {
            let _ = files.read(&weight, dtype);
        }
    }
}

/// A configuration that is read once is read the same from its own source.
pub fn config(bytes: &[u8]) {
    let directory = place::directory(&[("config.json", bytes)]);
    let Ok(config) = Config::load(&directory) else { return };
    let weights = layout::weights(&config);
    assert!(weights.iter().all(|weight| weight.shape_in_file().iter().all(|size| *size > 0)), "an empty tensor");
    let _ = tensors::check(&directory, &config);
}

/// Texts that tokenizers are tried on: spaces, letters of several bytes, nothing, special tokens, a long word.
const TEXTS: [&str; 6] =
    ["", " Hello,  world!\n", "ねこ é 👩‍👧", "<s>a</s>", "<|im_start|>user", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];

fn check_tokenizer(directory: &Path) {
    let Ok(tokenizer) = Tokenizer::load(directory) else { return };
    for text in TEXTS {
        let Ok(ids) = tokenizer.text(text) else { continue };
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.rows()), "an id has no row: {ids:?}");
        let _ = tokenizer.decode(&ids);
        ids.iter().for_each(|id| drop(tokenizer.token(*id)));
    }
}

/// `tokenizer.json` and the settings beside it.
pub fn tokenizer(bytes: &[u8]) {
    check_tokenizer(&directory(&["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"], bytes));
}

/// `tokenizer.model`, by the class of the first byte.
pub fn sentencepiece(bytes: &[u8]) {
    let Some((class, model)) = bytes.split_first() else { return };
    let settings: &[u8] = match class % 3 {
        0 => b"{}",
        1 => br#"{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true}"#,
        _ => br#"{"tokenizer_class": "T5Tokenizer", "extra_ids": 2}"#,
    };
    check_tokenizer(&place::directory(&[("tokenizer.model", model), ("tokenizer_config.json", settings)]));
}

/// A chat template: what it renders of a dialogue is cut into answers that lie in it.
pub fn chat(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let special = ["bos_token", "eos_token"].map(|name| (name.to_owned(), format!("<{name}>")));
    let Ok(template) = Template::new(text, BTreeMap::from(special)) else { return };
    let message = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let asked = [message("system", "Be kind."), message("user", "なぜ?")];
    let dialogue = [&asked[..], &[message("assistant", " So. "), message("user", "{{ x }}")]].concat();
    for messages in [&asked[1..], &asked, &dialogue] {
        let Ok(question) = template.render(messages, true) else { continue };
        assert_eq!(template.render(messages, true).ok(), Some(question.clone()), "{text}");
        if let Ok(answer) = template.answer(messages, &question, "yes") {
            assert!(answer.tail <= answer.text.len() && answer.text.is_char_boundary(answer.text.len() - answer.tail));
        }
        let _ = template.answers(messages);
        if let Ok((whole, marked)) = template.render_marked(messages) {
            assert!(
                marked.iter().all(|range| whole.get(range.clone()).is_some()),
                "{marked:?} is no part of {whole:?}"
            );
        }
    }
    template.ending();
    let arguments = BTreeMap::from([("enable_thinking".to_owned(), serde_json::json!([null, "'\n", 1.5]))]);
    if let Ok(source) = template.source_with(&arguments) {
        Template::new(&source, BTreeMap::new()).expect("arguments leave a template one");
    }
}

/// An adapter of `peft` on a small LLaMA: what is loaded is saved, and loads the same.
pub fn peft(bytes: &[u8]) {
    const BASE: &str = r#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 2,
        "num_hidden_layers": 1, "num_key_value_heads": 1, "vocab_size": 5, "max_position_embeddings": 8,
        "rms_norm_eps": 1e-5, "hidden_act": "silu"}"#;
    let config = serde_json::from_str(BASE).map_err(anyhow::Error::from).and_then(Config::of);
    let config = config.expect("the base is one");
    let directory = directory(&["adapter_config.json", "adapter_model.safetensors"], bytes);
    let Ok(lora) = Lora::load(&directory, &config) else { return };
    let saved = directory.join("saved");
    std::fs::create_dir(&saved).expect("create a directory");
    lora.save(&config.architecture.layout, &saved).expect("what was loaded can be saved");
    let again = Lora::load(&saved, &config).expect("what was saved can be loaded");
    assert_eq!((again.rank, again.parameters(), again.matrices()), (lora.rank, lora.parameters(), lora.matrices()));
}

/// A checkpoint of llama2.c that is found sound can be converted to a model.
pub fn llama2c(bytes: &[u8]) {
    let tokenizer: &[u8] = b"{}";
    let directory = place::directory(&[("model.bin", bytes), ("tokenizer.json", tokenizer)]);
    let checkpoint = directory.join("model.bin");
    if formats::llama2c::check(&checkpoint).is_ok() {
        let made = directory.join("made");
        std::fs::create_dir(&made).expect("create a directory");
        formats::llama2c::convert(&checkpoint, &made).expect("its sizes were checked");
        let config = Config::load(&made).expect("it was just written");
        tensors::check(&made, &config).expect("it was just written");
    }
}
