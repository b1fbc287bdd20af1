//! The two products of a gated MLP for few rows, in one kernel: the activation of one times the other.

use super::factors::Factors;
use super::few::{
    Shares, UNITS, add_products, no_sums, place_of_thread, share_of_thread, starts_of_thread, total_of_thread,
};
use crate::kernel::gpu::gates::active;
use crate::kernel::gpu::memory::{kind_of, one_each};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use formats::architectures::Activation;

/// Both sides have the same left-hand matrices, and right-hand ones of the same shapes and places.
pub fn launch(shape: [usize; 2], activation: Activation, [gate, up]: [&[Factors]; 2], out: CubeTensor) {
    let [rows, columns] = shape;
    let (one, two) = (&gate[0], gate.get(1));
    let (other, up_other) = (two.unwrap_or(one), up.get(1).unwrap_or(&up[0]));
    let shares = Shares::of(shape, (one.right.down, one.right.right), one.inner);
    let across = columns.div_ceil(shares.columns_of_group());
    let groups = across * rows.div_ceil(shares.rows);
    let client = out.client.clone();
    multiply_gated::launch(
        &client,
        one_each(&client, groups),
        CubeDim::new_1d(UNITS as u32),
        one.left.numbers.clone().into_buffer_arg(),
        one.right.numbers.clone().into_buffer_arg(),
        up[0].right.numbers.clone().into_buffer_arg(),
        other.left.numbers.clone().into_buffer_arg(),
        other.right.numbers.clone().into_buffer_arg(),
        up_other.right.numbers.clone().into_buffer_arg(),
        out.into_buffer_arg(),
        rows as u32,
        columns as u32,
        groups as u32,
        across as u32,
        one.inner as u32,
        one.left.down,
        one.left.right,
        one.right.down,
        one.right.right,
        other.inner as u32,
        other.left.down,
        other.left.right,
        other.right.down,
        other.right.right,
        other.factor,
        shares,
        two.is_some(),
        activation,
        kind_of(&one.right.numbers),
        kind_of(&other.right.numbers),
    );
}

#[cube(launch)]
fn multiply_gated<E: Numeric, F: Numeric>(
    left: &[f32],
    gate: &[E],
    up: &[E],
    other_left: &[f32],
    other_gate: &[F],
    other_up: &[F],
    out: &mut [f32],
    rows: u32,
    columns: u32,
    groups: u32,
    across: u32,
    inner: u32,
    left_down: u32,
    left_right: u32,
    right_down: u32,
    right_right: u32,
    other_inner: u32,
    other_left_down: u32,
    other_left_right: u32,
    other_right_down: u32,
    other_right_right: u32,
    other_factor: f32,
    #[comptime] shares: Shares,
    #[comptime] has_other: bool,
    #[comptime] activation: Activation,
    #[define(E)] _of_right: ElemType,
    #[define(F)] _of_other: ElemType,
) {
    if CUBE_POS < groups as usize {
        let beside = comptime![UNITS / shares.along];
        let (rows, columns) = (rows as usize, columns as usize);
        let first_row = CUBE_POS / across as usize * comptime![shares.rows];
        let first_column = CUBE_POS % across as usize * comptime![beside * shares.columns];
        let (own, k) = share_of_thread(shares);
        let row_starts = starts_of_thread(first_row, 0usize, 1usize, rows, left_down as usize, comptime![shares.rows]);
        let column_starts =
            starts_of_thread(first_column, own, beside, columns, right_right as usize, comptime![shares.columns]);
        let other_rows =
            starts_of_thread(first_row, 0usize, 1usize, rows, other_left_down as usize, comptime![shares.rows]);
        let other_columns =
            starts_of_thread(first_column, own, beside, columns, other_right_right as usize, comptime![shares.columns]);
        let (inner, left_right, right_down) = (inner as usize, left_right as usize, right_down as usize);
        let mut of_gate = no_sums(shares);
        add_products::<E>(
            &mut of_gate,
            left,
            gate,
            &row_starts,
            &column_starts,
            inner,
            left_right,
            right_down,
            1.0f32,
            k,
            shares,
        );
        let mut of_up = no_sums(shares);
        add_products::<E>(
            &mut of_up,
            left,
            up,
            &row_starts,
            &column_starts,
            inner,
            left_right,
            right_down,
            1.0f32,
            k,
            shares,
        );
        if comptime![has_other] {
            let (inner, left_right, right_down) =
                (other_inner as usize, other_left_right as usize, other_right_down as usize);
            add_products::<F>(
                &mut of_gate,
                other_left,
                other_gate,
                &other_rows,
                &other_columns,
                inner,
                left_right,
                right_down,
                other_factor,
                k,
                shares,
            );
            add_products::<F>(
                &mut of_up,
                other_left,
                other_up,
                &other_rows,
                &other_columns,
                inner,
                left_right,
                right_down,
                other_factor,
                k,
                shares,
            );
        }
        let mut parts = Shared::<[f32]>::new_slice(comptime![UNITS * shares.rows * shares.columns]);
        let gate = total_of_thread(&of_gate, &mut parts, own, k, shares);
        let up = total_of_thread(&of_up, &mut parts, own, k, shares);
        let (row, column) = place_of_thread(first_row, first_column, shares);
        if (UNIT_POS as usize) < comptime![shares.numbers_of_group()] && row < rows && column < columns {
            let (value, _) = active(gate, activation);
            out[row * columns + column] = value * up;
        }
    }
}
