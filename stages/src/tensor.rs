//! Conversion of numbers to and from tensors on any device.

use anyhow::{Result, anyhow};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The f32 values of a tensor, tracked by autodiff or not.
///
/// # Errors
/// The device cannot be read.
pub fn values_of<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.inner().try_into_vec_as::<f32>().map_err(|error| anyhow!("read a tensor from the device: {error}"))
}

pub fn from_values<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Token ids or row numbers as a tensor `[n]`.
pub fn from_ids(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    let (ids, n): (Vec<i32>, usize) = (ids.iter().map(|id| *id as i32).collect(), ids.len());
    Tensor::from_data(TensorData::new(ids, [n]), device)
}
