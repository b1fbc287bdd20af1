//! A decoder: its weights as burn tensors, and the forward pass with an adapter, a batch and a cache. Architectures
//! differ in data only ([`Config`], the layout of its architecture). Cloning shares the weights: policy, reference,
//! value and reward model are one frozen decoder with different [`Adapter`]s.
//!
//! Shapes as in [`kernel`].

use super::batch::Batch;
use super::kv_cache::Cache;
use super::lora::{Adapter, Pair};
use crate::kernel::{self, Heads, Kernel, Normalization, Start, Term, term};
use burn::tensor::{Device, FloatDType, Tensor};
use formats::architectures::{Norm, QkvLayout, Target};
use formats::config::Config;

/// Weights in the order they are used.
#[derive(Clone)]
pub struct Decoder {
    pub config: Config,
    /// `[v, d]`.
    pub(crate) embedding: Tensor<2>,
    /// `[context, d]`, where positions are learned.
    pub(crate) positions: Option<Tensor<2>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Affine,
    /// `[v, d]`; `None` when the head is tied to the embedding.
    pub(crate) head: Option<Tensor<2>>,
}

#[derive(Clone)]
pub struct Block {
    pub(crate) attention_norm: Affine,
    pub(crate) mlp_norm: Affine,
    /// Norms over each head of queries and keys, `[1, hd]` each.
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
    /// The residual stream that the norm of the MLP reads.
    pub mlp_from: Tensor<2>,
    pub mlp_in: Tensor<2>,
    pub gate: Option<Tensor<2>>,
    pub up: Tensor<2>,
    pub inner: Tensor<2>,
}

