//! A table with a row for each token: the embedding, and the matrix behind the logits. A device may bind less memory at
//! once than a table takes; there it lies in parts of some rows, which changes none of the numbers that are looked up.

use crate::kernel::{Kernel, Start, Term, term};
use burn::tensor::{Device, FloatDType, Int, Tensor};

/// `[v, d]`, in one part or more.
#[derive(Clone)]
pub struct Table(Vec<Tensor<2>>);

impl Table {
    /// The parts, of which there is one at least, from the first row on.
    pub fn of(parts: Vec<Tensor<2>>) -> Table {
        assert!(!parts.is_empty(), "a table has rows");
        Table(parts)
    }

    pub fn device(&self) -> Device {
        self.0[0].device()
    }

    pub fn parts(&self) -> &[Tensor<2>] {
        &self.0
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.0.iter().map(|part| part.dims()[0]).sum()
    }

    /// The rows `[n, d]` of these ids, as f32.
    pub fn look_up(&self, ids: &Tensor<1, Int>) -> Tensor<2> {
        if let [whole] = &self.0[..] {
            return whole.clone().select(0, ids.clone()).cast(FloatDType::F32);
        }
        let n = ids.dims()[0];
        let mut first = 0;
        let of_part = |part: &Tensor<2>| {
            let rows = part.dims()[0] as i64;
            let here = ids.clone().sub_scalar(first);
            first += rows;
            let is_here = here.clone().greater_equal_elem(0).bool_and(here.clone().lower_elem(rows));
            let picked = part.clone().select(0, here.clamp(0, rows - 1)).cast(FloatDType::F32);
            picked * is_here.float().reshape([n, 1])
        };
        // One of them is the row, and the others are 0.
        self.0.iter().map(of_part).reduce(|sum, more| sum + more).expect("a table has rows")
    }

    /// `factor`·x·Tᵀ of `[n, d]`: a number for each row of the table, `[n, v]`.
    pub fn products(&self, kernel: &dyn Kernel, x: &Tensor<2>, factor: f64) -> Tensor<2> {
        let of_part =
            |part: &Tensor<2>| kernel.products(Start::Zero, vec![Term { factor, ..term(x, part.clone().transpose()) }]);
        let mut parts: Vec<Tensor<2>> = self.0.iter().map(of_part).collect();
        if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) }
    }

    /// The gradient `[n, d]` of x, for those of [`Table::products`] with factor 1.
    pub fn products_back(&self, kernel: &dyn Kernel, dy: &Tensor<2>) -> Tensor<2> {
        let mut first = 0;
        let of_part = |part: &Tensor<2>| {
            let rows = part.dims()[0];
            let dy = if self.0.len() == 1 { dy.clone() } else { dy.clone().narrow(1, first, rows) };
            first += rows;
            term(&dy, part.clone())
        };
        kernel.products(Start::Zero, self.0.iter().map(of_part).collect())
    }
}
