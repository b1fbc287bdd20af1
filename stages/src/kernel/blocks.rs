//! The matrices of an adapter that lie in one tensor, and their places in the buffer that is computed with.

use crate::tensor::from_data;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A matrix among the trained numbers, and where it goes in the buffer: rows of it begin `width` numbers apart.
#[derive(Clone, Copy, Debug)]
pub struct MatrixBlock {
    pub shape: [usize; 2],
    pub at: usize,
    pub width: usize,
    pub factor: f32,
}

/// All of them, one after the other, on a device.
#[cfg_attr(feature = "fusion", expect(dead_code, reason = "with fusion no kernel of our own reads the table"))]
pub struct Blocks {
    /// Four numbers for each: where it begins among the trained numbers, its columns, its place, its width there.
    pub(super) table: Tensor<1, Int>,
    pub(super) factors: Tensor<1>,
    /// Numbers of the buffer, and those that are trained.
    pub(super) size: usize,
    pub(super) trained: usize,
}

impl Blocks {
    pub fn of(blocks: &[MatrixBlock], size: usize, device: &Device) -> Blocks {
        let (mut table, mut trained) = (Vec::with_capacity(4 * blocks.len()), 0);
        for MatrixBlock { shape: [rows, columns], at, width, .. } in blocks {
            table.extend([trained, *columns, *at, *width].map(|number| number as i32));
            trained += rows * columns;
        }
        let factors: Vec<f32> = blocks.iter().map(|block| block.factor).collect();
        let of = [table.len(), factors.len()];
        Blocks {
            table: Tensor::from_data(TensorData::new(table, [of[0]]), device),
            factors: from_data(TensorData::new(factors, [of[1]]), device),
            size,
            trained,
        }
    }

    pub fn size(&self) -> usize {
        self.size
    }
}
