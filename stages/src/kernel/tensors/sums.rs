//! Sums, maxima and products of any length, in pieces where a kernel would take too many numbers in one loop.

use crate::device;
use burn::tensor::{DType, FloatDType, Tensor};

/// Numbers that a kernel adds up in one loop. A software driver ends every loop after 65,535 turns without a word (llvmpipe),
/// and one thread alone works on a row: in pieces, there are more.
const IN_A_LOOP: usize = 1 << 15;

/// The same in a product, whose loops take several of them a turn.
const IN_A_PRODUCT: usize = 1 << 17;

pub fn product_in_f32(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let inner = left.dims()[1];
    let product = |left: Tensor<2>, right: Tensor<2>| {
        let product = left.matmul(right);
        if product.dtype() == DType::F32 { product } else { product.cast(FloatDType::F32) }
    };
    if inner <= IN_A_PRODUCT || device::is_cpu(&left.device()) {
        return product(left, right);
    }
    let piece = |from: usize| {
        let length = IN_A_PRODUCT.min(inner - from);
        product(left.clone().narrow(1, from, length), right.clone().narrow(0, from, length))
    };
    (0..inner).step_by(IN_A_PRODUCT).map(piece).reduce(|sum, more| sum + more).expect("there is a piece")
}

/// A sum or a maximum along a dimension, in pieces where it is long.
fn along<const D: usize>(x: Tensor<D>, dim: usize, reduce: impl Fn(Tensor<D>) -> Tensor<D>) -> Tensor<D> {
    let length = x.dims()[dim];
    if length <= IN_A_LOOP || device::is_cpu(&x.device()) {
        return reduce(x);
    }
    let piece = |from: usize| reduce(x.clone().narrow(dim, from, IN_A_LOOP.min(length - from)));
    reduce(Tensor::cat((0..length).step_by(IN_A_LOOP).map(piece).collect(), dim))
}

pub fn sum_along<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    along(x, dim, |x| x.sum_dim(dim))
}

pub fn max_along<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    along(x, dim, |x| x.max_dim(dim))
}
