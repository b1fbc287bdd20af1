//! Sums along rows that burn has no fused form of: norms, gates, rotations, and their derivatives. On the CPU backend one
//! pass over the rows, on all cores; elsewhere, and where burn is to differentiate, a tensor expression of the same
//! formula. Each result is a function of its own row, so neither the number of threads nor the rows beside it change a bit.

use super::config::Activation;
use super::host::{Numbers, exp, fill, fill_two, is_host, sigmoid, sum, tensor};
use burn::tensor::{Tensor, activation};

// ------------------------------------------------------------------------------------------------------ norms

/// (x − mean)·(mean square + ε)^(−½)·weight + bias over the last dimension; the mean is taken off only where `is_centred`
/// (LayerNorm, Ba et al. 2016; without, RMSNorm, Zhang & Sennrich 2019). `x` is `[n, d]`, weight and bias `[1, d]`.
pub fn norm(x: Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<2>>, epsilon: f64, is_centred: bool) -> Tensor<2> {
    let device = x.device();
    if !is_host(&device) || weight.device().is_autodiff() {
        let x = if is_centred { x.clone() - x.mean_dim(1) } else { x };
        let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt().recip();
        let normed = x * scale * weight.clone();
        return match bias {
            Some(bias) => normed + bias.clone(),
            None => normed,
        };
    }
    let [n, d] = x.dims();
    let (x, weight) = (Numbers::of(x), Numbers::of(weight.clone()));
    let bias = bias.map(|bias| Numbers::of(bias.clone()));
    let (x, weight, bias) = (x.slice(), weight.slice(), bias.as_ref().map_or(&[][..], Numbers::slice));
    let mut out = vec![0.0; n * d];
    fill(
        &mut out,
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
    tensor(out, [n, d], &device)
}

/// What [`norm`] passes back for the slope `dy` of its result: the slope of `x` `[n, d]`, added to what went `past` it; and, where they are wanted, that
/// of the weight and of the bias, `[1, d]` each.
///
/// With x̂ the scaled x and g = weight·dy: dx = scale·(g − x̂·mean(g·x̂)), less its mean where the norm is centred.
pub fn norm_back(
    x: Tensor<2>,
    weight: &Tensor<2>,
    dy: Tensor<2>,
    epsilon: f64,
    is_centred: bool,
    wants_weight: bool,
    past: Option<Tensor<2>>,
) -> (Tensor<2>, Option<[Tensor<2>; 2]>) {
    let device = x.device();
    let of_weight = wants_weight.then(|| {
        let one = Tensor::ones(weight.dims(), &device);
        let scaled = norm(x.clone(), &one, None, epsilon, is_centred);
        [(scaled * dy.clone()).sum_dim(0), dy.clone().sum_dim(0)]
    });
    let [n, d] = x.dims();
    if !is_host(&device) {
        let x = if is_centred { x.clone() - x.mean_dim(1) } else { x };
        let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt().recip();
        let (scaled, g) = (x * scale.clone(), dy * weight.clone());
        let dx = (g.clone() - scaled.clone() * (g * scaled).mean_dim(1)) * scale;
        let dx = if is_centred { dx.clone() - dx.mean_dim(1) } else { dx };
        return (past.into_iter().fold(dx, |dx, past| dx + past), of_weight);
    }
    let (x, weight, dy, past) = (Numbers::of(x), Numbers::of(weight.clone()), Numbers::of(dy), past.map(Numbers::of));
    let (x, weight, dy) = (x.slice(), weight.slice(), dy.slice());
    let past = past.as_ref().map_or(&[][..], Numbers::slice);
    let mut out = vec![0.0; n * d];
    fill(
        &mut out,
        d,
        #[inline(always)]
        |row, out| {
            let (x, dy) = (&x[row * d..(row + 1) * d], &dy[row * d..(row + 1) * d]);
            let of = |total: f32| total / d as f32;
            let mean = if is_centred { of(sum(d, |i| x[i])) } else { 0.0 };
            let scale = 1.0 / (of(sum(d, |i| (x[i] - mean) * (x[i] - mean))) + epsilon as f32).sqrt();
            let along = of(sum(d, |i| weight[i] * dy[i] * ((x[i] - mean) * scale)));
            for i in 0..d {
                out[i] = (weight[i] * dy[i] - (x[i] - mean) * scale * along) * scale;
            }
            if is_centred {
                let mean = of(sum(d, |i| out[i]));
                for x in out.iter_mut() {
                    *x -= mean;
                }
            }
            if !past.is_empty() {
                let past = &past[row * d..(row + 1) * d];
                for i in 0..d {
                    out[i] += past[i];
                }
            }
        },
    );
    (tensor(out, [n, d], &device), of_weight)
}

// ------------------------------------------------------------------------------------------------------ gates

/// f(x) of `[n, d]`, times `up` where there is one.
pub fn gate(which: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2> {
    let device = x.device();
    let shape = x.dims();
    if !is_host(&device) {
        let active = activate(which, x);
        return match up {
            Some(up) => active * up,
            None => active,
        };
    }
    let (x, up) = (Numbers::of(x), up.map(Numbers::of));
    let (x, up) = (x.slice(), up.as_ref().map_or(&[][..], Numbers::slice));
    let d = shape[1];
    let mut out = vec![0.0; x.len()];
    fill(
        &mut out,
        d,
        #[inline(always)]
        |row, out| {
            let x = &x[row * d..(row + 1) * d];
            match which {
                // Apart, because only this one is a loop of vectors.
                Activation::Silu => (0..d).for_each(|i| out[i] = x[i] * sigmoid(x[i])),
                _ => (0..d).for_each(|i| out[i] = active(which, x[i]).0),
            }
            if !up.is_empty() {
                let up = &up[row * d..(row + 1) * d];
                for i in 0..d {
                    out[i] *= up[i];
                }
            }
        },
    );
    tensor(out, shape, &device)
}

/// The slopes of `x` and of `up`, for that of [`gate`]'s result.
pub fn gate_back(
    which: Activation,
    x: Tensor<2>,
    up: Option<Tensor<2>>,
    slope: Tensor<2>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let device = x.device();
    let shape = x.dims();
    if !is_host(&device) {
        let derivative = derivative(which, x.clone());
        return match up {
            Some(up) => (derivative * up * slope.clone(), Some(activate(which, x) * slope)),
            None => (derivative * slope, None),
        };
    }
    let has_up = up.is_some();
    let (x, up, slope) = (Numbers::of(x), up.map(Numbers::of), Numbers::of(slope));
    let (x, up, slope) = (x.slice(), up.as_ref().map_or(&[][..], Numbers::slice), slope.slice());
    let d = shape[1];
    let mut of_x = vec![0.0; x.len()];
    let mut of_up = vec![0.0; up.len()];
    fill_two(
        &mut of_x,
        d,
        &mut of_up,
        if has_up { d } else { 0 },
        #[inline(always)]
        |row, of_x, of_up| {
            let (x, slope) = (&x[row * d..(row + 1) * d], &slope[row * d..(row + 1) * d]);
            if !has_up {
                (0..d).for_each(|i| of_x[i] = slope[i] * active(which, x[i]).1);
                return;
            }
            let up = &up[row * d..(row + 1) * d];
            // Apart, because only this one is a loop of vectors.
            match which {
                Activation::Silu => {
                    for i in 0..d {
                        let s = sigmoid(x[i]);
                        of_x[i] = slope[i] * up[i] * (s * (1.0 + x[i] * (1.0 - s)));
                        of_up[i] = slope[i] * (x[i] * s);
                    }
                }
                _ => {
                    for i in 0..d {
                        let (value, derivative) = active(which, x[i]);
                        of_x[i] = slope[i] * up[i] * derivative;
                        of_up[i] = slope[i] * value;
                    }
                }
            }
        },
    );
    (tensor(of_x, shape, &device), has_up.then(|| tensor(of_up, shape, &device)))
}

const TANH_SLOPE: f64 = 0.797_884_560_802_865_4; // √(2/π)
const TANH_CUBE: f64 = 0.044715;
const PER_ROOT_TAU: f64 = 0.398_942_280_401_432_7; // 1/√(2π)

fn activate(which: Activation, x: Tensor<2>) -> Tensor<2> {
    match which {
        Activation::Silu => activation::sigmoid(x.clone()) * x,
        // x·Φ(x).
        Activation::Gelu => {
            x.clone() * x.mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5)
        }
        Activation::GeluTanh => {
            let cubic = x.clone() * x.clone().square().mul_scalar(TANH_CUBE).add_scalar(1.0);
            x * cubic.mul_scalar(TANH_SLOPE).tanh().add_scalar(1.0).mul_scalar(0.5)
        }
        Activation::Relu => activation::relu(x),
    }
}

fn derivative(which: Activation, x: Tensor<2>) -> Tensor<2> {
    match which {
        Activation::Silu => {
            let s = activation::sigmoid(x.clone());
            s.clone() * (x * (s.neg().add_scalar(1.0))).add_scalar(1.0)
        }
        // Φ(x) + x·φ(x).
        Activation::Gelu => {
            let below = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
            below + x.clone() * x.square().mul_scalar(-0.5).exp().mul_scalar(PER_ROOT_TAU)
        }
        Activation::GeluTanh => {
            let square = x.clone().square();
            let t = (x.clone() * square.clone().mul_scalar(TANH_CUBE).add_scalar(1.0)).mul_scalar(TANH_SLOPE).tanh();
            let inner = square.mul_scalar(3.0 * TANH_CUBE).add_scalar(1.0).mul_scalar(TANH_SLOPE);
            let steep = t.clone().square().neg().add_scalar(1.0) * inner * x;
            (t.add_scalar(1.0) + steep).mul_scalar(0.5)
        }
        Activation::Relu => x.greater_elem(0.0).float(),
    }
}

/// Value and derivative at one number.
#[inline(always)]
fn active(which: Activation, x: f32) -> (f32, f32) {
    match which {
        Activation::Silu => {
            let s = sigmoid(x);
            (x * s, s * (1.0 + x * (1.0 - s)))
        }
        Activation::Gelu => {
            let below = 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
            (x * below, below + x * exp(-0.5 * x * x) * PER_ROOT_TAU as f32)
        }
        Activation::GeluTanh => {
            let (slope, cube) = (TANH_SLOPE as f32, TANH_CUBE as f32);
            // tanh y = 1 − 2/(e^(2y) + 1).
            let t = 1.0 - 2.0 / (exp(2.0 * slope * x * (1.0 + cube * x * x)) + 1.0);
            let steep = (1.0 - t * t) * slope * (1.0 + 3.0 * cube * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t + x * steep))
        }
        Activation::Relu => (x.max(0.0), f32::from(u8::from(x > 0.0))),
    }
}

