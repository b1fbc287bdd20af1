//! The derivative of a decoder by hand, block by block: from the gradient of its hidden states to those of what is
//! trained, an adapter or all weights. It is written by hand so that a frozen weight costs no gradient, a block can be
//! computed again instead of kept (Chen et al. 2016), and no backend's graph decides what stays in memory;
//! `tests/numbers.rs` compares it with burn's autodiff.
//!
//! `d_x` is the gradient of the loss with respect to `x`.

use super::batch::Batch;
use super::decoder::{Activations, Affine, Block, Decoder, scaled};
use super::lora::{Adapter, Pair};
use crate::kernel::{Start, Term, term};
use crate::tensor::{from_values, values_of};
use anyhow::Result;
use burn::tensor::Tensor;
use formats::architectures::{QkvLayout, Target};
use formats::config::Config;

/// A forward pass that can be gone back, and its last residual stream.
pub struct Trace {
    blocks: Vec<SavedBlock>,
    last: Tensor<2>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a tensor is a handle of some hundred bytes, and there is one for each block"
)]
enum SavedBlock {
    /// The input of the block; the rest is computed again.
    Input(Tensor<2>),
    All(Box<Activations>),
}

/// The gradients that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trainable {
    Adapter,
    /// The weights of the decoder, and no adapter.
    Weights,
}

/// Gradients in the shape of the trained tensors.
#[expect(clippy::large_enum_variant, reason = "there is one for each part of a batch")]
pub enum Gradient {
    Adapter(Adapter),
    Weights(Box<Decoder>),
}

/// The backward pass: the inputs of the forward pass, and the gradients that are wanted.
#[derive(Clone, Copy)]
struct Back<'a> {
    adapter: Option<&'a Adapter>,
    batch: &'a Batch,
    trained: Trainable,
}

impl Back<'_> {
    fn trains_weights(self) -> bool {
        self.trained == Trainable::Weights
    }
}

/// The gradients of one block, collected target by target.
struct BlockGradients {
    pairs: Vec<Option<Pair>>,
    projections: Vec<Option<Affine>>,
}

/// A projection on the way back: its input `[n, in]`, and the gradient of its output `[n, out]`.
struct ProjectionBack<'a> {
    target: Target,
    x: &'a Tensor<2>,
    dy: &'a Tensor<2>,
}

impl Decoder {
    /// Hidden states `[n, d]` as [`Decoder::hidden`] gives them, to the last bit, and the way back. Where it
    /// `recomputes`, the blocks' inputs alone are kept, and each block is computed a second time on the way back.
    pub fn trace(&self, adapter: Option<&Adapter>, batch: &Batch, recomputes: bool) -> (Tensor<2>, Trace) {
        let mut x = self.embedded(batch);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for layer in 0..self.blocks.len() {
            let (out, activations) = self.block(layer, adapter, x, batch, None);
            blocks.push(match recomputes {
                true => SavedBlock::Input(activations.x),
                false => SavedBlock::All(Box::new(activations)),
            });
            x = out;
        }
        (self.normed(x.clone(), &self.norm), Trace { blocks, last: x })
    }

