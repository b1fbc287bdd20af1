//! The derivative of a decoder by hand, block by block: from the gradient of its hidden states to those of what is
//! trained, an adapter or all weights. It is written by hand so that a frozen weight costs no gradient, a block can be
//! computed again instead of kept (Chen et al. 2016), and no backend's graph decides what stays in memory;
//! `tests/numbers.rs` compares it with burn's autodiff.
//!
//! `d_x` is the gradient of the loss with respect to `x`.

use super::batch::Batch;
use super::decoder::{Activations, Affine, Block, Decoder, scaled};
use super::input::NarrowInput;
use super::lora::{Adapter, AdapterGradient, Pair};
use super::table::Table;
use crate::kernel::{Start, Term, TogetherKernel, term};
use anyhow::Result;
use burn::tensor::Tensor;
use formats::architectures::{QkvLayout, Target};
use formats::config::Config;

/// A forward pass that can be gone back, and its last residual stream.
pub struct Trace {
    blocks: Vec<SavedBlock>,
    last: Tensor<2>,
}

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
pub enum Gradient {
    Adapter(AdapterGradient),
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

/// Where the gradients of a block's weights and of the adapter beside it go.
struct BlockGradients<'a> {
    pairs: &'a mut AdapterGradient,
    /// Products of the forward pass with the A's of groups.
    narrow: Vec<NarrowInput>,
    /// Target by target.
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
        self.note("forward that is kept to go back", batch);
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
        self.note("back", batch);
        let back = Back { adapter, batch, trained };
        let d_norm = back.trains_weights().then(|| self.norm_weight_back(&trace.last, &self.norm, &d_hidden));
        let mut dx = self.norm_back(trace.last, &self.norm, d_hidden, None);
        let no_pairs = || AdapterGradient::Apart(Vec::new());
        let (mut pairs, mut blocks) = (adapter.map_or_else(no_pairs, Adapter::gradient), Vec::new());
        for (layer, saved) in trace.blocks.into_iter().enumerate().rev() {
            let activations = match saved {
                SavedBlock::All(activations) => *activations,
                SavedBlock::Input(x) => self.block(layer, adapter, x, batch, None).1,
            };
            let (d_input, d_block) = self.block_back(layer, back, activations, dx, &mut pairs);
            dx = d_input;
            blocks.extend(d_block);
        }
        blocks.reverse();
        Ok(match (trained, adapter) {
            (Trainable::Adapter, Some(_)) => Gradient::Adapter(pairs),
            (Trainable::Adapter, None) => unreachable!("a gradient by an adapter is asked for where there is one"),
            (Trainable::Weights, _) => Gradient::Weights(Box::new(Decoder {
                config: self.config.clone(),
                embedding: Table::of(vec![self.kernel().table_back(
                    scaled(dx.clone(), self.config.scales.embedding),
                    &batch.host_ids,
                    self.embedding.rows(),
                )?]),
                positions: match &self.positions {
                    Some(learned) => {
                        let rows = learned.dims()[0];
                        Some(self.kernel().table_back(dx.clone(), &batch.host_positions(), rows)?)
                    }
                    None => None,
                },
                blocks,
                norm: d_norm.expect("weights are trained"),
                head: self.head.as_ref().map(|head| Table::of(head.parts().iter().map(Tensor::zeros_like).collect())),
                ropes: self.ropes.clone(),
            })),
        })
    }

    /// The gradients of a block's input, and of its weights where they are trained; those of the adapter's matrices beside
    /// it go to `pairs`.
    fn block_back(
        &self,
        layer: usize,
        back: Back,
        activations: Activations,
        dy: Tensor<2>,
        pairs: &mut AdapterGradient,
    ) -> (Tensor<2>, Option<Block>) {
        let (block, kernel, heads) = (&self.blocks[layer], self.kernel(), self.heads());
        let targets = block.projections.len();
        let Activations {
            x,
            attention_in,
            queries,
            keys,
            values,
            mixed,
            mlp_from,
            mlp_in,
            gate,
            up,
            inner,
            narrow,
            ..
        } = activations;
        let mut gradients = BlockGradients { pairs, narrow, projections: (0..targets).map(|_| None).collect() };
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
        let [d_queries, d_keys] = match attention.rope.map(|rope| &back.batch.angles[rope]) {
            Some(angles) => kernel.rotate_back([d_queries, d_keys], angles, heads),
            None => [d_queries, d_keys],
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
        (dx, d_block)
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
        let mut terms = Vec::new();
        for ProjectionBack { target, x, dy } in projections {
            let (place, projection) = self.projection(layer, *target);
            terms.push(term(dy, self.matrix(projection).transpose()));
            if let (Some(adapter), None) = (back.adapter, kernel.together()) {
                terms.extend(self.pair_back(layer, place, adapter, [x, dy], gradients));
            }
            if back.trains_weights() {
                let product = |term: Term| kernel.products(Start::Zero, vec![term]);
                let weight = match self.config.architecture.layout.is_in_out {
                    true => product(term(&transposed(x), (*dy).clone())),
                    false => product(term(&transposed(dy), (*x).clone())),
                };
                let bias = projection.bias.as_ref().map(|_| kernel.sum_of_rows((*dy).clone()));
                gradients.projections[place] = Some(Affine { weight, bias });
            }
        }
        if let (Some(adapter), Some(together)) = (back.adapter, kernel.together()) {
            terms.extend(self.group_back(layer, adapter, projections, together, gradients));
        }
        kernel.products(Start::Zero, terms)
    }

    /// The part of a pair in the gradient of its input.
    fn pair_back(
        &self,
        layer: usize,
        place: usize,
        adapter: &Adapter,
        [x, dy]: [&Tensor<2>; 2],
        gradients: &mut BlockGradients,
    ) -> Option<Term> {
        let product = |term: Term| self.kernel().products(Start::Zero, vec![term]);
        let group = adapter.group(layer, place)?;
        let member = group.members.first()?;
        let narrow = product(Term { factor: member.factor, ..term(dy, transposed(&member.b)) });
        if let AdapterGradient::Apart(pairs) = gradients.pairs
            && let Some(pair) = pairs.get_mut(layer).and_then(|block| block.get_mut(place))
        {
            let inner = product(Term { factor: member.factor, ..term(x, group.a.clone()) });
            let b = product(term(&transposed(&inner), dy.clone()));
            *pair = Some(Pair { a: product(term(&transposed(x), narrow.clone())), b });
        }
        Some(term(&narrow, transposed(&group.a)))
    }

    /// The same for the pairs beside all these projections, whose B's hold the scale. The gradient of a B that is read back
    /// from the buffer is multiplied by it.
    fn group_back(
        &self,
        layer: usize,
        adapter: &Adapter,
        projections: &[ProjectionBack],
        together: &dyn TogetherKernel,
        gradients: &mut BlockGradients,
    ) -> Option<Term> {
        let kernel = self.kernel();
        let mut group = None;
        let mut members = Vec::new();
        for ProjectionBack { target, dy, x } in projections {
            let (place, _) = self.projection(layer, *target);
            let Some(found) = adapter.group(layer, place) else { continue };
            let member = found.members.iter().find(|member| member.place == place)?.clone();
            members.push((member, *dy));
            group = Some((found, *x));
        }
        let (group, x) = group?;
        let narrow = members.iter().map(|(member, dy)| term(dy, transposed(&member.b))).collect();
        let narrow = kernel.products(Start::Zero, narrow);
        if let AdapterGradient::Together(buffer) = gradients.pairs {
            together.product_into(transposed(x), narrow.clone(), buffer, group.place_of_a);
            let inner = gradients.narrow.iter().find(|inner| inner.place_of_a == group.place_of_a)?;
            let inner = transposed(&inner.x);
            for (member, dy) in members {
                together.product_into(inner.clone(), dy.clone(), buffer, member.place_of_b);
            }
        }
        Some(term(&narrow, transposed(&group.a)))
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
        let table = self.head.as_mut().unwrap_or(&mut self.embedding);
        let [whole] = table.parts() else { unreachable!("what is trained lies in one part") };
        *table = Table::of(vec![whole.clone() + more]);
    }
}

fn transposed(x: &Tensor<2>) -> Tensor<2> {
    x.clone().transpose()
}
