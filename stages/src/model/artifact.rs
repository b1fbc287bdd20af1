//! A model as a stage reads and writes it: `model/` as `transformers` loads it, and at most one `adapter/` as `peft`
//! loads it over that. Base weights pass through untouched: a stage that trains an adapter writes only the adapter.

use super::base::{Base, Weights};
use super::{Adapter, Decoder, classifier, weights};
use anyhow::{Context, Result};
use burn::tensor::Device;
use formats::chat::{self, Template};
use formats::config::Config;
use formats::directory::{ModelFiles, is_of_model};
use formats::dtype::{Dtype, set_dtype};
use formats::json;
use formats::peft::{self, Lora};
use formats::tokenizer::Tokenizer;
use formats::weights::is_of_weights;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Everything a stage reads of a model.
pub struct Artifact {
    pub base: Base,
    pub adapter: Option<Adapter>,
    pub tokenizer: Tokenizer,
    files: ModelFiles,
    /// Replaces the chat template of the model.
    chat_template: Option<String>,
}

impl Artifact {
    /// Opens a stage's artifact (`model/`, `adapter/`) or a plain Hugging Face directory, with the matrices of the base as
    /// `dtype`. Its weights are sent to the device by [`Artifact::expect`].
    ///
    /// # Errors
    /// It is not a model that can be read, or the device does not compute in `dtype`.
    pub fn open(directory: &Path, dtype: Dtype, device: &Device) -> Result<Artifact> {
        Artifact::open_as(directory, None, dtype, device, Weights::Read)
    }

    /// As [`Artifact::open`], in the precision of `other`. If the bases have the same bytes, they share one in memory.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_beside(directory: &Path, other: &Artifact) -> Result<Artifact> {
        Artifact::open_as(directory, Some(&other.base), other.base.dtype, &other.base.device, Weights::Read)
    }

    /// As [`Artifact::open`], with a base that this process keeps, if it has one of the same bytes, and keeps from now on.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_resident(directory: &Path, dtype: Dtype, device: &Device) -> Result<Artifact> {
        Artifact::open_as(directory, None, dtype, device, Weights::Kept)
    }

    /// As [`Artifact::open_beside`], with a base as [`Artifact::open_resident`] has it.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_resident_beside(directory: &Path, other: &Artifact) -> Result<Artifact> {
        Artifact::open_as(directory, Some(&other.base), other.base.dtype, &other.base.device, Weights::Kept)
    }

    /// Opens a model and sends its weights at once, where no stage says what it takes.
    ///
    /// # Errors
    /// As [`Artifact::open`], or the device cannot hold the weights.
    pub fn load(directory: &Path, dtype: Dtype, device: &Device) -> Result<Artifact> {
        let artifact = Artifact::open(directory, dtype, device)?;
        artifact.base.send()?;
        Ok(artifact)
    }

    fn open_as(
        directory: &Path,
        other: Option<&Base>,
        dtype: Dtype,
        device: &Device,
        weights: Weights,
    ) -> Result<Artifact> {
        let files = ModelFiles::open(directory)?;
        let base = Base::open(files.path(), other, dtype, device, weights)?;
        let tokenizer = Tokenizer::load(files.path())?;
        let adapter_directory = directory.join("adapter");
        let config = base.config();
        let adapter = match ::files::is_directory(&adapter_directory)? {
            true => Some(Lora::load(&adapter_directory, config)?),
            false if config.is_classifier => Some(Lora::of_classifier(files.path(), config)?),
            false => None,
        };
        let adapter = adapter.map(|adapter| Adapter::of(adapter, config, device));
        Ok(Artifact { base, adapter, tokenizer, files, chat_template: None })
    }

    /// Whether it is a reward model that was trained elsewhere. It reads all that its chat template writes of a dialogue, and no
    /// other end; one that was made here reads an answer with one token that ends it.
    pub fn is_reward_of_others(&self) -> bool {
        let has_pairs = self.adapter.as_ref().is_some_and(|adapter| !adapter.has_no_pairs());
        self.config().is_classifier && !has_pairs && !peft::is_made_here(self.files.path())
    }

    pub fn config(&self) -> &Config {
        self.base.config()
    }

    /// The model, once its weights were sent.
    pub fn model(&self) -> &Decoder {
        self.base.model()
    }

    /// A chat template with the special tokens of this model.
    ///
    /// # Errors
    /// It is no Jinja.
    pub fn template_of(&self, source: &str) -> Result<Template> {
        Template::load(self.files.path(), Some(source))?.context("there is no template")
    }

    /// Replaces the chat template, also in the files that are written.
    ///
    /// # Errors
    /// The template is no Jinja.
    pub fn with_chat_template(self, source: String) -> Result<Artifact> {
        let template = self.template_of(&source)?;
        let tokenizer = self.tokenizer.with_template(Some(template));
        Ok(Artifact { tokenizer, chat_template: Some(source), ..self })
    }

    /// Writes a candidate: the base unchanged, and `adapter` beside it.
    pub fn save_with(&self, adapter: &Adapter, directory: &Path) -> Result<()> {
        self.save_ended_by(adapter, &self.stops(None)?, directory)
    }

    /// As [`Artifact::save_with`], for answers that end with one of these tokens.
    pub fn save_ended_by(&self, adapter: &Adapter, ends: &[u32], directory: &Path) -> Result<()> {
        let target = directory.join("model");
        let is_reward = adapter.head.is_some();
        self.copy_to(&target, |name| is_reward && (name == CONFIG || classifier::names_padding(name)))?;
        if is_reward {
            let mut source = self.config().source.clone();
            let padding = classifier::RewardPadding::of(self.config(), &self.tokenizer, ends);
            classifier::label(&mut source);
            padding.write(&mut source, self.files.path(), &target)?;
            json::write(&target.join(CONFIG), &source)?;
        }
        weights::save_adapter(adapter, &self.config().architecture.layout, &directory.join("adapter"))
    }

    /// Writes a candidate with the weights of `model`, which were trained as f32.
    pub fn save_weights(&self, model: &Decoder, directory: &Path) -> Result<()> {
        let target = directory.join("model");
        self.copy_to(&target, |name| name == CONFIG || is_of_weights(name))?;
        let mut model = model.clone();
        set_dtype(&mut model.config.source, Dtype::F32);
        weights::save(&model, &BTreeMap::new(), Dtype::F32, &target)
    }

    /// Copies the files of the model, except those that are replaced, and writes the chat template.
    fn copy_to(&self, target: &Path, is_replaced: impl Fn(&str) -> bool) -> Result<()> {
        fs::create_dir_all(target).with_context(|| format!("create {}", target.display()))?;
        let base = self.files.path();
        for entry in fs::read_dir(base).with_context(|| format!("read {}", base.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_wanted = |name: &str| {
                is_of_model(name) && !is_replaced(name) && !(self.chat_template.is_some() && name == chat::FILE)
            };
            if entry.file_type()?.is_file() && name.to_str().is_some_and(is_wanted) {
                let to = target.join(name);
                fs::hard_link(entry.path(), &to)
                    .or_else(|_| fs::copy(entry.path(), &to).map(drop))
                    .with_context(|| format!("write {}", to.display()))?;
            }
        }
        if let Some(template) = &self.chat_template {
            let path = target.join(chat::FILE);
            fs::write(&path, template).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

const CONFIG: &str = "config.json";
