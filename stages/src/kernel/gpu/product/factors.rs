//! The parts of a product, as both kernels take them.

use crate::kernel::gpu::memory::MatrixView;
use burn_cubecl::tensor::CubeTensor;

/// A product over `inner` numbers.
pub struct Factors {
    pub left: MatrixView,
    pub right: MatrixView,
    pub inner: usize,
    pub factor: f32,
}

/// The numbers that a product is added to.
pub enum Onto {
    Nothing,
    /// The same for each row.
    Row(CubeTensor),
    Matrix(CubeTensor),
}

impl Onto {
    /// A number for each case, and what is bound.
    pub fn kind(&self, otherwise: &CubeTensor) -> (u32, CubeTensor) {
        match self {
            Onto::Nothing => (0, otherwise.clone()),
            Onto::Row(row) => (1, row.clone()),
            Onto::Matrix(matrix) => (2, matrix.clone()),
        }
    }
}
