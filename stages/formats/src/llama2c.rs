//! Conversion of llama2.c checkpoints (`export.py` of that project, versions 0 and 1) to files in Hugging Face layout.

use crate::architectures::{LLAMA, Target};
use crate::config::{Config, Llama};
use crate::dtype::Dtype;
use crate::json;
use crate::unreadable::Reading;
use crate::weights::{self, Tensors};
use crate::whole;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// The first bytes of versions with a header of 256 bytes. Version 0 begins with the sizes.
const MAGIC: i32 = 0x616b_3432;

/// The checkpoint in a directory without `config.json`: its only `*.bin` beside `tokenizer.bin`. Pickled weights have
/// names of their own and do not count; nor do the files of an adapter.
pub fn find(directory: &Path) -> Option<PathBuf> {
    if ["config.json", "adapter_config.json"].iter().any(|name| directory.join(name).exists()) {
        return None;
    }
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".bin") && !name.starts_with("tok") && !name.starts_with("pytorch_model")
    };
    let mut found = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one);
    found.next().filter(|_| found.next().is_none())
}

/// The header of a checkpoint.
struct Header {
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    is_tied: bool,
    is_first_version: bool,
    /// The offset of the weights, in bytes.
    start: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header> {
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
        let sizes = [width, inner, layers, heads, kv_heads, vocabulary.saturating_abs(), context];
        if sizes.iter().any(|size| *size <= 0) || width % heads != 0 || heads % kv_heads != 0 || width / heads % 2 != 0
        {
            bail!("its head {sizes:?} is not one of a llama2.c checkpoint");
        }
        let [width, inner, layers, heads, kv_heads, vocabulary, context] = sizes.map(|size| size as usize);
        let start = if is_first_version { 28 } else { 256 };
        Ok(Header { width, inner, layers, heads, kv_heads, vocabulary, context, is_tied, is_first_version, start })
    }

    fn config(&self) -> Value {
        let Header { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, .. } = *self;
        let (pad, bos, eos) = (None, 1, 2);
        Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos }.source()
    }

    /// The parts of the file in their order.
    fn parts(&self) -> Vec<Part> {
        let layout = &LLAMA.layout;
        let (d, keys, layers) = (self.width, self.width / self.heads * self.kv_heads, Some(self.layers));
        let whole = |name, shape| Part { name: Some(name), shape, layers: None, rotary_heads: None };
        let norm = |name: Option<_>| Part { layers, ..whole(name.expect("a LLaMA has both norms"), vec![d]) };
        let matrix = |target, outputs, inputs| {
            let place = layout.place(target).expect("a LLaMA has every target that is split");
            Part { layers, ..whole(layout.targets[place].1, vec![outputs, inputs]) }
        };
        let embedding = whole(layout.embedding, vec![self.vocabulary, d]);
        let (attention_norm, mlp_norm) = (norm(layout.attention_norm), norm(layout.mlp_norm));
        let last_norm = whole(layout.norm, vec![d]);
        let attention = [
            Part { rotary_heads: Some(self.heads), ..matrix(Target::Query, d, d) },
            Part { rotary_heads: Some(self.kv_heads), ..matrix(Target::Key, keys, d) },
            matrix(Target::Value, keys, d),
            matrix(Target::Output, d, d),
        ];
        let inner = self.inner;
        let mlp = [(Target::Gate, inner, d), (Target::Down, d, inner), (Target::Up, inner, d)];
        let mlp = mlp.map(|(target, outputs, inputs)| matrix(target, outputs, inputs));
        let mut parts = Vec::new();
        if self.is_first_version {
            parts.extend([embedding, attention_norm]);
            parts.extend(attention);
            parts.push(mlp_norm);
            parts.extend(mlp);
            // Cosines and sines of rotary positions, which are computed.
            let angles = Part { name: None, ..whole("", vec![self.context, d / self.heads]) };
            parts.extend([last_norm, angles]);
        } else {
            parts.extend([attention_norm, mlp_norm, last_norm, embedding]);
            parts.extend(attention);
            parts.extend(mlp);
        }
        if !self.is_tied {
            parts.push(whole(layout.head, vec![self.vocabulary, d]));
        }
        parts
    }
}

/// A tensor of the file, or those of all layers one after the other.
struct Part {
    /// The name in Hugging Face layout. `None`: the part is skipped.
    name: Option<&'static str>,
    /// The shape in one layer.
    shape: Vec<usize>,
    /// The number of layers. `None`: it is outside the blocks.
    layers: Option<usize>,
    /// Heads of a projection whose outputs are rotated.
    rotary_heads: Option<usize>,
}

/// Checks that a checkpoint can be converted, as far as sizes tell.
///
/// # Errors
/// It is another file, of another length than its head says, or there is no tokenizer.
pub fn check(checkpoint: &Path) -> Result<()> {
    check_sizes(checkpoint).reading(checkpoint)
}

