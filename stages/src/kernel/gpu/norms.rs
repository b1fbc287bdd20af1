//! RMSNorm and LayerNorm, and their derivatives: a workgroup a row.

use super::memory::{cube, empty, groups, one_each, tensor, threads};
use super::sums::{ROW_UNITS, sum_of_group};
use crate::kernel::Normalization;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

pub fn norm(x: Tensor<2>, norm: Normalization) -> Tensor<2> {
    let [rows, width] = x.dims();
    let (x, weight) = (cube(x), cube(norm.weight));
    let out = empty::<f32>(&x, &[rows, width]);
    let client = out.client.clone();
    let bias = norm.bias.map_or_else(|| weight.clone(), |bias| cube(bias.clone()));
    norm_rows::launch(
        &client,
        one_each(&client, rows),
        CubeDim::new_1d(ROW_UNITS),
        x.into_buffer_arg(),
        weight.into_buffer_arg(),
        bias.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows as u32,
        width as u32,
        norm.epsilon as f32,
        norm.is_centred,
        norm.bias.is_some(),
        ROW_UNITS as usize,
    );
    tensor(out)
}

pub fn norm_back(x: Tensor<2>, norm: Normalization, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let [x, weight, dy] = [x, norm.weight, dy].map(cube);
    let out = empty::<f32>(&x, &[rows, width]);
    let client = out.client.clone();
    let has_residual = residual.is_some();
    let residual = residual.map_or_else(|| dy.clone(), cube);
    norm_rows_back::launch(
        &client,
        one_each(&client, rows),
        CubeDim::new_1d(ROW_UNITS),
        x.into_buffer_arg(),
        weight.into_buffer_arg(),
        dy.into_buffer_arg(),
        residual.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows as u32,
        width as u32,
        norm.epsilon as f32,
        norm.is_centred,
        has_residual,
        ROW_UNITS as usize,
    );
    tensor(out)
}

pub fn norm_weight_back(x: Tensor<2>, norm: &Normalization, dy: Tensor<2>) -> [Tensor<2>; 2] {
    let [rows, width] = x.dims();
    let [x, dy] = [x, dy].map(cube);
    let sizes = empty::<f32>(&x, &[rows, 2]);
    let client = x.client.clone();
    sizes_of_rows::launch(
        &client,
        one_each(&client, rows),
        CubeDim::new_1d(ROW_UNITS),
        x.clone().into_buffer_arg(),
        sizes.clone().into_buffer_arg(),
        rows as u32,
        width as u32,
        norm.epsilon as f32,
        norm.is_centred,
        ROW_UNITS as usize,
    );
    [true, false].map(|is_scaled| column_sums(&dy, [&x, &sizes], [rows, width], is_scaled))
}

pub fn sum_of_rows(x: Tensor<2>) -> Tensor<2> {
    let shape = x.dims();
    let x = cube(x);
    column_sums(&x, [&x, &x], shape, false)
}

/// Rows that a thread adds up: more are added in a second step, and in a third.
const IN_A_PIECE: usize = 64;

/// The sums `[1, width]` of the columns of dy, each number times that of the scaled x where it is wanted.
fn column_sums(dy: &CubeTensor, [x, sizes]: [&CubeTensor; 2], shape: [usize; 2], is_scaled: bool) -> Tensor<2> {
    let [rows, width] = shape;
    let pieces = rows.div_ceil(IN_A_PIECE);
    let sums = empty::<f32>(dy, &[pieces, width]);
    let client = dy.client.clone();
    sum_columns::launch(
        &client,
        groups(&client, pieces * width),
        threads(),
        dy.clone().into_buffer_arg(),
        x.clone().into_buffer_arg(),
        sizes.clone().into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        rows as u32,
        width as u32,
        is_scaled,
    );
    if pieces == 1 { tensor(sums) } else { column_sums(&sums, [&sums, &sums], [pieces, width], false) }
}

