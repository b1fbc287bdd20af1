//! Tensors as kernels see them, and the workgroups that work on them.

use burn::tensor::{Int, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeElement};
use cubecl::prelude::*;

/// Threads of a workgroup: within the limits of every device.
pub const UNITS: u32 = 256;

/// A tensor as kernels see it, without gaps.
pub fn cube<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    into_contiguous(tensor.try_into_primitive::<CubeBackend>().expect("this backend was chosen for its device"))
}

pub fn cube_of_ints(tensor: Tensor<1, Int>) -> CubeTensor {
    into_contiguous(tensor.try_into_primitive::<CubeBackend>().expect("this backend was chosen for its device"))
}

/// Memory beside a tensor, with no values yet.
pub fn empty<E: CubeElement>(beside: &CubeTensor, shape: &[usize]) -> CubeTensor {
    burn_cubecl::ops::numeric::empty_device::<E>(beside.client.clone(), beside.device.clone(), shape.into())
}

pub fn tensor<const D: usize>(of: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<CubeBackend>(of)
}

/// Workgroups of [`UNITS`] threads for `n` numbers, spread over the dimensions of a grid.
pub fn groups(client: &cubecl::client::Client, n: usize) -> CubeCount {
    cubecl::calculate_cube_count_elemwise(client, n, CubeDim::new_1d(UNITS))
}
