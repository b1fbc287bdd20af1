//! Checkpoints of llama2.c (`export.py` of that project, versions 0 and 1) as files in Hugging Face layout. Knows nothing
//! of tensors on a device.

use super::weights::{self, Named, write_json};
use super::{Config, Dtype};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Of versions that have a head of 256 bytes; the first one begins with its numbers.
const MAGIC: i32 = 0x616b_3432;

/// The checkpoint of a directory that holds one, and no `config.json`: its only `*.bin` beside `tokenizer.bin`. Pickled
/// weights have names of their own, and are none.
pub fn find(directory: &Path) -> Option<PathBuf> {
    if directory.join("config.json").exists() {
        return None;
    }
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".bin") && !name.starts_with("tok") && !name.starts_with("pytorch_model")
    };
    let mut found = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one);
    found.next().filter(|_| found.next().is_none())
}

/// What the head of a checkpoint says, and where its weights begin, in bytes.
struct Head {
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    is_tied: bool,
    is_first_version: bool,
    start: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Head> {
        let number = |at: usize| {
            let four = bytes.get(at..at + 4).context("it is too short to be a llama2.c checkpoint")?;
            Ok::<i32, anyhow::Error>(i32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        };
        let is_first_version = number(0)? != MAGIC;
        let version = if is_first_version { 0 } else { number(4)? };
        ensure!(
            version <= 1,
            "it is a llama2.c checkpoint of version {version} (quantised); versions 0 and 1 are known"
        );
        let first = if is_first_version { 0 } else { 8 };
        let numbers = (0..7).map(|place| number(first + 4 * place)).collect::<Result<Vec<i32>>>()?;
        let [width, inner, layers, heads, kv_heads, vocabulary, context] = numbers[..] else { unreachable!("seven") };
        let is_tied = if is_first_version { vocabulary > 0 } else { bytes.get(36) == Some(&1) };
        let sizes = [width, inner, layers, heads, kv_heads, vocabulary.abs(), context];
        if sizes.iter().any(|size| *size <= 0) || width % heads != 0 || heads % kv_heads != 0 || width / heads % 2 != 0
        {
            bail!("its head {sizes:?} is not one of a llama2.c checkpoint");
        }
        let [width, inner, layers, heads, kv_heads, vocabulary, context] = sizes.map(|size| size as usize);
        let start = if is_first_version { 28 } else { 256 };
        Ok(Head { width, inner, layers, heads, kv_heads, vocabulary, context, is_tied, is_first_version, start })
    }

    fn config(&self) -> Value {
        let heads = (self.heads, self.kv_heads);
        let mut config =
            Config::describe(self.vocabulary, self.width, self.inner, self.layers, heads, self.context, (0, 1, 2));
        config["tie_word_embeddings"] = json!(self.is_tied);
        config["pad_token_id"] = Value::Null;
        config
    }

    /// Name in Hugging Face layout and shape of one layer's part, and how many layers of it lie one after the other; in
    /// the order of the file. No name: passed over.
    fn parts(&self) -> Vec<(&'static str, Vec<usize>, usize)> {
        let (d, keys, all) = (self.width, self.width / self.heads * self.kv_heads, self.layers);
        let embedding = ("model.embed_tokens", vec![self.vocabulary, d], 1);
        let attention_norm = ("input_layernorm", vec![d], all);
        let mlp_norm = ("post_attention_layernorm", vec![d], all);
        let norm = ("model.norm", vec![d], 1);
        let attention = [
            ("self_attn.q_proj", vec![d, d], all),
            ("self_attn.k_proj", vec![keys, d], all),
            ("self_attn.v_proj", vec![keys, d], all),
            ("self_attn.o_proj", vec![d, d], all),
        ];
        let mlp = [
            ("mlp.gate_proj", vec![self.inner, d], all),
            ("mlp.down_proj", vec![d, self.inner], all),
            ("mlp.up_proj", vec![self.inner, d], all),
        ];
        let mut parts = Vec::new();
        if self.is_first_version {
            parts.extend([embedding, attention_norm]);
            parts.extend(attention);
            parts.push(mlp_norm);
            parts.extend(mlp);
            // Cosines and sines, which are known without.
            parts.extend([norm, ("", vec![self.context, d / self.heads], 1)]);
        } else {
            parts.extend([attention_norm, mlp_norm, norm, embedding]);
            parts.extend(attention);
            parts.extend(mlp);
        }
        if !self.is_tied {
            parts.push(("lm_head", vec![self.vocabulary, d], 1));
        }
        parts
    }
}

/// That the checkpoint of a directory can be converted, as far as sizes tell.
///
/// # Errors
/// It is another file, of another length than its head says, or there is no tokenizer.
pub fn check(checkpoint: &Path) -> Result<()> {
    let read = || format!("read {}", checkpoint.display());
    let mut start = [0; 256];
    let mut file = fs::File::open(checkpoint).with_context(read)?;
    let length = file.metadata().with_context(read)?.len();
    let told = std::io::Read::read(&mut file, &mut start).with_context(read)?;
    let head = Head::read(&start[..told]).with_context(read)?;
    let numbers: usize = head.parts().iter().map(|(_, shape, count)| shape.iter().product::<usize>() * count).sum();
    let expected = (head.start + 4 * numbers) as u64;
    ensure!(length == expected, "{}: it has {length} bytes, its head speaks of {expected}", read());
    let directory = checkpoint.parent().unwrap_or(Path::new("."));
    ensure!(
        directory.join("tokenizer.json").exists() || tokenizer(directory).is_some(),
        "{}: there is no tokenizer.bin (or tokenizer.json) beside it",
        read()
    );
    Ok(())
}

/// Writes the checkpoint and its tokenizer to the directory `to` as `transformers` reads them.
///
/// # Errors
/// As [`check`]; or `to` cannot be written.
pub fn convert(checkpoint: &Path, to: &Path) -> Result<()> {
    check(checkpoint)?;
    let bytes = fs::read(checkpoint).with_context(|| format!("read {}", checkpoint.display()))?;
    let head = Head::read(&bytes)?;
    let mut rest =
        bytes[head.start..].chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let mut tensors = Named::new();
    for (name, shape, count) in head.parts() {
        for layer in 0..count {
            let values: Vec<f32> = rest.by_ref().take(shape.iter().product()).collect();
            let values = match name {
                "self_attn.q_proj" => in_halves(&values, head.heads, head.width),
                "self_attn.k_proj" => in_halves(&values, head.kv_heads, head.width),
                _ => values,
            };
            match name {
                "" => continue,
                "model.embed_tokens" | "model.norm" | "lm_head" => {
                    tensors.insert(format!("{name}.weight"), (values, shape.clone()))
                }
                _ => tensors.insert(format!("model.layers.{layer}.{name}.weight"), (values, shape.clone())),
            };
        }
    }
    weights::write(&tensors, Dtype::F32, &to.join(weights::WEIGHTS))?;
    write_json(&to.join("config.json"), &head.config())?;
    let directory = checkpoint.parent().unwrap_or(Path::new("."));
    for name in ["tokenizer.json", "tokenizer_config.json"].iter().filter(|name| directory.join(name).exists()) {
        fs::copy(directory.join(name), to.join(name)).with_context(|| format!("copy {name}"))?;
    }
    if !to.join("tokenizer.json").exists() {
        let path = tokenizer(directory).context("find tokenizer.bin: it was there before")?;
        let pieces = pieces(&path, head.vocabulary).with_context(|| format!("read {}", path.display()))?;
        write_json(&to.join("tokenizer.json"), &tokenizer_json(&pieces))?;
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
            "clean_up_tokenization_spaces": false,
            "model_max_length": head.context,
        });
        write_json(&to.join("tokenizer_config.json"), &settings)?;
    }
    Ok(())
}

