//! Sums along rows, each in one pass on all cores: norms, gates, rotations, softmax, and Adam. A result depends on its
//! own row alone, so neither the number of threads nor the rows beside it change a bit.

use super::memory::{HostTensor, PIECE, changed, exp, filled, filled_side_by_side, largest, sigmoid, sum};
use crate::kernel::{AdamStep, Angles, Normalization, PER_ROOT_TAU, Predictions, TANH_CUBE, TANH_FACTOR};
use crate::tensor::from_values;
use burn::tensor::Tensor;
use formats::architectures::Activation;
use rayon::prelude::*;

// ------------------------------------------------------------------------------------------------------- norms

pub fn norm(x: Tensor<2>, norm: Normalization) -> Tensor<2> {
    let device = x.device();
    let [n, d] = x.dims();
    let (x, weight) = (HostTensor::contiguous(x), HostTensor::contiguous(norm.weight));
    let bias = norm.bias.map(|bias| HostTensor::contiguous(bias.clone()));
    let (x, weight, bias) = (x.slice(), weight.slice(), bias.as_ref().map_or(&[][..], HostTensor::slice));
    let Normalization { epsilon, is_centred, .. } = norm;
    let out = filled(
        n,
        d,
        #[inline(always)]
        |row, out| {
            let x = &x[row * d..(row + 1) * d];
            let mean = if is_centred { sum(d, |i| x[i]) / d as f32 } else { 0.0 };
            let square = sum(d, |i| (x[i] - mean) * (x[i] - mean)) / d as f32;
            let scale = 1.0 / (square + epsilon as f32).sqrt();
            for i in 0..d {
                out[i] = (x[i] - mean) * scale * weight[i];
            }
            if !bias.is_empty() {
                for i in 0..d {
                    out[i] += bias[i];
                }
            }
        },
    );
    from_values(out, [n, d], &device)
}

pub fn norm_back(x: Tensor<2>, norm: Normalization, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
    let device = x.device();
    let [n, d] = x.dims();
    let [x, weight, dy] = [x, norm.weight, dy].map(HostTensor::contiguous);
    let residual = residual.map(HostTensor::contiguous);
    let (x, weight, dy) = (x.slice(), weight.slice(), dy.slice());
    let residual = residual.as_ref().map_or(&[][..], HostTensor::slice);
    let Normalization { epsilon, is_centred, .. } = norm;
    let out = filled(
        n,
        d,
        #[inline(always)]
        |row, out| {
            let (x, dy) = (&x[row * d..(row + 1) * d], &dy[row * d..(row + 1) * d]);
            let mean_of = |total: f32| total / d as f32;
            let mean = if is_centred { mean_of(sum(d, |i| x[i])) } else { 0.0 };
            let scale = 1.0 / (mean_of(sum(d, |i| (x[i] - mean) * (x[i] - mean))) + epsilon as f32).sqrt();
            let along = mean_of(sum(d, |i| weight[i] * dy[i] * ((x[i] - mean) * scale)));
            for i in 0..d {
                out[i] = (weight[i] * dy[i] - (x[i] - mean) * scale * along) * scale;
            }
            if is_centred {
                let mean = mean_of(sum(d, |i| out[i]));
                for x in out.iter_mut() {
                    *x -= mean;
                }
            }
            if !residual.is_empty() {
                let residual = &residual[row * d..(row + 1) * d];
                for i in 0..d {
                    out[i] += residual[i];
                }
            }
        },
    );
    from_values(out, [n, d], &device)
}

// ------------------------------------------------------------------------------------------------------- gates

