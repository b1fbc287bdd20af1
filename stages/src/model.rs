//! A decoder and its LoRA adapters as burn tensors; what the architectures differ in is data ([`Config`], [`layout`]). The
//! frozen base is shared by cloning handles, never copied: policy, reference, value and reward are one [`Decoder`] with
//! different [`Adapter`]s.
//!
//! Shapes: `b` rows, `t` new positions, `s` positions seen, `d` width, `h` heads, `v` vocabulary.

pub mod artifact;
pub mod batch;
pub mod config;
pub mod describe;
pub mod export;
pub mod layout;
pub mod llama2c;
pub mod lora;
pub mod memory;
pub mod weights;

pub use artifact::Artifact;
pub use batch::{Batch, Padding};
pub use config::Config;
pub use lora::{Adapter, LoraParameters};

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData, activation};
use config::{Activation, Norm};
use layout::{Fused, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the matrices of a frozen base are kept in, and multiplied in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub const ALL: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

    pub fn of_burn(self) -> DType {
        match self {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
        }
    }

    pub fn of_file(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::Bf16 => safetensors::Dtype::BF16,
        }
    }

    /// As it is written in a file and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }

    pub fn size(self) -> usize {
        self.of_burn().size()
    }
}

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

impl Decoder {
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    /// Hidden states `[b·t, d]` after the last norm.
    pub fn hidden(&self, adapter: Option<&Adapter>, batch: &Batch, cache: Option<&mut Cache>) -> Tensor<2> {
        self.walk(adapter, batch, cache, |_| ())
    }

    /// Hidden states `[b·t, d]` before the first block and behind each one: to find where two models part.
    pub fn layers(&self, adapter: Option<&Adapter>, batch: &Batch) -> Vec<Tensor<2>> {
        let mut layers = Vec::with_capacity(self.blocks.len() + 1);
        self.walk(adapter, batch, None, |x| layers.push(x.clone()));
        layers
    }

    fn walk(
        &self,
        adapter: Option<&Adapter>,
        batch: &Batch,
        mut cache: Option<&mut Cache>,
        mut see: impl FnMut(&Tensor<2>),
    ) -> Tensor<2> {
        let mut x = self.embedding.clone().select(0, batch.ids.clone()).cast(FloatDType::F32);
        if let Some(positions) = &self.positions {
            x = x + positions.clone().select(0, batch.positions.clone()).cast(FloatDType::F32);
        }
        see(&x);
        for (layer, block) in self.blocks.iter().enumerate() {
            let normed = self.normed(x.clone(), &block.attention_norm);
            let attended = self.attention(layer, adapter, normed, batch, cache.as_deref_mut());
            x = match self.config.is_parallel {
                true => x.clone() + attended + self.mlp(layer, adapter, self.normed(x, &block.mlp_norm)),
                false => {
                    let x = x + attended;
                    x.clone() + self.mlp(layer, adapter, self.normed(x, &block.mlp_norm))
                }
            };
            see(&x);
        }
        if let Some(cache) = cache {
            cache.len += batch.columns;
        }
        self.normed(x, &self.norm)
    }

    fn mlp(&self, layer: usize, adapter: Option<&Adapter>, x: Tensor<2>) -> Tensor<2> {
        let inner = match self.config.is_gated {
            true => {
                let gate = self.project(layer, Target::Gate, adapter, x.clone());
                self.activate(gate) * self.project(layer, Target::Up, adapter, x)
            }
            false => self.activate(self.project(layer, Target::Up, adapter, x)),
        };
        self.project(layer, Target::Down, adapter, inner)
    }

