//! The derivative of a decoder by hand, block by block: from the slope of its hidden states to those of what is trained,
//! an adapter or all weights. By hand because then a frozen weight costs no gradient, a block can be run again instead of
//! being remembered (Chen et al. 2016), and no backend's graph decides what stays in memory; `tests/numbers.rs` holds it
//! to burn's autodiff.

use super::artifact::values_of;
use super::attention;
use super::config::Norm;
use super::host::tensor;
use super::kernel;
use super::layout::{Fused, Target};
use super::lora::Pair;
use super::product::{Start, Term, sum_of, term};
use super::{Adapter, Affine, Batch, Block, Config, Decoder};
use anyhow::Result;
use burn::tensor::Tensor;

/// What the derivative of one block needs of its forward pass.
pub(super) struct Kept {
    pub x: Tensor<2>,
    pub attention_in: Tensor<2>,
    /// Queries and keys before the norms of the heads, where there are any.
    pub plain: Option<[Tensor<2>; 2]>,
    pub queries: Tensor<2>,
    pub keys: Tensor<2>,
    pub values: Tensor<2>,
    pub mixed: Tensor<2>,
    pub mlp_from: Tensor<2>,
    pub mlp_in: Tensor<2>,
    pub gate: Option<Tensor<2>>,
    pub up: Tensor<2>,
    pub inner: Tensor<2>,
}

/// A forward pass that can be gone back: each block's input, or all that its derivative needs.
pub struct Trace {
    blocks: Vec<Memory>,
    last: Tensor<2>,
}

enum Memory {
    /// Of the block; the rest is computed again.
    Input(Tensor<2>),
    All(Box<Kept>),
}

/// What gradients are wanted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    Adapter,
    /// The weights of the decoder, and no adapter.
    Weights,
}

/// In the shape of what is trained.
pub enum Gradient {
    Adapter(Adapter),
    Weights(Box<Decoder>),
}

/// What of one block is still being added to.
struct Slopes {
    trained: Trained,
    pairs: Vec<Option<Pair>>,
    projections: Vec<Option<Affine>>,
}

impl Decoder {
    /// Hidden states `[n, d]` as [`Decoder::hidden`] gives them, to the last bit, and the way back. Where it `recomputes`,
    /// the blocks' inputs alone are kept, and each block runs a second time on the way back.
    pub fn trace(&self, adapter: Option<&Adapter>, batch: &Batch, recomputes: bool) -> (Tensor<2>, Trace) {
        let mut x = self.embedded(batch);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for layer in 0..self.blocks.len() {
            let (out, kept) = self.block(layer, adapter, x, batch, None);
            blocks.push(if recomputes { Memory::Input(kept.x) } else { Memory::All(Box::new(kept)) });
            x = out;
        }
        (self.normed(x.clone(), &self.norm), Trace { blocks, last: x })
    }

