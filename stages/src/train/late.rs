//! Numbers that are known once the device is read.

use anyhow::Result;
use burn::tensor::Tensor;

/// Something that is known, or that takes a read of the device to know.
pub enum Late<'a, T> {
    Known(T),
    Later(Box<dyn FnOnce() -> Result<T> + 'a>),
}

impl<T> Late<'_, T> {
    /// # Errors
    /// The device cannot be read.
    pub fn get(self) -> Result<T> {
        match self {
            Late::Known(value) => Ok(value),
            Late::Later(later) => later(),
        }
    }
}

/// The result of one shard of a batch, and its gradients, which are parts of those of the whole batch.
pub type ShardGradients<'a, T> = (Late<'a, T>, Vec<Tensor<2>>);
