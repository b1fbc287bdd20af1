//! The gradient of a table whose rows were looked up. Tokens are brought together by their ids on the host, which knows
//! them; each sum then has an order of its own, where atomics would have none.

use super::memory::{cube, cube_of_ints, groups, tensor, threads};
use crate::tensor::from_ids;
use burn::tensor::Tensor;
use cubecl::prelude::*;

pub fn table_back(gradient: Tensor<2>, ids: &[u32], v: usize) -> Tensor<2> {
    let device = gradient.device();
    let [_, d] = gradient.dims();
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|token| ids[*token as usize]);
    let rounds = rounds(&order, ids);
    let out = cube(Tensor::<2>::zeros([v, d], &device));
    let client = out.client.clone();
    let (gradient, order) = (cube(gradient), cube_of_ints(from_ids(&order, &device)));
    for Round { runs, rows } in rounds {
        let n = rows.len() * d;
        let [runs, rows] = [runs, rows].map(|ids| cube_of_ints(from_ids(&ids, &device)));
        add_rows::launch(
            &client,
            groups(&client, n),
            threads(),
            gradient.clone().into_buffer_arg(),
            order.clone().into_buffer_arg(),
            runs.into_buffer_arg(),
            rows.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            d as u32,
        );
    }
    tensor(out)
}

/// Tokens that one launch adds up of an id: a software driver ends every loop after 65,535 turns without a word.
const IN_A_ROUND: usize = 1 << 15;

/// A part of the work that has each id once.
#[derive(Default)]
struct Round {
    /// Where the tokens of each id begin in the order, and where they end.
    runs: Vec<u32>,
    /// The ids.
    rows: Vec<u32>,
}

/// The tokens by their ids, in one round unless an id has very many of them.
fn rounds(order: &[u32], ids: &[u32]) -> Vec<Round> {
    let mut rounds = vec![Round::default()];
    let mut first = 0;
    for run in order.chunk_by(|one, other| ids[*one as usize] == ids[*other as usize]) {
        for (number, part) in run.chunks(IN_A_ROUND).enumerate() {
            if number == rounds.len() {
                rounds.push(Round::default());
            }
            rounds[number].runs.extend([first, first + part.len() as u32]);
            rounds[number].rows.push(ids[part[0] as usize]);
            first += part.len() as u32;
        }
    }
    rounds
}

/// Adds the sum of each run to the row of its id.
#[cube(launch)]
fn add_rows(gradient: &[f32], order: &[i32], runs: &[i32], rows: &[i32], out: &mut [f32], d: u32) {
    let d = d as usize;
    if ABSOLUTE_POS < rows.len() * d {
        let run = ABSOLUTE_POS / d;
        let column = ABSOLUTE_POS - run * d;
        let mut sum = 0.0f32;
        for place in runs[2 * run] as usize..runs[2 * run + 1] as usize {
            sum += gradient[order[place] as usize * d + column];
        }
        let row = rows[run] as usize * d + column;
        out[row] = out[row] + sum;
    }
}
