//! The activations of an MLP and their derivatives, times the other half where there is one. Both may be parts of one matrix.

use super::memory::{MatrixLines, empty, groups, lines, tensor, threads};
use crate::kernel::{PER_ROOT_TAU, TANH_CUBE, TANH_FACTOR};
use burn::tensor::Tensor;
use cubecl::prelude::*;
use formats::architectures::Activation;

pub fn gate(activation: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2> {
    let [n, inner] = x.dims();
    let has_up = up.is_some();
    let x = lines(x);
    let up = up.map_or_else(|| x.clone(), lines);
    let out = empty::<f32>(&x.numbers, &[n, inner]);
    let client = out.client.clone();
    let (down, up_down) = (x.down, up.down);
    gate_numbers::launch(
        &client,
        groups(&client, n * inner),
        threads(),
        x.numbers.into_buffer_arg(),
        up.numbers.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        inner as u32,
        down,
        up_down,
        activation,
        has_up,
    );
    tensor(out)
}

pub fn gate_back(
    activation: Activation,
    x: Tensor<2>,
    up: Option<Tensor<2>>,
    dy: Tensor<2>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let [n, inner] = x.dims();
    let has_up = up.is_some();
    let [x, dy] = [x, dy].map(lines);
    let up = up.map_or_else(|| x.clone(), lines);
    let dx = empty::<f32>(&x.numbers, &[n, inner]);
    let d_up = if has_up { empty::<f32>(&x.numbers, &[n, inner]) } else { dx.clone() };
    let client = dx.client.clone();
    let [of_x, of_up, of_dy]: [&MatrixLines; 3] = [&x, &up, &dy];
    gate_numbers_back::launch(
        &client,
        groups(&client, n * inner),
        threads(),
        of_x.numbers.clone().into_buffer_arg(),
        of_up.numbers.clone().into_buffer_arg(),
        of_dy.numbers.clone().into_buffer_arg(),
        dx.clone().into_buffer_arg(),
        d_up.clone().into_buffer_arg(),
        inner as u32,
        of_x.down,
        of_up.down,
        of_dy.down,
        activation,
        has_up,
    );
    (tensor(dx), has_up.then(|| tensor(d_up)))
}

/// e^x without a result that is infinite: an infinite number divided by itself is none.
#[cube]
fn exp_below(x: f32) -> f32 {
    min(x, 80.0f32).exp()
}

/// An activation's value and derivative.
#[cube]
pub fn active(x: f32, #[comptime] which: Activation) -> (f32, f32) {
    let mut value = max(x, 0.0f32);
    let mut derivative = select(x > 0.0f32, 1.0f32, 0.0f32);
    if comptime![which == Activation::Silu] {
        let s = 1.0f32 / (1.0f32 + exp_below(-x));
        value = x * s;
        derivative = s * (1.0f32 + x * (1.0f32 - s));
    }
    if comptime![which == Activation::Gelu] {
        let below = 0.5f32 * (1.0f32 + Erf::erf(x * std::f32::consts::FRAC_1_SQRT_2));
        value = x * below;
        derivative = below + x * (-0.5f32 * x * x).exp() * comptime![PER_ROOT_TAU as f32];
    }
    if comptime![which == Activation::GeluTanh] {
        let (factor, cube) = (comptime![TANH_FACTOR as f32], comptime![TANH_CUBE as f32]);
        // tanh y = 1 − 2/(e^(2y) + 1).
        let t = 1.0f32 - 2.0f32 / (exp_below(2.0f32 * factor * x * (1.0f32 + cube * x * x)) + 1.0f32);
        let steep = (1.0f32 - t * t) * factor * (1.0f32 + 3.0f32 * cube * x * x);
        value = 0.5f32 * x * (1.0f32 + t);
        derivative = 0.5f32 * (1.0f32 + t + x * steep);
    }
    (value, derivative)
}

#[cube(launch)]
fn gate_numbers(
    x: &[f32],
    up: &[f32],
    out: &mut [f32],
    inner: u32,
    down: u32,
    up_down: u32,
    #[comptime] which: Activation,
    #[comptime] has_up: bool,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let row = at / inner as usize;
        let column = at - row * inner as usize;
        let (value, _) = active(x[row * down as usize + column], which);
        if comptime![has_up] {
            out[at] = value * up[row * up_down as usize + column];
        } else {
            out[at] = value;
        }
    }
}

#[cube(launch)]
fn gate_numbers_back(
    x: &[f32],
    up: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    d_up: &mut [f32],
    inner: u32,
    down: u32,
    up_down: u32,
    dy_down: u32,
    #[comptime] which: Activation,
    #[comptime] has_up: bool,
) {
    let at = ABSOLUTE_POS;
    if at < dx.len() {
        let row = at / inner as usize;
        let column = at - row * inner as usize;
        let (value, derivative) = active(x[row * down as usize + column], which);
        let dy = dy[row * dy_down as usize + column];
        if comptime![has_up] {
            dx[at] = dy * up[row * up_down as usize + column] * derivative;
            d_up[at] = dy * value;
        } else {
            dx[at] = dy * derivative;
        }
    }
}