/// Rotary pairs lie side by side there, and in two halves of a head here: (0, 1), (2, 3), … → 0, 2, …, 1, 3, ….
fn in_halves(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let rows = values.len() / width;
    let half = rows / heads / 2;
    let order = (0..heads)
        .flat_map(|head| (0..2).flat_map(move |which| (0..half).map(move |pair| head * 2 * half + 2 * pair + which)));
    order.flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
}

/// `tokenizer.bin`, or `tok512.bin` as smaller ones are called.
fn tokenizer(directory: &Path) -> Option<PathBuf> {
    let plain = directory.join("tokenizer.bin");
    if plain.exists() {
        return Some(plain);
    }
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("tok") && name.ends_with(".bin")
    };
    let mut found = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one);
    found.next().filter(|_| found.next().is_none())
}

/// Text and score of each token.
fn pieces(path: &Path, vocabulary: usize) -> Result<Vec<(String, f32)>> {
    let bytes = fs::read(path)?;
    let mut at = 4;
    let mut take = |length: usize| {
        let taken = bytes.get(at..at + length).context("it ends too early for the vocabulary of the model");
        at += length;
        taken
    };
    let mut pieces = Vec::with_capacity(vocabulary);
    for id in 0..vocabulary {
        let score = take(4)?;
        let score = f32::from_le_bytes([score[0], score[1], score[2], score[3]]);
        let length = take(4)?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let text = String::from_utf8(take(length)?.to_vec()).with_context(|| format!("token {id} is not UTF-8"))?;
        // Special tokens are written in lines of their own, to be readable when they are printed.
        let text = match id {
            0 => "<unk>".to_owned(),
            1 => "<s>".to_owned(),
            2 => "</s>".to_owned(),
            _ => text.replace(' ', "▁"),
        };
        pieces.push((text, score));
    }
    Ok(pieces)
}

/// SentencePiece joins the pair whose joint piece scores highest: every way to join a piece is a merge, in the order of
/// the scores of what they make.
fn tokenizer_json(pieces: &[(String, f32)]) -> Value {
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (id, (text, _)) in pieces.iter().enumerate() {
        ids.entry(text).or_insert(id);
    }
    let mut merges: Vec<(f32, usize, usize, &str, &str)> = Vec::new();
    for (text, score) in pieces.iter().skip(3) {
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(one), Some(other)) = (ids.get(left), ids.get(right)) {
                merges.push((*score, *one, *other, left, right));
            }
        }
    }
    merges.sort_by(|one, other| other.0.total_cmp(&one.0).then((one.1, one.2).cmp(&(other.1, other.2))));
    let vocab: BTreeMap<&str, usize> = ids.into_iter().collect();
    let special = ["<unk>", "<s>", "</s>"].iter().enumerate().map(|(id, text)| {
        let plain = |name: &str| (name.to_owned(), json!(false));
        let mut token = Map::from_iter(["single_word", "lstrip", "rstrip", "normalized"].map(plain));
        token.extend([
            ("id".to_owned(), json!(id)),
            ("content".to_owned(), json!(text)),
            ("special".to_owned(), json!(true)),
        ]);
        Value::Object(token)
    });
    let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special.collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab,
            "merges": merges.iter().map(|(_, _, _, left, right)| [*left, *right]).collect::<Vec<_>>(),
        },
    })
}
