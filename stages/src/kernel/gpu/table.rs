//! The gradient of a table whose rows were looked up. Tokens are brought together by their ids on the host, which knows
//! them; each sum then has an order of its own, where atomics would have none.

use super::memory::{UNITS, cube, cube_of_ints, groups, tensor};
use crate::tensor::from_ids;
use burn::tensor::Tensor;
use cubecl::prelude::*;

pub fn table_back(gradient: Tensor<2>, ids: &[u32], v: usize) -> Tensor<2> {
    let device = gradient.device();
    let [_, d] = gradient.dims();
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|token| ids[*token as usize]);
    // Where the tokens of each id begin, the end of the last, and the ids themselves.
    let (mut runs, mut rows) = (Vec::new(), Vec::new());
    for (place, token) in order.iter().enumerate() {
        let id = ids[*token as usize];
        if rows.last() != Some(&id) {
            runs.push(place as u32);
            rows.push(id);
        }
    }
    runs.push(order.len() as u32);
    let n = rows.len() * d;
    let out = cube(Tensor::<2>::zeros([v, d], &device));
    let client = out.client.clone();
    let [order, runs, rows] = [order, runs, rows].map(|ids| cube_of_ints(from_ids(&ids, &device)));
    add_rows::launch(
        &client,
        groups(&client, n),
        CubeDim::new_1d(UNITS),
        cube(gradient).into_buffer_arg(),
        order.into_buffer_arg(),
        runs.into_buffer_arg(),
        rows.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        d as u32,
    );
    tensor(out)
}

#[cube(launch)]
fn add_rows(gradient: &[f32], order: &[i32], runs: &[i32], rows: &[i32], out: &mut [f32], d: u32) {
    let d = d as usize;
    if ABSOLUTE_POS < rows.len() * d {
        let run = ABSOLUTE_POS / d;
        let column = ABSOLUTE_POS - run * d;
        let mut sum = 0.0f32;
        for place in runs[run] as usize..runs[run + 1] as usize {
            sum += gradient[order[place] as usize * d + column];
        }
        out[rows[run] as usize * d + column] = sum;
    }
}
