//! The description of a model directory, before anything is computed with it.

use crate::chat::Template;
use crate::config::Config;
use crate::directory::{ModelFiles, is_of_tokenizer, model_directory};
use crate::llama2c;
use crate::peft::Lora;
use crate::tokenizer::{self, Tokenizer};
use crate::unreadable::Reading;
use crate::weights::{self, Summary};
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

pub struct Description {
    pub config: Config,
    pub summary: Summary,
    /// Tokens of the tokenizer; the model may have more.
    pub vocabulary: usize,
    /// Text of the tokens that stand before a prompt.
    pub front: Vec<String>,
    /// Text of the tokens that end an answer.
    pub ends: Vec<String>,
    pub has_template: bool,
    pub adapter: Option<Lora>,
}

/// # Errors
/// It is not a model that can be read: the error names the fault.
pub fn describe(directory: &Path) -> Result<Description> {
    let files = ModelFiles::open(directory)?;
    let config = Config::load(files.path())?;
    let summary = weights::check(files.path(), &config)?;
    let tokenizer = Tokenizer::load(files.path())?;
    let adapter = directory.join("adapter");
    let adapter = ::files::is_directory(&adapter)?.then(|| Lora::load(&adapter, &config)).transpose()?;
    Ok(Description {
        vocabulary: tokenizer.size(),
        front: tokenizer.front().iter().map(|id| tokenizer.token(*id)).collect(),
        ends: config.eos.iter().map(|id| tokenizer.token(*id)).collect(),
        has_template: tokenizer.chat_template().is_some(),
        adapter,
        summary,
        config,
    })
}

/// Checks that a model can be read: its configuration, the shapes of its tensors, its adapter, its tokenizer and its chat
/// template.
///
/// # Errors
/// It cannot be read: the error names the fault.
pub fn check(artifact: &Path) -> Result<()> {
    let directory = model_directory(artifact);
    if let Some(checkpoint) = llama2c::find(&directory) {
        return llama2c::check(&checkpoint);
    }
    let config = Config::load(&directory)?;
    weights::check(&directory, &config)?;
    adapter_of(artifact, &config)?;
    if !tokenizer::is_there(&directory)? {
        let fault = anyhow!("there is no tokenizer.json, and no tokenizer.model or spiece.model");
        return Err(fault).reading(&directory);
    }
    Template::load(&directory, None).map(drop)
}

/// As [`check`], of a reward model, which has a head.
///
/// # Errors
/// It cannot be read, or is no reward model.
pub fn check_reward(artifact: &Path) -> Result<()> {
    check(artifact)?;
    let directory = model_directory(artifact);
    let config = match llama2c::find(&directory) {
        Some(_) => None,
        None => Some(Config::load(&directory)?),
    };
    let adapter = config.as_ref().map(|config| adapter_of(artifact, config)).transpose()?.flatten();
    let has_head = match adapter {
        Some(adapter) => adapter.head.is_some(),
        None => config.as_ref().is_some_and(|config| config.is_classifier),
    };
    if !has_head {
        let fault = anyhow!(
            "it is a language model, no reward model: it has no head that scores a text; a stage of kind rm makes one, and \
             `AutoModelForSequenceClassification` with one label is one"
        );
        return Err(fault).reading(&directory);
    }
    Ok(())
}

/// The adapter of a model or the head of a classifier, as a stage loads it.
fn adapter_of(artifact: &Path, config: &Config) -> Result<Option<Lora>> {
    let adapter = artifact.join("adapter");
    match ::files::is_directory(&adapter)? {
        true => Lora::load(&adapter, config).map(Some),
        false if config.is_classifier => Lora::of_classifier(&model_directory(artifact), config).map(Some),
        false => Ok(None),
    }
}

/// Checks that a directory holds a tokenizer with which a model can be trained from scratch: it can be read, and names the
/// token that ends a text.
///
/// # Errors
/// It is none.
pub fn check_tokenizer(artifact: &Path) -> Result<()> {
    let files = ModelFiles::open(artifact)?;
    let tokenizer = Tokenizer::load(files.path())?;
    if tokenizer.named("eos_token").is_none() {
        let fault =
            anyhow!("the tokenizer names no token that ends a text; write its `eos_token` into tokenizer_config.json");
        return Err(fault).reading(artifact);
    }
    Ok(())
}

