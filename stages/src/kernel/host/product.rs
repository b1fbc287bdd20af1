//! Sums of matrix products in one buffer, by the same `gemm` that burn's backend uses; a product with few rows reads
//! the weight as it lies.

use super::memory::{HostTensor, as_uninit};
use crate::kernel::{Start, Term};
use crate::tensor::from_values;
use burn::tensor::Tensor;
use gemm::Parallelism;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `start` plus all terms, all of them f32.
pub fn products(start: Start, terms: &[Term]) -> Tensor<2> {
    let device = terms[0].left.device();
    let ([m, _], [_, n]) = (terms[0].left.dims(), terms[0].right.dims());
    // A sum that starts at zero has its first product written into memory that was never initialised.
    let (mut out, mut adds) = match start {
        Start::Zero => (Vec::with_capacity(m * n), false),
        Start::Bias(bias) => (HostTensor::contiguous(bias.clone()).slice().repeat(m), true),
        Start::Residual(residual) => (HostTensor::contiguous(residual).slice().to_vec(), true),
    };
    for Term { left, right, factor, .. } in terms {
        let filled = match adds {
            true => as_uninit(&mut out),
            false => &mut out.spare_capacity_mut()[..m * n],
        };
        let (left, right) = (HostTensor::strided(left.clone()), HostTensor::strided(right.clone()));
        let product = Product { left: Matrix::of(&left), right: Matrix::of(&right), factor: *factor as f32 };
        let is_few = m <= FEW_ROWS && product.left.columns >= 64;
        match is_few && product.left.right == 1 && product.right.down == 1 {
            true => few_rows(product, filled, adds),
            false => product.compute(filled, n, adds, Cores::All),
        }
        // SAFETY: both fill all rows and columns, and there are `m * n` of them.
        unsafe { out.set_len(m * n) };
        adds = true;
    }
    from_values(out, [m, n], &device)
}

/// A matrix over part of a slice.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub numbers: &'a [f32],
    pub at: usize,
    pub rows: usize,
    pub columns: usize,
    /// Distance from one row to the next, and from one column to the next.
    pub down: usize,
    pub right: usize,
}

impl<'a> Matrix<'a> {
    fn of(tensor: &'a HostTensor) -> Matrix<'a> {
        let ([rows, columns], [down, right], at) = tensor.strides();
        Matrix { numbers: tensor.storage(), at, rows, columns, down, right }
    }

    pub fn transposed(self) -> Self {
        Matrix { rows: self.columns, columns: self.rows, down: self.right, right: self.down, ..self }
    }

    fn is_inside(&self) -> bool {
        self.rows > 0
            && self.columns > 0
            && self.at + (self.rows - 1) * self.down + (self.columns - 1) * self.right < self.numbers.len()
    }
}

/// `factor`·left·right.
pub struct Product<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub factor: f32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cores {
    One,
    All,
}

/// Multiplications that are worth the other cores.
const WORTH_ALL_CORES: usize = 1 << 20;

impl Product<'_> {
    /// Writes the product into the rows of `out`, which begin `stride` apart, on one core.
    pub fn write(self, out: &mut [MaybeUninit<f32>], stride: usize) {
        self.compute(out, stride, false, Cores::One);
    }

    /// Adds the product to the numbers in `out`.
    pub fn add(self, out: &mut [f32], stride: usize) {
        self.compute(as_uninit(out), stride, true, Cores::One);
    }

