//! Text to token ids and back, through a `tokenizer.json`. Prompt and completion are always tokenised
//! apart, so a prompt has the same tokens in training and in generation.

use anyhow::{Context, Result, anyhow};
use std::fs;
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

/// Special tokens of a tokenizer made here, in id order. Padding is never the end: a model trained on
/// padded ends would not learn to stop.
const SPECIAL: [&str; 3] = ["<pad>", "<s>", "</s>"];
pub const PAD: u32 = 0;
pub const BOS: u32 = 1;
pub const EOS: u32 = 2;

pub struct Tokenizer {
    inner: HuggingFace,
    bos: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `directory`; `bos` is put before a prompt when the file's own
    /// post-processor has not put it there.
    pub fn load(directory: &Path, bos: Option<u32>) -> Result<Tokenizer> {
        let path = directory.join("tokenizer.json");
        let inner = HuggingFace::from_file(&path).map_err(|error| anyhow!("read {}: {error}", path.display()))?;
        Ok(Tokenizer { inner, bos })
    }

    /// Ids of a prompt, the beginning-of-text token first (once).
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text, true)?;
        if let Some(bos) = self.bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Ids of what follows a prompt: no special tokens.
    pub fn completion(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }

    /// Text of ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|error| anyhow!("decode tokens: {error}"))
    }

    fn encode(&self, text: &str, with_special: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, with_special).map_err(|error| anyhow!("tokenize text: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// Trains a byte-level BPE on `texts` and writes `tokenizer.json` and `tokenizer_config.json`.
/// Returns the size of the vocabulary, which is below `vocabulary` when the texts are small.
pub fn train(texts: &[String], vocabulary: usize, context: usize, directory: &Path) -> Result<usize> {
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
    // `transformers` then begins a text as it was trained here.
    let template = TemplateProcessing::builder()
        .try_single(format!("{} $A", SPECIAL[BOS as usize]))
        .map_err(|error| anyhow!("make the tokenizer's template: {error}"))?
        .special_tokens(vec![(SPECIAL[BOS as usize], BOS)])
        .build()
        .map_err(|error| anyhow!("make the tokenizer's template: {error}"))?;
    tokenizer.with_post_processor(Some(template));
    let path = directory.join("tokenizer.json");
    tokenizer.save(&path, true).map_err(|error| anyhow!("write {}: {error}", path.display()))?;
    let settings = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL[PAD as usize],
        "bos_token": SPECIAL[BOS as usize],
        "eos_token": SPECIAL[EOS as usize],
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    });
    let path = directory.join("tokenizer_config.json");
    fs::write(&path, serde_json::to_vec_pretty(&settings)?).with_context(|| format!("write {}", path.display()))?;
    Ok(tokenizer.get_vocab_size(true))
}
