//! The kernels as burn's tensor operations: on any device, and differentiable by burn. The tests compare the
//! derivatives by hand with those of burn.

use super::{
    AdamStep, Angles, AttentionMask, ByRow, HalfRows, Heads, Keep, Kernel, KeyValueCache, LatePredictions,
    Normalization, PER_ROOT_TAU, ROOM, Sampling, Start, TANH_CUBE, TANH_FACTOR, Term, capped, capped_back, column,
};
use crate::tensor::{Later, from_ids, from_values, later, values_of};
use anyhow::Result;
use burn::tensor::{Device, FloatDType, IndexingUpdateOp, Int, Tensor, activation};
use formats::architectures::Activation;

pub struct BurnTensors;

impl Kernel for BurnTensors {
    fn attends_by_row(&self) -> bool {
        false
    }

    fn logits_at_once(&self) -> usize {
        1 << 25
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

    fn rotate(&self, x: Tensor<2>, angles: &Angles, heads: usize) -> Tensor<2> {
        rotated(x, angles, heads, Turn::Forward)
    }

    fn rotate_back(&self, dy: Tensor<2>, angles: &Angles, heads: usize) -> Tensor<2> {
        rotated(dy, angles, heads, Turn::Back)
    }

    fn attend(&self, heads: Heads, [queries, keys, values]: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
        let (lines, bias) = rectangle(&queries, mask);
        let [keys, values] = [keys, values].map(|x| by_head(x, lines, heads.keys));
        mixed(heads, queries, keys, values, bias)
    }

    fn attend_back(
        &self,
        heads: Heads,
        [queries, keys, values]: [Tensor<2>; 3],
        mask: &AttentionMask,
        dy: Tensor<2>,
    ) -> [Tensor<2>; 3] {
        let (lines, bias) = rectangle(&queries, mask);
        let (queries, dy) = (stacked(heads, queries, lines), stacked(heads, dy, lines));
        let [keys, values] = [keys, values].map(|x| by_head(x, lines, heads.keys));
        let scores = scores(heads, &queries, &keys);
        let weights = softmax(masked(heads, scores.clone(), bias));
        let d_values = weights.clone().swap_dims(2, 3).matmul(dy.clone());
        let d_weights = dy.matmul(values.swap_dims(2, 3));
        let along = (d_weights.clone() * weights.clone()).sum_dim(3);
        let d_scores = capped_back(heads.cap, scores, weights * (d_weights - along)).mul_scalar(heads.scale);
        let d_queries = d_scores.clone().matmul(keys);
        let d_keys = d_scores.swap_dims(2, 3).matmul(queries);
        let flat = |x: Tensor<4>| {
            let [b, kv, t, hd] = x.dims();
            x.swap_dims(1, 2).reshape([b * t, kv * hd])
        };
        [unstacked(heads, d_queries, lines), flat(d_keys), flat(d_values)]
    }

    fn cache(&self, layers: usize, _capacity: usize) -> Box<dyn KeyValueCache> {
        Box::new(DeviceCache { layers: (0..layers).map(|_| None).collect() })
    }

    fn log_softmax(&self, logits: Tensor<2>, targets: &[u32]) -> LatePredictions {
        let places = places(targets, &logits.device());
        let all = logits.clone() - logits.max_dim(1);
        let all = all.clone() - all.exp().sum_dim(1).log();
        let entropies = (all.clone().exp() * all.clone()).sum_dim(1).neg();
        let picked = all.gather(1, places);
        let numbers = Tensor::cat(vec![picked, entropies], 1);
        let n = targets.len();
        LatePredictions::Coming { later: later(numbers.clone().reshape([2 * n])), numbers }
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
        let shifted = logits.clone() - logits.max_dim(1);
        let all = shifted.clone() - shifted.exp().sum_dim(1).log();
        let p = all.clone().exp();
        let a = d_log_probs.column(&device);
        let mut out = p.clone() * a.clone().neg();
        if d_entropies.iter().any(|gradient| *gradient != 0.0) {
            let entropies = (p.clone() * all.clone()).sum_dim(1).neg();
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
        let Some(Sampling { temperature, keep, draws }) = sampling else {
            // NaN equals nothing: its rows become a token that does not exist, which the host recognises.
            let most = logits.clone().max_dim(1);
            let place = Tensor::<1, Int>::arange(0..v as i64, &device).reshape([1, v]).repeat_dim(0, rows);
            return place.mask_fill(logits.equal(most).bool_not(), v as i64).min_dim(1).reshape([rows]);
        };
        let weights = (logits.clone() - logits.max_dim(1)).div_scalar(temperature).exp();
        // Below 1 by more than what rounding adds: else the last token would be drawn, however unlikely.
        let draws: Vec<f32> = draws.iter().map(|draw| (*draw as f32).min(1.0 - f32::EPSILON * 4.0)).collect();
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
        Some(HalfRows { x, size }) => x.matmul(term.right).cast(FloatDType::F32) * size,
        None => term.left.matmul(term.right),
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

// ------------------------------------------------------------------------------------------------------- rotary

#[derive(Clone, Copy)]
enum Turn {
    Forward,
    Back,
}

fn rotated(x: Tensor<2>, angles: &Angles, heads: usize, turn: Turn) -> Tensor<2> {
    let [n, width] = x.dims();
    let hd = width / heads;
    let dims = angles.cosines.dims()[1];
    let [cosines, sines] = [&angles.cosines, &angles.sines].map(|x| x.clone().reshape([n, 1, dims]));
    let x = x.reshape([n, heads, hd]);
    let part = |from: usize, to: usize| x.clone().slice([0..n, 0..heads, from..to]);
    let turning = if dims == hd { x.clone() } else { part(0, dims) };
    let (along, across) = (turning.clone() * cosines, turning.select(2, angles.halves.clone()) * sines);
    let rotated = match turn {
        Turn::Forward => along + across,
        Turn::Back => along - across,
    };
    let rotated = if dims == hd { rotated } else { Tensor::cat(vec![rotated, part(dims, hd)], 2) };
    rotated.reshape([n, width])
}

// ---------------------------------------------------------------------------------------------------- attention

/// Keys and values `[b, kv, room, hd]` of each layer. The room grows with the rows, in steps: kernels find whole tensors,
/// of the same sizes again and again.
struct DeviceCache {
    layers: Vec<Option<[Tensor<4>; 2]>>,
}

impl KeyValueCache for DeviceCache {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        [queries, keys, values]: [Tensor<2>; 3],
        mask: &AttentionMask,
    ) -> Tensor<2> {
        let (lines, bias) = rectangle(&queries, mask);
        let [keys, values] = [keys, values].map(|x| by_head(x, lines, heads.keys));
        let [b, kv, t, hd] = keys.dims();
        let filled = mask.filled();
        let room = (filled + t).next_multiple_of(ROOM);
        let place = |x: Tensor<4>, to: Tensor<4>, from: usize| {
            let count = x.dims()[2];
            to.slice_assign([0..b, 0..kv, from..from + count, 0..hd], x)
        };
        let more = || Tensor::zeros([b, kv, room, hd], &keys.device());
        let old = match self.layers[layer].take() {
            Some(old) if old[0].dims()[2] >= room => old,
            Some(old) => old.map(|x| place(x, more(), 0)),
            None => [more(), more()],
        };
        let [old_keys, old_values] = old;
        let both = [place(keys.clone(), old_keys, filled), place(values.clone(), old_values, filled)];
        self.layers[layer] = Some(both.clone());
        // The first tokens see no others.
        let [keys, values] = if filled == 0 { [keys, values] } else { both };
        mixed(heads, queries, keys, values, bias)
    }

    fn keep(&mut self, rows: &[usize]) {
        let Some([keys, _]) = self.layers.iter().flatten().next() else { return };
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let rows = from_ids(&rows, &keys.device());
        for both in self.layers.iter_mut().flatten() {
            *both = both.clone().map(|x| x.select(0, rows.clone()));
        }
    }
}

/// The number of lines, and the bias of their scores.
fn rectangle<'a>(queries: &Tensor<2>, mask: &'a AttentionMask) -> (usize, &'a Tensor<5>) {
    match mask {
        AttentionMask::Rectangle { columns, bias, .. } => (queries.dims()[0] / columns, bias),
        AttentionMask::Rows { .. } => unreachable!("only a backend that attends by row is given rows without padding"),
    }
}

/// Queries `[n, h·hd]` over keys and values `[b, kv, t, hd]`.
fn mixed(heads: Heads, queries: Tensor<2>, keys: Tensor<4>, values: Tensor<4>, bias: &Tensor<5>) -> Tensor<2> {
    let lines = keys.dims()[0];
    let queries = stacked(heads, queries, lines);
    let weights = softmax(masked(heads, scores(heads, &queries, &keys), bias));
    unstacked(heads, weights.matmul(values), lines)
}

/// `[b·t, heads·hd]` → `[b, heads, t, hd]`.
fn by_head(x: Tensor<2>, lines: usize, heads: usize) -> Tensor<4> {
    let [n, width] = x.dims();
    x.reshape([lines, n / lines, heads, width / heads]).swap_dims(1, 2)
}

/// Query heads that share a key/value head become further rows of it, `[b, kv, group·t, hd]`: nothing is repeated in
/// memory.
fn stacked(heads: Heads, x: Tensor<2>, lines: usize) -> Tensor<4> {
    let x = by_head(x, lines, heads.queries);
    let [b, _, t, hd] = x.dims();
    x.reshape([b, heads.keys, heads.group() * t, hd])
}

fn unstacked(heads: Heads, x: Tensor<4>, lines: usize) -> Tensor<2> {
    let [b, kv, rows, hd] = x.dims();
    let t = rows * kv / heads.queries;
    x.reshape([lines, heads.queries, t, hd]).swap_dims(1, 2).reshape([b * t, heads.queries * hd])
}

/// s·q·kᵀ under its bound, `[b, kv, group·t, seen]`.
fn scores(heads: Heads, queries: &Tensor<4>, keys: &Tensor<4>) -> Tensor<4> {
    capped(heads.cap, queries.clone().matmul(keys.clone().swap_dims(2, 3)).mul_scalar(heads.scale))
}

/// The scores and their bias, which the query heads that share a key/value head have in common.
fn masked(heads: Heads, scores: Tensor<4>, bias: &Tensor<5>) -> Tensor<4> {
    let [b, kv, rows, seen] = scores.dims();
    let by_query = scores.reshape([b, kv, heads.group(), rows / heads.group(), seen]);
    (by_query + bias.clone()).reshape([b, kv, rows, seen])
}

// Written out, because burn's own is fused on some backends without autodiff: then the numbers would differ between
// sampling and training, and PPO's ratio would not begin at 1.
fn softmax(x: Tensor<4>) -> Tensor<4> {
    let weights = (x.clone() - x.detach().max_dim(3)).exp();
    weights.clone() / weights.sum_dim(3)
}

fn places(targets: &[u32], device: &Device) -> Tensor<2, Int> {
    from_ids(targets, device).reshape([targets.len(), 1])
}