    /// Unless it `adds`, what `out` holds is not read.
    fn compute(self, out: &mut [MaybeUninit<f32>], stride: usize, adds: bool, cores: Cores) {
        let Product { left, right, factor } = self;
        let (m, n, k) = (left.rows, right.columns, left.columns);
        assert!(left.is_inside() && right.is_inside() && k == right.rows && (m - 1) * stride + n <= out.len());
        let parallelism = match cores {
            Cores::All if m * n * k >= WORTH_ALL_CORES => Parallelism::Rayon(0),
            _ => Parallelism::None,
        };
        // SAFETY: the assertion above holds every address inside its slice, and `out` is borrowed by nobody else.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                out.as_mut_ptr().cast::<f32>(),
                1,
                stride as isize,
                adds,
                left.numbers[left.at..].as_ptr(),
                left.right as isize,
                left.down as isize,
                right.numbers[right.at..].as_ptr(),
                right.right as isize,
                right.down as isize,
                1.0,
                factor,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

// -------------------------------------------------------------------------------------------------- a few rows

/// Up to this many rows a weight is read as it lies, once, instead of being packed first, as products of many rows do.
/// Decoding does little else.
const FEW_ROWS: usize = 64;
/// From this size on, a weight is read through the memory channels of all cores.
const LARGE_WEIGHT: usize = 1 << 18;
/// The number of columns that one core takes at a time.
const COLUMNS: usize = 16;

/// As [`Product::compute`] over all of `out`, for a left side with contiguous rows and a right one with contiguous
/// columns.
fn few_rows(product: Product, out: &mut [MaybeUninit<f32>], adds: bool) {
    let Product { left, right, factor } = product;
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert!(left.is_inside() && right.is_inside() && k == right.rows && m * n == out.len());
    let pieces: Vec<usize> = (0..n).step_by(COLUMNS).collect();
    let piece = |first: &usize| {
        let columns = COLUMNS.min(n - first);
        let mut dots = vec![0.0; m * columns];
        pulp::Arch::new().dispatch(Dots { left, right, first: *first, columns, out: &mut dots });
        dots
    };
    let dots: Vec<Vec<f32>> = match m * n * k >= 4 * WORTH_ALL_CORES || n * k >= LARGE_WEIGHT {
        true => pieces.par_iter().map(piece).collect(),
        false => pieces.iter().map(piece).collect(),
    };
    for (first, dots) in pieces.iter().zip(dots) {
        let columns = COLUMNS.min(n - first);
        for (out, dots) in out.chunks_exact_mut(n).zip(dots.chunks_exact(columns)) {
            for (out, dot) in out[*first..first + columns].iter_mut().zip(dots) {
                // SAFETY: where it adds, `out` was written before.
                let before = if adds { unsafe { out.assume_init() } } else { 0.0 };
                out.write(if adds { before + factor * dot } else { factor * dot });
            }
        }
    }
}

/// Products of all rows with some columns.
struct Dots<'a> {
    left: Matrix<'a>,
    right: Matrix<'a>,
    first: usize,
    columns: usize,
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Dots { left, right, first, columns, out } = self;
        let k = left.columns;
        let row = |i: usize| &left.numbers[left.at + i * left.down..][..k];
        let column = |j: usize| &right.numbers[right.at + (first + j) * right.right..][..k];
        let mut i = 0;
        while i < left.rows {
            let rows = if left.rows - i >= 4 { 4 } else { 1 };
            let mut j = 0;
            while j < columns {
                let now = if columns - j >= 4 { 4 } else { 1 };
                let out = &mut out[i * columns + j..];
                match (rows, now) {
                    (4, 4) => block::<S, 4, 4>(simd, |a| row(i + a), |b| column(j + b), out, columns),
                    (4, _) => block::<S, 4, 1>(simd, |a| row(i + a), |b| column(j + b), out, columns),
                    (_, 4) => block::<S, 1, 4>(simd, |a| row(i + a), |b| column(j + b), out, columns),
                    _ => block::<S, 1, 1>(simd, |a| row(i + a), |b| column(j + b), out, columns),
                }
                j += now;
            }
            i += rows;
        }
    }
}

/// Products of R rows with C columns.
#[inline(always)]
fn block<'a, S: Simd, const R: usize, const C: usize>(
    simd: S,
    row: impl Fn(usize) -> &'a [f32],
    column: impl Fn(usize) -> &'a [f32],
    out: &mut [f32],
    down: usize,
) {
    let xs: [_; R] = std::array::from_fn(|a| S::as_simd_f32s(row(a)));
    let ws: [_; C] = std::array::from_fn(|b| S::as_simd_f32s(column(b)));
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for at in 0..xs[0].0.len() {
        for a in 0..R {
            for b in 0..C {
                sums[a][b] = simd.mul_add_f32s(xs[a].0[at], ws[b].0[at], sums[a][b]);
            }
        }
    }
    for a in 0..R {
        for b in 0..C {
            let rest = xs[a].1.iter().zip(ws[b].1).map(|(x, w)| x * w).sum::<f32>();
            out[a * down + b] = simd.reduce_sum_f32s(sums[a][b]) + rest;
        }
    }
}
