//! A SentencePiece model without a `tokenizer.json`: converted as `transformers` 5 converts it, by the class that the model
//! names.

mod model;

use super::named::Settings;
use crate::contained::contained;
use crate::json;
use crate::unreadable::Reading;
use crate::whole;
use anyhow::{Result, anyhow, bail};
use model::{Model, ModelKind, Piece, PieceKind};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled, Replace, Sequence};
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

const SPACE: &str = "▁";
/// The names under which models come.
const FILES: [&str; 2] = ["tokenizer.model", "spiece.model"];

/// The file of a directory.
///
/// # Errors
/// That cannot be found out.
pub fn find(directory: &Path) -> std::io::Result<Option<PathBuf>> {
    for path in FILES.map(|name| directory.join(name)) {
        if files::is_file(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The classes of `transformers` that read such a file in ways of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenizerClass {
    /// Follows the model in all.
    Plain,
    /// LLaMA: BPE by the order of the pieces, no normaliser.
    Llama,
    /// T5, with which rinna and LINE publish theirs: words between spaces, each with a space before it.
    T5,
}

impl TokenizerClass {
    /// The class that `tokenizer_config.json` or `config.json` names.
    fn of(directory: &Path, settings: &Settings) -> Result<TokenizerClass> {
        let named = match settings.field("tokenizer_class").and_then(Value::as_str) {
            Some(name) => Some(name.to_owned()),
            None => {
                let config: Option<Map<String, Value>> = json::read_if_there(&directory.join("config.json"))?;
                config.and_then(|config| Some(config.get("tokenizer_class")?.as_str()?.to_owned()))
            }
        };
        match named.as_deref() {
            None | Some("PreTrainedTokenizerFast" | "PreTrainedTokenizer" | "TokenizersBackend") => {
                Ok(TokenizerClass::Plain)
            }
            Some("LlamaTokenizer" | "LlamaTokenizerFast") => Ok(TokenizerClass::Llama),
            Some("T5Tokenizer" | "T5TokenizerFast") => Ok(TokenizerClass::T5),
            Some(other) => bail!(
                "there is no tokenizer.json, and a SentencePiece model of the class `{other}` is not converted here; \
                 `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` in transformers writes one"
            ),
        }
    }

    /// Special tokens that a class has where the settings name none.
    fn defaults(self, model: &Model) -> Vec<(&'static str, String)> {
        let text = str::to_owned;
        match self {
            TokenizerClass::Plain => {
                let named = [("bos_token", &model.bos), ("eos_token", &model.eos)];
                let named = named.into_iter().filter_map(|(name, token)| Some((name, token.clone()?)));
                named.chain([("unk_token", model.unknown_text.clone())]).collect()
            }
            TokenizerClass::Llama => {
                vec![("bos_token", text("<s>")), ("eos_token", text("</s>")), ("unk_token", text("<unk>"))]
            }
            TokenizerClass::T5 => {
                vec![("eos_token", text("</s>")), ("unk_token", text("<unk>")), ("pad_token", text("<pad>"))]
            }
        }
    }
}

/// The tokenizer of a model, and the token that it puts before a text. The tokens of the model that are special are named
/// in `settings`.
///
/// # Errors
/// The file cannot be read, or is of a class that is not known.
pub fn open(directory: &Path, path: &Path, settings: &mut Settings) -> Result<(HuggingFace, Option<String>)> {
    let class = TokenizerClass::of(directory, settings).reading(path)?;
    let mut model = Model::read(&whole::read(path)?, path).reading(path)?;
    if class == TokenizerClass::T5 {
        let count = settings.field("extra_ids").and_then(Value::as_u64).unwrap_or(100).min(1000);
        let extra = |id| Piece { text: format!("<extra_id_{id}>"), score: 0.0, kind: PieceKind::Control };
        model.pieces.extend((0..count).rev().map(extra));
    }
    for (name, token) in class.defaults(&model) {
        settings.put_default(name, token);
    }
    let made = || match class {
        TokenizerClass::Plain => plain(&model, settings),
        TokenizerClass::Llama => llama(&model, settings),
        TokenizerClass::T5 => t5(&model),
    };
    let inner = contained(|| made().map_err(|error| anyhow!("{error}"))).reading(path)?;
    let special = |piece: &Piece| {
        let token = AddedToken::from(piece.text.clone(), piece.kind == PieceKind::Control).normalized(false);
        let is_added = piece.kind == PieceKind::Control
            // The plain class cuts a text at them itself.
            || piece.kind == PieceKind::User && class != TokenizerClass::Plain;
        is_added.then_some(token)
    };
    settings.put_tokens(model.pieces.iter().filter_map(special).collect());
    if class == TokenizerClass::Plain && model.has_dummy_prefix {
        settings.match_as_written();
    }
    let begins = class != TokenizerClass::T5 && settings.says("add_bos_token", false);
    Ok((inner, begins.then(|| settings.text("bos_token")).flatten()))
}

/// The results of the tokenizers crate, whose errors are boxed.
type Built<T> = tokenizers::Result<T>;

fn plain(model: &Model, settings: &Settings) -> Built<HuggingFace> {
    let is_legacy = settings.says("legacy", true);
    let user: Vec<&str> =
        model.pieces.iter().filter(|piece| piece.kind == PieceKind::User).map(|piece| piece.text.as_str()).collect();
    let mut inner = match model.kind {
        ModelKind::Unigram => HuggingFace::new(unigram(model, model.byte_fallback)?),
        ModelKind::Bpe => bpe(
            model,
            by_score(model),
            json!({
                "unk_token": model.unknown_text, "byte_fallback": model.byte_fallback, "ignore_merges": !user.is_empty(),
            }),
        )?,
    };
    // In the order of SentencePiece.
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    normalizers.extend(charsmap(model)?);
    let mut replace = |pattern: ReplacePattern, content: &str| -> Built<()> {
        normalizers.push(Replace::new(pattern, content)?.into());
        Ok(())
    };
    let regex = |text: &str| ReplacePattern::Regex(text.to_owned());
    if model.removes_extra_spaces {
        replace(regex(r"\A +| +\z"), "")?;
        replace(regex(" {2,}"), " ")?;
    }
    if model.escapes_spaces {
        replace(ReplacePattern::String(" ".to_owned()), SPACE)?;
    }
    if model.has_dummy_prefix && is_legacy {
        // Metaspace puts no space before a text that begins with one; SentencePiece does.
        replace(regex(r"\A▁"), "▁▁")?;
    }
    inner.with_normalizer(Some(Sequence::new(normalizers)))?;
    let mut before = Vec::new();
    if model.has_dummy_prefix {
        before.push(metaspace(if is_legacy { "always" } else { "first" }, false));
    }
    if !user.is_empty() {
        before.push(json!({
            "type": "Split", "pattern": {"Regex": any_of(user)}, "behavior": "Isolated", "invert": false,
        }));
    }
    cut_by(&mut inner, before)?;
    let mut behind = vec![json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "})];
    if model.byte_fallback {
        behind.push(json!({"type": "ByteFallback"}));
    }
    if model.has_dummy_prefix || model.byte_fallback {
        behind.push(json!({"type": "Fuse"}));
    }
    if model.has_dummy_prefix {
        behind.push(without_first_space());
    }
    decode_by(&mut inner, behind)?;
    Ok(inner)
}

fn llama(model: &Model, settings: &Settings) -> Built<HuggingFace> {
    let mut inner =
        bpe(model, by_place(model), json!({"unk_token": null, "byte_fallback": true, "ignore_merges": false}))?;
    let has_prefix = settings.field("add_prefix_space") != Some(&json!(false));
    let is_legacy = settings.says("legacy", false);
    let scheme = match (has_prefix, is_legacy) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    cut_by(&mut inner, vec![metaspace(scheme, false)])?;
    let mut behind = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if has_prefix {
        behind.push(without_first_space());
    }
    decode_by(&mut inner, behind)?;
    Ok(inner)
}

/// As `transformers` 5, whose class gives token 2 to what no piece covers, in every model: the unknown piece of T5, even
/// where the model was trained to give bytes.
///
/// Where token 2 is another piece, this is another conversion: bytes or the unknown piece, as the model itself says. There
/// `transformers` 5 is wrong: in rinna's models token 2 is `</s>`, and a text would end in its middle (235 of the thousand
/// lines of `pieces.py`, with transformers 5.24, whose `unk_token_id` is 0 there, whatever `legacy`
/// says). `sentencepiece`, which trained these models and which this class called before `transformers` 5, gives bytes.
fn t5(model: &Model) -> Built<HuggingFace> {
    const UNKNOWN: usize = 2;
    let has_bytes = model.byte_fallback && model.unknown != UNKNOWN;
    let mut inner = HuggingFace::new(unigram(model, has_bytes)?);
    inner.with_normalizer(charsmap(model)?)?;
    cut_by(&mut inner, vec![json!({"type": "WhitespaceSplit"}), metaspace("always", true)])?;
    let mut behind = vec![metaspace("always", true)];
    if has_bytes {
        behind.splice(0..0, [json!({"type": "ByteFallback"})]);
    }
    decode_by(&mut inner, behind)?;
    Ok(inner)
}

fn unigram(model: &Model, has_bytes: bool) -> Built<Unigram> {
    let pieces = model.pieces.iter().map(|piece| (piece.text.clone(), f64::from(piece.score)));
    Unigram::from(pieces.collect(), Some(model.unknown), has_bytes)
}

fn charsmap(model: &Model) -> Built<Option<NormalizerWrapper>> {
    if model.charsmap.is_empty() {
        return Ok(None);
    }
    Ok(Some(NormalizerWrapper::from(Precompiled::from(&model.charsmap)?)))
}

fn bpe(model: &Model, merges: Vec<(&str, &str)>, options: Value) -> Built<HuggingFace> {
    let mut fields = json!({
        "type": "BPE", "dropout": null, "fuse_unk": true, "merges": merges,
        "vocab": model.pieces.iter().enumerate().map(|(id, piece)| (piece.text.clone(), json!(id))).collect::<Map<_, _>>(),
    });
    fields.as_object_mut().expect("it is one").extend(options.as_object().expect("it is one").clone());
    let file = json!({"version": "1.0", "added_tokens": [], "model": fields});
    HuggingFace::from_bytes(serde_json::to_vec(&file)?)
}

/// Merges of plain pieces, those with the higher score first: the order of SentencePiece.
fn by_score(model: &Model) -> Vec<(&str, &str)> {
    let pieces = model.pieces.iter().enumerate().filter(|(_, piece)| piece.kind == PieceKind::Plain);
    let plain: HashMap<&str, usize> = pieces.map(|(id, piece)| (piece.text.as_str(), id)).collect();
    let mut merges: Vec<(usize, &str, &str)> = Vec::new();
    for (text, id) in &plain {
        let parts = splits(text).filter(|(left, right)| plain.contains_key(left) && plain.contains_key(right));
        merges.extend(parts.map(|(left, right)| (*id, left, right)));
    }
    let score = |id: usize| model.pieces[id].score;
    merges.sort_by(|one, other| score(other.0).total_cmp(&score(one.0)).then_with(|| one.cmp(other)));
    merges.into_iter().map(|(_, left, right)| (left, right)).collect()
}

/// Merges of all pieces, by the place of the whole, then by the lengths and places of the parts: the order of the class of
/// LLaMA.
fn by_place(model: &Model) -> Vec<(&str, &str)> {
    let ids: HashMap<&str, usize> =
        model.pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (text, id) in &ids {
        for (left, right) in splits(text) {
            if let (Some(one), Some(other)) = (ids.get(left), ids.get(right)) {
                merges.push((*id, left.chars().count(), right.chars().count(), *one, *other, left, right));
            }
        }
    }
    merges.sort_unstable();
    merges.into_iter().map(|(.., left, right)| (left, right)).collect()
}

/// All ways to cut a text in two.
fn splits(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.char_indices().skip(1).map(|(at, _)| text.split_at(at))
}

/// A pattern for any of some texts, the longest first.
fn any_of(mut texts: Vec<&str>) -> String {
    texts.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
    let quoted = |text: &str| {
        text.chars().fold(String::new(), |mut out, letter| {
            if r"\.+*?()|[]{}^$".contains(letter) {
                out.push('\\');
            }
            out.push(letter);
            out
        })
    };
    texts.into_iter().map(quoted).collect::<Vec<_>>().join("|")
}

fn metaspace(scheme: &str, splits: bool) -> Value {
    json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": splits})
}

fn without_first_space() -> Value {
    json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})
}

fn cut_by(inner: &mut HuggingFace, parts: Vec<Value>) -> Built<()> {
    if !parts.is_empty() {
        let whole = json!({"type": "Sequence", "pretokenizers": parts});
        inner.with_pre_tokenizer(Some(serde_json::from_value::<tokenizers::PreTokenizerWrapper>(whole)?));
    }
    Ok(())
}

fn decode_by(inner: &mut HuggingFace, parts: Vec<Value>) -> Built<()> {
    let whole = json!({"type": "Sequence", "decoders": parts});
    inner.with_decoder(Some(serde_json::from_value::<tokenizers::DecoderWrapper>(whole)?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;
    use flate2::read::GzDecoder;
    use serde::Deserialize;
    use std::fs;
    use std::io::Read;
    use tempfile::TempDir;

    /// A way to load a model, and what `transformers` makes of the lines (`pieces.py`).
    #[derive(Deserialize)]
    struct Case {
        model: String,
        file: String,
        model_type: String,
        settings: Value,
        front: Vec<u32>,
        ids: Option<Vec<Vec<u32>>>,
        /// `None` of a line: the text comes back as it went.
        back: Option<Vec<Option<String>>>,
        same_as: Option<usize>,
    }

    const PARITY: &str = "../tests/parity/tokenizers";

    fn rows<T: for<'a> Deserialize<'a>>(path: &str) -> Vec<T> {
        let mut text = String::new();
        let bytes = fs::read(Path::new(PARITY).join(path)).unwrap();
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn directory(model: &str, file: &str, model_type: &str, settings: &Value) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let model = Path::new(PARITY).join("pieces").join(format!("{model}.model"));
        fs::copy(model, directory.path().join(file)).unwrap();
        fs::write(directory.path().join("config.json"), json!({"model_type": model_type}).to_string()).unwrap();
        fs::write(directory.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        directory
    }

    #[test]
    fn a_model_alone_gives_the_ids_of_the_python_library() {
        #[derive(Deserialize)]
        struct Line {
            text: String,
        }
        let lines: Vec<Line> = rows("lines.jsonl.gz");
        let cases: Vec<Case> = rows("pieces/lines.jsonl.gz");
        assert_eq!((lines.len(), cases.len()), (1000, 9));
        for case in &cases {
            let Case { model, file, model_type, settings, front, .. } = case;
            let directory = directory(model, file, model_type, settings);
            let tokenizer = Tokenizer::load(directory.path()).unwrap();
            assert_eq!(tokenizer.front(), front, "{settings}");
            let right = case.same_as.map_or(case, |number| &cases[number]);
            let (ids, back) = (right.ids.as_ref().unwrap(), right.back.as_ref().unwrap());
            for (number, Line { text }) in lines.iter().enumerate() {
                let ours = tokenizer.text(text).unwrap();
                assert_eq!(ours, ids[number], "{model} {settings}, line {}: {text:?}", number + 1);
                // The text with special tokens, as Python's has it.
                let shown = tokenizer.inner.decode(&ours, true).unwrap();
                assert_eq!(&shown, back[number].as_ref().unwrap_or(text), "{model} {settings}: {text:?}");
            }
        }
    }

    #[test]
    fn a_class_that_is_not_known_is_refused_with_the_way_out() {
        let directory = directory("unigram", "spiece.model", "gpt2", &json!({"tokenizer_class": "AlbertTokenizer"}));
        let error = format!("{:#}", Tokenizer::load(directory.path()).map(drop).unwrap_err());
        assert!(error.contains("`AlbertTokenizer`") && error.contains("save_pretrained"), "{error}");
        fs::write(directory.path().join("spiece.model"), "IQ== 0\n").unwrap();
        fs::write(directory.path().join("tokenizer_config.json"), "{}").unwrap();
        let error = format!("{:#}", Tokenizer::load(directory.path()).map(drop).unwrap_err());
        assert!(error.contains("it is no SentencePiece model"), "{error}");
    }

    /// A `tokenizer.json` is read before a model beside it, as `transformers` does.
    #[test]
    fn a_tokenizer_file_comes_first() {
        let directory = directory("bpe", "tokenizer.model", "llama", &json!({}));
        assert_eq!(Tokenizer::load(directory.path()).unwrap().size(), 1300);
        fs::copy(Path::new(PARITY).join("bytes/tokenizer.json"), directory.path().join("tokenizer.json")).unwrap();
        assert_eq!(Tokenizer::load(directory.path()).unwrap().size(), 1006);
    }
}
