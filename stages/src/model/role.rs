//! The roles of a model in a stage: the start of training, the reference, the tokens that end an answer; and the memory
//! that takes.

use super::memory::{self, Memory};
use super::{Adapter, Artifact, Decoder, Load, LoraParameters};
use crate::draw::Draw;
use anyhow::{Context, Result, bail};
use formats::config::Config;
use formats::tokenizer::{self, Tokenizer};
use std::path::Path;

/// The model that a policy is compared with.
pub struct Reference {
    pub model: Decoder,
    pub adapter: Option<Adapter>,
    pub has_own_base: bool,
}

impl Artifact {
    /// The adapter that training starts from: the incoming one, or a new one where there is none.
    pub fn start_adapter(&self, lora: &LoraParameters, draw: Draw) -> Result<Adapter> {
        let width = self.model.config.width;
        if lora.rank > width {
            bail!(
                "start an adapter: `lora.rank` {} is more than the model's width {width}, where it is no saving",
                lora.rank
            );
        }
        let new = || Adapter::new(&self.model.config, lora, draw, &self.model.device());
        let Some(incoming) = &self.adapter else { return Ok(new()) };
        if incoming.has_no_pairs() {
            return Ok(Adapter {
                head: incoming.head.clone(),
                offset: incoming.offset,
                spread: incoming.spread,
                ..new()
            });
        }
        let alpha = lora.plain_alpha();
        // As text, a fraction may lose its last bit.
        if incoming.rank != lora.rank || (incoming.alpha / alpha - 1.0).abs() > 1e-9 {
            let plain = if lora.rslora { ", rslora: false" } else { "" };
            bail!(
                "start from the incoming adapter: it has rank {} and alpha {}, `lora` says {} and {alpha}; training goes on \
                 with the incoming adapter, so write `lora: {{rank: {0}, alpha: {1}{plain}}}`",
                incoming.rank,
                incoming.alpha,
                lora.rank,
            );
        }
        Ok(incoming.clone())
    }

    /// The reference of a policy: another model with the same tokens, or the policy as it came.
    ///
    /// # Errors
    /// As [`Artifact::load`], or the tokens differ.
    pub fn reference(&self, directory: Option<&Path>) -> Result<Reference> {
        let Some(directory) = directory else {
            return Ok(Reference { model: self.model.clone(), adapter: self.adapter.clone(), has_own_base: false });
        };
        let Artifact { model, adapter, has_own_base, tokenizer, .. } = Artifact::load_beside(directory, self)?;
        takes_tokens(&model, &tokenizer, self).context("connect `reference`")?;
        Ok(Reference { model, adapter, has_own_base })
    }

    /// The tokens at which a policy stops: `stop` where the stage names one, else that with which the chat template ends
    /// an answer, and those of the configuration.
    ///
    /// # Errors
    /// The model has no such token.
    pub fn stops(&self, stop: Option<u32>) -> Result<Vec<u32>> {
        stops(&self.model.config, &self.tokenizer, stop)
    }

    /// Checks that ids come from a tokenizer that does what this model's does: `digest` is of [`Tokenizer::digest`].
    ///
    /// # Errors
    /// They come from another one.
    ///
    /// [`Tokenizer::digest`]: formats::tokenizer::Tokenizer::digest
    pub fn same_tokens_as(&self, digest: &str) -> Result<()> {
        if !tokenizer::is_same(&self.tokenizer.digest()?, digest) {
            bail!("its tokenizer is another one than that of the model beside it: connect a model of the same base");
        }
        Ok(())
    }

    /// Checks that it reads the tokens that another model writes.
    ///
    /// # Errors
    /// Its tokenizer is another one, or its embedding has too few rows.
    pub fn takes_tokens_of(&self, writer: &Artifact) -> Result<()> {
        takes_tokens(&self.model, &self.tokenizer, writer)
    }

    /// The memory of a stage that does this work with it.
    pub fn memory(&self, lora: &LoraParameters, load: Load) -> Memory {
        memory::estimate(&self.model.config, lora, self.dtype, load, &self.model.device())
    }
}

/// Checks that a model reads the tokens that another one writes. A token for padding that the other one alone has makes no
/// other tokenizer, but must have a row.
fn takes_tokens(model: &Decoder, tokenizer: &Tokenizer, writer: &Artifact) -> Result<()> {
    writer.same_tokens_as(&tokenizer.digest()?)?;
    let (tokens, rows) = (writer.tokenizer.rows(), model.config.vocabulary);
    if tokens > rows {
        bail!(
            "the model beside it has {tokens} tokens, and its embedding {rows} rows: connect a model of the same base"
        );
    }
    Ok(())
}

/// The tokens at which a policy with this configuration and tokenizer stops: see [`Artifact::stops`].
///
/// # Errors
/// As there.
pub fn stops(config: &Config, tokenizer: &Tokenizer, stop: Option<u32>) -> Result<Vec<u32>> {
    let vocabulary = config.vocabulary;
    match stop {
        Some(stop) if stop as usize >= vocabulary => {
            bail!("find the end token: `stop_token` {stop} is beyond the {vocabulary} tokens of the model")
        }
        Some(stop) => Ok(vec![stop]),
        None => {
            let of_template = tokenizer.template_end().filter(|id| !config.eos.contains(id));
            Ok(config.eos.iter().copied().chain(of_template).collect())
        }
    }
}
