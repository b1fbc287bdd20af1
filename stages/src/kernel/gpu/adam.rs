//! A step of Adam in one pass over memory, and the norm of the gradients behind it.

use super::memory::{UNITS, cube, empty, groups, tensor, threads};
use super::sums::sum_of_group;
use crate::kernel::AdamStep;
use burn::tensor::Tensor;
use cubecl::prelude::*;

/// Numbers that a workgroup adds up.
const PIECE: usize = 1 << 14;

/// The sum of the squares of all numbers, `[1]`: over pieces, then over the sums of all of these.
pub fn sum_of_squares(gradients: &[Tensor<2>]) -> Tensor<1> {
    let pieces: usize = gradients.iter().map(|gradient| gradient.shape().num_elements().div_ceil(PIECE)).sum();
    let first = cube(gradients[0].clone());
    let (client, sums) = (first.client.clone(), empty::<f32>(&first, &[pieces]));
    let mut at = 0;
    for gradient in gradients {
        let n = gradient.shape().num_elements();
        let here = n.div_ceil(PIECE);
        squares_of_pieces::launch(
            &client,
            CubeCount::new_1d(here as u32),
            threads(),
            cube(gradient.clone()).into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            at as u32,
            PIECE as u32,
            UNITS,
        );
        at += here;
    }
    let total = empty::<f32>(&first, &[1]);
    sum_of_all::launch(
        &client,
        CubeCount::new_1d(1),
        threads(),
        sums.into_buffer_arg(),
        total.clone().into_buffer_arg(),
        UNITS,
    );
    tensor(total)
}

pub fn adam(step: &AdamStep, tensors: [Tensor<2>; 4]) -> [Tensor<2>; 3] {
    let shape = tensors[0].dims();
    let [weight, mean, square, gradient] = tensors.map(cube);
    let client = weight.client.clone();
    let out = [(); 3].map(|()| empty::<f32>(&weight, &shape));
    let [to_weight, to_mean, to_square] = out.clone();
    let narrow = |number: f64| number as f32;
    step_numbers::launch(
        &client,
        groups(&client, shape[0] * shape[1]),
        threads(),
        weight.into_buffer_arg(),
        mean.into_buffer_arg(),
        square.into_buffer_arg(),
        gradient.into_buffer_arg(),
        to_weight.into_buffer_arg(),
        to_mean.into_buffer_arg(),
        to_square.into_buffer_arg(),
        narrow(step.beta1),
        narrow(1.0 - step.beta1),
        narrow(step.beta2),
        narrow(1.0 - step.beta2),
        narrow(step.shrink),
        narrow(step.rate),
        narrow(1.0 / step.correction),
        narrow(step.epsilon),
        narrow(step.retain),
    );
    out.map(tensor)
}

#[cube(launch)]
fn squares_of_pieces(numbers: &[f32], sums: &mut [f32], first: u32, piece: u32, #[comptime] units: usize) {
    let from = CUBE_POS * piece as usize;
    let to = min(from + piece as usize, numbers.len());
    let mut sum = 0.0f32;
    let mut at = from + UNIT_POS as usize;
    while at < to {
        sum += numbers[at] * numbers[at];
        at += units;
    }
    let sum = sum_of_group(sum, units);
    if UNIT_POS == 0 {
        sums[first as usize + CUBE_POS] = sum;
    }
}

#[cube(launch)]
fn sum_of_all(numbers: &[f32], total: &mut [f32], #[comptime] units: usize) {
    let mut sum = 0.0f32;
    let mut at = UNIT_POS as usize;
    while at < numbers.len() {
        sum += numbers[at];
        at += units;
    }
    let sum = sum_of_group(sum, units);
    if UNIT_POS == 0 {
        total[0] = sum;
    }
}

#[cube(launch)]
fn step_numbers(
    weight: &[f32],
    mean: &[f32],
    square: &[f32],
    gradient: &[f32],
    to_weight: &mut [f32],
    to_mean: &mut [f32],
    to_square: &mut [f32],
    beta1: f32,
    fresh1: f32,
    beta2: f32,
    fresh2: f32,
    shrink: f32,
    rate: f32,
    per_correction: f32,
    epsilon: f32,
    retain: f32,
) {
    let at = ABSOLUTE_POS;
    if at < weight.len() {
        let g = gradient[at] * shrink;
        let m = mean[at] * beta1 + g * fresh1;
        let s = square[at] * beta2 + g * g * fresh2;
        to_weight[at] = weight[at] * retain - rate * m / ((s * per_correction).sqrt() + epsilon);
        to_mean[at] = m;
        to_square[at] = s;
    }
}
