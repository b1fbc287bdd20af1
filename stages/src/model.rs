//! A decoder and its LoRA adapters as burn tensors; what the architectures differ in is data ([`Config`], [`layout`]). The
//! frozen base is shared by cloning handles, never copied: policy, reference, value and reward are one [`Decoder`] with
//! different [`Adapter`]s.
//!
//! Shapes: `n` tokens of all rows, `d` width, `h` heads of `hd` (`kv` of keys and values), `v` vocabulary.

pub mod artifact;
mod attention;
mod backward;
pub mod batch;
pub mod export;
pub(crate) mod host;
mod kernel;
pub mod lora;
pub mod memory;
pub mod predict;
mod product;
mod role;
mod softmax;
pub mod weights;

pub use artifact::Artifact;
pub use attention::Cache;
pub use backward::{Gradient, Trace, Trained};
pub use batch::{Batch, Padding, Span};
pub use formats::config::Config;
pub use formats::dtype::Dtype;
pub use lora::{Adapter, LoraParameters};
pub use memory::Load;
pub use role::Reference;

use backward::Kept;
use burn::tensor::{Device, FloatDType, Tensor};
use formats::architectures::{Fused, Norm, Target};
pub mod config {
    pub use formats::architectures::{Activation, Norm};
    pub use formats::config::*;
}
pub mod layout {
    pub use formats::architectures::{Fused, Layout, Target};
    pub use formats::layout::*;
}
use product::{Start, Term, sum_of, term};

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
    /// Of queries and keys, `[1, hd]` each.
    pub(crate) head_norms: Option<[Affine; 2]>,
    /// In the order of the layout's targets; the weights lie as in the files.
    pub(crate) projections: Vec<Affine>,
}

/// A matrix, or the row of a norm, with the row that is added behind it.
#[derive(Clone)]
pub struct Affine {
    pub(crate) weight: Tensor<2>,
    /// `[1, out]`.
    pub(crate) bias: Option<Tensor<2>>,
}

impl Decoder {
    pub fn device(&self) -> Device {
        self.embedding.device()
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

    /// Hidden states `[n, d]` before the first block and behind each one: to find where two models part.
    pub fn layers(&self, adapter: Option<&Adapter>, batch: &Batch) -> Vec<Tensor<2>> {
        let mut layers = vec![self.embedded(batch)];
        for layer in 0..self.blocks.len() {
            let x = layers[layer].clone();
            layers.push(self.block(layer, adapter, x, batch, None).0);
        }
        layers
    }

    fn embedded(&self, batch: &Batch) -> Tensor<2> {
        let x = self.embedding.clone().select(0, batch.ids.clone()).cast(FloatDType::F32);
        match (&self.positions, &batch.positions) {
            (Some(learned), Some(positions)) => x + learned.clone().select(0, positions.clone()).cast(FloatDType::F32),
            _ => x,
        }
    }

    /// One block, and what its derivative needs to be made.
    fn block(
        &self,
        layer: usize,
        adapter: Option<&Adapter>,
        x: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut Cache>,
    ) -> (Tensor<2>, Kept) {
        let block = &self.blocks[layer];
        let attention_in = self.normed(x.clone(), &block.attention_norm);
        let [plain_queries, plain_keys, values] = self.heads(layer, adapter, &attention_in);
        let (queries, keys) = match &block.head_norms {
            Some([of_queries, of_keys]) => {
                (self.head_normed(plain_queries.clone(), of_queries), self.head_normed(plain_keys.clone(), of_keys))
            }
            None => (plain_queries.clone(), plain_keys.clone()),
        };
        let (queries, keys) = (
            self.rotated(queries, batch, self.config.heads, false),
            self.rotated(keys, batch, self.config.kv_heads, false),
        );
        let cache = cache.map(|cache| (cache, layer));
        let attended = [queries.clone(), keys.clone(), values.clone()];
        let mixed = attention::attend(&self.config, attended, batch, cache);
        let after = self.project_onto(Start::From(x.clone()), layer, Target::Output, adapter, &mixed);
        let mlp_from = if self.config.is_parallel { x.clone() } else { after.clone() };
        let mlp_in = self.normed(mlp_from.clone(), &block.mlp_norm);
        let up = self.project(layer, Target::Up, adapter, &mlp_in);
        let gate = self.config.is_gated.then(|| self.project(layer, Target::Gate, adapter, &mlp_in));
        let inner = match &gate {
            Some(gate) => kernel::gate(self.config.activation, gate.clone(), Some(up.clone())),
            None => kernel::gate(self.config.activation, up.clone(), None),
        };
        let out = self.project_onto(Start::From(after), layer, Target::Down, adapter, &inner);
        let plain = block.head_norms.as_ref().map(|_| [plain_queries, plain_keys]);
        (out, Kept { x, attention_in, plain, queries, keys, values, mixed, mlp_from, mlp_in, gate, up, inner })
    }

    /// Logits `[n, v]` of hidden states `[n, d]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        sum_of(Start::Zero, vec![term(&hidden, self.unembedding().transpose())])
    }

