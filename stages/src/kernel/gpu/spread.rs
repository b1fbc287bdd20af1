//! The matrices of an adapter that lies in one tensor, to where they are computed with and back.

use super::memory::{cube, cube_of_ints, empty, groups, tensor, threads, view};
use super::product;
use crate::kernel::Blocks;
use burn::tensor::Tensor;
use cubecl::prelude::*;

pub fn spread(blocks: &Blocks, trained: Tensor<2>) -> Tensor<1> {
    let buffer = Tensor::<1>::zeros([blocks.size], &trained.device());
    let (trained, out, table, factors) =
        (cube(trained), cube(buffer), cube_of_ints(blocks.table.clone()), cube(blocks.factors.clone()));
    let client = out.client.clone();
    spread_numbers::launch(
        &client,
        groups(&client, blocks.trained),
        threads(),
        trained.into_buffer_arg(),
        table.into_buffer_arg(),
        factors.into_buffer_arg(),
        out.clone().into_buffer_arg(),
    );
    tensor(out)
}

pub fn gather(blocks: &Blocks, gradients: Tensor<1>) -> Tensor<2> {
    let (gradients, table, factors) =
        (cube(gradients), cube_of_ints(blocks.table.clone()), cube(blocks.factors.clone()));
    let out = empty::<f32>(&gradients, &[1, blocks.trained]);
    let client = out.client.clone();
    gather_numbers::launch(
        &client,
        groups(&client, blocks.trained),
        threads(),
        gradients.into_buffer_arg(),
        table.into_buffer_arg(),
        factors.into_buffer_arg(),
        out.clone().into_buffer_arg(),
    );
    tensor(out)
}

pub fn product_into(left: Tensor<2>, right: Tensor<2>, buffer: &Tensor<1>, at: usize) {
    let ([rows, _], [_, columns]) = (left.dims(), right.dims());
    let place = buffer.clone().narrow(0, at, rows * columns).reshape([rows, columns]);
    product::product_into(left, right, view(place).numbers);
}

/// The block of the trained number `at`: the last that begins at or before it.
#[cube]
fn block_of(at: usize, table: &[i32]) -> usize {
    let mut low = 0usize;
    let mut high = table.len() / 4;
    while high - low > 1 {
        let middle = (low + high) / 2;
        if table[4 * middle] as usize <= at {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Its place in the buffer.
#[cube]
fn place_of(at: usize, block: usize, table: &[i32]) -> usize {
    let inside = at - table[4 * block] as usize;
    let columns = table[4 * block + 1] as usize;
    let row = inside / columns;
    table[4 * block + 2] as usize + row * table[4 * block + 3] as usize + (inside - row * columns)
}

#[cube(launch)]
fn spread_numbers(trained: &[f32], table: &[i32], factors: &[f32], out: &mut [f32]) {
    let at = ABSOLUTE_POS;
    if at < trained.len() {
        let block = block_of(at, table);
        out[place_of(at, block, table)] = trained[at] * factors[block];
    }
}

#[cube(launch)]
fn gather_numbers(gradients: &[f32], table: &[i32], factors: &[f32], out: &mut [f32]) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let block = block_of(at, table);
        out[at] = gradients[place_of(at, block, table)] * factors[block];
    }
}
