//! Text to token ids and back, through a `tokenizer.json`. A prompt has the same tokens in training and in generation,
//! whatever follows it.

mod answer;
mod named;
mod plain;
mod same;
mod sentencepiece;

pub use answer::{TokenAnswer, TokenDialogue, TokenPrompt};
pub use same::{difference, is_same};

use crate::chat::Template;
use crate::contained::contained;
use crate::json;
use crate::unreadable::{Reading, cut};
use crate::whole;
use anyhow::{Context, Result, anyhow};
use named::Settings;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

/// The file that holds all of a tokenizer but its chat template.
pub const FILE: &str = "tokenizer.json";

/// Special tokens of a tokenizer made here, in the order of their ids. Padding is not the end token: a model trained on
/// padded ends would not learn to stop.
const SPECIAL: [&str; 3] = ["<pad>", "<s>", "</s>"];
pub const PAD: u32 = 0;
pub const BOS: u32 = 1;
pub const EOS: u32 = 2;

/// The special tokens of a tokenizer made here, as a chat template names them.
pub fn new_special() -> BTreeMap<String, String> {
    let names = ["pad_token", "bos_token", "eos_token"];
    names.into_iter().zip(SPECIAL).map(|(name, token)| (name.to_owned(), token.to_owned())).collect()
}

/// The message where dialogues meet a model without a chat template.
pub const NO_TEMPLATE: &str = "the rows are dialogues, and the model has no chat template; give it one by \
                               `chat_template`, or by a file chat_template.jinja beside its tokenizer.json";

pub struct Tokenizer {
    inner: HuggingFace,
    /// Ids before a prompt: the beginning-of-text token of models that begin with one.
    front: Vec<u32>,
    template: Option<Template>,
    /// Special tokens: no text of a person is meant to hold them.
    special: BTreeSet<u32>,
    /// Tokens by the names that the settings give them: `eos_token`.
    names: BTreeMap<&'static str, u32>,
    /// Tokens of a letter, and that letter: a text behind it is no beginning of a text.
    anchor: Option<(Vec<u32>, String)>,
    /// Whether a text behind a special token begins as a text of its own does, with a space if the tokenizer puts one.
    restarts: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `directory`, else the SentencePiece model there, and the chat template beside it.
    ///
    /// A prompt begins as the tokenizer begins a text: as its post-processor says, which `transformers` 5 obeys alone
    /// (`add_bos_token` of `tokenizer_config.json` is of older libraries). Tokens that the post-processor puts after a
    /// text (llm-jp: the end token) are left out: a prompt is not a finished text.
    ///
    /// # Errors
    /// A file is missing or cannot be read.
    pub fn load(directory: &Path) -> Result<Tokenizer> {
        let path = directory.join(FILE);
        let mut settings = Settings::load(directory)?;
        let of_pieces = if files::exists(&path)? { None } else { sentencepiece::find(directory)? };
        let (mut inner, begin) = match &of_pieces {
            Some(path) => sentencepiece::open(directory, path, &mut settings)?,
            None => {
                let bytes = whole::read(&path)?;
                let read = || HuggingFace::from_bytes(&bytes).map_err(|error| anyhow!("{}", cut(&error.to_string())));
                let read = contained(read).reading(&path);
                // What is no JSON is told as what it is.
                (read.or_else(|error| json::check(&bytes, &path).and(Err(error)))?, None)
            }
        };
        // A file holds the padding and the cut of the batch it was saved after; here rows are cut and padded elsewhere.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| anyhow!("{error}")).reading(&path)?;
        settings.add_to(&mut inner)?;
        let names = settings.common().filter_map(|(name, text)| Some((name, inner.token_to_id(&text)?))).collect();
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let mut tokenizer = Tokenizer {
            inner,
            front: Vec::new(),
            template: Template::load(directory, None)?,
            special,
            names,
            anchor: None,
            restarts: false,
        };
        let encode = |is_dressed| tokenizer.encode("a", is_dressed).reading(of_pieces.as_ref().unwrap_or(&path));
        let (plain, dressed) = (encode(false)?, encode(true)?);
        let before = dressed.windows(plain.len().max(1)).position(|window| window == plain).unwrap_or(0);
        tokenizer.front = dressed[..before].to_vec();
        tokenizer.front.extend(begin.and_then(|token| tokenizer.inner.token_to_id(&token)));
        tokenizer.find_boundaries()?;
        Ok(tokenizer)
    }

    /// The same with another chat template.
    pub fn with_template(self, template: Option<Template>) -> Tokenizer {
        Tokenizer { template, ..self }
    }