impl Decoder {
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    pub(super) fn kernel(&self) -> &'static dyn Kernel {
        kernel::of(&self.device())
    }

    /// Hidden states `[n, d]` after the last norm.
    pub fn hidden(&self, adapter: Option<&Adapter>, batch: &Batch, mut cache: Option<&mut Cache>) -> Tensor<2> {
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

    pub(super) fn embedded(&self, batch: &Batch) -> Tensor<2> {
        let x = self.embedding.clone().select(0, batch.ids.clone()).cast(FloatDType::F32);
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

        // 1. Attention.
        let attention_in = self.normed(x.clone(), &block.attention_norm);
        let [plain_queries, plain_keys, values] = self.queries_keys_values(layer, adapter, &attention_in);
        let (queries, keys) = match &block.head_norms {
            Some([query_norm, key_norm]) => {
                (self.head_normed(plain_queries.clone(), query_norm), self.head_normed(plain_keys.clone(), key_norm))
            }
            None => (plain_queries.clone(), plain_keys.clone()),
        };
        let heads = self.heads();
        let (queries, keys) = match &batch.angles {
            Some(angles) => (kernel.rotate(queries, angles, heads.queries), kernel.rotate(keys, angles, heads.keys)),
            None => (queries, keys),
        };
        let qkv = [queries.clone(), keys.clone(), values.clone()];
        let mixed = match cache {
            Some(cache) => cache.attend(layer, heads, qkv, &batch.mask),
            None => kernel.attend(heads, qkv, &batch.mask),
        };
        let after = self.project_onto(Start::Residual(x.clone()), layer, Target::Output, adapter, &mixed);

        // 2. The MLP.
        let mlp_from = if self.config.is_parallel { x.clone() } else { after.clone() };
        let mlp_in = self.normed(mlp_from.clone(), &block.mlp_norm);
        let up = self.project(layer, Target::Up, adapter, &mlp_in);
        let gate = self.config.is_gated.then(|| self.project(layer, Target::Gate, adapter, &mlp_in));
        let inner = match &gate {
            Some(gate) => kernel.gate(self.config.activation, gate.clone(), Some(up.clone())),
            None => kernel.gate(self.config.activation, up.clone(), None),
        };
        let out = self.project_onto(Start::Residual(after), layer, Target::Down, adapter, &inner);
        let before_head_norms = block.head_norms.as_ref().map(|_| [plain_queries, plain_keys]);
        let activations = Activations {
            x,
            attention_in,
            before_head_norms,
            queries,
            keys,
            values,
            mixed,
            mlp_from,
            mlp_in,
            gate,
            up,
            inner,
        };
        (out, activations)
    }

    /// Logits `[n, v]` of hidden states `[n, d]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.kernel().products(Start::Zero, vec![term(&hidden, self.unembedding().transpose())])
    }

    /// `[v, d]`.
    pub(super) fn unembedding(&self) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding).clone()
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

    /// x·W + b, plus s·(x·A)·B where there is an adapter: the weight itself is never touched (Hu et al. 2021, eq. 3).
    fn project(&self, layer: usize, target: Target, adapter: Option<&Adapter>, x: &Tensor<2>) -> Tensor<2> {
        self.project_onto(Start::Zero, layer, target, adapter, x)
    }

    /// The same, added to `start`.
    fn project_onto(
        &self,
        start: Start,
        layer: usize,
        target: Target,
        adapter: Option<&Adapter>,
        x: &Tensor<2>,
    ) -> Tensor<2> {
        let kernel = self.kernel();
        let (place, projection) = self.projection(layer, target);
        let mut terms = vec![term(x, self.matrix(projection))];
        if let Some((scale, pair)) = self.pair(layer, place, adapter) {
            let narrow = kernel.products(Start::Zero, vec![term(x, pair.a.clone())]);
            terms.push(Term { factor: scale, ..term(&narrow, pair.b.clone()) });
        }
        match (start, &projection.bias) {
            (Start::Zero, Some(bias)) => kernel.products(Start::Bias(bias), terms),
            (start, Some(bias)) => kernel.products(start, terms) + bias.clone(),
            (start, None) => kernel.products(start, terms),
        }
    }

    /// α/r and the matrices of an adapter beside a projection.
    pub(super) fn pair<'a>(&self, layer: usize, place: usize, adapter: Option<&'a Adapter>) -> Option<(f64, &'a Pair)> {
        adapter.and_then(|adapter| adapter.pair(layer, place).map(|pair| (adapter.scale(), pair)))
    }

    /// Queries `[n, h·hd]`, keys and values `[n, kv·hd]`.
    fn queries_keys_values(&self, layer: usize, adapter: Option<&Adapter>, x: &Tensor<2>) -> [Tensor<2>; 3] {
        if self.config.architecture.layout.place(Target::Fused).is_none() {
            return [Target::Query, Target::Key, Target::Value].map(|target| self.project(layer, target, adapter, x));
        }
        let all = self.project(layer, Target::Fused, adapter, x);
        let Config { heads, head_dim: hd, .. } = self.config;
        let (n, width) = (all.dims()[0], heads * hd);
        match self.config.architecture.layout.fused {
            QkvLayout::Stacked => [0, 1, 2].map(|part| all.clone().slice([0..n, part * width..(part + 1) * width])),
            QkvLayout::ByHead => {
                let all = all.reshape([n, heads, 3 * hd]);
                [0, 1, 2]
                    .map(|part| all.clone().slice([0..n, 0..heads, part * hd..(part + 1) * hd]).reshape([n, width]))
            }
        }
    }

    pub(super) fn heads(&self) -> Heads {
        Heads { queries: self.config.heads, keys: self.config.kv_heads, width: self.config.head_dim }
    }

    pub(super) fn normalization<'a>(&self, norm: &'a Affine) -> Normalization<'a> {
        Normalization {
            weight: &norm.weight,
            bias: norm.bias.as_ref(),
            epsilon: self.config.epsilon,
            is_centred: self.config.norm == Norm::Layer,
        }
    }

    pub(super) fn normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        self.kernel().norm(x, self.normalization(norm))
    }

    /// The norm of each head's part of `[n, h·hd]`.
    fn head_normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        let [n, width] = x.dims();
        let hd = self.config.head_dim;
        self.normed(x.reshape([n * width / hd, hd]), norm).reshape([n, width])
    }
}