    /// `[v, d]`.
    fn unembedding(&self) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding).clone()
    }

    /// The projection of a block, and where it stands among the layout's targets.
    fn projection(&self, layer: usize, target: Target) -> (usize, &Affine) {
        let place =
            self.config.architecture.layout().place(target).expect("only what the architecture has is asked for");
        (place, &self.blocks[layer].projections[place])
    }

    /// `[in, out]`.
    fn matrix(&self, projection: &Affine) -> Tensor<2> {
        let weight = projection.weight.clone();
        if self.config.architecture.layout().is_in_out { weight } else { weight.transpose() }
    }

    /// x·W + b, plus s·(x·A)·B where there is an adapter: the weight itself is never touched (Hu et al. 2021, eq. 3).
    fn project(&self, layer: usize, target: Target, adapter: Option<&Adapter>, x: &Tensor<2>) -> Tensor<2> {
        self.project_onto(Start::Zero, layer, target, adapter, x)
    }

    /// The same, added to what it starts from.
    fn project_onto(
        &self,
        start: Start,
        layer: usize,
        target: Target,
        adapter: Option<&Adapter>,
        x: &Tensor<2>,
    ) -> Tensor<2> {
        let (place, projection) = self.projection(layer, target);
        let mut terms = vec![term(x, self.matrix(projection))];
        if let Some((scale, pair)) = self.pair(layer, place, adapter) {
            let narrow = sum_of(Start::Zero, vec![term(x, pair.a.clone())]);
            terms.push(Term { factor: scale, ..term(&narrow, pair.b.clone()) });
        }
        match (start, &projection.bias) {
            (Start::Zero, Some(bias)) => sum_of(Start::Bias(bias), terms),
            (start, Some(bias)) => sum_of(start, terms) + bias.clone(),
            (start, None) => sum_of(start, terms),
        }
    }

    /// α/r and the matrices of an adapter beside a projection.
    fn pair<'a>(&self, layer: usize, place: usize, adapter: Option<&'a Adapter>) -> Option<(f64, &'a lora::Pair)> {
        adapter.and_then(|adapter| adapter.pair(layer, place).map(|pair| (adapter.scale(), pair)))
    }

    /// Queries `[n, h·hd]`, keys and values `[n, kv·hd]`.
    fn heads(&self, layer: usize, adapter: Option<&Adapter>, x: &Tensor<2>) -> [Tensor<2>; 3] {
        if self.config.architecture.layout().place(Target::Fused).is_none() {
            return [Target::Query, Target::Key, Target::Value].map(|target| self.project(layer, target, adapter, x));
        }
        let all = self.project(layer, Target::Fused, adapter, x);
        let Config { heads, head_dim: hd, .. } = self.config;
        let (n, width) = (all.dims()[0], heads * hd);
        match self.config.architecture.layout().fused {
            Fused::Stacked => [0, 1, 2].map(|part| all.clone().slice([0..n, part * width..(part + 1) * width])),
            Fused::ByHead => {
                let all = all.reshape([n, heads, 3 * hd]);
                [0, 1, 2]
                    .map(|part| all.clone().slice([0..n, 0..heads, part * hd..(part + 1) * hd]).reshape([n, width]))
            }
        }
    }

    fn rotated(&self, x: Tensor<2>, batch: &Batch, heads: usize, is_back: bool) -> Tensor<2> {
        match &batch.turns {
            Some(turns) => kernel::rotate(x, turns, heads, is_back),
            None => x,
        }
    }

    fn normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        kernel::norm(x, &norm.weight, norm.bias.as_ref(), self.config.epsilon, self.config.norm == Norm::Layer)
    }

    /// The same of each head's part of `[n, h·hd]`.
    fn head_normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        let [n, width] = x.dims();
        let hd = self.config.head_dim;
        self.normed(x.reshape([n * width / hd, hd]), norm).reshape([n, width])
    }
}
