//! The kernels as burn's tensor operations: on any device, and differentiable by burn. The tests compare the
//! derivatives by hand with those of burn.

mod attention;
mod rotations;
mod sums;

pub use attention::DeviceCache;
#[cfg(not(feature = "fusion"))]
pub use attention::keep_rows;
use rotations::{Turn, rotated};
use sums::{max_along, product_in_f32, sum_along};

use super::{
    AdamStep, Angles, AttentionMask, ByRow, HalfRows, Heads, Keep, Kernel, KeyValueCache, LatePredictions,
    Normalization, PER_ROOT_TAU, Sampling, Start, TANH_CUBE, TANH_FACTOR, Term, column,
};
use crate::device;
use crate::tensor::{Later, from_ids, from_values, later, values_of};
use anyhow::Result;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, activation};
use formats::architectures::Activation;

pub struct BurnTensors;

impl Kernel for BurnTensors {
    fn attends_by_row(&self) -> bool {
        false
    }

    fn holds_scores(&self) -> bool {
        true
    }

    fn logits_at_once(&self, device: &Device) -> usize {
        let most = device::limits(device).binding / 4;
        usize::try_from(most).unwrap_or(usize::MAX).min(1 << 25)
    }

    fn tokens_between_reads(&self) -> usize {
        8
    }

    fn products(&self, start: Start, terms: Vec<Term>) -> Tensor<2> {
        let product = |term: Term| {
            let factor = term.factor;
            let product = product(term);
            if factor == 1.0 { product } else { product.mul_scalar(factor) }
        };
        let sum = terms.into_iter().map(product).reduce(|sum, more| sum + more).expect("a sum has a term");
        match start {
            Start::Zero => sum,
            Start::Bias(bias) => sum + bias.clone(),
            Start::Residual(residual) => residual + sum,
        }
    }

    fn norm(&self, x: Tensor<2>, norm: Normalization) -> Tensor<2> {
        let (x, size) = centred(x, &norm);
        let normed = x / size * norm.weight;
        match norm.bias {
            Some(bias) => normed + bias.clone(),
            None => normed,
        }
    }

    fn norm_back(&self, x: Tensor<2>, norm: Normalization, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        let (x, size) = centred(x, &norm);
        let (scaled, g) = (x / size.clone(), dy * norm.weight.clone());
        let dx = (g.clone() - scaled.clone() * (g * scaled).mean_dim(1)) / size;
        let dx = if norm.is_centred { dx.clone() - dx.mean_dim(1) } else { dx };
        residual.into_iter().fold(dx, |dx, residual| dx + residual)
    }

    fn sum_of_rows(&self, x: Tensor<2>) -> Tensor<2> {
        sum_along(x, 0)
    }

