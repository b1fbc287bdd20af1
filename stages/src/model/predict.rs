//! Predictions of a decoder: log-probabilities and entropies of the tokens that come next, how far they are from those of
//! another, and the values of a scalar head, with their derivatives in closed form. Only the logits `[n, v]` of a few tokens are in memory at a time.

use super::decoder::{Decoder, scaled};
use crate::device::asked;
use crate::kernel::{self, ByRow, LatePredictions, Predictions, Slopes, Start, TokenGradients, capped_back, term};
use crate::tensor::{from_ids, values_of};
use anyhow::Result;
use burn::tensor::Tensor;
use formats::config::Scales;
use std::ops::Range;

impl Decoder {
    /// Predictions of `targets` `[n]` at hidden states `[n, d]`, at a temperature.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn predict(&self, hidden: Tensor<2>, targets: &[u32], temperature: f64) -> Result<Predictions> {
        // All of them before the first is read.
        let all =
            self.chunks(targets.len(), 1).map(|place| self.predict_chunk(&hidden, targets, temperature, &place).1);
        let mut out = Predictions::default();
        for now in all.collect::<Vec<_>>() {
            let now = now.get()?;
            out.log_probs.extend(now.log_probs);
            out.entropies.extend(now.entropies);
        }
        Ok(out)
    }

    /// The gradient of the hidden states `[n, d]`, and of the matrix behind the logits `[v, d]` where it is wanted, of
    /// a loss whose gradients `objective` gives for the tokens of a range. A device waits only where `objective` looks at
    /// its predictions.
    ///
    /// # Errors
    /// Those of `objective`.
    pub fn predict_back(
        &self,
        hidden: Tensor<2>,
        targets: &[u32],
        temperature: f64,
        wants_matrix: bool,
        mut objective: impl FnMut(Range<usize>, &LatePredictions) -> Result<Slopes>,
    ) -> Result<(Tensor<2>, Option<Tensor<2>>)> {
        let kernel = self.kernel();
        let (mut d_hidden, mut d_matrix) = (Vec::new(), None);
        for place in self.chunks(targets.len(), 1) {
            let (logits, now) = self.predict_chunk(&hidden, targets, temperature, &place);
            let narrow = |values: &[f64]| values.iter().map(|x| (x / temperature) as f32).collect::<Vec<f32>>();
            let (d_log_probs, entropies) = match objective(place.clone(), &now)? {
                Slopes::Host(TokenGradients { log_probs, entropies }) => (ByRow::Host(narrow(&log_probs)), entropies),
                Slopes::Device(slopes, entropies) => (ByRow::Device(scaled(slopes, 1.0 / temperature)), entropies),
            };
            let d_entropies = if entropies.is_empty() { vec![0.0; place.len()] } else { narrow(&entropies) };
            let Scales { logit_cap, logit, .. } = self.config.scales;
            // The derivative of a bound needs them once more; without one they are given away.
            let bounded = logit_cap.map(|_| logits.clone().mul_scalar(temperature));
            let mut d_logits = kernel.log_softmax_back(logits, &targets[place.clone()], &d_log_probs, &d_entropies);
            if let Some(bounded) = bounded {
                d_logits = capped_back(logit_cap, bounded, d_logits);
            }
            let d_logits = scaled(d_logits, logit);
            d_hidden.push(self.unembedding().products_back(kernel, &d_logits));
            if wants_matrix {
                let more = vec![term(&d_logits.transpose(), part(&hidden, &place))];
                d_matrix = Some(kernel.products(d_matrix.map_or(Start::Zero, Start::Residual), more));
            }
        }
        Ok((Tensor::cat(d_hidden, 0), d_matrix))
    }

    /// Distances of the next token from that of another model, nats: KL(π ‖ π_other) over all tokens that both have, at
    /// hidden states `[n, d]` of each.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn divergence(&self, hidden: &Tensor<2>, other: &Decoder, of_other: &Tensor<2>) -> Result<Vec<f64>> {
        let shared = self.config.vocabulary.min(other.config.vocabulary);
        let all = self.chunks(hidden.dims()[0], 2).map(|place| {
            asked::note(|| format!("logits of {} tokens over {shared} others, of two models", place.len()));
            let logits = |model: &Decoder, hidden: &Tensor<2>| {
                let logits = model.logits(part(hidden, &place));
                let [rows, width] = logits.dims();
                if width == shared { logits } else { logits.slice([0..rows, 0..shared]) }
            };
            self.kernel().divergence(logits(self, hidden), logits(other, of_other))
        });
        Ok(values_of(Tensor::cat(all.collect::<Vec<_>>(), 0))?.into_iter().map(f64::from).collect())
    }

    /// Places of tokens whose logits are computed at once, of so many models.
    fn chunks(&self, tokens: usize, models: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let most = (self.kernel().logits_at_once(&self.device()) / self.config.vocabulary / models).max(1);
        (0..tokens).step_by(most).map(move |from| from..tokens.min(from + most))
    }

    fn predict_chunk(
        &self,
        hidden: &Tensor<2>,
        targets: &[u32],
        temperature: f64,
        place: &Range<usize>,
    ) -> (Tensor<2>, LatePredictions) {
        asked::note(|| format!("logits of {} tokens over {} others", place.len(), self.config.vocabulary));
        let logits = self.logits(part(hidden, place));
        let logits = if temperature == 1.0 { logits } else { logits.div_scalar(temperature) };
        let predicted = self.kernel().log_softmax(logits.clone(), &targets[place.clone()]);
        (logits, predicted)
    }
}

fn part(hidden: &Tensor<2>, place: &Range<usize>) -> Tensor<2> {
    let [n, d] = hidden.dims();
    if place.len() == n { hidden.clone() } else { hidden.clone().slice([place.clone(), 0..d]) }
}

/// Values `[n, 1]` of a scalar head `[d, 1]` at hidden states `[n, d]`.
pub fn values(hidden: Tensor<2>, head: &Tensor<2>) -> Tensor<2> {
    hidden.matmul(head.clone())
}

/// The gradients of the hidden states and of the head, for those of [`values`], `[n, 1]`.
pub fn values_back(hidden: Tensor<2>, head: &Tensor<2>, gradients: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    (gradients.clone().matmul(head.clone().transpose()), hidden.transpose().matmul(gradients))
}

/// The rows `[m, d]` of hidden states `[n, d]` at some positions.
pub fn at(hidden: &Tensor<2>, positions: &[usize]) -> Tensor<2> {
    let positions: Vec<u32> = positions.iter().map(|place| *place as u32).collect();
    hidden.clone().select(0, from_ids(&positions, &hidden.device()))
}

/// The gradient `[n, d]` of hidden states of which [`at`] took the rows at `positions`; none occurs twice.
pub fn at_back(gradient: Tensor<2>, positions: &[usize], n: usize) -> Tensor<2> {
    kernel::of(&gradient.device()).place_rows(gradient, positions, n)
}