    /// The gradient of a loss whose gradient by the hidden states is `d_hidden` `[n, d]`. The caller adds what a head
    /// contributes: an adapter's head has gradient `None`, and that of the embedding counts its rows as inputs alone.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn backward(
        &self,
        adapter: Option<&Adapter>,
        batch: &Batch,
        trace: Trace,
        d_hidden: Tensor<2>,
        trained: Trainable,
    ) -> Result<Gradient> {
        let back = Back { adapter, batch, trained };
        let d_norm = back.trains_weights().then(|| self.norm_weight_back(&trace.last, &self.norm, &d_hidden));
        let mut dx = self.norm_back(trace.last, &self.norm, d_hidden, None);
        let (mut pairs, mut blocks) = (Vec::new(), Vec::new());
        for (layer, saved) in trace.blocks.into_iter().enumerate().rev() {
            let activations = match saved {
                SavedBlock::All(activations) => *activations,
                SavedBlock::Input(x) => self.block(layer, adapter, x, batch, None).1,
            };
            let (d_input, d_pairs, d_block) = self.block_back(layer, back, activations, dx);
            dx = d_input;
            pairs.push(d_pairs);
            blocks.extend(d_block);
        }
        pairs.reverse();
        blocks.reverse();
        Ok(match (trained, adapter) {
            (Trainable::Adapter, Some(adapter)) => Gradient::Adapter(Adapter { pairs, head: None, ..adapter.clone() }),
            (Trainable::Adapter, None) => unreachable!("a gradient by an adapter is asked for where there is one"),
            (Trainable::Weights, _) => Gradient::Weights(Box::new(Decoder {
                config: self.config.clone(),
                embedding: gathered(
                    &scaled(dx.clone(), self.config.scales.embedding),
                    &batch.host_ids,
                    &self.embedding,
                )?,
                positions: match &self.positions {
                    Some(learned) => Some(gathered(&dx, &batch.host_positions(), learned)?),
                    None => None,
                },
                blocks,
                norm: d_norm.expect("weights are trained"),
                head: self.head.as_ref().map(Tensor::zeros_like),
            })),
        })
    }

    /// The gradients of a block's input, of the adapter's matrices beside it, and of its weights where they are
    /// trained.
    fn block_back(
        &self,
        layer: usize,
        back: Back,
        activations: Activations,
        dy: Tensor<2>,
    ) -> (Tensor<2>, Vec<Option<Pair>>, Option<Block>) {
        let (block, kernel, heads) = (&self.blocks[layer], self.kernel(), self.heads());
        let targets = block.projections.len();
        let mut gradients =
            BlockGradients { pairs: vec![None; targets], projections: (0..targets).map(|_| None).collect() };
        let Activations { x, attention_in, queries, keys, values, mixed, mlp_from, mlp_in, gate, up, inner, .. } =
            activations;
        let attention = self.config.attention[layer];

        // 1. The MLP.
        let (d_down, d_mlp_out_norm) = self.added_back(activations.mlp_out, block.mlp_out_norm.as_ref(), &dy, back);
        let down = ProjectionBack { target: Target::Down, x: &inner, dy: &d_down };
        let d_inner = self.project_back(layer, back, &[down], &mut gradients);
        let d_mlp_in = match gate {
            Some(gate) if self.config.architecture.layout.place(Target::GateUp).is_some() => {
                let (d_gate, d_up) = kernel.gate_back(self.config.activation, gate, Some(up), d_inner);
                let both = Tensor::cat(vec![d_gate, d_up.expect("a gate multiplies something")], 1);
                let both = ProjectionBack { target: Target::GateUp, x: &mlp_in, dy: &both };
                self.project_back(layer, back, &[both], &mut gradients)
            }
            Some(gate) => {
                let (d_gate, d_up) = kernel.gate_back(self.config.activation, gate, Some(up), d_inner);
                let d_up = d_up.expect("a gate multiplies something");
                let both = [(Target::Gate, &d_gate), (Target::Up, &d_up)];
                let both = both.map(|(target, dy)| ProjectionBack { target, x: &mlp_in, dy });
                self.project_back(layer, back, &both, &mut gradients)
            }
            None => {
                let d_up = kernel.gate_back(self.config.activation, up, None, d_inner).0;
                let up = ProjectionBack { target: Target::Up, x: &mlp_in, dy: &d_up };
                self.project_back(layer, back, &[up], &mut gradients)
            }
        };
        // The MLP reads the residual stream after attention, unless both stand side by side.
        let residual = (!self.config.is_parallel).then(|| dy.clone());
        let (d_mlp, d_mlp_norm) = self.norm_back_if(mlp_from, block.mlp_norm.as_ref(), d_mlp_in, residual, back);
        let (d_after, residual) = match self.config.is_parallel {
            true => (dy.clone(), dy + d_mlp),
            false => (d_mlp.clone(), d_mlp),
        };

        // 2. Attention.
        let (d_output, d_attention_out_norm) =
            self.added_back(activations.attention_out, block.attention_out_norm.as_ref(), &d_after, back);
        let output = ProjectionBack { target: Target::Output, x: &mixed, dy: &d_output };
        let d_mixed = self.project_back(layer, back, &[output], &mut gradients);
        let [d_queries, d_keys, d_values] =
            kernel.attend_back(heads, [queries, keys, values], &back.batch.masks[attention.window], d_mixed);
        let (d_queries, d_keys) = match attention.rope.map(|rope| &back.batch.angles[rope]) {
            Some(angles) => {
                (kernel.rotate_back(d_queries, angles, heads.queries), kernel.rotate_back(d_keys, angles, heads.keys))
            }
            None => (d_queries, d_keys),
        };
        let (d_queries, d_keys, d_head_norms) = match (&block.head_norms, activations.before_head_norms) {
            (Some([query_norm, key_norm]), Some([plain_queries, plain_keys])) => {
                let (d_queries, one) = self.head_norm_back(plain_queries, query_norm, d_queries, back);
                let (d_keys, two) = self.head_norm_back(plain_keys, key_norm, d_keys, back);
                (d_queries, d_keys, one.zip(two).map(|(one, two)| [one, two]))
            }
            _ => (d_queries, d_keys, None),
        };
        let d_attention_in = if self.config.architecture.layout.place(Target::Fused).is_none() {
            let all = [(Target::Query, &d_queries), (Target::Key, &d_keys), (Target::Value, &d_values)];
            let all = all.map(|(target, dy)| ProjectionBack { target, x: &attention_in, dy });
            self.project_back(layer, back, &all, &mut gradients)
        } else {
            let dy = self.fused([d_queries, d_keys, d_values]);
            let fused = ProjectionBack { target: Target::Fused, x: &attention_in, dy: &dy };
            self.project_back(layer, back, &[fused], &mut gradients)
        };
        let (dx, d_attention_norm) =
            self.norm_back_if(x, block.attention_norm.as_ref(), d_attention_in, Some(residual), back);
        let d_block = back.trains_weights().then(|| Block {
            attention_norm: d_attention_norm,
            attention_out_norm: d_attention_out_norm,
            mlp_norm: d_mlp_norm,
            mlp_out_norm: d_mlp_out_norm,
            head_norms: d_head_norms,
            projections: gradients.projections.into_iter().map(|one| one.expect("each target is used")).collect(),
        });
        (dx, gradients.pairs, d_block)
    }

    /// The gradient of a projection that was added to the residual stream, whose gradient is `dy`, and that of the norm
    /// between them where there is one and weights are trained.
    fn added_back(
        &self,
        out: Option<Tensor<2>>,
        norm: Option<&Affine>,
        dy: &Tensor<2>,
        back: Back,
    ) -> (Tensor<2>, Option<Affine>) {
        let dy = scaled(dy.clone(), self.config.scales.residual);
        match (out, norm) {
            (Some(out), norm) => self.norm_back_if(out, norm, dy, None, back),
            (None, _) => (dy, None),
        }
    }

    /// The gradient of the input `[n, in]` that some projections share. With s the adapter's scale:
    /// dx = dy·Wᵀ + s·(dy·Bᵀ)·Aᵀ, dA = s·xᵀ·(dy·Bᵀ), dB = s·(x·A)ᵀ·dy; and dW = xᵀ·dy where all weights are trained.
    fn project_back(
        &self,
        layer: usize,
        back: Back,
        projections: &[ProjectionBack],
        gradients: &mut BlockGradients,
    ) -> Tensor<2> {
        let kernel = self.kernel();
        let product = |term: Term| kernel.products(Start::Zero, vec![term]);
        let transposed = |x: &Tensor<2>| x.clone().transpose();
        let mut terms = Vec::new();
        for ProjectionBack { target, x, dy } in projections {
            let (place, projection) = self.projection(layer, *target);
            terms.push(term(dy, self.matrix(projection).transpose()));
            if let Some((scale, pair)) = self.pair(layer, place, back.adapter) {
                let narrow = product(Term { factor: scale, ..term(dy, transposed(&pair.b)) });
                if !back.trains_weights() {
                    let inner = product(Term { factor: scale, ..term(x, pair.a.clone()) });
                    let b = product(term(&transposed(&inner), (*dy).clone()));
                    gradients.pairs[place] = Some(Pair { a: product(term(&transposed(x), narrow.clone())), b });
                }
                terms.push(term(&narrow, transposed(&pair.a)));
            }
            if back.trains_weights() {
                let weight = match self.config.architecture.layout.is_in_out {
                    true => product(term(&transposed(x), (*dy).clone())),
                    false => product(term(&transposed(dy), (*x).clone())),
                };
                let bias = projection.bias.as_ref().map(|_| (*dy).clone().sum_dim(0));
                gradients.projections[place] = Some(Affine { weight, bias });
            }
        }
        kernel.products(Start::Zero, terms)
    }

    /// The gradients of queries, keys and values as that of the fused projection.
    fn fused(&self, parts: [Tensor<2>; 3]) -> Tensor<2> {
        let Config { heads, head_dim: hd, .. } = self.config;
        match self.config.architecture.layout.fused {
            QkvLayout::Stacked => Tensor::cat(parts.to_vec(), 1),
            QkvLayout::ByHead => {
                let n = parts[0].dims()[0];
                let parts = parts.map(|part| part.reshape([n, heads, hd]));
                Tensor::cat(parts.to_vec(), 2).reshape([n, heads * 3 * hd])
            }
        }
    }

    fn norm_back(&self, x: Tensor<2>, norm: &Affine, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        self.kernel().norm_back(x, self.normalization(norm), dy, residual)
    }

    /// As [`Decoder::norm_back`], where there is a norm, with the gradient of its weights where they are trained.
    fn norm_back_if(
        &self,
        x: Tensor<2>,
        norm: Option<&Affine>,
        dy: Tensor<2>,
        residual: Option<Tensor<2>>,
        back: Back,
    ) -> (Tensor<2>, Option<Affine>) {
        let Some(norm) = norm else { return (residual.into_iter().fold(dy, |dx, residual| dx + residual), None) };
        let d_norm = back.trains_weights().then(|| self.norm_weight_back(&x, norm, &dy));
        (self.norm_back(x, norm, dy, residual), d_norm)
    }

    fn norm_weight_back(&self, x: &Tensor<2>, norm: &Affine, dy: &Tensor<2>) -> Affine {
        let [weight, bias] = self.kernel().norm_weight_back(x.clone(), self.normalization(norm), dy.clone());
        Affine { weight, bias: norm.bias.as_ref().map(|_| bias) }
    }

    /// As [`Decoder::norm_back_if`] for each head's part of `[n, h·hd]`, or for all heads at once.
    fn head_norm_back(&self, x: Tensor<2>, norm: &Affine, dy: Tensor<2>, back: Back) -> (Tensor<2>, Option<Affine>) {
        let [n, width] = x.dims();
        let size = norm.weight.dims()[1];
        let shape = [n * width / size, size];
        let (dx, d_norm) = self.norm_back_if(x.reshape(shape), Some(norm), dy.reshape(shape), None, back);
        (dx.reshape([n, width]), d_norm)
    }

    /// Adds the gradient of the matrix behind the logits `[v, d]` to this decoder, which is a gradient itself.
    pub fn add_to_head(&mut self, more: Tensor<2>) {
        match &mut self.head {
            Some(head) => *head = head.clone() + more,
            None => self.embedding = self.embedding.clone() + more,
        }
    }
}

/// The gradient of a table shaped as `like`: the rows of `gradient`, each added to the row of the table it was read
/// from. On the host, one after the other: on a GPU the order would be that of its atomics.
fn gathered(gradient: &Tensor<2>, rows: &[u32], like: &Tensor<2>) -> Result<Tensor<2>> {
    let [v, d] = like.dims();
    let device = like.device();
    let gradient = values_of(gradient.clone())?;
    let mut out = vec![0.0; v * d];
    for (dx, row) in gradient.chunks_exact(d).zip(rows) {
        let out = &mut out[*row as usize * d..(*row as usize + 1) * d];
        out.iter_mut().zip(dx).for_each(|(out, dx)| *out += dx);
    }
    Ok(from_values(out, [v, d], &device))
}
