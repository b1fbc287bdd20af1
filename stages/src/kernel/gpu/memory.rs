//! Tensors as kernels see them, and the workgroups that work on them.

use burn::tensor::{DType, Int, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeElement};
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

/// Threads of a workgroup: within the limits of every device.
pub const UNITS: usize = 256;

pub fn threads() -> CubeDim {
    CubeDim::new_1d(UNITS as u32)
}

/// Four numbers that are read and multiplied at once.
pub type Four = Vector<f32, Const<4>>;

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
    cubecl::calculate_cube_count_elemwise(client, n, threads())
}

/// One workgroup for each of `n` things, and some for none, where a grid has no such number of them.
pub fn one_each(client: &cubecl::client::Client, n: usize) -> CubeCount {
    cubecl::calculate_cube_count_elemwise(client, n, CubeDim::new_1d(1))
}

/// Lines of numbers that may lie apart.
#[derive(Clone)]
pub struct MatrixLines {
    pub numbers: CubeTensor,
    /// From one line to the next.
    pub down: u32,
}

/// A matrix as its lines: a part of the columns of another is read where it lies.
pub fn lines(tensor: Tensor<2>) -> MatrixLines {
    let MatrixView { numbers, down, right } = view(tensor);
    if right == 1 {
        return MatrixLines { numbers, down };
    }
    let numbers = into_contiguous(numbers);
    MatrixLines { down: numbers.meta.strides()[0] as u32, numbers }
}

/// A matrix as it lies in memory: from one number to the one below it, and to the one on its right.
#[derive(Clone)]
pub struct MatrixView {
    pub numbers: CubeTensor,
    pub down: u32,
    pub right: u32,
}

impl MatrixView {
    /// Both are the same numbers in memory.
    pub fn is(&self, other: &MatrixView) -> bool {
        let place = |view: &MatrixView| (view.numbers.handle.offset_start, view.numbers.handle.offset_end);
        let [one, two] = [self, other].map(|view| view.numbers.handle.memory.descriptor());
        one == two && place(self) == place(other) && self.lies_as(other)
    }

    /// Both lie in memory in the same way, and hold numbers of one precision.
    pub fn lies_as(&self, other: &MatrixView) -> bool {
        let of = |view: &MatrixView| (view.down, view.right, view.numbers.dtype, view.numbers.meta.shape().clone());
        of(self) == of(other)
    }
}

pub fn view(tensor: Tensor<2>) -> MatrixView {
    let numbers = tensor.try_into_primitive::<CubeBackend>().expect("this backend was chosen for its device");
    let [down, right] = [0, 1].map(|dim| numbers.meta.strides()[dim] as u32);
    MatrixView { numbers, down, right }
}

/// The precision of numbers, as a kernel is compiled for it.
pub fn kind_of(numbers: &CubeTensor) -> ElemType {
    ElemType::Float(match numbers.dtype {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => FloatKind::F32,
    })
}
