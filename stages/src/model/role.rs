//! The roles of a model in a stage: the start of training, the reference, the tokens that end an answer; and the memory
//! that takes.

use super::base::Base;
use super::{Adapter, Artifact, Decoder, Load, LoraParameters, memory, sizes, walls};
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;
use formats::tokenizer::{self, Tokenizer};
use std::path::Path;

/// The model that a policy is compared with.
pub struct Reference {
    pub base: Base,
    pub adapter: Option<Adapter>,
}

impl Reference {
    pub fn model(&self) -> &Decoder {
        self.base.model()
    }
}

/// The work of a stage with its model, as far as a device must have room for it.
pub struct Expectation<'a> {
    pub lora: &'a LoraParameters,
    pub load: Load,
    /// Bases of other models that the stage reads beside it.
    pub others: &'a [&'a Base],
    /// The parameters to lower where it is too much.
    pub lower: &'a str,
}

impl Artifact {
    /// The adapter that training starts from: the incoming one, or a new one where there is none.
    pub fn start_adapter(&self, lora: &LoraParameters, draw: Draw) -> Result<Adapter> {
        let width = self.config().width;
        if lora.rank > width {
            bail!(
                "start an adapter: `lora.rank` {} is more than the model's width {width}, where it is no saving",
                lora.rank
            );
        }
        let new = || Adapter::new(self.config(), lora, draw, &self.base.device);
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
    /// As [`Artifact::open`], or the tokens differ.
    pub fn reference(&self, directory: Option<&Path>) -> Result<Reference> {
        let Some(directory) = directory else {
            return Ok(Reference { base: self.base.clone(), adapter: self.adapter.clone() });
        };
        let reference = Artifact::open_beside(directory, self)?;
        reference.takes_tokens_of(self).context("connect `reference`")?;
        let Artifact { base, adapter, .. } = reference;
        Ok(Reference { base, adapter })
    }

    /// The tokens at which a policy stops: `stop` where the stage names one, else that with which the chat template ends
    /// an answer, and those of the configuration.
    ///
    /// # Errors
    /// The model has no such token.
    pub fn stops(&self, stop: Option<u32>) -> Result<Vec<u32>> {
        stops(self.config(), &self.tokenizer, stop)
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

    /// Checks that it reads the tokens that another model writes. A token for padding that the other one alone has makes no
    /// other tokenizer, but must have a row.
    ///
    /// # Errors
    /// Its tokenizer is another one, or its embedding has too few rows.
    pub fn takes_tokens_of(&self, writer: &Artifact) -> Result<()> {
        writer.same_tokens_as(&self.tokenizer.digest()?)?;
        let (tokens, rows) = (writer.tokenizer.rows(), self.config().vocabulary);
        if tokens > rows {
            bail!(
                "the model beside it has {tokens} tokens, and its embedding {rows} rows: connect a model of the same base"
            );
        }
        Ok(())
    }

    /// Writes down the memory that a stage which does this work is expected to take, checks that the device can do it, and
    /// only then sends the weights to it. No stage computes with a model that it has not said this of.
    ///
    /// # Errors
    /// It is too large for the device, or a file cannot be written or read.
    pub fn expect(&self, io: &Io, expectation: Expectation) -> Result<()> {
        let Expectation { load, others, .. } = expectation;
        let mut beside: Vec<&Base> = Vec::new();
        for other in others {
            if !other.is(&self.base) && !beside.iter().any(|base| base.is(other)) {
                beside.push(other);
            }
        }
        let bytes = |base: &&Base| sizes::bytes_of_weights(base.config(), base.kept());
        let load = Load { other_bases: beside.iter().map(bytes).sum(), ..load };
        expect(io, self.config(), self.base.dtype, &Expectation { load, ..expectation }, &self.base.device)?;
        [&self.base].into_iter().chain(beside).try_for_each(Base::send)
    }
}

/// As [`Artifact::expect`], of a model that is made in memory.
///
/// # Errors
/// It is too large for the device, or the file cannot be written.
pub fn expect(io: &Io, config: &Config, dtype: Dtype, expectation: &Expectation, device: &Device) -> Result<()> {
    let Expectation { lora, load, lower, .. } = *expectation;
    let memory = memory::estimate(config, lora, dtype, load, device);
    io.expects(&memory::in_words(memory, lower))?;
    walls::check_weights(config, device::kept(dtype, device), device)?;
    walls::check_load(config, lora, load, memory, lower, device)
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
