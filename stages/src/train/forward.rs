//! A pass through a model over rows that learn: forward, to the hidden states before the tokens of the completions, and
//! back from their gradient to those of what is trained.

use super::rows::Sequence;
use crate::kernel::{LatePredictions, Predictions, Slopes, Span};
use crate::model::predict;
use crate::model::{Adapter, AdapterGradient, Batch, Decoder, Gradient, Padding, Trace, Trainable, weights};
use anyhow::{Context, Result};
use burn::tensor::Tensor;
use std::ops::Range;

/// A model and the part of it that gradients are computed for.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub model: &'a Decoder,
    pub adapter: Option<&'a Adapter>,
    pub trained: Trainable,
    /// Whether blocks run again in the backward pass instead of being kept in memory.
    pub recomputes: bool,
}

impl<'a> Pass<'a> {
    pub fn of_adapter(model: &'a Decoder, adapter: &'a Adapter, recomputes: bool) -> Pass<'a> {
        Pass { model, adapter: Some(adapter), trained: Trainable::Adapter, recomputes }
    }
}

/// A forward pass over rows that may be gone back.
pub struct Forward {
    batch: Batch,
    trace: Trace,
    /// The hidden states before the tokens of the completions, `[n, d]`; their places, and these tokens.
    picked: Tensor<2>,
    positions: Vec<usize>,
    targets: Vec<u32>,
}

impl Forward {
    pub fn of(pass: Pass, rows: &[&Sequence]) -> Forward {
        let Pass { model, adapter, recomputes, .. } = pass;
        let batch = batch_of_rows(model, rows);
        let (positions, targets) = predictions(rows, &batch.spans);
        let (hidden, trace) = model.trace(adapter, &batch, recomputes);
        Forward { picked: predict::at(&hidden, &positions), batch, trace, positions, targets }
    }

    /// Log-probabilities and entropies of all completion tokens, row after row.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn predicted(&self, model: &Decoder, temperature: f64) -> Result<Predictions> {
        model.predict(self.picked.clone(), &self.targets, temperature)
    }

    /// As [`super::learn_tokens`], of the rows that went forward.
    ///
    /// # Errors
    /// As [`super::learn_tokens`].
    pub fn learn_tokens(
        self,
        pass: Pass,
        temperature: f64,
        objective: impl FnMut(Range<usize>, &LatePredictions) -> Result<Slopes>,
    ) -> Result<Vec<Tensor<2>>> {
        self.back(pass, |picked, targets| {
            pass.model.predict_back(picked, targets, temperature, pass.trained == Trainable::Weights, objective)
        })
    }

    /// Goes back. `way` gets the hidden states before the tokens of the completions, and these tokens; it returns what
    /// [`Decoder::predict_back`] does.
    pub(super) fn back(
        self,
        pass: Pass,
        way: impl FnOnce(Tensor<2>, &[u32]) -> Result<(Tensor<2>, Option<Tensor<2>>)>,
    ) -> Result<Vec<Tensor<2>>> {
        let Forward { batch, trace, picked, positions, targets } = self;
        let (gradient, of_matrix) = way(picked, &targets)?;
        let gradient = predict::at_back(gradient, &positions, batch.tokens());
        match pass.model.backward(pass.adapter, &batch, trace, gradient, pass.trained)? {
            Gradient::Adapter(gradient) => with_head(gradient, pass, None),
            Gradient::Weights(mut gradient) => {
                gradient.add_to_head(of_matrix.context("the matrix behind the logits is trained")?);
                Ok(weights::tensors(&gradient))
            }
        }
    }
}

/// Positions of the hidden states that completions are predicted from, and the tokens to predict, row after row.
pub(super) fn predictions(rows: &[&Sequence], spans: &[Span]) -> (Vec<usize>, Vec<u32>) {
    let places = rows.iter().zip(spans).flat_map(|(row, span)| row.learned().map(|at| span.at + at - 1));
    let targets = rows.iter().flat_map(|row| row.learned().map(|at| row.ids[at]));
    (places.collect(), targets.collect())
}

pub(super) fn batch_of_rows(model: &Decoder, rows: &[&Sequence]) -> Batch {
    let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    model.batch(&ids, Padding::of(&model.device()))
}

/// The gradients of an adapter in the order of its tensors; a head without a gradient gets zeros.
pub(super) fn with_head(gradient: AdapterGradient, pass: Pass, of_head: Option<Tensor<2>>) -> Result<Vec<Tensor<2>>> {
    let adapter = pass.adapter.context("an adapter is trained")?;
    let mut tensors = adapter.gradient_tensors(gradient);
    tensors.extend(adapter.head.as_ref().map(|head| of_head.unwrap_or_else(|| head.zeros_like())));
    Ok(tensors)
}
