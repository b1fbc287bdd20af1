//! Two sums of products of few rows that share their left sides, in one kernel: keys and values, or the activation of one
//! times the other for a gated MLP.

use super::factors::{Factors, Groups, SharedWork, Strides};
use super::few::{Shares, add_product, is_of_result, no_sums, place_of_thread, total_of_thread};
use crate::kernel::gpu::gates::active;
use crate::kernel::gpu::memory::{UNITS, empty, kind_of, one_each, threads};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use formats::architectures::Activation;

/// The terms of two sums, whose right sides lie alike.
pub struct Both {
    pub shape: [usize; 2],
    pub one: Vec<Factors>,
    pub two: Vec<Factors>,
    /// The right sides of both are one matrix, with the columns of the first sum before those of the second.
    pub is_joint: bool,
}

impl Both {
    /// Two sums whose terms are those of one kernel; the terms themselves otherwise.
    pub fn of([one, two]: [Vec<Factors>; 2]) -> Option<Both> {
        let shares = |(one, two): (&Factors, &Factors)| {
            one.left.is(&two.left) && one.right.lies_as(&two.right) && one.factor == two.factor
        };
        let is_alike = one.len() == two.len() && one.len() <= 2 && one.iter().zip(&two).all(shares);
        let shape = [one[0].rows(), one[0].columns()];
        is_alike.then_some(Both { shape, one, two, is_joint: false })
    }

    pub fn joint(terms: Vec<Factors>) -> Option<Both> {
        let shape = [terms[0].rows(), terms[0].columns() / 2];
        let two = terms.clone();
        (terms.len() <= 2).then_some(Both { shape, one: terms, two, is_joint: true })
    }
}

/// Both sums.
pub fn sums(both: &Both) -> [CubeTensor; 2] {
    let out = [0, 1].map(|_| empty::<f32>(&both.one[0].left.numbers, &both.shape));
    launch(both, None, out.clone());
    out
}

/// The activation of the first sum times the second.
pub fn gated(activation: Activation, both: &Both) -> CubeTensor {
    let out = empty::<f32>(&both.one[0].left.numbers, &both.shape);
    launch(both, Some(activation), [out.clone(), out.clone()]);
    out
}

fn launch(both: &Both, gate: Option<Activation>, [out, out_of_two]: [CubeTensor; 2]) {
    let Both { shape, one, two, is_joint } = both;
    let last = one.len() - 1;
    let (first, other) = (&one[0], &one[last]);
    let shares = Shares::of(*shape, (first.right.down, first.right.right), first.inner);
    let groups = Groups::of(*shape, [shares.rows, shares.columns_of_group()]);
    let client = out.client.clone();
    multiply_both::launch(
        &client,
        one_each(&client, groups.count),
        threads(),
        first.left.numbers.clone().into_buffer_arg(),
        first.right.numbers.clone().into_buffer_arg(),
        two[0].right.numbers.clone().into_buffer_arg(),
        other.left.numbers.clone().into_buffer_arg(),
        other.right.numbers.clone().into_buffer_arg(),
        two[last].right.numbers.clone().into_buffer_arg(),
        out.into_buffer_arg(),
        out_of_two.into_buffer_arg(),
        groups.work(),
        first.strides(),
        other.strides(),
        shares,
        last > 0,
        *is_joint,
        gate,
        kind_of(&first.right.numbers),
        kind_of(&other.right.numbers),
    );
}

#[cube(launch)]
fn multiply_both<E: Numeric, F: Numeric>(
    left: &[f32],
    one: &[E],
    two: &[E],
    other_left: &[f32],
    other_one: &[F],
    other_two: &[F],
    out: &mut [f32],
    out_of_two: &mut [f32],
    work: SharedWork,
    strides: Strides,
    other_strides: Strides,
    #[comptime] shares: Shares,
    #[comptime] has_other: bool,
    #[comptime] is_joint: bool,
    #[comptime] gate: Option<Activation>,
    #[define(E)] _of_right: ElemType,
    #[define(F)] _of_other: ElemType,
) {
    if CUBE_POS < work.groups {
        let mut before = 0usize;
        if comptime![is_joint] {
            before = work.columns;
        }
        let mut of_one = no_sums(shares);
        add_product::<E>(&mut of_one, left, one, &work, &strides, 0usize, shares);
        let mut of_two = no_sums(shares);
        add_product::<E>(&mut of_two, left, two, &work, &strides, before, shares);
        if comptime![has_other] {
            add_product::<F>(&mut of_one, other_left, other_one, &work, &other_strides, 0usize, shares);
            add_product::<F>(&mut of_two, other_left, other_two, &work, &other_strides, before, shares);
        }
        let mut parts = Shared::<[f32]>::new_slice(comptime![UNITS * shares.rows * shares.columns]);
        let of_one = total_of_thread(&of_one, &mut parts, shares);
        let of_two = total_of_thread(&of_two, &mut parts, shares);
        let (row, column) = place_of_thread(&work, shares);
        if is_of_result(row, column, &work, shares) {
            let place = row * work.columns + column;
            match comptime![gate] {
                Some(activation) => {
                    let (value, _) = active(of_one, activation);
                    out[place] = value * of_two;
                }
                None => {
                    out[place] = of_one;
                    out_of_two[place] = of_two;
                }
            }
        }
    }
}