pub fn gate(activation: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2> {
    let device = x.device();
    let shape = x.dims();
    let (x, up) = (HostTensor::contiguous(x), up.map(HostTensor::contiguous));
    let (x, up) = (x.slice(), up.as_ref().map_or(&[][..], HostTensor::slice));
    let d = shape[1];
    let out = filled(
        shape[0],
        d,
        #[inline(always)]
        |row, out| {
            let x = &x[row * d..(row + 1) * d];
            match activation {
                // A loop of its own, because only this one is compiled to vectors.
                Activation::Silu => (0..d).for_each(|i| out[i] = x[i] * sigmoid(x[i])),
                _ => (0..d).for_each(|i| out[i] = active(activation, x[i]).0),
            }
            if !up.is_empty() {
                let up = &up[row * d..(row + 1) * d];
                for i in 0..d {
                    out[i] *= up[i];
                }
            }
        },
    );
    from_values(out, shape, &device)
}

pub fn gate_back(
    activation: Activation,
    x: Tensor<2>,
    up: Option<Tensor<2>>,
    dy: Tensor<2>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let device = x.device();
    let shape = x.dims();
    let has_up = up.is_some();
    let (x, up, dy) = (HostTensor::contiguous(x), up.map(HostTensor::contiguous), HostTensor::contiguous(dy));
    let (x, up, dy) = (x.slice(), up.as_ref().map_or(&[][..], HostTensor::slice), dy.slice());
    let d = shape[1];
    let [dx, d_up] = filled_side_by_side(
        shape[0],
        [d, if has_up { d } else { 0 }],
        #[inline(always)]
        |row, [dx, d_up]| {
            let (x, dy) = (&x[row * d..(row + 1) * d], &dy[row * d..(row + 1) * d]);
            if !has_up {
                (0..d).for_each(|i| dx[i] = dy[i] * active(activation, x[i]).1);
                return;
            }
            let up = &up[row * d..(row + 1) * d];
            // A loop of its own, because only this one is compiled to vectors.
            match activation {
                Activation::Silu => {
                    for i in 0..d {
                        let s = sigmoid(x[i]);
                        dx[i] = dy[i] * up[i] * (s * (1.0 + x[i] * (1.0 - s)));
                        d_up[i] = dy[i] * (x[i] * s);
                    }
                }
                _ => {
                    for i in 0..d {
                        let (value, derivative) = active(activation, x[i]);
                        dx[i] = dy[i] * up[i] * derivative;
                        d_up[i] = dy[i] * value;
                    }
                }
            }
        },
    );
    (from_values(dx, shape, &device), has_up.then(|| from_values(d_up, shape, &device)))
}

/// An activation's value and derivative.
#[inline(always)]
fn active(activation: Activation, x: f32) -> (f32, f32) {
    match activation {
        Activation::Silu => {
            let s = sigmoid(x);
            (x * s, s * (1.0 + x * (1.0 - s)))
        }
        Activation::Gelu => {
            let below = 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
            (x * below, below + x * exp(-0.5 * x * x) * PER_ROOT_TAU as f32)
        }
        Activation::GeluTanh => {
            let (factor, cube) = (TANH_FACTOR as f32, TANH_CUBE as f32);
            // tanh y = 1 − 2/(e^(2y) + 1).
            let t = 1.0 - 2.0 / (exp(2.0 * factor * x * (1.0 + cube * x * x)) + 1.0);
            let steep = (1.0 - t * t) * factor * (1.0 + 3.0 * cube * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t + x * steep))
        }
        Activation::Relu => (x.max(0.0), f32::from(u8::from(x > 0.0))),
    }
}

// --------------------------------------------------------------------------------------------------- rotations

/// Rotates heads of `hd` numbers by the angles times `sign`.
pub fn rotate(x: Tensor<2>, angles: &Angles, hd: usize, sign: f32) -> Tensor<2> {
    let device = x.device();
    let [n, width] = x.dims();
    let dims = angles.cosines.dims()[1];
    let half = dims / 2;
    let (x, cosines) = (HostTensor::contiguous(x), HostTensor::contiguous(angles.cosines.clone()));
    let sines = HostTensor::contiguous(angles.sines.clone());
    let (x, cosines, sines) = (x.slice(), cosines.slice(), sines.slice());
    let out = filled(
        n,
        width,
        #[inline(always)]
        |row, out| {
            let (cosines, sines) = (&cosines[row * dims..(row + 1) * dims], &sines[row * dims..(row + 1) * dims]);
            let x = &x[row * width..(row + 1) * width];
            for (x, out) in x.chunks_exact(hd).zip(out.chunks_exact_mut(hd)) {
                for i in 0..half {
                    out[i] = x[i] * cosines[i] - sign * x[half + i] * sines[half + i];
                    out[half + i] = x[half + i] * cosines[i] + sign * x[i] * sines[half + i];
                }
                out[dims..].copy_from_slice(&x[dims..]);
            }
        },
    );
    from_values(out, [n, width], &device)
}

// ----------------------------------------------------------------------------------------------------- softmax

