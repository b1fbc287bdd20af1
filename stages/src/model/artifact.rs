//! A model as a stage reads and writes it: `model/` as `transformers` loads it, and at most one `adapter/` as `peft`
//! loads it over that. Base weights pass through untouched: a stage that trains an adapter writes only the adapter.

use super::resident::{self, BaseFiles};
use super::weights::{self, of_burn};
use super::{Adapter, Decoder, classifier};
use crate::device;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use formats::chat::{self, Template};
use formats::directory::{ModelFiles, is_of_model};
use formats::dtype::{Dtype, set_dtype};
use formats::json;
use formats::peft::Lora;
use formats::tokenizer::Tokenizer;
use formats::weights::is_of_weights;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Where the base of a model comes from.
#[derive(Clone, Copy)]
enum Bases {
    Read,
    /// Those that this process keeps.
    Kept,
}

/// Everything a stage reads of a model.
pub struct Artifact {
    pub model: Decoder,
    pub dtype: Dtype,
    pub adapter: Option<Adapter>,
    pub tokenizer: Tokenizer,
    base: ModelFiles,
    files: Arc<BaseFiles>,
    /// It has a base of its own in memory, and does not share that of the model it was loaded beside.
    pub has_own_base: bool,
    /// Replaces the chat template of the model.
    chat_template: Option<String>,
}

impl Artifact {
    /// Reads a stage's artifact (`model/`, `adapter/`) or a plain Hugging Face directory, with the matrices of the base
    /// as `dtype`.
    ///
    /// # Errors
    /// It is not a model that can be read, or the device does not compute in `dtype`.
    pub fn load(directory: &Path, dtype: Dtype, device: &Device) -> Result<Artifact> {
        Artifact::open(directory, None, dtype, device, Bases::Read)
    }

    /// As [`Artifact::load`], in the precision of `other`. If the bases have the same bytes, they share one in memory.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn load_beside(directory: &Path, other: &Artifact) -> Result<Artifact> {
        Artifact::open(directory, Some(other), other.dtype, &other.model.device(), Bases::Read)
    }

    /// As [`Artifact::load`], with a base that this process keeps, if it has one of the same bytes, and keeps from now on.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn load_resident(directory: &Path, dtype: Dtype, device: &Device) -> Result<Artifact> {
        Artifact::open(directory, None, dtype, device, Bases::Kept)
    }

    /// As [`Artifact::load_beside`], with a base as [`Artifact::load_resident`] has it.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn load_resident_beside(directory: &Path, other: &Artifact) -> Result<Artifact> {
        Artifact::open(directory, Some(other), other.dtype, &other.model.device(), Bases::Kept)
    }

    fn open(
        directory: &Path,
        other: Option<&Artifact>,
        dtype: Dtype,
        device: &Device,
        bases: Bases,
    ) -> Result<Artifact> {
        if !device.supports_dtype(of_burn(device::kept(dtype, device))) {
            bail!(
                "{} does not compute in {}; take `dtype: f32`, or another device (`pipeline doctor` lists what each can do)",
                device::class(device),
                dtype.name()
            );
        }
        let base = ModelFiles::open(directory)?;
        let files = Arc::new(BaseFiles::open(base.path())?);
        let other = other.filter(|other| files.is_same(&other.files));
        let read = || weights::load(base.path(), files.config.clone(), dtype, device);
        let model = match (other, bases) {
            (Some(other), _) => other.model.clone(),
            (None, Bases::Kept) => resident::base(&files, dtype, device, read)?,
            (None, Bases::Read) => read()?,
        };
        let tokenizer = Tokenizer::load(base.path())?;
        let adapter_directory = directory.join("adapter");
        let adapter = match adapter_directory.is_dir() {
            true => Some(Lora::load(&adapter_directory, &model.config)?),
            false if model.config.is_classifier => Some(Lora::of_classifier(base.path(), &model.config)?),
            false => None,
        };
        let adapter = adapter.map(|adapter| Adapter::of(adapter, &model.config, device));
        Ok(Artifact {
            model,
            dtype,
            adapter,
            tokenizer,
            base,
            files,
            has_own_base: other.is_none(),
            chat_template: None,
        })
    }

    /// A chat template with the special tokens of this model.
    ///
    /// # Errors
    /// It is no Jinja.
    pub fn template_of(&self, source: &str) -> Result<Template> {
        Template::load(self.base.path(), Some(source))?.context("there is no template")
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
            let mut source = self.model.config.source.clone();
            let padding = classifier::RewardPadding::of(&self.model.config, &self.tokenizer, ends);
            classifier::label(&mut source);
            padding.write(&mut source, self.base.path(), &target)?;
            json::write(&target.join(CONFIG), &source)?;
        }
        weights::save_adapter(adapter, &self.model.config.architecture.layout, &directory.join("adapter"))
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
        let base = self.base.path();
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
