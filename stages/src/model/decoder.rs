//! A decoder: its weights as burn tensors, and the forward pass with an adapter, a batch and a cache. Architectures
//! differ in data only ([`Config`], the layout of its architecture). Cloning shares the weights: policy, reference,
//! value and reward model are one frozen decoder with different [`Adapter`]s.
//!
//! Shapes as in [`kernel`].

use super::batch::{Batch, Padding};
use super::input::{Input, NarrowInput};
use super::kv_cache::Cache;
use super::lora::Adapter;
use super::rotation::RopeTables;
use super::table::Table;
use crate::device::asked;
use crate::kernel::{self, GatedTerms, Heads, Kernel, Normalization, Start, Term, capped, term};
use burn::tensor::{Device, FloatDType, Int, Tensor};
use formats::architectures::{Norm, QkvLayout, Target};
use formats::config::Config;
use std::sync::Arc;

/// Weights in the order they are used.
#[derive(Clone)]
pub struct Decoder {
    pub config: Config,
    /// `[v, d]`.
    pub(crate) embedding: Table,
    /// `[context, d]`, where positions are learned.
    pub(crate) positions: Option<Tensor<2>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Affine,
    /// `[v, d]`; `None` when the head is tied to the embedding.
    pub(crate) head: Option<Table>,
    pub(crate) ropes: Arc<RopeTables>,
}

#[derive(Clone)]
pub struct Block {
    /// Norms of what attention reads of the residual stream, and of what it adds to it.
    pub(crate) attention_norm: Option<Affine>,
    pub(crate) attention_out_norm: Option<Affine>,
    pub(crate) mlp_norm: Option<Affine>,
    pub(crate) mlp_out_norm: Option<Affine>,
    /// Norms of queries and of keys, over each head, `[1, hd]`, or over all at once.
    pub(crate) head_norms: Option<[Affine; 2]>,
    /// In the order of the layout's targets; the weights lie as in the files.
    pub(crate) projections: Vec<Affine>,
}

/// A matrix, or the row of a norm, with its bias.
#[derive(Clone)]
pub struct Affine {
    pub(crate) weight: Tensor<2>,
    /// `[1, out]`.
    pub(crate) bias: Option<Tensor<2>>,
}

/// The activations of one block that its derivative needs.
pub(super) struct Activations {
    /// The input of the block.
    pub x: Tensor<2>,
    pub attention_in: Tensor<2>,
    /// Queries and keys before the norms of the heads, where there are any.
    pub before_head_norms: Option<[Tensor<2>; 2]>,
    pub queries: Tensor<2>,
    pub keys: Tensor<2>,
    pub values: Tensor<2>,
    pub mixed: Tensor<2>,
    /// The output of attention, where it is normed before it is added.
    pub attention_out: Option<Tensor<2>>,
    /// The residual stream that the norm of the MLP reads.
    pub mlp_from: Tensor<2>,
    pub mlp_in: Tensor<2>,
    pub gate: Option<Tensor<2>>,
    pub up: Tensor<2>,
    pub inner: Tensor<2>,
    /// The output of the MLP, where it is normed before it is added.
    pub mlp_out: Option<Tensor<2>>,
    /// Products with the A's of an adapter whose matrices lie together.
    pub narrow: Vec<NarrowInput>,
}