    /// The number of tokens, special ones included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The number of rows that the embedding of a model needs. Ids may have gaps.
    pub fn rows(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |last| last as usize + 1)
    }

    /// The token with this name in the settings: `bos_token`, `eos_token`, `pad_token` and the others that every tokenizer may
    /// have.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Whether it can be one that [`train`] made, with at most so many tokens.
    pub fn may_be_made_here(&self, vocabulary: usize) -> bool {
        let ids = SPECIAL.map(|token| self.inner.token_to_id(token));
        self.size() <= vocabulary.max(SPECIAL.len()) && ids == [Some(PAD), Some(BOS), Some(EOS)] && self.front == [BOS]
    }

    /// Ids before a prompt that is not a dialogue.
    pub fn front(&self) -> &[u32] {
        &self.front
    }

    /// Special tokens, in rising order.
    pub fn special(&self) -> impl Iterator<Item = u32> {
        self.special.iter().copied()
    }

    /// The text of a token, or its number if there is no such token.
    pub fn token(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_else(|| id.to_string())
    }

    /// Ids of a text, without special tokens.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn text(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }

    /// Ids of many texts, on all cores.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn texts(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.text(text)).collect()
    }

    /// The text of ids, without special tokens.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decode_with(ids, true)
    }

    /// `skips`: without special tokens.
    fn decode_with(&self, ids: &[u32], skips: bool) -> Result<String> {
        contained(|| self.inner.decode(ids, skips).map_err(|error| anyhow!("{error}"))).context("decode tokens")
    }

    /// The chat template, if there is one.
    pub fn chat_template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// A name of the chat template by its text.
    pub fn template_digest(&self) -> Option<String> {
        self.template.as_ref().map(Template::digest)
    }

    fn template(&self) -> Result<&Template> {
        self.template.as_ref().context(NO_TEMPLATE)
    }

    fn encode(&self, text: &str, with_special: bool) -> Result<Vec<u32>> {
        let encode = || self.inner.encode_fast(text, with_special).map_err(|error| anyhow!("{error}"));
        Ok(contained(encode).context("tokenize text")?.get_ids().to_vec())
    }
}

/// Whether a directory holds a tokenizer that is read: a `tokenizer.json`, or a SentencePiece model alone.
///
/// # Errors
/// That cannot be found out.
pub fn is_there(directory: &Path) -> Result<bool> {
    Ok(files::is_file(&directory.join(FILE))? || sentencepiece::find(directory)?.is_some())
}

/// Writes a `tokenizer.json` for a directory that has a SentencePiece model alone, and names the class of `transformers`
/// that reads it: else each tool would convert the model in its own way.
///
/// # Errors
/// A file cannot be read or written.
pub fn write_converted(from: &Path, to: &Path) -> Result<()> {
    if files::exists(&from.join(FILE))? || sentencepiece::find(from)?.is_none() {
        return Ok(());
    }
    let mut tokenizer = Tokenizer::load(from)?;
    if !tokenizer.front.is_empty() {
        let front: Vec<(String, u32)> = tokenizer.front.iter().map(|id| (tokenizer.token(*id), *id)).collect();
        tokenizer.inner.with_post_processor(Some(begun_by(front)?));
    }
    let path = to.join(FILE);
    tokenizer.inner.save(&path, false).map_err(|error| anyhow!("write {}: {error}", path.display()))?;
    let path = to.join("tokenizer_config.json");
    let settings: Option<serde_json::Value> = json::read_if_there(&path)?;
    let mut settings = settings.unwrap_or_else(|| serde_json::json!({}));
    settings["tokenizer_class"] = "PreTrainedTokenizerFast".into();
    for (name, id) in &tokenizer.names {
        settings[*name] = tokenizer.token(*id).into();
    }
    json::write(&path, &settings)
}

/// The post-processor that begins a text with these tokens.
fn begun_by(front: Vec<(String, u32)>) -> Result<TemplateProcessing> {
    let before = front.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" ");
    let failed = |error: String| anyhow!("make the tokenizer's template: {error}");
    TemplateProcessing::builder()
        .try_single(format!("{before} $A"))
        .map_err(failed)?
        .special_tokens(front)
        .build()
        .map_err(|error| failed(error.to_string()))
}

/// The end token that `tokenizer_config.json` names. `None`: it names none, or there is no tokenizer.
///
/// # Errors
/// A file is there and cannot be read.
pub fn end_of(directory: &Path) -> Result<Option<u32>> {
    if !is_there(directory)? {
        return Ok(None);
    }
    match Settings::load(directory)?.text("eos_token") {
        Some(end) => Ok(Tokenizer::load(directory)?.inner.token_to_id(&end)),
        None => Ok(None),
    }
}

/// Trains a byte-level BPE on `texts` and writes `tokenizer.json` and `tokenizer_config.json`. It has fewer tokens than
/// `vocabulary` for small texts.
pub fn train(texts: &[String], vocabulary: usize, context: usize, directory: &Path) -> Result<()> {
    let mut tokenizer = HuggingFace::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    // Japanese has no spaces: without a bound whole sentences of the corpus would become single tokens.
    let longest_token_bytes = 24;
    let mut trainer = TrainerWrapper::from(
        BpeTrainerBuilder::new()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .max_token_length(Some(longest_token_bytes))
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
            .build(),
    );
    tokenizer
        .train(&mut trainer, texts.iter().map(String::as_str))
        .map_err(|error| anyhow!("train the tokenizer: {error}"))?;
    // So `transformers` begins a text as pretraining does here.
    tokenizer.with_post_processor(Some(begun_by(vec![(SPECIAL[BOS as usize].to_owned(), BOS)])?));
    let path = directory.join(FILE);
    tokenizer.save(&path, true).map_err(|error| anyhow!("write {}: {error}", path.display()))?;
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL[PAD as usize],
        "bos_token": SPECIAL[BOS as usize],
        "eos_token": SPECIAL[EOS as usize],
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    });
    json::write(&directory.join("tokenizer_config.json"), &config)
}
