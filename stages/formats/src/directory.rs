//! The directory of a model in Hugging Face layout, and which of its files belong to the model.

use crate::{llama2c, weights};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The directory with the model's files: `model/` of a stage's artifact, else the directory itself. Where that cannot be
/// found out, it is the latter, in which no configuration is found: reading it fails.
pub fn model_directory(directory: &Path) -> PathBuf {
    let inner = directory.join("model");
    if inner.is_dir() { inner } else { directory.to_owned() }
}

/// The files of a model in Hugging Face layout. A checkpoint in another layout is converted into a temporary directory,
/// which is removed with this value.
pub struct ModelFiles {
    path: PathBuf,
    _converted: Option<TempDir>,
}

impl ModelFiles {
    /// # Errors
    /// A checkpoint of llama2.c cannot be converted.
    pub fn open(directory: &Path) -> Result<ModelFiles> {
        let path = model_directory(directory);
        let Some(checkpoint) = llama2c::find(&path) else { return Ok(ModelFiles { path, _converted: None }) };
        let converted = TempDir::new().context("create a directory to convert the model in")?;
        llama2c::convert(&checkpoint, converted.path())?;
        Ok(ModelFiles { path: converted.path().to_owned(), _converted: Some(converted) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a file of this name belongs to a model. Other files of a plain directory (notes, checkpoints, images) stay
/// where they are.
pub fn is_of_model(name: &str) -> bool {
    let starts = ["config", "generation_config"];
    weights::is_of_weights(name) || is_of_tokenizer(name) || starts.iter().any(|start| name.starts_with(start))
}

/// Whether a file of this name belongs to the tokenizer of a model, its chat template among them.
pub fn is_of_tokenizer(name: &str) -> bool {
    let starts = ["tokenizer", "spiece", "special_tokens", "added_tokens", "vocab", "merges", "chat_template"];
    starts.iter().any(|start| name.starts_with(start))
}
