//! A LLaMA and its LoRA adapters as burn tensors. The frozen base is shared by cloning handles, never
//! copied: policy, reference, value and reward are one [`Llama`] with different [`Adapter`]s.
//!
//! Shapes: `b` rows, `t` new positions, `s` positions seen, `d` width, `h` heads, `v` vocabulary.

pub mod artifact;
pub mod batch;
pub mod config;
pub mod lora;

pub use artifact::Artifact;
pub use batch::{Batch, Padding};
pub use config::Config;
pub use lora::{Adapter, LoraParameters};

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use lora::Target;

/// Weights in the order they are used. Projections are kept `[in, out]`, the transpose of the file.
#[derive(Clone)]
pub struct Llama {
    pub config: Config,
    pub(crate) embedding: Tensor<2>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Tensor<2>,
    /// `[v, d]`; `None` when the head is tied to the embedding.
    pub(crate) head: Option<Tensor<2>>,
}

#[derive(Clone)]
pub struct Block {
    /// `[1, d]`.
    pub(crate) attention_norm: Tensor<2>,
    pub(crate) mlp_norm: Tensor<2>,
    /// By [`Target`].
    pub(crate) projections: [Tensor<2>; Target::COUNT],
}

/// Keys and values of the positions seen so far, `[b, kv, s, hd]` per layer.
pub struct Cache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    capacity: usize,
    len: usize,
}

impl Cache {
    pub fn new(layers: usize, capacity: usize) -> Cache {
        Cache { layers: vec![None; layers], capacity, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all rows but `rows`.
    pub fn keep(&mut self, rows: &[usize], device: &Device) {
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows.clone(), [rows.len()]), device);
        for layer in &mut self.layers {
            *layer = layer.take().map(|(keys, values)| (keys.select(0, rows.clone()), values.select(0, rows.clone())));
        }
    }

    /// Writes the new positions behind the old ones and returns all of them.
    fn extend(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [b, kv, t, hd] = keys.dims();
        let (start, end) = (self.len, self.len + t);
        let room = || Tensor::<4>::zeros([b, kv, self.capacity, hd], &keys.device());
        let (all_keys, all_values) = self.layers[layer].take().unwrap_or_else(|| (room(), room()));
        let place = [0..b, 0..kv, start..end, 0..hd];
        let all_keys = all_keys.slice_assign(place.clone(), keys);
        let all_values = all_values.slice_assign(place, values);
        let seen = [0..b, 0..kv, 0..end, 0..hd];
        let out = (all_keys.clone().slice(seen.clone()), all_values.clone().slice(seen));
        self.layers[layer] = Some((all_keys, all_values));
        out
    }
}

impl Llama {
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    /// Hidden states `[b·t, d]` after the last norm.
    pub fn hidden(&self, adapter: Option<&Adapter>, batch: &Batch, mut cache: Option<&mut Cache>) -> Tensor<2> {
        let mut x = self.embedding.clone().select(0, batch.ids.clone());
        for (layer, block) in self.blocks.iter().enumerate() {
            let normed = self.rms_norm(x.clone(), &block.attention_norm);
            x = x + self.attention(layer, adapter, normed, batch, cache.as_deref_mut());
            let normed = self.rms_norm(x.clone(), &block.mlp_norm);
            let gate = self.project(layer, Target::Gate, adapter, normed.clone());
            let up = self.project(layer, Target::Up, adapter, normed);
            let gated = activation::sigmoid(gate.clone()) * gate * up;
            x = x + self.project(layer, Target::Down, adapter, gated);
        }
        if let Some(cache) = cache {
            cache.len += batch.columns;
        }
        self.rms_norm(x, &self.norm)
    }

    /// Logits `[n, v]` of hidden states `[n, d]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head.as_ref().unwrap_or(&self.embedding).clone().transpose())
    }

    /// x·W, plus s·(x·A)·B where there is an adapter: the weight itself is never touched (Hu et al. 2021, eq. 3).
    fn project(&self, layer: usize, target: Target, adapter: Option<&Adapter>, x: Tensor<2>) -> Tensor<2> {
        let base = x.clone().matmul(self.blocks[layer].projections[target as usize].clone());
        match adapter.and_then(|adapter| adapter.pair(layer, target).map(|pair| (adapter.scale(), pair))) {
            Some((scale, pair)) => base + x.matmul(pair.a.clone()).matmul(pair.b.clone()).mul_scalar(scale),
            None => base,
        }
    }

    fn attention(
        &self,
        layer: usize,
        adapter: Option<&Adapter>,
        x: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        let (b, t, group) = (batch.rows, batch.columns, heads / kv_heads);
        let split = |x: Tensor<2>, heads: usize| x.reshape([b, t, heads, head_dim]).swap_dims(1, 2);
        let queries = split(self.project(layer, Target::Query, adapter, x.clone()), heads);
        let keys = split(self.project(layer, Target::Key, adapter, x.clone()), kv_heads);
        let values = split(self.project(layer, Target::Value, adapter, x), kv_heads);
        let queries = batch.rotate(queries);
        let keys = batch.rotate(keys);
        let (keys, values) = match cache {
            Some(cache) => cache.extend(layer, keys, values),
            None => (keys, values),
        };
        // Query heads that share a key/value head become further rows of it: nothing is repeated in memory.
        let queries = queries.reshape([b, kv_heads, group * t, head_dim]);
        let scores = queries.matmul(keys.swap_dims(2, 3)).mul_scalar(1.0 / (head_dim as f64).sqrt());
        let bias = if group == 1 { batch.bias.clone() } else { batch.bias.clone().repeat_dim(2, group) };
        let weights = softmax(scores + bias);
        let mixed = weights.matmul(values).reshape([b, heads, t, head_dim]).swap_dims(1, 2);
        self.project(layer, Target::Output, adapter, mixed.reshape([b * t, heads * head_dim]))
    }

    /// x / √(mean(x²) + ε) · w (Zhang & Sennrich 2019, eq. 4).
    fn rms_norm(&self, x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
        let scale = x.clone().square().mean_dim(1).add_scalar(self.config.epsilon).sqrt().recip();
        x * scale * weight.clone()
    }

    /// Log-probabilities `[n]` of `targets` at hidden states `[n, d]`, at `temperature`; and the entropies `[n]`.
    pub fn log_probs(&self, hidden: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> (Tensor<1>, Tensor<1>) {
        let [n, _] = hidden.dims();
        let logits = self.logits(hidden);
        let logits = if temperature == 1.0 { logits } else { logits.div_scalar(temperature) };
        let all = log_softmax(logits);
        let entropy = (all.clone().exp() * all.clone()).sum_dim(1).neg().reshape([n]);
        (all.gather(1, targets.reshape([n, 1])).reshape([n]), entropy)
    }
}

// Written out, because burn's own are fused on some backends without autodiff and decomposed with it: then sampling
// and training would differ in the last bits, and PPO's ratio would not begin at 1.

/// Over the last dimension. The largest value is a constant here: it cancels out.
fn softmax(x: Tensor<4>) -> Tensor<4> {
    let weights = (x.clone() - x.detach().max_dim(3)).exp();
    weights.clone() / weights.sum_dim(3)
}

/// Over the last dimension.
fn log_softmax(x: Tensor<2>) -> Tensor<2> {
    let shifted = x.clone() - x.detach().max_dim(1);
    shifted.clone() - shifted.exp().sum_dim(1).log()
}