    fn gate(&self, activation: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2> {
        let active = activate(activation, x);
        match up {
            Some(up) => active * up,
            None => active,
        }
    }

    fn gate_back(
        &self,
        activation: Activation,
        x: Tensor<2>,
        up: Option<Tensor<2>>,
        dy: Tensor<2>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let (active, derivative) = active_and_derivative(activation, x);
        match up {
            Some(up) => (derivative * (up * dy.clone()), Some(active * dy)),
            None => (derivative * dy, None),
        }
    }

    fn rotate(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2] {
        both.map(|x| rotated(x, angles, heads.width, Turn::Forward))
    }

    fn rotate_back(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2] {
        both.map(|dy| rotated(dy, angles, heads.width, Turn::Back))
    }

    fn attend(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
        attention::attend(heads, qkv, mask)
    }

    fn attend_back(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask, dy: Tensor<2>) -> [Tensor<2>; 3] {
        attention::attend_back(heads, qkv, mask, dy)
    }

    fn cache(&self, layers: usize, _capacity: usize) -> Box<dyn KeyValueCache> {
        Box::new(DeviceCache::new(layers))
    }

    fn log_softmax(&self, logits: Tensor<2>, targets: &[u32]) -> LatePredictions {
        let places = places(targets, &logits.device());
        let all = log_shares(logits);
        let entropies = sum_along(all.clone().exp() * all.clone(), 1).neg();
        let picked = all.gather(1, places);
        let numbers = Tensor::cat(vec![picked, entropies], 1);
        let n = targets.len();
        LatePredictions::Coming { later: later(numbers.clone().reshape([2 * n])), numbers }
    }

    fn divergence(&self, p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
        let (p, q) = (log_shares(p), log_shares(q));
        // Rounding alone would take it below zero.
        sum_along(p.clone().exp() * (p - q), 1).clamp_min(0.0)
    }

    fn log_softmax_back(
        &self,
        logits: Tensor<2>,
        targets: &[u32],
        d_log_probs: &ByRow,
        d_entropies: &[f32],
    ) -> Tensor<2> {
        let device = logits.device();
        let [n, v] = logits.dims();
        let shifted = logits.clone() - max_along(logits, 1);
        let all = shifted.clone() - sum_along(shifted.exp(), 1).log();
        let p = all.clone().exp();
        let a = d_log_probs.column(&device);
        let mut out = p.clone() * a.clone().neg();
        if d_entropies.iter().any(|gradient| *gradient != 0.0) {
            let entropies = sum_along(p.clone() * all.clone(), 1).neg();
            out = out - p * (all + entropies) * column(d_entropies, &device);
        }
        let one_hot = Tensor::zeros([n, v], &device).scatter(1, places(targets, &device), a, IndexingUpdateOp::Add);
        out + one_hot
    }

    fn table_back(&self, gradient: Tensor<2>, ids: &[u32], v: usize) -> Result<Tensor<2>> {
        let device = gradient.device();
        let [_, d] = gradient.dims();
        let gradient = values_of(gradient)?;
        let mut out = vec![0.0; v * d];
        for (dx, row) in gradient.chunks_exact(d).zip(ids) {
            let out = &mut out[*row as usize * d..(*row as usize + 1) * d];
            out.iter_mut().zip(dx).for_each(|(out, dx)| *out += dx);
        }
        Ok(from_values(out, [v, d], &device))
    }

    fn place_rows(&self, rows: Tensor<2>, places: &[usize], n: usize) -> Tensor<2> {
        let device = rows.device();
        let places: Vec<u32> = places.iter().map(|place| *place as u32).collect();
        let none = Tensor::zeros([n, rows.dims()[1]], &device);
        none.select_assign(0, from_ids(&places, &device), rows, IndexingUpdateOp::Add)
    }

    fn choose(&self, logits: Tensor<2>, sampling: Option<Sampling>) -> Tensor<1, Int> {
        let device = logits.device();
        let [rows, v] = logits.dims();
        let Some(Sampling { temperature, keep, draws, token }) = sampling else {
            // NaN equals nothing: its rows become a token that does not exist, which the host recognises.
            let most = logits.clone().max_dim(1);
            let place = Tensor::<1, Int>::arange(0..v as i64, &device).reshape([1, v]).repeat_dim(0, rows);
            return place.mask_fill(logits.equal(most).bool_not(), v as i64).min_dim(1).reshape([rows]);
        };
        let weights = (logits.clone() - logits.max_dim(1)).div_scalar(temperature).exp();
        // Below 1 by more than what rounding adds: else the last token would be drawn, however unlikely.
        let draws: Vec<f32> =
            draws.of(token, rows).iter().map(|draw| (*draw as f32).min(1.0 - f32::EPSILON * 4.0)).collect();
        let draws = column(&draws, &device);
        let pick = |weights: Tensor<2>| {
            let sums = weights.cumsum(1);
            let total = sums.clone().slice([0..rows, v - 1..v]);
            let is_lost = total.clone().is_finite().bool_not().int().mul_scalar(v as i64);
            (sums.lower_equal(total * draws.clone()).int().sum_dim(1).clamp(0, v as i64 - 1), is_lost)
        };
        if keep == Keep::default() {
            let (picked, is_lost) = pick(weights);
            return (picked + is_lost).reshape([rows]);
        }
        let (sorted, ids) = weights.sort_descending_with_indices(1);
        let before = sorted.clone().cumsum(1) - sorted.clone();
        let total = sorted.clone().sum_dim(1);
        let mut sorted = sorted;
        if let Some(p) = keep.top_p {
            sorted = sorted.mask_fill(before.greater_equal(total.mul_scalar(p)), 0.0);
        }
        if let Some(most) = keep.top_k.filter(|most| *most < v) {
            sorted = sorted.slice_fill([0..rows, most..v], 0.0);
        }
        let (picked, is_lost) = pick(sorted);
        (ids.gather(1, picked) + is_lost).reshape([rows])
    }

    fn squares(&self, gradients: &[Tensor<2>]) -> Later {
        let square = |gradient: &Tensor<2>| gradient.clone().square().sum_dims_squeeze::<1, _>(&[0]).sum_dim(0);
        later(Tensor::cat(gradients.iter().map(square).collect(), 0))
    }

    fn adam(&self, step: &AdamStep, [weight, mean, square, gradient]: [Tensor<2>; 4]) -> [Tensor<2>; 3] {
        let gradient = gradient.mul_scalar(step.shrink);
        let mean = mean.mul_scalar(step.beta1) + gradient.clone().mul_scalar(1.0 - step.beta1);
        let square = square.mul_scalar(step.beta2) + gradient.square().mul_scalar(1.0 - step.beta2);
        let move_by = mean.clone().mul_scalar(step.rate)
            / square.clone().div_scalar(step.correction).sqrt().add_scalar(step.epsilon);
        let weight = if step.retain == 1.0 { weight } else { weight.mul_scalar(step.retain) };
        [weight - move_by, mean, square]
    }
}

// ---------------------------------------------------------------------------------------------- products, norms

/// x·W, in the precision of W. All else is f32: the residual stream, norms, attention, adapters, losses.
fn product(term: Term) -> Tensor<2> {
    match term.halved.or_else(|| HalfRows::of(&term.left, &term.right)) {
        Some(HalfRows { x, size }) => product_in_f32(x, term.right) * size,
        None => product_in_f32(term.left, term.right),
    }
}

/// x, less its mean where the norm is centred, and what it is divided by, `[n, 1]`.
fn centred(x: Tensor<2>, norm: &Normalization) -> (Tensor<2>, Tensor<2>) {
    let x = if norm.is_centred { x.clone() - x.mean_dim(1) } else { x };
    let size = x.clone().square().mean_dim(1).add_scalar(norm.epsilon).sqrt();
    (x, size)
}

// ------------------------------------------------------------------------------------------------------- gates

fn activate(which: Activation, x: Tensor<2>) -> Tensor<2> {
    match which {
        // x·σ(x), written out: burn's own σ takes six kernels.
        Activation::Silu => x.clone() / x.neg().exp().add_scalar(1.0),
        // x·Φ(x).
        Activation::Gelu => {
            x.clone() * x.mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5)
        }
        Activation::GeluTanh => {
            let cubic = x.clone() * x.clone().square().mul_scalar(TANH_CUBE).add_scalar(1.0);
            x * cubic.mul_scalar(TANH_FACTOR).tanh().add_scalar(1.0).mul_scalar(0.5)
        }
        Activation::Relu => activation::relu(x),
    }
}