pub fn log_softmax(logits: Tensor<2>, targets: &[u32]) -> Predictions {
    let [n, v] = logits.dims();
    let logits = HostTensor::contiguous(logits);
    let logits = logits.slice();
    let mut out = vec![0.0; n * 2];
    // Rows are long here: each is a piece of its own.
    out.par_chunks_exact_mut(2).enumerate().with_min_len((PIECE / v).max(1)).for_each(|(row, out)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let logits = &logits[row * v..(row + 1) * v];
                let most = largest(logits);
                let total = sum(v, |i| exp(logits[i] - most));
                let moment = sum(v, |i| exp(logits[i] - most) * (logits[i] - most));
                let log_total = total.ln();
                out[0] = logits[targets[row] as usize] - most - log_total;
                out[1] = log_total - moment / total;
            },
        );
    });
    let column = |at: usize| out.iter().skip(at).step_by(2).map(|x| f64::from(*x)).collect();
    Predictions { log_probs: column(0), entropies: column(1) }
}

pub fn divergence(p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
    let device = p.device();
    let [n, v] = p.dims();
    let both = [p, q].map(HostTensor::contiguous);
    let [p, q] = [both[0].slice(), both[1].slice()];
    let mut out = vec![0.0_f32; n];
    out.par_iter_mut().enumerate().with_min_len((PIECE / v).max(1)).for_each(|(row, out)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let [p, q] = [&p[row * v..(row + 1) * v], &q[row * v..(row + 1) * v]];
                let [most_p, most_q] = [largest(p), largest(q)];
                let [total_p, total_q] = [sum(v, |i| exp(p[i] - most_p)), sum(v, |i| exp(q[i] - most_q))];
                let apart = sum(v, |i| exp(p[i] - most_p) * ((p[i] - most_p) - (q[i] - most_q)));
                let divergence = apart / total_p - total_p.ln() + total_q.ln();
                // Rounding alone would take it below zero; NaN stays NaN.
                *out = if divergence < 0.0 { 0.0 } else { divergence };
            },
        );
    });
    from_values(out, [n, 1], &device)
}

pub fn log_softmax_back(logits: Tensor<2>, targets: &[u32], d_log_probs: &[f32], d_entropies: &[f32]) -> Tensor<2> {
    let device = logits.device();
    let [n, v] = logits.dims();
    let logits = HostTensor::contiguous(logits);
    let logits = logits.slice();
    let out = filled(
        n,
        v,
        #[inline(always)]
        |row, out| {
            let logits = &logits[row * v..(row + 1) * v];
            let most = largest(logits);
            for i in 0..v {
                out[i] = exp(logits[i] - most);
            }
            let total = sum(v, |i| out[i]);
            let (a, b) = (d_log_probs[row], d_entropies[row]);
            if b == 0.0 {
                let scale = -a / total;
                for x in out.iter_mut() {
                    *x *= scale;
                }
            } else {
                let moment = sum(v, |i| out[i] * (logits[i] - most));
                // log p + H = (x − most) − moment/total.
                for i in 0..v {
                    let p = out[i] / total;
                    out[i] = -p * (a + b * (logits[i] - most - moment / total));
                }
            }
            out[targets[row] as usize] += a;
        },
    );
    from_values(out, [n, v], &device)
}

// -------------------------------------------------------------------------------------------------------- Adam

pub fn adam(step: &AdamStep, tensors: [Tensor<2>; 4]) -> [Tensor<2>; 3] {
    let [weight, mean, square, gradient] = tensors.map(HostTensor::contiguous);
    let (beta1, beta2, shrink) = (step.beta1 as f32, step.beta2 as f32, step.shrink as f32);
    let (rate, per_correction) = (step.rate as f32, (1.0 / step.correction) as f32);
    let (epsilon, retain) = (step.epsilon as f32, step.retain as f32);
    let (fresh1, fresh2) = ((1.0 - step.beta1) as f32, (1.0 - step.beta2) as f32);
    let mut state = [weight, mean, square];
    changed(
        state.each_mut().map(HostTensor::slice_mut),
        gradient.slice(),
        #[inline(always)]
        |[weights, means, squares], gradient| {
            let n = gradient.len();
            let (weights, means, squares) = (&mut weights[..n], &mut means[..n], &mut squares[..n]);
            for i in 0..n {
                let g = gradient[i] * shrink;
                let m = means[i] * beta1 + g * fresh1;
                let s = squares[i] * beta2 + g * g * fresh2;
                weights[i] = weights[i] * retain - rate * m / ((s * per_correction).sqrt() + epsilon);
                means[i] = m;
                squares[i] = s;
            }
        },
    );
    state.map(HostTensor::into_tensor)
}