    fn activate(&self, x: Tensor<2>) -> Tensor<2> {
        match self.config.activation {
            Activation::Silu => activation::sigmoid(x.clone()) * x,
            // x·Φ(x).
            Activation::Gelu => {
                x.clone() * x.mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5)
            }
            Activation::GeluTanh => {
                let cubic = x.clone() * x.clone().square().mul_scalar(0.044715).add_scalar(1.0);
                let slope = (2.0 / std::f64::consts::PI).sqrt();
                x * cubic.mul_scalar(slope).tanh().add_scalar(1.0).mul_scalar(0.5)
            }
            Activation::Relu => activation::relu(x),
        }
    }

    /// Logits `[n, v]` of hidden states `[n, d]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        times(hidden, self.head.as_ref().unwrap_or(&self.embedding).clone().transpose())
    }

    /// x·W + b, plus s·(x·A)·B where there is an adapter: the weight itself is never touched (Hu et al. 2021, eq. 3).
    fn project(&self, layer: usize, target: Target, adapter: Option<&Adapter>, x: Tensor<2>) -> Tensor<2> {
        let layout = self.config.architecture.layout();
        let place = layout.place(target).expect("only what the architecture has is asked for");
        let Affine { weight, bias } = &self.blocks[layer].projections[place];
        let weight = if layout.is_in_out { weight.clone() } else { weight.clone().transpose() };
        let base = times(x.clone(), weight);
        let base = match bias {
            Some(bias) => base + bias.clone(),
            None => base,
        };
        match adapter.and_then(|adapter| adapter.pair(layer, place).map(|pair| (adapter.scale(), pair))) {
            Some((scale, pair)) => base + x.matmul(pair.a.clone()).matmul(pair.b.clone()).mul_scalar(scale),
            None => base,
        }
    }

    /// Queries, keys and values, `[b, h, t, hd]` and twice `[b, kv, t, hd]`.
    fn heads(&self, layer: usize, adapter: Option<&Adapter>, x: Tensor<2>, (b, t): (usize, usize)) -> [Tensor<4>; 3] {
        let Config { heads, kv_heads, head_dim, architecture, .. } = self.config;
        let layout = architecture.layout();
        let split = |x: Tensor<2>, heads: usize| x.reshape([b, t, heads, head_dim]).swap_dims(1, 2);
        if layout.place(Target::Fused).is_none() {
            let [queries, keys, values] = [Target::Query, Target::Key, Target::Value]
                .map(|target| self.project(layer, target, adapter, x.clone()));
            return [split(queries, heads), split(keys, kv_heads), split(values, kv_heads)];
        }
        let all = self.project(layer, Target::Fused, adapter, x);
        let width = heads * head_dim;
        match layout.fused {
            Fused::Stacked => {
                [0, 1, 2].map(|part| split(all.clone().slice([0..b * t, part * width..(part + 1) * width]), heads))
            }
            Fused::ByHead => {
                let all = all.reshape([b, t, heads, 3 * head_dim]);
                let part = |part: usize| {
                    let place = [0..b, 0..t, 0..heads, part * head_dim..(part + 1) * head_dim];
                    all.clone().slice(place).swap_dims(1, 2)
                };
                [0, 1, 2].map(part)
            }
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
        let [queries, keys, values] = self.heads(layer, adapter, x, (b, t));
        let (queries, keys) = match &self.blocks[layer].head_norms {
            Some([of_queries, of_keys]) => (self.head_normed(queries, of_queries), self.head_normed(keys, of_keys)),
            None => (queries, keys),
        };
        let (queries, keys) = (batch.rotate(queries), batch.rotate(keys));
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

    /// Over the last dimension: see [`Norm`].
    fn normed(&self, x: Tensor<2>, norm: &Affine) -> Tensor<2> {
        let x = match self.config.norm {
            Norm::Rms => x,
            Norm::Layer => x.clone() - x.mean_dim(1),
        };
        let scale = x.clone().square().mean_dim(1).add_scalar(self.config.epsilon).sqrt().recip();
        let normed = x * scale * norm.weight.clone();
        match &norm.bias {
            Some(bias) => normed + bias.clone(),
            None => normed,
        }
    }

    /// The same of each head's `[hd]`.
    fn head_normed(&self, x: Tensor<4>, norm: &Affine) -> Tensor<4> {
        let [b, h, t, hd] = x.dims();
        self.normed(x.reshape([b * h * t, hd]), norm).reshape([b, h, t, hd])
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

/// x·W, in the precision of W. All else is f32: what is added up over the layers, norms, attention, adapters, losses.
fn times(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    match weight.dtype() {
        DType::F16 => x.cast(FloatDType::F16).matmul(weight).cast(FloatDType::F32),
        DType::BF16 => x.cast(FloatDType::BF16).matmul(weight).cast(FloatDType::F32),
        _ => x.matmul(weight),
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
