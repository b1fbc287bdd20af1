//! The description of a model directory, before anything is computed with it.

use crate::chat::Template;
use crate::config::Config;
use crate::directory::{ModelFiles, model_directory};
use crate::llama2c;
use crate::peft::Lora;
use crate::tokenizer::{self, Tokenizer};
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
    let tokenizer = Tokenizer::load(files.path())?;
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
    if !tokenizer::is_there(&directory) {
        let fault = anyhow!("there is no tokenizer.json, and no tokenizer.model or spiece.model");
        return Err(fault).reading(&directory);
    }
    Template::load(&directory, None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_pointer_of_git_lfs_is_named_in_the_place_of_any_file() {
        let model = Path::new("../tests/parity/llama");
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            let directory = tempfile::tempdir().unwrap();
            for other in ["config.json", "model.safetensors"] {
                fs::copy(model.join(other), directory.path().join(other)).unwrap();
            }
            fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
            let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{:064}\nsize 123456\n", 0);
            fs::write(directory.path().join(file), pointer).unwrap();
            let read = describe(directory.path()).map(drop).unwrap_err();
            let right = format!("{file}: it is a Git LFS pointer, not the file: `git lfs pull` fetches it");
            assert!(format!("{read:#}").ends_with(&right), "{read:#}");
        }
    }
}
