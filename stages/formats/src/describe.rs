//! The description of a model directory, before anything is computed with it.

use crate::chat::Template;
use crate::config::Config;
use crate::directory::{ModelFiles, model_directory};
use crate::llama2c;
use crate::peft::Lora;
use crate::tokenizer::Tokenizer;
use crate::unreadable::Reading;
use crate::weights::{self, Summary};
use anyhow::{Result, anyhow};
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
    let tokenizer = Tokenizer::load(files.path(), config.bos)?;
    let adapter = directory.join("adapter");
    let adapter = adapter.is_dir().then(|| Lora::load(&adapter, &config)).transpose()?;
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

/// Checks that a model can be read: its configuration, the shapes of its tensors, its tokenizer and its chat template.
///
/// # Errors
/// It cannot be read: the error names the fault.
pub fn check(directory: &Path) -> Result<()> {
    let directory = model_directory(directory);
    if let Some(checkpoint) = llama2c::find(&directory) {
        return llama2c::check(&checkpoint);
    }
    let config = Config::load(&directory)?;
    weights::check(&directory, &config)?;
    if !directory.join("tokenizer.json").is_file() {
        return Err(anyhow!("there is no tokenizer.json")).reading(&directory);
    }
    Template::load(&directory, None).map(drop)
}