    /// The gradient of a loss whose slope by the hidden states is `slope` `[n, d]`. What a head adds to it is the
    /// caller's: an adapter's head has gradient `None`; that of the embedding is of its rows as inputs alone.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn backward(
        &self,
        adapter: Option<&Adapter>,
        batch: &Batch,
        trace: Trace,
        slope: Tensor<2>,
        trained: Trained,
    ) -> Result<Gradient> {
        let is_all = trained == Trained::Weights;
        let (mut slope, of_norm) = self.norm_back(trace.last, &self.norm, slope, is_all, None);
        let (mut pairs, mut blocks) = (Vec::new(), Vec::new());
        for (layer, memory) in trace.blocks.into_iter().enumerate().rev() {
            let kept = match memory {
                Memory::All(kept) => *kept,
                Memory::Input(x) => self.block(layer, adapter, x, batch, None).1,
            };
            let (of_input, of_pairs, of_block) = self.block_back(layer, adapter, kept, batch, slope, trained);
            slope = of_input;
            pairs.push(of_pairs);
            blocks.extend(of_block);
        }
        pairs.reverse();
        blocks.reverse();
        Ok(match (trained, adapter) {
            (Trained::Adapter, Some(adapter)) => Gradient::Adapter(Adapter { pairs, head: None, ..adapter.clone() }),
            (Trained::Adapter, None) => unreachable!("a gradient by an adapter is asked for where there is one"),
            (Trained::Weights, _) => Gradient::Weights(Box::new(Decoder {
                config: self.config.clone(),
                embedding: gathered(&slope, &batch.host_ids, &self.embedding)?,
                positions: match &self.positions {
                    Some(learned) => Some(gathered(&slope, &batch.host_positions(), learned)?),
                    None => None,
                },
                blocks,
                norm: of_norm.expect("it was asked for"),
                head: self.head.as_ref().map(Tensor::zeros_like),
            })),
        })
    }

    fn block_back(
        &self,
        layer: usize,
        adapter: Option<&Adapter>,
        kept: Kept,
        batch: &Batch,
        slope: Tensor<2>,
        trained: Trained,
    ) -> (Tensor<2>, Vec<Option<Pair>>, Option<Block>) {
        let is_all = trained == Trained::Weights;
        let block = &self.blocks[layer];
        let targets = block.projections.len();
        let mut slopes =
            Slopes { trained, pairs: vec![None; targets], projections: (0..targets).map(|_| None).collect() };
        let Kept { x, attention_in, plain, queries, keys, values, mixed, mlp_from, mlp_in, gate, up, inner } = kept;

        // 1. The MLP.
        let of_inner = self.project_back(layer, adapter, &[(Target::Down, &inner, &slope)], &mut slopes);
        let of_mlp_in = match gate {
            Some(gate) => {
                let (of_gate, of_up) = kernel::gate_back(self.config.activation, gate, Some(up), of_inner);
                let of_up = of_up.expect("a gate multiplies something");
                let both = [(Target::Gate, &mlp_in, &of_gate), (Target::Up, &mlp_in, &of_up)];
                self.project_back(layer, adapter, &both, &mut slopes)
            }
            None => {
                let of_up = kernel::gate_back(self.config.activation, up, None, of_inner).0;
                self.project_back(layer, adapter, &[(Target::Up, &mlp_in, &of_up)], &mut slopes)
            }
        };
        // Behind attention lies the MLP's input, unless both stand side by side.
        let past = (!self.config.is_parallel).then(|| slope.clone());
        let (of_mlp, of_mlp_norm) = self.norm_back(mlp_from, &block.mlp_norm, of_mlp_in, is_all, past);
        let (of_after, beside) = match self.config.is_parallel {
            true => (slope.clone(), slope + of_mlp),
            false => (of_mlp.clone(), of_mlp),
        };

        // 2. Attention.
        let of_mixed = self.project_back(layer, adapter, &[(Target::Output, &mixed, &of_after)], &mut slopes);
        let [of_queries, of_keys, of_values] =
            attention::attend_back(&self.config, [queries, keys, values], of_mixed, batch);
        let of_queries = self.rotated(of_queries, batch, self.config.heads, true);
        let of_keys = self.rotated(of_keys, batch, self.config.kv_heads, true);
        let (of_queries, of_keys, of_head_norms) = match (&block.head_norms, plain) {
            (Some([query_norm, key_norm]), Some([plain_queries, plain_keys])) => {
                let (of_queries, one) = self.head_norm_back(plain_queries, query_norm, of_queries, is_all);
                let (of_keys, two) = self.head_norm_back(plain_keys, key_norm, of_keys, is_all);
                (of_queries, of_keys, one.zip(two).map(|(one, two)| [one, two]))
            }
            _ => (of_queries, of_keys, None),
        };
        let x_in = &attention_in;
        let of_attention_in = if self.config.architecture.layout().place(Target::Fused).is_none() {
            let all =
                [(Target::Query, x_in, &of_queries), (Target::Key, x_in, &of_keys), (Target::Value, x_in, &of_values)];
            self.project_back(layer, adapter, &all, &mut slopes)
        } else {
            let fused = self.fused([of_queries, of_keys, of_values]);
            self.project_back(layer, adapter, &[(Target::Fused, x_in, &fused)], &mut slopes)
        };
        let (of_x, of_attention_norm) = self.norm_back(x, &block.attention_norm, of_attention_in, is_all, Some(beside));
        let of_block = is_all.then(|| Block {
            attention_norm: of_attention_norm.expect("it was asked for"),
            mlp_norm: of_mlp_norm.expect("it was asked for"),
            head_norms: of_head_norms,
            projections: slopes.projections.into_iter().map(|one| one.expect("each target is used")).collect(),
        });
        (of_x, slopes.pairs, of_block)
    }

    /// The slope of the input `[n, in]` that some projections share, each given with its input and the slope of what came
    /// out `[n, out]`. With s the adapter's scale: dx = dy·Wᵀ + s·(dy·Bᵀ)·Aᵀ, dA = s·xᵀ·(dy·Bᵀ), dB = s·(x·A)ᵀ·dy; and
    /// dW = xᵀ·dy where all weights are trained.
    fn project_back(
        &self,
        layer: usize,
        adapter: Option<&Adapter>,
        projections: &[(Target, &Tensor<2>, &Tensor<2>)],
        slopes: &mut Slopes,
    ) -> Tensor<2> {
        let mut terms = Vec::new();
        let only = |term: Term| sum_of(Start::Zero, vec![term]);
        for (target, x, slope) in projections {
            let (place, projection) = self.projection(layer, *target);
            let turned = |x: &Tensor<2>| x.clone().transpose();
            terms.push(term(slope, self.matrix(projection).transpose()));
            if let Some((scale, pair)) = self.pair(layer, place, adapter) {
                let narrow = only(Term { factor: scale, ..term(slope, turned(&pair.b)) });
                if slopes.trained == Trained::Adapter {
                    let inner = only(Term { factor: scale, ..term(x, pair.a.clone()) });
                    let b = only(term(&turned(&inner), (*slope).clone()));
                    slopes.pairs[place] = Some(Pair { a: only(term(&turned(x), narrow.clone())), b });
                }
                terms.push(term(&narrow, turned(&pair.a)));
            }
            if slopes.trained == Trained::Weights {
                let weight = match self.config.architecture.layout().is_in_out {
                    true => only(term(&turned(x), (*slope).clone())),
                    false => only(term(&turned(slope), (*x).clone())),
                };
                let bias = projection.bias.as_ref().map(|_| (*slope).clone().sum_dim(0));
                slopes.projections[place] = Some(Affine { weight, bias });
            }
        }
        sum_of(Start::Zero, terms)
    }

    /// Slopes of queries, keys and values as one, in the order of [`Decoder::heads`].
    fn fused(&self, parts: [Tensor<2>; 3]) -> Tensor<2> {
        let Config { heads, head_dim: hd, .. } = self.config;
        match self.config.architecture.layout().fused {
            Fused::Stacked => Tensor::cat(parts.to_vec(), 1),
            Fused::ByHead => {
                let n = parts[0].dims()[0];
                let parts = parts.map(|part| part.reshape([n, heads, hd]));
                Tensor::cat(parts.to_vec(), 2).reshape([n, heads * 3 * hd])
            }
        }
    }

    fn norm_back(
        &self,
        x: Tensor<2>,
        norm: &Affine,
        slope: Tensor<2>,
        wants_weight: bool,
        past: Option<Tensor<2>>,
    ) -> (Tensor<2>, Option<Affine>) {
        let is_centred = self.config.norm == Norm::Layer;
        let (of_x, of_norm) =
            kernel::norm_back(x, &norm.weight, slope, self.config.epsilon, is_centred, wants_weight, past);
        let affine = |[weight, bias]: [Tensor<2>; 2]| Affine { weight, bias: norm.bias.as_ref().map(|_| bias) };
        (of_x, of_norm.map(affine))
    }

    fn head_norm_back(
        &self,
        x: Tensor<2>,
        norm: &Affine,
        slope: Tensor<2>,
        wants_weight: bool,
    ) -> (Tensor<2>, Option<Affine>) {
        let [n, width] = x.dims();
        let shape = [n * width / self.config.head_dim, self.config.head_dim];
        let (of_x, of_norm) = self.norm_back(x.reshape(shape), norm, slope.reshape(shape), wants_weight, None);
        (of_x.reshape([n, width]), of_norm)
    }
}

impl Decoder {
    /// Adds the gradient of the matrix behind the logits `[v, d]` to this one, which is a gradient itself.
    pub fn add_to_head(&mut self, more: Tensor<2>) {
        match &mut self.head {
            Some(head) => *head = head.clone() + more,
            None => self.embedding = self.embedding.clone() + more,
        }
    }
}

/// Rows of `slopes` added up by the row of `like` that each was taken from. On the host, one after the other: on a GPU the
/// order would be that of its atomics.
fn gathered(slopes: &Tensor<2>, rows: &[u32], like: &Tensor<2>) -> Result<Tensor<2>> {
    let [v, d] = like.dims();
    let device = like.device();
    let slopes = values_of(slopes.clone())?;
    let mut out = vec![0.0; v * d];
    for (slope, row) in slopes.chunks_exact(d).zip(rows) {
        let out = &mut out[*row as usize * d..(*row as usize + 1) * d];
        out.iter_mut().zip(slope).for_each(|(out, slope)| *out += slope);
    }
    Ok(tensor(out, [v, d], &device))
}
