//! Sums of matrix products: what a projection is, with its adapter, its bias and what flows past it. On the CPU backend
//! they are added up in one buffer, by the products burn's backend uses; elsewhere they are a tensor expression.

use super::host::{Numbers, is_host, tensor};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use gemm::Parallelism;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `factor`·left·right of `[m, k]` and `[k, n]`. The right one may be of half precision; then the product is.
pub struct Term {
    pub left: Tensor<2>,
    pub right: Tensor<2>,
    pub factor: f64,
}

pub fn term(left: &Tensor<2>, right: Tensor<2>) -> Term {
    Term { left: left.clone(), right, factor: 1.0 }
}

/// Where a sum begins.
pub enum Start<'a> {
    Zero,
    /// `[1, n]`, the same in each row.
    Bias(&'a Tensor<2>),
    /// `[m, n]`.
    From(Tensor<2>),
}

/// `start` and all terms, `[m, n]`, added in their order.
pub fn sum_of(start: Start, terms: Vec<Term>) -> Tensor<2> {
    let device = terms[0].left.device();
    let is_plain = |term: &Term| is_plain(&term.left) && is_plain(&term.right);
    if terms.iter().all(is_plain) && !matches!(&start, Start::From(from) if !self::is_plain(from)) {
        return on_host(start, &terms, &device);
    }
    let product = |term: Term| {
        let product = times(term.left, term.right);
        if term.factor == 1.0 { product } else { product.mul_scalar(term.factor) }
    };
    let sum = terms.into_iter().map(product).reduce(|sum, more| sum + more).expect("a sum has a term");
    match start {
        Start::Zero => sum,
        Start::Bias(bias) => sum + bias.clone(),
        Start::From(from) => from + sum,
    }
}

fn is_plain(x: &Tensor<2>) -> bool {
    x.dtype() == DType::F32 && is_host(&x.device())
}

/// x·W, in the precision of W. Each row of x is brought to a largest number of 1 first: slopes are far smaller than what f16
/// can tell from 0 (Micikevicius et al. 2018, section 3.2, by row instead of by loss). All else is f32: what is added up over the layers, norms, attention, adapters, losses.
fn times(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let half = match weight.dtype() {
        DType::F16 => FloatDType::F16,
        DType::BF16 => FloatDType::BF16,
        _ => return x.matmul(weight),
    };
    let size = x.clone().abs().max_dim(1).clamp_min(f32::MIN_POSITIVE);
    (x / size.clone()).cast(half).matmul(weight).cast(FloatDType::F32) * size
}

fn on_host(start: Start, terms: &[Term], device: &Device) -> Tensor<2> {
    let ([m, _], [_, n]) = (terms[0].left.dims(), terms[0].right.dims());
    // Where nothing is to be added to, the first product fills what was never written.
    let (mut out, mut adds) = match start {
        Start::Zero => (Vec::with_capacity(m * n), false),
        Start::Bias(bias) => (Numbers::of(bias.clone()).slice().repeat(m), true),
        Start::From(from) => (Numbers::of(from).slice().to_vec(), true),
    };
    for Term { left, right, factor } in terms {
        let filled = match adds {
            true => written(&mut out),
            false => &mut out.spare_capacity_mut()[..m * n],
        };
        let (left, right) = (Numbers::as_it_lies(left.clone()), Numbers::as_it_lies(right.clone()));
        let (left, right) = (Matrix::of(&left), Matrix::of(&right));
        let is_few = m <= FEW_ROWS && left.right == 1 && right.down == 1 && left.columns >= 64;
        match is_few {
            true => few_rows(left, right, *factor as f32, filled, adds),
            false => product_into(left, right, *factor as f32, filled, n, adds, Cores::All),
        }
        // SAFETY: both fill all rows and columns, and there are `m * n` of them.
        unsafe { out.set_len(m * n) };
        adds = true;
    }
    tensor(out, [m, n], device)
}

/// Part of a list of numbers, read as a matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub numbers: &'a [f32],
    pub at: usize,
    pub rows: usize,
    pub columns: usize,
    /// From one row to the next, and from one column to the next.
    pub down: usize,
    pub right: usize,
}

impl<'a> Matrix<'a> {
    fn of(numbers: &'a Numbers) -> Matrix<'a> {
        let ([rows, columns], [down, right], at) = numbers.lies();
        Matrix { numbers: numbers.storage(), at, rows, columns, down, right }
    }

    pub fn turned(self) -> Self {
        Matrix { rows: self.columns, columns: self.rows, down: self.right, right: self.down, ..self }
    }

    fn is_inside(&self) -> bool {
        self.rows > 0
            && self.columns > 0
            && self.at + (self.rows - 1) * self.down + (self.columns - 1) * self.right < self.numbers.len()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    One,
    All,
}

/// Multiplications that are worth the other cores.
const WORTH_ALL_CORES: usize = 1 << 20;

/// Numbers as memory to be written to.
fn written(numbers: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: the two lie alike, and nobody here leaves a place without a number.
    unsafe { &mut *(std::ptr::from_mut(numbers) as *mut [MaybeUninit<f32>]) }
}

/// `factor`·left·right into the rows of `out`, `down` apart; added to what is there where it `adds`.
pub fn product(left: Matrix, right: Matrix, factor: f32, out: &mut [f32], down: usize, adds: bool, cores: Cores) {
    product_into(left, right, factor, written(out), down, adds, cores);
}

/// As [`product`]; unless it `adds`, what `out` holds is not read.
fn product_into(
    left: Matrix,
    right: Matrix,
    factor: f32,
    out: &mut [MaybeUninit<f32>],
    down: usize,
    adds: bool,
    cores: Cores,
) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert!(left.is_inside() && right.is_inside() && k == right.rows && (m - 1) * down + n <= out.len());
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
            down as isize,
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

// -------------------------------------------------------------------------------------------------- a few rows

/// Rows up to which a matrix is better multiplied as it lies than packed first, as products of large ones do: a weight
/// is then read once, and decoding does little else.
const FEW_ROWS: usize = 64;
/// Numbers of a weight that are worth the other cores' way to memory.
const LARGE_WEIGHT: usize = 1 << 18;
/// Columns that one core takes at a time.
const COLUMNS: usize = 16;

/// As [`product_into`] over all of `out`, for rows and columns that lie without gaps.
fn few_rows(left: Matrix, right: Matrix, factor: f32, out: &mut [MaybeUninit<f32>], adds: bool) {
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
                // SAFETY: what is added to was written before.
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
