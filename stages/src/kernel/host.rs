//! The kernels as loops on the host, over the memory of burn's CPU backend.
//!
//! Why not burn's operations: on two AVX-512 cores a training step of a 7M LLaMA spent 35 % of its time in matrix
//! products and the rest in passes over intermediate tensors (`perf record` of `benches/train`).

mod attention;
mod choose;
mod memory;
mod product;
mod rows;

use super::tensors::BurnTensors;
use super::{
    AdamStep, Angles, AttentionMask, ByRow, Heads, Kernel, KeyValueCache, LatePredictions, Normalization, Sampling,
    Start, Term,
};
use crate::tensor::{Later, from_ids, from_values};
use anyhow::Result;
use burn::tensor::{DType, Device, Int, Tensor};
use formats::architectures::Activation;
use memory::HostTensor;

pub struct HostLoops;

impl Kernel for HostLoops {
    fn attends_by_row(&self) -> bool {
        true
    }

    fn holds_scores(&self) -> bool {
        false
    }

    fn logits_at_once(&self, _: &Device) -> usize {
        1 << 20
    }

    fn tokens_between_reads(&self) -> usize {
        1
    }

    fn products(&self, start: Start, terms: Vec<Term>) -> Tensor<2> {
        // A base of half precision is multiplied by burn.
        match terms.iter().all(|term| term.right.dtype() == DType::F32) {
            true => product::products(start, &terms),
            false => BurnTensors.products(start, terms),
        }
    }

    fn norm(&self, x: Tensor<2>, norm: Normalization) -> Tensor<2> {
        rows::norm(x, norm)
    }

    fn norm_back(&self, x: Tensor<2>, norm: Normalization, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        rows::norm_back(x, norm, dy, residual)
    }

    fn gate(&self, activation: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2> {
        rows::gate(activation, x, up)
    }

    fn gate_back(
        &self,
        activation: Activation,
        x: Tensor<2>,
        up: Option<Tensor<2>>,
        dy: Tensor<2>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        rows::gate_back(activation, x, up, dy)
    }

    fn rotate(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2] {
        both.map(|x| rows::rotate(x, angles, heads.width, 1.0))
    }

    fn rotate_back(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2] {
        both.map(|dy| rows::rotate(dy, angles, heads.width, -1.0))
    }

    fn attend(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
        match mask {
            AttentionMask::Rows { rows, window } => attention::attend(heads, qkv, rows, *window, None),
            AttentionMask::Rectangle(_) => BurnTensors.attend(heads, qkv, mask),
        }
    }

    fn attend_back(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask, dy: Tensor<2>) -> [Tensor<2>; 3] {
        match mask {
            AttentionMask::Rows { rows, window } => attention::attend_back(heads, qkv, rows, *window, dy),
            AttentionMask::Rectangle(_) => BurnTensors.attend_back(heads, qkv, mask, dy),
        }
    }

    fn cache(&self, layers: usize, capacity: usize) -> Box<dyn KeyValueCache> {
        Box::new(attention::HostCache::new(layers, capacity))
    }

    fn log_softmax(&self, logits: Tensor<2>, targets: &[u32]) -> LatePredictions {
        LatePredictions::Known(rows::log_softmax(logits, targets))
    }

    fn divergence(&self, p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
        rows::divergence(p, q)
    }

    fn log_softmax_back(
        &self,
        logits: Tensor<2>,
        targets: &[u32],
        d_log_probs: &ByRow,
        d_entropies: &[f32],
    ) -> Tensor<2> {
        rows::log_softmax_back(logits, targets, d_log_probs.values(), d_entropies)
    }

    fn table_back(&self, gradient: Tensor<2>, ids: &[u32], v: usize) -> Result<Tensor<2>> {
        BurnTensors.table_back(gradient, ids, v)
    }

    fn place_rows(&self, rows: Tensor<2>, positions: &[usize], n: usize) -> Tensor<2> {
        let device = rows.device();
        let [_, d] = rows.dims();
        let rows = HostTensor::contiguous(rows);
        let mut out = vec![0.0; n * d];
        for (row, position) in rows.slice().chunks_exact(d).zip(positions) {
            out[position * d..(position + 1) * d].copy_from_slice(row);
        }
        from_values(out, [n, d], &device)
    }

    fn choose(&self, logits: Tensor<2>, sampling: Option<Sampling>) -> Tensor<1, Int> {
        let device = logits.device();
        let [_, v] = logits.dims();
        from_ids(&choose::choose(HostTensor::contiguous(logits).slice(), v, sampling), &device)
    }

    fn squares(&self, gradients: &[Tensor<2>]) -> Later {
        BurnTensors.squares(gradients)
    }

    fn adam(&self, step: &AdamStep, tensors: [Tensor<2>; 4]) -> [Tensor<2>; 3] {
        rows::adam(step, tensors)
    }
}
