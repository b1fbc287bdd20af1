//! Rotary positions of queries and keys in one kernel, with angles that are read where they lie in the table of the model.

use super::memory::{cube, cube_of_ints, empty, groups, tensor, threads};
use crate::kernel::{AngleRows, Angles, Heads};
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Queries and keys turned by their angles; the other way where they are turned `back`.
pub fn rotate([queries, keys]: [Tensor<2>; 2], angles: &Angles, heads: Heads, back: bool) -> [Tensor<2>; 2] {
    let [_, dims] = angles.cosines.dims();
    let AngleRows::Listed(rows) = angles.rows.clone() else { unreachable!("the rows of whole tokens are listed") };
    let ([n, of_queries], [_, of_keys]) = (queries.dims(), keys.dims());
    let [queries, keys] = [queries, keys].map(cube);
    let [to_queries, to_keys] = [of_queries, of_keys].map(|width| empty::<f32>(&queries, &[n, width]));
    let client = queries.client.clone();
    rotate_both::launch(
        &client,
        groups(&client, n * (of_queries + of_keys)),
        threads(),
        queries.into_buffer_arg(),
        keys.into_buffer_arg(),
        cube(angles.cosines.clone()).into_buffer_arg(),
        cube(angles.sines.clone()).into_buffer_arg(),
        cube_of_ints(rows).into_buffer_arg(),
        to_queries.clone().into_buffer_arg(),
        to_keys.clone().into_buffer_arg(),
        heads.width as u32,
        dims as u32,
        if back { -1.0 } else { 1.0 },
    );
    [to_queries, to_keys].map(tensor)
}

/// The turn of tokens whose rows of the table are counted from the beginning of their row.
pub struct TokenTurn {
    pub cosines: CubeTensor,
    pub sines: CubeTensor,
    pub behind: u32,
    pub dims: u32,
}

impl TokenTurn {
    pub fn of(angles: Option<&Angles>, otherwise: &CubeTensor) -> TokenTurn {
        let Some(Angles { cosines, sines, rows, .. }) = angles else {
            return TokenTurn { cosines: otherwise.clone(), sines: otherwise.clone(), behind: 0, dims: 0 };
        };
        let AngleRows::Counted { behind } = rows else { unreachable!("the rows of tokens that follow are counted") };
        let dims = cosines.dims()[1] as u32;
        TokenTurn { cosines: cube(cosines.clone()), sines: cube(sines.clone()), behind: *behind as u32, dims }
    }
}

/// The number `at` of a head that begins at `start`, after its turn by row `row` of the table.
#[cube]
pub fn rotated(
    x: &[f32],
    start: usize,
    at: usize,
    cosines: &[f32],
    sines: &[f32],
    row: usize,
    dims: usize,
    sign: f32,
) -> f32 {
    let mut out = x[start + at];
    if at < dims {
        let half = dims / 2;
        let other = if at < half { at + half } else { at - half };
        // The sines of the first half are negative.
        out = out * cosines[row * dims + at] + sign * x[start + other] * sines[row * dims + at];
    }
    out
}

#[cube(launch)]
fn rotate_both(
    queries: &[f32],
    keys: &[f32],
    cosines: &[f32],
    sines: &[f32],
    rows: &[i32],
    to_queries: &mut [f32],
    to_keys: &mut [f32],
    head: u32,
    dims: u32,
    sign: f32,
) {
    let (head, dims) = (head as usize, dims as usize);
    if ABSOLUTE_POS < to_queries.len() {
        let width = to_queries.len() / rows.len();
        let token = ABSOLUTE_POS / width;
        let at = ABSOLUTE_POS % head;
        let start = ABSOLUTE_POS - at;
        to_queries[ABSOLUTE_POS] = rotated(queries, start, at, cosines, sines, rows[token] as usize, dims, sign);
    } else if ABSOLUTE_POS < to_queries.len() + to_keys.len() {
        let place = ABSOLUTE_POS - to_queries.len();
        let width = to_keys.len() / rows.len();
        let token = place / width;
        let at = place % head;
        let start = place - at;
        to_keys[place] = rotated(keys, start, at, cosines, sines, rows[token] as usize, dims, sign);
    }
}
