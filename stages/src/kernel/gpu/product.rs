//! Products of matrices with what is added to them, two products to a kernel: of few rows ([`few`]), whose time is that of
//! reading the right-hand matrix once, and of many ([`tiles`]). The shape alone decides which kernel and which sizes it
//! has: nothing is timed, and a sum has the same order on every device. Sums are f32, whatever is multiplied.

mod both;
mod factors;
mod few;
mod tiles;

use super::memory::{cube, empty, tensor, view};
use crate::kernel::tensors::BurnTensors;
use crate::kernel::{GatedTerms, HalfRows, Kernel, Start, Term};
use both::Both;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use factors::{Factors, Onto};
use formats::architectures::Activation;

/// Rows up to which a product is one of few.
const FEW: usize = 64;

pub fn products(start: Start, terms: Vec<Term>) -> Tensor<2> {
    let (halves, mut plain): (Vec<Term>, Vec<Term>) = terms.into_iter().partition(|term| term.halved.is_some());
    let mut rest = if plain.is_empty() { Vec::new() } else { plain.split_off(plain.len().min(2)) };
    let mut start = start;
    if !halves.is_empty() {
        start = Start::Residual(BurnTensors.products(start, halves));
    }
    while !plain.is_empty() {
        start = Start::Residual(tensor(sum_of_two(start, plain)));
        let later = rest.split_off(rest.len().min(2));
        plain = std::mem::replace(&mut rest, later);
    }
    let Start::Residual(sum) = start else { unreachable!("a sum has a term") };
    sum
}

/// The rows in the precision of the weight, for products on tensor cores: of many rows, where the device has any.
pub fn half_rows(x: &Tensor<2>, weight: &Tensor<2>) -> Option<HalfRows> {
    if x.dims()[0] <= FEW {
        return None;
    }
    let has_tensor_cores = !view(x.clone()).numbers.client.properties().features.matmul.cmma.is_empty();
    has_tensor_cores.then(|| HalfRows::of(x, weight)).flatten()
}

/// The activation of one sum times the other, of few rows; `None` of many, and where the terms do not lie alike.
pub fn gated(activation: Activation, terms: GatedTerms) -> Option<Tensor<2>> {
    let both = match terms {
        GatedTerms::Apart(both) => Both::of(both.map(all_factors)),
        GatedTerms::Joint(terms) => Both::joint(all_factors(terms)),
    };
    let both = both.filter(|both| both.shape[0] <= FEW)?;
    Some(tensor(both::gated(activation, &both)))
}

/// Two sums, in one kernel where they are of few rows and lie alike.
pub fn two_products(both: [Vec<Term>; 2]) -> [Tensor<2>; 2] {
    let are_few = both[0][0].left.dims()[0] <= FEW;
    let few = are_few.then(|| Both::of(both.clone().map(all_factors))).flatten();
    match few {
        Some(both) => both::sums(&both).map(tensor),
        None => both.map(|terms| products(Start::Zero, terms)),
    }
}

fn all_factors(terms: Vec<Term>) -> Vec<Factors> {
    terms.into_iter().map(factors).collect()
}

fn factors(Term { left, right, factor, .. }: Term) -> Factors {
    let inner = left.dims()[1];
    Factors { left: view(left), right: view(right), inner, factor: factor as f32 }
}

/// Writes left·right into a matrix without gaps.
pub fn product_into(left: Tensor<2>, right: Tensor<2>, out: CubeTensor) {
    let [shape, sides] = [left.dims(), right.dims()];
    let one = Factors { left: view(left), right: view(right), inner: shape[1], factor: 1.0 };
    launch([shape[0], sides[1]], &Onto::Nothing, &[one], out);
}

fn sum_of_two(start: Start, terms: Vec<Term>) -> CubeTensor {
    let ([rows, _], [_, columns]) = (terms[0].left.dims(), terms[0].right.dims());
    let added = match start {
        Start::Zero => Onto::Nothing,
        Start::Bias(bias) => Onto::Row(cube(bias.clone())),
        Start::Residual(residual) => Onto::Matrix(cube(residual)),
    };
    let factors = all_factors(terms);
    let out = empty::<f32>(&factors[0].left.numbers, &[rows, columns]);
    launch([rows, columns], &added, &factors, out.clone());
    out
}

fn launch(shape: [usize; 2], added: &Onto, factors: &[Factors], out: CubeTensor) {
    if shape[0] <= FEW {
        few::launch(shape, added, factors, out);
    } else {
        tiles::launch(shape, added, factors, out);
    }
}
