//! The kernels of a GPU: our own where they save launches or passes over memory, burn's operations elsewhere. Each sum has
//! a fixed order, so the same call gives the same bytes.

#![expect(
    clippy::needless_range_loop,
    clippy::assign_op_pattern,
    reason = "a kernel is written with indices, and its compiler knows no iterators and no `+=` on shared memory"
)]

mod adam;
mod attention;
mod cache;
mod choose;
mod gates;
mod head;
mod losses;
mod memory;
mod norms;
mod product;
mod rotations;
mod spread;
mod sums;
mod table;

use super::tensors::BurnTensors;
use super::{
    AdamStep, Angles, AttentionMask, Blocks, ByRow, Draws, GatedTerms, HalfRows, Heads, Kernel, KeyValueCache,
    LatePredictions, LossKernel, Normalization, PolicyTerms, Sampling, Start, Term, TogetherKernel, ValueTerms,
};
use crate::tensor::Later;
use anyhow::Result;
use burn::tensor::{Device, Int, Tensor};
use formats::architectures::Activation;

pub struct GpuKernels;

impl Kernel for GpuKernels {
    fn attends_by_row(&self) -> bool {
        BurnTensors.attends_by_row()
    }

    fn holds_scores(&self) -> bool {
        false
    }

    fn logits_at_once(&self, device: &Device) -> usize {
        BurnTensors.logits_at_once(device)
    }

    fn tokens_between_reads(&self) -> usize {
        16
    }

    fn draws(&self, draws: Vec<f64>, device: &Device) -> Draws {
        choose::draws(&draws, device)
    }

    fn products(&self, start: Start, terms: Vec<Term>) -> Tensor<2> {
        product::products(start, terms)
    }

    fn two_products(&self, both: [Vec<Term>; 2]) -> [Tensor<2>; 2] {
        product::two_products(both)
    }

    fn half_rows(&self, x: &Tensor<2>, weight: &Tensor<2>) -> Option<HalfRows> {
        product::half_rows(x, weight)
    }

    fn norm(&self, x: Tensor<2>, norm: Normalization) -> Tensor<2> {
        norms::norm(x, norm)
    }

    fn norm_back(&self, x: Tensor<2>, norm: Normalization, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        norms::norm_back(x, norm, dy, residual)
    }

    fn norm_weight_back(&self, x: Tensor<2>, norm: Normalization, dy: Tensor<2>) -> [Tensor<2>; 2] {
        norms::norm_weight_back(x, &norm, dy)
    }

    fn sum_of_rows(&self, x: Tensor<2>) -> Tensor<2> {
        norms::sum_of_rows(x)
    }

    fn gate(&self, activation: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2> {
        gates::gate(activation, x, up)
    }

    fn gated(&self, activation: Activation, terms: GatedTerms) -> Option<Tensor<2>> {
        product::gated(activation, terms)
    }

    fn gate_back(
        &self,
        activation: Activation,
        x: Tensor<2>,
        up: Option<Tensor<2>>,
        dy: Tensor<2>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        gates::gate_back(activation, x, up, dy)
    }

    fn reads_tables(&self) -> bool {
        true
    }

    fn rotate(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2] {
        rotations::rotate(both, angles, heads, false)
    }

    fn rotate_back(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2] {
        rotations::rotate(both, angles, heads, true)
    }

    fn attend(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
        attention::attend(heads, qkv, mask)
    }

    fn attend_back(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask, dy: Tensor<2>) -> [Tensor<2>; 3] {
        attention::attend_back(heads, qkv, mask, dy)
    }

    fn cache(&self, layers: usize, capacity: usize) -> Box<dyn KeyValueCache> {
        Box::new(cache::GpuCache::new(layers, capacity))
    }

    fn log_softmax(&self, logits: Tensor<2>, targets: &[u32]) -> LatePredictions {
        head::log_softmax(logits, targets)
    }

    fn divergence(&self, p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
        head::divergence(p, q)
    }

    fn log_softmax_back(
        &self,
        logits: Tensor<2>,
        targets: &[u32],
        d_log_probs: &ByRow,
        d_entropies: &[f32],
    ) -> Tensor<2> {
        head::log_softmax_back(logits, targets, d_log_probs, d_entropies)
    }

    fn table_back(&self, gradient: Tensor<2>, ids: &[u32], v: usize) -> Result<Tensor<2>> {
        Ok(table::table_back(gradient, ids, v))
    }

    fn losses(&self) -> Option<&'static dyn LossKernel> {
        Some(&GpuKernels)
    }

    fn place_rows(&self, rows: Tensor<2>, positions: &[usize], n: usize) -> Tensor<2> {
        BurnTensors.place_rows(rows, positions, n)
    }

    fn choose(&self, logits: Tensor<2>, sampling: Option<Sampling>) -> Tensor<1, Int> {
        choose::choose(logits, sampling)
    }

    fn squares(&self, gradients: &[Tensor<2>]) -> Later {
        crate::tensor::later(adam::sum_of_squares(gradients))
    }

    fn adam(&self, step: &AdamStep, tensors: [Tensor<2>; 4]) -> [Tensor<2>; 3] {
        adam::adam(step, tensors)
    }

    fn together(&self) -> Option<&'static dyn TogetherKernel> {
        Some(&GpuKernels)
    }
}

impl LossKernel for GpuKernels {
    fn policy_slopes(&self, numbers: &Tensor<2>, terms: &PolicyTerms) -> Tensor<2> {
        losses::policy_slopes(numbers, terms)
    }

    fn value_slopes(&self, values: &Tensor<2>, terms: &ValueTerms) -> Tensor<2> {
        losses::value_slopes(values, terms)
    }
}

impl TogetherKernel for GpuKernels {
    fn spread(&self, blocks: &Blocks, trained: Tensor<2>) -> Tensor<1> {
        spread::spread(blocks, trained)
    }

    fn gather(&self, blocks: &Blocks, gradients: Tensor<1>) -> Tensor<2> {
        spread::gather(blocks, gradients)
    }

    fn product_into(&self, left: Tensor<2>, right: Tensor<2>, buffer: &Tensor<1>, at: usize) {
        spread::product_into(left, right, buffer, at);
    }
}