/// Whether the tokenizers of two models lie in the same files, byte by byte: then they are the same. Where a file cannot be
/// read, that is not known, and the tokenizers themselves are compared.
pub fn has_same_tokenizer_files(one: &Path, other: &Path) -> bool {
    let read = |directory: &Path| -> Option<BTreeMap<OsString, Vec<u8>>> {
        let entries = fs::read_dir(model_directory(directory)).ok()?.filter_map(Result::ok);
        let of_tokenizer = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_of_tokenizer));
        of_tokenizer.map(|entry| Some((entry.file_name(), fs::read(entry.path()).ok()?))).collect()
    };
    let files = read(one);
    files.as_ref().is_some_and(|files| !files.is_empty()) && files == read(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn golden() -> PathBuf {
        Path::new("../tests/parity").to_owned()
    }

    /// A model with every file that is read.
    fn model() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (from, to) in [
            ("llama/config.json", "config.json"),
            ("llama/generation_config.json", "generation_config.json"),
            ("llama/model.safetensors", "model.safetensors"),
            ("llama/adapter/adapter_config.json", "adapter/adapter_config.json"),
            ("llama/adapter/adapter_model.safetensors", "adapter/adapter_model.safetensors"),
            ("tokenizers/bytes/tokenizer.json", "tokenizer.json"),
            ("tokenizers/bytes/tokenizer_config.json", "tokenizer_config.json"),
        ] {
            let to = directory.path().join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(golden().join(from), to).unwrap();
        }
        fs::write(directory.path().join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
        directory
    }

    fn said(directory: &Path) -> String {
        let described = describe(directory);
        let said = described.map_or_else(|error| format!("{error:#}"), |_| "read".to_owned());
        said.replace(&format!("{}/", directory.display()), "").replace(&directory.display().to_string(), "DIR")
    }

    /// The fault of a model one of whose files holds other bytes.
    fn told(file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
        let directory = model();
        let path = directory.path().join(file);
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
        said(directory.path())
    }

    const FILES: [&str; 8] = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ];

    #[test]
    fn what_stands_in_the_place_of_any_file_is_named() {
        assert_eq!(said(model().path()), "read");
        for file in FILES {
            let lfs = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{:064}\nsize 123456\n", 0);
            for (bytes, what) in [
                (lfs.as_str(), "it is a Git LFS pointer, not the file: `git lfs pull` fetches it"),
                ("\n<!DOCTYPE html>\n<html>", "it is a web page, not the file: "),
                ("<HTML><body>", "it is a web page, not the file: "),
                (
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied",
                    "it is the answer of a server ",
                ),
                ("Entry not found", "it is the answer of a server "),
                ("", "it is empty: it was not downloaded or written; fetch it again"),
            ] {
                let told = told(file, |_| bytes.into());
                assert!(told.contains(&format!("read {file}: {what}")), "{file}: {told}");
            }
        }
    }
    /// Every text and every file of tensors, cut at several places.
    #[test]
    fn half_a_file_is_told_as_that() {
        for file in FILES.iter().filter(|file| !file.ends_with(".jinja")) {
            let whole = fs::metadata(model().path().join(file)).unwrap().len() as usize;
            for part in [1, 7, 9, whole / 50, whole / 2, whole - 2] {
                let told = told(file, |bytes| bytes[..part].into());
                let has = format!("it has {part} bytes");
                assert!(told.starts_with(&format!("read {file}: it is cut within ")), "{part}: {told}");
                assert!(told.contains(&has) && told.ends_with("; fetch it again"), "{part}: {told}");
                let is_told = told.contains(&format!("{has}, and should have {whole};"));
                assert!(is_told || !file.contains(".safetensors") || part <= whole / 50, "{part}: {told}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_told_as_what_it_is() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut all = Vec::new();
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "adapter/adapter_config.json"] {
            all.push(format!("{file}:"));
            all.push(told(file, |bytes| [b"\xef\xbb\xbf".to_vec(), bytes].concat()));
            all.push(told(file, |bytes| [bytes.clone(), b"\xef\xbb\xbf".to_vec(), bytes].concat()));
            all.push(told(file, |bytes| {
                text(bytes).replacen(": ", ": \u{feff}", 1).replacen(":\"", ":\u{feff}\"", 1).into()
            }));
            all.push(told(file, |bytes| text(bytes).encode_utf16().flat_map(u16::to_le_bytes).collect()));
            all.push(told(file, |bytes| [b"\xff\xfe".to_vec(), bytes].concat()));
            all.push(told(file, |bytes| [&bytes[..40], b"\xe6\xb5"].concat()));
            all.push(told(file, |bytes| [&bytes[..40], b"\xe6\xb5", &bytes[40..]].concat()));
            all.push(told(file, |bytes| [&bytes[..40], &[0; 300]].concat()));
            all.push(told(file, |_| b"  \n".to_vec()));
            all.push(told(file, |bytes| text(bytes).replacen('{', "{\"unread\": [NaN, -Infinity], ", 1).into()));
        }
        all.push("NaN where a number is read:".to_owned());
        all.push(told("config.json", |bytes| {
            text(bytes).replace("\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": NaN").into()
        }));
        expect_test::expect![[r#"
            config.json:
            read config.json: it begins with a byte order mark, with which `transformers` does not read it; save it as UTF-8 without one
            read config.json: a byte order mark stands at line 33, column 1, as where files were joined; take it out, with what does not belong there
            read config.json: a byte order mark stands at line 2, column 20, as where files were joined; take it out, with what does not belong there
            read config.json: it is UTF-16; save it as UTF-8
            read config.json: it is UTF-16; save it as UTF-8
            read config.json: it is cut within a character: it has 42 bytes; it was not downloaded to its end; fetch it again
            read config.json: it is not UTF-8, from byte 41 on; save it as UTF-8
            read config.json: it is cut, and its last 300 bytes are zero: it has 40 bytes, and should have 340; it was not downloaded to its end; fetch it again
            read config.json: it is empty: it was not downloaded or written; fetch it again
            read
            tokenizer.json:
            read tokenizer.json: it begins with a byte order mark, with which `transformers` does not read it; save it as UTF-8 without one
            read tokenizer.json: a byte order mark stands at line 1, column 25431, as where files were joined; take it out, with what does not belong there
            read tokenizer.json: a byte order mark stands at line 1, column 12, as where files were joined; take it out, with what does not belong there
            read tokenizer.json: it is UTF-16; save it as UTF-8
            read tokenizer.json: it is UTF-16; save it as UTF-8
            read tokenizer.json: it is cut within a character: it has 42 bytes; it was not downloaded to its end; fetch it again
            read tokenizer.json: it is not UTF-8, from byte 41 on; save it as UTF-8
            read tokenizer.json: it is cut, and its last 300 bytes are zero: it has 40 bytes, and should have 340; it was not downloaded to its end; fetch it again
            read tokenizer.json: it is empty: it was not downloaded or written; fetch it again
            read tokenizer.json: expected value at line 1 column 13: NaN and Infinity are no numbers of JSON
            tokenizer_config.json:
            read tokenizer_config.json: it begins with a byte order mark, with which `transformers` does not read it; save it as UTF-8 without one
            read tokenizer_config.json: a byte order mark stands at line 10, column 1, as where files were joined; take it out, with what does not belong there
            read tokenizer_config.json: a byte order mark stands at line 2, column 22, as where files were joined; take it out, with what does not belong there
            read tokenizer_config.json: it is UTF-16; save it as UTF-8
            read tokenizer_config.json: it is UTF-16; save it as UTF-8
            read tokenizer_config.json: it is cut within a character: it has 42 bytes; it was not downloaded to its end; fetch it again
            read tokenizer_config.json: it is not UTF-8, from byte 41 on; save it as UTF-8
            read tokenizer_config.json: it is cut, and its last 300 bytes are zero: it has 40 bytes, and should have 340; it was not downloaded to its end; fetch it again
            read tokenizer_config.json: it is empty: it was not downloaded or written; fetch it again
            read
            adapter/adapter_config.json:
            read adapter/adapter_config.json: it begins with a byte order mark, with which `transformers` does not read it; save it as UTF-8 without one
            read adapter/adapter_config.json: a byte order mark stands at line 47, column 2, as where files were joined; take it out, with what does not belong there
            read adapter/adapter_config.json: a byte order mark stands at line 2, column 30, as where files were joined; take it out, with what does not belong there
            read adapter/adapter_config.json: it is UTF-16; save it as UTF-8
            read adapter/adapter_config.json: it is UTF-16; save it as UTF-8
            read adapter/adapter_config.json: it is cut within a character: it has 42 bytes; it was not downloaded to its end; fetch it again
            read adapter/adapter_config.json: it is not UTF-8, from byte 41 on; save it as UTF-8
            read adapter/adapter_config.json: it is cut, and its last 300 bytes are zero: it has 40 bytes, and should have 340; it was not downloaded to its end; fetch it again
            read adapter/adapter_config.json: it is empty: it was not downloaded or written; fetch it again
            read adapter/adapter_config.json: `unread: ["NaN","-Infinity"]` may make it more than plain LoRA: the field is not known here; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
            NaN where a number is read:
            read config.json: invalid type: string "NaN", expected f64"#]].assert_eq(&all.join("\n"));
    }

    #[test]
    fn an_unfinished_download_beside_a_file_is_named() {
        let all = [
            ("model.safetensors", "model.safetensors.part", Some(20)),
            ("model.safetensors", "Unconfirmed 123.crdownload", Some(1)),
            ("model.safetensors", ".cache/huggingface/download/a.b.incomplete", None),
            ("model.safetensors", "model.safetensors.aria2", Some(usize::MAX)),
            ("config.json", "config.json.incomplete", None),
            ("config.json", "config.json.incomplete", Some(0)),
            ("config.json", "tokenizer.json.part", Some(usize::MAX)),
            ("tokenizer.json", "tokenizer.json.part", Some(200)),
        ]
        .map(|(file, beside, kept)| {
            let directory = model();
            let (file, beside) = (directory.path().join(file), directory.path().join(beside));
            fs::create_dir_all(beside.parent().unwrap()).unwrap();
            fs::write(beside, "part").unwrap();
            let bytes = fs::read(&file).unwrap();
            match kept {
                Some(kept) => fs::write(&file, &bytes[..kept.min(bytes.len())]).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            said(directory.path())
        });
        expect_test::expect![[r#"
            read model.safetensors: it is cut within its header: it has 20 bytes, and should have 2096; it was not downloaded to its end (`model.safetensors.part` is a download that has not ended); fetch it again
            read model.safetensors: it is cut within the length of its header: it has 1 bytes; it was not downloaded to its end (`Unconfirmed 123.crdownload` is a download that has not ended); fetch it again
            read DIR: there is no model.safetensors and no model.safetensors.index.json; `.cache/huggingface/download/a.b.incomplete` is a download that has not ended
            read model.safetensors: its download has not ended: `model.safetensors.aria2` lies beside it; go on with it
            read config.json: it is not there, and `config.json.incomplete` is a download that has not ended
            read config.json: it is empty: it was not downloaded or written (`config.json.incomplete` is a download that has not ended); fetch it again
            read
            read tokenizer.json: it is cut within a value: it has 200 bytes; it was not downloaded to its end (`tokenizer.json.part` is a download that has not ended); fetch it again"#]].assert_eq(&all.join("\n"));
    }

    #[test]
    fn files_of_weights_that_are_not_there_are_named() {
        let told = |names: &[&str]| {
            let directory = model();
            let [weights, config] = ["model.safetensors", "config.json"].map(|file| directory.path().join(file));
            let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}}"#;
            fs::remove_file(&weights).unwrap();
            for name in names {
                let place = directory.path().join(name);
                let content = if name.ends_with(".json") { index.into() } else { fs::read(&config).unwrap() };
                fs::write(place, content).unwrap();
            }
            said(directory.path())
        };
        let index = "model.safetensors.index.json";
        let all = [
            told(&[index, "model-1.safetensors"]),
            told(&[index, "model-1.safetensors", "model-3.safetensors", "model-2.safetensors.incomplete"]),
            told(&["model-1.safetensors"]),
            told(&["model.safetensors.part"]),
            told(&[]),
            told(&[index, "model-1.safetensors", "model-2.safetensors", "model-3.safetensors"]),
        ];
        expect_test::expect![[r#"
            read model.safetensors.index.json: it names 3 files, and `model-2.safetensors` is not there, and 1 more; the model was not downloaded to its end; fetch it again
            read model.safetensors.index.json: it names 3 files, and `model-2.safetensors` is not there; the model was not downloaded to its end (`model-2.safetensors.incomplete` is a download that has not ended); fetch it again
            read DIR: there is no model.safetensors and no model.safetensors.index.json; `model-1.safetensors` is a part of a model, which an index has to name
            read DIR: there is no model.safetensors and no model.safetensors.index.json; `model.safetensors.part` is a download that has not ended
            read DIR: there is no model.safetensors and no model.safetensors.index.json
            read model-1.safetensors: it is no safetensors file: it does not begin with the length of a header"#]].assert_eq(&all.join("\n"));
    }
}
