//! The parts of a product, as its kernels take them.

use crate::kernel::gpu::memory::MatrixView;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// A product over `inner` numbers.
#[derive(Clone)]
pub struct Factors {
    pub left: MatrixView,
    pub right: MatrixView,
    pub inner: usize,
    pub factor: f32,
}

impl Factors {
    pub fn rows(&self) -> usize {
        self.left.numbers.meta.shape()[0]
    }

    pub fn columns(&self) -> usize {
        self.right.numbers.meta.shape()[1]
    }

    pub fn strides(&self) -> StridesLaunch {
        let [left_down, left_right] = [self.left.down, self.left.right].map(|stride| stride as usize);
        let [right_down, right_right] = [self.right.down, self.right.right].map(|stride| stride as usize);
        StridesLaunch::new(self.inner, left_down, left_right, right_down, right_right, self.factor)
    }
}

/// The inner side of a product, the steps from number to number in both matrices, and what it is multiplied by.
#[derive(CubeType, CubeLaunch)]
pub struct Strides {
    pub inner: usize,
    pub left_down: usize,
    pub left_right: usize,
    pub right_down: usize,
    pub right_right: usize,
    pub factor: f32,
}

/// The shape of a result, and the workgroups that make it, so many of them beside each other.
#[derive(CubeType, CubeLaunch)]
pub struct SharedWork {
    pub rows: usize,
    pub columns: usize,
    pub groups: usize,
    pub across: usize,
}

/// The workgroups of a result, each of which makes so much of it.
#[derive(Clone, Copy)]
pub struct Groups {
    shape: [usize; 2],
    across: usize,
    pub count: usize,
}

impl Groups {
    pub fn of(shape: [usize; 2], each: [usize; 2]) -> Groups {
        let across = shape[1].div_ceil(each[1]);
        Groups { shape, across, count: across * shape[0].div_ceil(each[0]) }
    }

    pub fn work(self) -> SharedWorkLaunch {
        let Groups { shape: [rows, columns], across, count } = self;
        SharedWorkLaunch::new(rows, columns, count, across)
    }
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