impl Decoder {
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    pub(super) fn kernel(&self) -> &'static dyn Kernel {
        kernel::of(&self.device())
    }

    /// A batch of whole rows.
    pub fn batch(&self, rows: &[&[u32]], padding: Padding) -> Batch {
        Batch::new(&self.config, &self.ropes, rows, padding, &self.device())
    }

    /// A cache for rows of at most `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Cache {
        Cache::new(&self.config, capacity, &self.device())
    }

    /// A batch of one new token for each row of a cache.
    pub fn next(&self, cache: &mut Cache, ids: Tensor<1, Int>) -> Batch {
        cache.next(&self.config, &self.ropes, ids)
    }

    /// Hidden states `[n, d]` after the last norm.
    pub fn hidden(&self, adapter: Option<&Adapter>, batch: &Batch, mut cache: Option<&mut Cache>) -> Tensor<2> {
        self.note("forward", batch);
        let mut x = self.embedded(batch);
        for layer in 0..self.blocks.len() {
            x = self.block(layer, adapter, x, batch, cache.as_deref_mut()).0;
        }
        if let Some(cache) = cache {
            cache.advance(batch);
        }
        self.normed(x, &self.norm)
    }

    /// Hidden states `[n, d]` before the first block and after each one: to find where two models part.
    pub fn layers(&self, adapter: Option<&Adapter>, batch: &Batch) -> Vec<Tensor<2>> {
        let mut layers = vec![self.embedded(batch)];
        for layer in 0..self.blocks.len() {
            let x = layers[layer].clone();
            layers.push(self.block(layer, adapter, x, batch, None).0);
        }
        layers
    }

    /// Notes the work of a pass, in case the device has no room for it.
    pub(super) fn note(&self, way: &str, batch: &Batch) {
        let (tokens, rows) = (batch.tokens(), batch.spans.len());
        asked::note(|| format!("a pass {way} through the model, of {tokens} tokens in {rows} rows"));
    }

    pub(super) fn embedded(&self, batch: &Batch) -> Tensor<2> {
        let x = self.embedding.look_up(&batch.ids);
        let x = scaled(x, self.config.scales.embedding);
        match (&self.positions, &batch.positions) {
            (Some(learned), Some(positions)) => x + learned.clone().select(0, positions.clone()).cast(FloatDType::F32),
            _ => x,
        }
    }

    /// One block, and the activations its derivative needs.
    pub(super) fn block(
        &self,
        layer: usize,
        adapter: Option<&Adapter>,
        x: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut Cache>,
    ) -> (Tensor<2>, Activations) {
        let (block, kernel) = (&self.blocks[layer], self.kernel());
        let attention = self.config.attention[layer];

        // 1. Attention.
        let is_decoding = cache.is_some();
        let mut narrow = Vec::new();
        let attention_in = self.normed_if(x.clone(), block.attention_norm.as_ref());
        let mut input = Input::of(layer, adapter, &attention_in);
        let [plain_queries, plain_keys, values] = self.queries_keys_values(&mut input);
        input.keep_narrow(&mut narrow);
        let (queries, keys) = match &block.head_norms {
            Some([query_norm, key_norm]) => {
                (self.head_normed(plain_queries.clone(), query_norm), self.head_normed(plain_keys.clone(), key_norm))
            }
            None => (plain_queries.clone(), plain_keys.clone()),
        };
        let heads = self.heads();
        let angles = attention.rope.map(|rope| &batch.angles[rope]);
        let mask = &batch.masks[attention.window];
        let [queries, keys] = match angles.filter(|_| cache.is_none()) {
            Some(angles) => kernel.rotate([queries, keys], angles, heads),
            None => [queries, keys],
        };
        let qkv = [queries.clone(), keys.clone(), values.clone()];
        let mixed = match cache {
            Some(cache) => cache.attend(layer, heads, qkv, angles, mask),
            None => kernel.attend(heads, qkv, mask),
        };
        let mut output = Input::of(layer, adapter, &mixed);
        let (after, attention_out) =
            self.added(x.clone(), Target::Output, &mut output, block.attention_out_norm.as_ref());
        output.keep_narrow(&mut narrow);

        // 2. The MLP.
        let mlp_from = if self.config.is_parallel { x.clone() } else { after.clone() };
        let mlp_in = self.normed_if(mlp_from.clone(), block.mlp_norm.as_ref());
        let mut input = Input::of(layer, adapter, &mlp_in);
        // Nobody goes back over a token that is decoded.
        let gated = if is_decoding { self.gated(&mut input) } else { None };
        let (gate, up, inner) = match gated {
            Some(inner) => (None, inner.clone(), inner),
            None => {
                let (gate, up) = self.gate_and_up(&mut input);
                let inner = match &gate {
                    Some(gate) => kernel.gate(self.config.activation, gate.clone(), Some(up.clone())),
                    None => kernel.gate(self.config.activation, up.clone(), None),
                };
                (gate, up, inner)
            }
        };
        input.keep_narrow(&mut narrow);
        let mut down = Input::of(layer, adapter, &inner);
        let (out, mlp_out) = self.added(after, Target::Down, &mut down, block.mlp_out_norm.as_ref());
        down.keep_narrow(&mut narrow);
        let before_head_norms = block.head_norms.as_ref().map(|_| [plain_queries, plain_keys]);
        let activations = Activations {
            x,
            attention_in,
            before_head_norms,
            queries,
            keys,
            values,
            mixed,
            attention_out,
            mlp_from,
            mlp_in,
            gate,
            up,
            inner,
            mlp_out,
            narrow,
        };
        (out, activations)
    }

    /// Logits `[n, v]` of hidden states `[n, d]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let scales = self.config.scales;
        capped(scales.logit_cap, self.unembedding().products(self.kernel(), &hidden, scales.logit))
    }

    /// `[v, d]`.
    pub(super) fn unembedding(&self) -> &Table {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// The projection of a block, and its place among the layout's targets.
    pub(super) fn projection(&self, layer: usize, target: Target) -> (usize, &Affine) {
        let place = self.config.architecture.layout.place(target).expect("only what the architecture has is asked for");
        (place, &self.blocks[layer].projections[place])
    }

    /// `[in, out]`.
    pub(super) fn matrix(&self, projection: &Affine) -> Tensor<2> {
        let weight = projection.weight.clone();
        if self.config.architecture.layout.is_in_out { weight } else { weight.transpose() }
    }

    /// x·W + b for projections of one input, plus s·(x·A)·B where there is an adapter: the weights themselves are never
    /// touched (Hu et al. 2021, eq. 3).
    fn project<const N: usize>(&self, targets: [Target; N], input: &mut Input) -> [Tensor<2>; N] {
        targets.map(|target| self.project_onto(Start::Zero, target, 1.0, input))
    }

    /// `factor` times the same, added to `start`.
    fn project_onto(&self, start: Start, target: Target, factor: f64, input: &mut Input) -> Tensor<2> {
        let kernel = self.kernel();
        let projection = self.projection(input.layer, target).1;
        let terms = self.terms(target, factor, input);
        match (start, &projection.bias) {
            (Start::Zero, Some(bias)) if factor == 1.0 => kernel.products(Start::Bias(bias), terms),
            (start, Some(bias)) => kernel.products(start, terms) + scaled(bias.clone(), factor),
            (start, None) => kernel.products(start, terms),
        }
    }

    /// The products whose sum is `factor` times a projection without its bias.
    fn terms(&self, target: Target, factor: f64, input: &mut Input) -> Vec<Term> {
        let kernel = self.kernel();
        let (place, projection) = self.projection(input.layer, target);
        let halved = input.halved(&projection.weight, kernel);
        let mut terms = vec![Term { factor, halved, ..term(input.x, self.matrix(projection)) }];
        if let Some(added) = input.added(place, kernel) {
            terms.push(Term { factor: added.factor * factor, ..added });
        }
        terms
    }

    /// The inner numbers of a gated MLP without biases, where a backend computes them without gate and `up`.
    fn gated(&self, input: &mut Input) -> Option<Tensor<2>> {
        if !self.config.is_gated || self.config.biases.mlp {
            return None;
        }
        let terms = match self.config.architecture.layout.place(Target::GateUp) {
            Some(_) => GatedTerms::Joint(self.terms(Target::GateUp, 1.0, input)),
            None => GatedTerms::Apart([Target::Gate, Target::Up].map(|target| self.terms(target, 1.0, input))),
        };
        self.kernel().gated(self.config.activation, terms)
    }

    /// The residual stream with a projection added, through a norm where there is one; and the projection before it.
    fn added(
        &self,
        x: Tensor<2>,
        target: Target,
        input: &mut Input,
        norm: Option<&Affine>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let scale = self.config.scales.residual;
        match norm {
            None => (self.project_onto(Start::Residual(x), target, scale, input), None),
            Some(norm) => {
                let out = self.project_onto(Start::Zero, target, 1.0, input);
                (x + scaled(self.normed(out.clone(), norm), scale), Some(out))
            }
        }
    }

    /// Gate and `up` `[n, inner]` of an MLP.
    fn gate_and_up(&self, input: &mut Input) -> (Option<Tensor<2>>, Tensor<2>) {
        if self.config.architecture.layout.place(Target::GateUp).is_some() {
            let [both] = self.project([Target::GateUp], input);
            let (n, inner) = (both.dims()[0], self.config.inner);
            let [gate, up] = [0, inner].map(|from| both.clone().slice([0..n, from..from + inner]));
            return (Some(gate), up);
        }
        if self.config.is_gated {
            let [up, gate] = self.project([Target::Up, Target::Gate], input);
            return (Some(gate), up);
        }
        let [up] = self.project([Target::Up], input);
        (None, up)
    }

    /// Queries `[n, h·hd]`, keys and values `[n, kv·hd]`.
    fn queries_keys_values(&self, input: &mut Input) -> [Tensor<2>; 3] {
        if self.config.architecture.layout.place(Target::Fused).is_none() {
            let both = [Target::Key, Target::Value];
            let [queries] = self.project([Target::Query], input);
            let [keys, values] = match self.config.biases.attention_in {
                true => self.project(both, input),
                false => self.kernel().two_products(both.map(|target| self.terms(target, 1.0, input))),
            };
            return [queries, keys, values];
        }
        let [all] = self.project([Target::Fused], input);
        let Config { heads, kv_heads, head_dim: hd, .. } = self.config;
        let (n, width, keys) = (all.dims()[0], heads * hd, kv_heads * hd);
        match self.config.architecture.layout.fused {
            QkvLayout::Stacked => [0..width, width..width + keys, width + keys..width + 2 * keys]
                .map(|part| all.clone().slice([0..n, part])),
            QkvLayout::ByHead => {
                let all = all.reshape([n, heads, 3 * hd]);
                [0, 1, 2]
                    .map(|part| all.clone().slice([0..n, 0..heads, part * hd..(part + 1) * hd]).reshape([n, width]))
            }
        }
    }

    pub(super) fn heads(&self) -> Heads {
        let Config { heads, kv_heads, head_dim, scales, .. } = self.config;
        Heads { queries: heads, keys: kv_heads, width: head_dim, scale: scales.score, cap: scales.score_cap }
    }

    pub(super) fn normalization<'a>(&self, norm: &'a Affine) -> Normalization<'a> {
        Normalization {
            weight: match self.config.norm {
                Norm::RmsFromOne => norm.weight.clone().add_scalar(1.0),
                Norm::Rms | Norm::Layer => norm.weight.clone(),
            },
            bias: norm.bias.as_ref(),
            epsilon: self.config.epsilon,
            is_centred: self.config.norm == Norm::Layer,
        }
    }

    pub(super) fn normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        self.kernel().norm(x, self.normalization(norm))
    }

    /// Where there is a norm.
    pub(super) fn normed_if(&self, x: Tensor<2>, norm: Option<&Affine>) -> Tensor<2> {
        match norm {
            Some(norm) => self.normed(x, norm),
            None => x,
        }
    }

    /// The norm of each head's part of `[n, h·hd]`, or of all heads at once: as many numbers as it has weights.
    fn head_normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        let [n, width] = x.dims();
        let size = norm.weight.dims()[1];
        self.normed(x.reshape([n * width / size, size]), norm).reshape([n, width])
    }
}

/// No operation where the factor is 1.
pub(super) fn scaled(x: Tensor<2>, factor: f64) -> Tensor<2> {
    if factor == 1.0 { x } else { x.mul_scalar(factor) }
}