// -------------------------------------------------------------------------------------------------- rotations

/// Cosines and sines of the angles that each token's pairs turn by, `[n, dims]`: both halves of the pairs turn alike.
pub enum Turns {
    Host { cosines: Vec<f32>, sines: Vec<f32>, dims: usize },
    Device { cosines: Tensor<3>, sines: Tensor<3> },
}

/// Rotary position embedding of `[n, h·hd]`, head by head (Su et al. 2021, eq. 34, pairs half a head apart); what lies
/// beyond the dimensions that turn stays as it is. Backwards it is its own derivative.
pub fn rotate(x: Tensor<2>, turns: &Turns, heads: usize, is_back: bool) -> Tensor<2> {
    let device = x.device();
    let [n, width] = x.dims();
    let hd = width / heads;
    let sign = if is_back { -1.0 } else { 1.0 };
    match turns {
        Turns::Host { cosines, sines, dims } => {
            let x = Numbers::of(x);
            let (x, dims, half) = (x.slice(), *dims, dims / 2);
            let mut out = vec![0.0; n * width];
            fill(
                &mut out,
                width,
                #[inline(always)]
                |row, out| {
                    let (cosines, sines) =
                        (&cosines[row * dims..(row + 1) * dims], &sines[row * dims..(row + 1) * dims]);
                    let x = &x[row * width..(row + 1) * width];
                    for (x, out) in x.chunks_exact(hd).zip(out.chunks_exact_mut(hd)) {
                        for i in 0..half {
                            out[i] = x[i] * cosines[i] - sign * x[half + i] * sines[i];
                            out[half + i] = x[half + i] * cosines[i] + sign * x[i] * sines[i];
                        }
                        out[dims..].copy_from_slice(&x[dims..]);
                    }
                },
            );
            tensor(out, [n, width], &device)
        }
        Turns::Device { cosines, sines } => {
            let dims = cosines.dims()[2];
            let x = x.reshape([n, heads, hd]);
            let part = |from: usize, to: usize| x.clone().slice([0..n, 0..heads, from..to]);
            let turned =
                Tensor::cat(vec![part(dims / 2, dims).mul_scalar(-sign), part(0, dims / 2).mul_scalar(sign)], 2);
            let rotated = part(0, dims) * cosines.clone() + turned * sines.clone();
            let rotated = if dims == hd { rotated } else { Tensor::cat(vec![rotated, part(dims, hd)], 2) };
            rotated.reshape([n, width])
        }
    }
}
