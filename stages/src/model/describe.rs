//! What a model directory holds, told before anything is computed with it. Knows no page.

use super::Config;
use super::artifact::{self, Base};
use super::config::Architecture;
use super::weights::{self, Summary};
use crate::tokenizer::Tokenizer;
use anyhow::Result;
use burn::tensor::Device;
use std::path::Path;

#[derive(Debug)]
pub struct Description {
    pub architecture: &'static str,
    pub config: Config,
    pub summary: Summary,
    pub vocabulary: usize,
    /// Text of the tokens that stand before a prompt, and of those that end an answer.
    pub front: Vec<String>,
    pub ends: Vec<String>,
    pub has_template: bool,
    pub adapter: Option<AdapterFacts>,
}

#[derive(Debug)]
pub struct AdapterFacts {
    pub rank: usize,
    pub alpha: f64,
    pub matrices: usize,
    pub parameters: usize,
    pub has_head: bool,
}

/// # Errors
/// It is no model that can be read: what is wrong is named.
pub fn describe(directory: &Path) -> Result<Description> {
    let base = Base::of(directory)?;
    let config = Config::load(base.path())?;
    let summary = weights::check(base.path(), &config)?;
    let tokenizer = Tokenizer::load(base.path(), config.bos)?;
    let adapter = directory.join("adapter");
    let adapter = match adapter.is_dir() {
        true => {
            let adapter = artifact::load_adapter(&adapter, &config, &Device::flex())?;
            let size = |tensor: &burn::tensor::Tensor<2>| tensor.dims().iter().product::<usize>();
            Some(AdapterFacts {
                rank: adapter.rank,
                alpha: adapter.alpha,
                matrices: adapter.pairs.iter().flatten().flatten().count(),
                parameters: adapter.tensors().iter().map(size).sum(),
                has_head: adapter.head.is_some(),
            })
        }
        false => None,
    };
    Ok(Description {
        architecture: name(&config),
        vocabulary: tokenizer.size(),
        front: tokenizer.front().iter().map(|id| tokenizer.token(*id)).collect(),
        ends: config.eos.iter().map(|id| tokenizer.token(*id)).collect(),
        has_template: tokenizer.has_template(),
        adapter,
        summary,
        config,
    })
}

fn name(config: &Config) -> &'static str {
    match config.architecture {
        Architecture::Llama => "LLaMA",
        Architecture::Qwen2 => "Qwen2",
        Architecture::Qwen3 => "Qwen3",
        Architecture::NeoX => "GPT-NeoX",
        Architecture::Gpt2 => "GPT-2",
    }
}
