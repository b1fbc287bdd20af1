//! The frozen base of a model: its files are open from the beginning, and its weights go to the device once a stage has said
//! how much it will take, and that has been found to fit ([`super::role`]).

use super::resident::{self, BaseFiles};
use super::weights;
use super::{Decoder, sizes, walls};
use crate::device::{self, asked};
use anyhow::{Result, bail};
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Where the weights of a base come from.
#[derive(Clone, Copy)]
pub(super) enum Weights {
    Read,
    /// Those that this process keeps, if it has them; they are kept from now on.
    Kept,
}

/// Several models may have one base: copies share its weights.
#[derive(Clone)]
pub struct Base {
    directory: PathBuf,
    files: Arc<BaseFiles>,
    pub dtype: Dtype,
    pub device: Device,
    from: Weights,
    model: Arc<OnceLock<Decoder>>,
}

impl Base {
    /// The base in a directory, or that of `other` if it has the same bytes.
    ///
    /// # Errors
    /// It is not a model that can be read, or the device does not compute in `dtype`.
    pub(super) fn open(
        directory: &Path,
        other: Option<&Base>,
        dtype: Dtype,
        device: &Device,
        from: Weights,
    ) -> Result<Base> {
        if !device.supports_dtype(weights::of_burn(device::kept(dtype, device))) {
            bail!(
                "{} does not compute in {}; take `dtype: f32`, or another device (`pipeline doctor` lists what each can do)",
                device::class(device),
                dtype.name()
            );
        }
        let files = Arc::new(BaseFiles::open(directory)?);
        if let Some(other) = other.filter(|other| files.is_same(&other.files)) {
            return Ok(other.clone());
        }
        let (directory, device) = (directory.to_owned(), device.clone());
        Ok(Base { directory, files, dtype, device, from, model: Arc::default() })
    }

    /// The base of a model that is made in memory.
    pub fn of(model: &Decoder) -> Base {
        Base {
            directory: PathBuf::new(),
            files: Arc::new(BaseFiles::none(model.config.clone())),
            dtype: Dtype::F32,
            device: model.device(),
            from: Weights::Read,
            model: Arc::new(OnceLock::from(model.clone())),
        }
    }

    pub fn config(&self) -> &Config {
        &self.files.config
    }

    /// The precision in which the device keeps its matrices.
    pub fn kept(&self) -> Dtype {
        device::kept(self.dtype, &self.device)
    }

    /// Whether it is the same base, with the same weights in memory.
    pub fn is(&self, other: &Base) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }

    /// Sends the weights to the device, unless they are there.
    ///
    /// # Errors
    /// They cannot be read, or the device cannot hold them.
    pub fn send(&self) -> Result<()> {
        if self.model.get().is_some() {
            return Ok(());
        }
        walls::check_weights(self.config(), self.kept(), &self.device)?;
        asked::note(|| {
            let bytes = sizes::bytes_of_weights(self.config(), self.kept());
            format!("the weights of {}, {}", self.directory.display(), super::memory::bytes(bytes))
        });
        let read = || weights::load(&self.directory, self.config().clone(), self.dtype, &self.device);
        let model = match self.from {
            Weights::Kept => resident::base(&self.files, self.dtype, &self.device, read)?,
            Weights::Read => read()?,
        };
        self.model.get_or_init(|| model);
        Ok(())
    }

    /// A copy of the weights that were sent on another device.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn on(&self, device: &Device) -> Result<Base> {
        let model = Arc::new(OnceLock::from(weights::on(self.model(), device)?));
        Ok(Base { device: device.clone(), model, ..self.clone() })
    }

    /// The model, once [`super::Artifact::expect`] has sent its weights.
    pub fn model(&self) -> &Decoder {
        self.model.get().expect("a stage says what it takes before it computes")
    }
}