/// f(x) and its derivative.
fn active_and_derivative(which: Activation, x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let derivative = match which {
        // With s = σ(x) and f = x·s: s + f·(1 − s).
        Activation::Silu => {
            let s = x.clone().neg().exp().add_scalar(1.0).recip();
            let active = x * s.clone();
            let derivative = s.clone() + (active.clone() - active.clone() * s);
            return (active, derivative);
        }
        // Φ(x) + x·φ(x).
        Activation::Gelu => {
            let x = x.clone();
            let below = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
            below + x.clone() * x.square().mul_scalar(-0.5).exp().mul_scalar(PER_ROOT_TAU)
        }
        Activation::GeluTanh => {
            let x = x.clone();
            let square = x.clone().square();
            let t = (x.clone() * square.clone().mul_scalar(TANH_CUBE).add_scalar(1.0)).mul_scalar(TANH_FACTOR).tanh();
            let inner = square.mul_scalar(3.0 * TANH_CUBE).add_scalar(1.0).mul_scalar(TANH_FACTOR);
            let steep = t.clone().square().neg().add_scalar(1.0) * inner * x;
            (t.add_scalar(1.0) + steep).mul_scalar(0.5)
        }
        Activation::Relu => x.clone().greater_elem(0.0).float(),
    };
    (activate(which, x), derivative)
}

/// Log-probabilities `[n, v]`.
fn log_shares(logits: Tensor<2>) -> Tensor<2> {
    let all = logits.clone() - max_along(logits, 1);
    all.clone() - sum_along(all.exp(), 1).log()
}

fn places(targets: &[u32], device: &Device) -> Tensor<2, Int> {
    from_ids(targets, device).reshape([targets.len(), 1])
}