/// The mean that is subtracted from the numbers of a row, and the factor they have after that.
#[cube]
fn mean_and_scale(
    x: &[f32],
    start: usize,
    width: usize,
    epsilon: f32,
    #[comptime] is_centred: bool,
    #[comptime] units: usize,
) -> (f32, f32) {
    let mut mean = 0.0f32;
    if comptime![is_centred] {
        let mut sum = 0.0f32;
        let mut at = UNIT_POS as usize;
        while at < width {
            sum += x[start + at];
            at += units;
        }
        mean = sum_of_group(sum, units) / width as f32;
    }
    let mut square = 0.0f32;
    let mut at = UNIT_POS as usize;
    while at < width {
        let centred = x[start + at] - mean;
        square += centred * centred;
        at += units;
    }
    let square = sum_of_group(square, units) / width as f32;
    (mean, 1.0f32 / (square + epsilon).sqrt())
}

#[cube(launch)]
fn norm_rows(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    out: &mut [f32],
    rows: u32,
    width: u32,
    epsilon: f32,
    #[comptime] is_centred: bool,
    #[comptime] has_bias: bool,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows as usize {
        let width = width as usize;
        let start = CUBE_POS * width;
        let (mean, scale) = mean_and_scale(x, start, width, epsilon, is_centred, units);
        let mut at = UNIT_POS as usize;
        while at < width {
            let mut number = (x[start + at] - mean) * scale * weight[at];
            if comptime![has_bias] {
                number += bias[at];
            }
            out[start + at] = number;
            at += units;
        }
    }
}

#[cube(launch)]
fn norm_rows_back(
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    residual: &[f32],
    out: &mut [f32],
    rows: u32,
    width: u32,
    epsilon: f32,
    #[comptime] is_centred: bool,
    #[comptime] has_residual: bool,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows as usize {
        let width = width as usize;
        let start = CUBE_POS * width;
        let (mean, scale) = mean_and_scale(x, start, width, epsilon, is_centred, units);
        let mut along = 0.0f32;
        let mut sum = 0.0f32;
        let mut at = UNIT_POS as usize;
        while at < width {
            let g = weight[at] * dy[start + at];
            along += g * ((x[start + at] - mean) * scale);
            sum += g;
            at += units;
        }
        let along = sum_of_group(along, units) / width as f32;
        // The scaled numbers of a centred norm sum to 0: what is left of the mean of the result is that of g.
        let mut mean_of_g = 0.0f32;
        if comptime![is_centred] {
            mean_of_g = sum_of_group(sum, units) / width as f32;
        }
        let mut at = UNIT_POS as usize;
        while at < width {
            let g = weight[at] * dy[start + at];
            let mut number = (g - (x[start + at] - mean) * scale * along - mean_of_g) * scale;
            if comptime![has_residual] {
                number += residual[start + at];
            }
            out[start + at] = number;
            at += units;
        }
    }
}

#[cube(launch)]
fn sizes_of_rows(
    x: &[f32],
    sizes: &mut [f32],
    rows: u32,
    width: u32,
    epsilon: f32,
    #[comptime] is_centred: bool,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows as usize {
        let width = width as usize;
        let (mean, scale) = mean_and_scale(x, CUBE_POS * width, width, epsilon, is_centred, units);
        if UNIT_POS == 0 {
            sizes[2 * CUBE_POS] = mean;
            sizes[2 * CUBE_POS + 1] = scale;
        }
    }
}

#[cube(launch)]
fn sum_columns(
    dy: &[f32],
    x: &[f32],
    sizes: &[f32],
    sums: &mut [f32],
    rows: u32,
    width: u32,
    #[comptime] is_scaled: bool,
) {
    let (rows, width) = (rows as usize, width as usize);
    if ABSOLUTE_POS < sums.len() {
        let piece = ABSOLUTE_POS / width;
        let column = ABSOLUTE_POS - piece * width;
        let mut sum = 0.0f32;
        for row in piece * IN_A_PIECE..min((piece + 1) * IN_A_PIECE, rows) {
            let mut number = dy[row * width + column];
            if comptime![is_scaled] {
                number = number * ((x[row * width + column] - sizes[2 * row]) * sizes[2 * row + 1]);
            }
            sum += number;
        }
        sums[ABSOLUTE_POS] = sum;
    }
}