fn check_sizes(checkpoint: &Path) -> Result<()> {
    let mut start = [0; 256];
    let mut file = fs::File::open(checkpoint)?;
    let length = file.metadata()?.len();
    let told = std::io::Read::read(&mut file, &mut start)?;
    if let Some(what) = whole::in_place(&start[..told]) {
        bail!("{what}");
    }
    if told == 0 {
        return Err(whole::empty(checkpoint));
    }
    let header = Header::read(&start[..told])?;
    let size = |part: &Part| part.shape.iter().map(|n| *n as u128).product::<u128>() * part.layers.unwrap_or(1) as u128;
    let expected = header.start as u128 + 4 * header.parts().iter().map(size).sum::<u128>();
    if u128::from(length) < expected {
        return Err(whole::cut(checkpoint, "", length as usize, usize::try_from(expected).ok()));
    }
    ensure!(u128::from(length) == expected, "it has {length} bytes, its head speaks of {expected}");
    // What the model that is made of it is held to.
    Config::of(header.config())?;
    let directory = checkpoint.parent().unwrap_or(Path::new("."));
    ensure!(
        files::exists(&directory.join("tokenizer.json"))? || tokenizer(directory)?.is_some(),
        "there is no tokenizer.bin (or tokenizer.json) beside it"
    );
    Ok(())
}

/// Writes the checkpoint and its tokenizer to the directory `to` as `transformers` reads them.
///
/// # Errors
/// As [`check`]; or `to` cannot be written.
pub fn convert(checkpoint: &Path, to: &Path) -> Result<()> {
    check(checkpoint)?;
    let bytes = whole::read(checkpoint)?;
    let header = Header::read(&bytes)?;
    let mut rest =
        bytes[header.start..].chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let mut tensors = Tensors::new();
    for Part { name, shape, layers, rotary_heads } in header.parts() {
        for layer in 0..layers.unwrap_or(1) {
            let values: Vec<f32> = rest.by_ref().take(shape.iter().product()).collect();
            let Some(name) = name else { continue };
            let values = match rotary_heads {
                Some(heads) => in_halves(&values, heads, header.width),
                None => values,
            };
            let path = if layers.is_some() { LLAMA.layout.path(layer, name) } else { name.to_owned() };
            tensors.insert(format!("{path}.weight"), (values, shape.clone()));
        }
    }
    weights::write(&tensors, Dtype::F32, &to.join(weights::WEIGHTS))?;
    json::write(&to.join("config.json"), &header.config())?;
    let directory = checkpoint.parent().unwrap_or(Path::new("."));
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        files::found(fs::copy(directory.join(name), to.join(name))).with_context(|| format!("copy {name}"))?;
    }
    if !files::exists(&to.join("tokenizer.json"))? {
        let path = tokenizer(directory)?.context("find tokenizer.bin: it was there before")?;
        let pieces = pieces(&whole::read(&path)?, header.vocabulary).reading(&path)?;
        json::write(&to.join("tokenizer.json"), &tokenizer_json(&pieces))?;
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
            "clean_up_tokenization_spaces": false,
            "model_max_length": header.context,
        });
        json::write(&to.join("tokenizer_config.json"), &settings)?;
    }
    Ok(())
}

/// Moves rotary pairs, which lie side by side in a checkpoint, to the two halves of a head: (0, 1), (2, 3), … → 0, 2,
/// …, 1, 3, ….
fn in_halves(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let rows = values.len() / width;
    let half = rows / heads / 2;
    let order = (0..heads)
        .flat_map(|head| (0..2).flat_map(move |which| (0..half).map(move |pair| head * 2 * half + 2 * pair + which)));
    order.flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
}

/// The tokenizer of a directory: `tokenizer.bin`, or one named by its size: `tok512.bin`.
fn tokenizer(directory: &Path) -> Result<Option<PathBuf>> {
    let plain = directory.join("tokenizer.bin");
    if files::exists(&plain)? {
        return Ok(Some(plain));
    }
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("tok") && name.ends_with(".bin")
    };
    let entries: Vec<_> = fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
    let mut found = entries.iter().map(fs::DirEntry::path).filter(is_one);
    Ok(found.next().filter(|_| found.next().is_none()))
}

/// The text and the score of each token.
fn pieces(bytes: &[u8], vocabulary: usize) -> Result<Vec<(String, f32)>> {
    let mut at = 4;
    let mut take = |length: usize| {
        let taken =
            bytes.get(at..at + length).context("it is cut, or of another model: it ends before the vocabulary does");
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

/// A `tokenizer.json` that merges as SentencePiece does, which joins the pair whose joint piece scores highest: every
/// way to split a piece in two pieces is a merge, in the order of the scores of the joint pieces.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_checkpoint_is_told_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.bin");
        fs::write(directory.path().join("tokenizer.bin"), [0; 4]).unwrap();
        let told = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            check(&path).map_or_else(|error| format!("{}", error.root_cause()), |()| "read".to_owned())
        };
        let sizes: [i32; 7] = [4, 8, 1, 2, 2, 5, 3];
        let mut bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        let numbers = 5 * 4 + 3 * 4 + 4 * 16 + 3 * 32 + 3 * 2;
        bytes.resize(28 + 4 * numbers, 0);
        assert_eq!(told(&bytes), "read");
        let cut = "it is cut: it has 100 bytes, and should have 820; it was not downloaded to its end; fetch it again";
        assert_eq!(told(&bytes[..100]), cut);
        assert_eq!(told(b""), "it is empty: it was not downloaded or written; fetch it again");
        assert!(told(b"version https://git-lfs.github.com/spec/v1\n").starts_with("it is a Git LFS pointer"));
        assert_eq!(told(&bytes), "read");
        let error = convert(&path, directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("tokenizer.bin: it is cut, or of another model"), "{error:#}");
    }
}
