//! What a decoder says of the tokens that come next, and of whole rows: log-probabilities, entropies and the value of a
//! scalar head, with their derivatives in closed form. The logits of a few tokens at a time are all that is ever there
//! of the `[n, v]` they would fill.

use super::Decoder;
use super::host::{Numbers, is_host, tensor};
use super::product::{Start, sum_of, term};
use super::softmax;
use anyhow::Result;
use burn::tensor::{Device, Int, Tensor};
use std::ops::Range;

/// Of each token `[n]`, nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predicted {
    pub log_probs: Vec<f64>,
    pub entropies: Vec<f64>,
}

/// The slopes of a loss by what was predicted, `[n]` each.
#[derive(Clone, Debug, Default)]
pub struct TokenGradients {
    pub log_probs: Vec<f64>,
    /// Empty where the loss does not depend on them.
    pub entropies: Vec<f64>,
}

/// Numbers in the logits that are there at once: what a core's cache holds a share of, or what keeps a GPU busy.
pub(super) fn logits_at_once(device: &Device) -> usize {
    if is_host(device) { 1 << 20 } else { 1 << 25 }
}

impl Decoder {
    /// Of `targets` `[n]` at hidden states `[n, d]`, at a temperature.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn predict(&self, hidden: Tensor<2>, targets: &[u32], temperature: f64) -> Result<Predicted> {
        let mut out = Predicted::default();
        for place in self.chunks(targets.len()) {
            let now = self.predict_chunk(&hidden, targets, temperature, &place)?.1;
            out.log_probs.extend(now.log_probs);
            out.entropies.extend(now.entropies);
        }
        Ok(out)
    }

    /// As [`Decoder::predict`], and back from a loss whose slopes `objective` gives for the tokens of a range: the slope of
    /// the hidden states `[n, d]`, and that of the matrix behind the logits `[v, d]` where it is wanted.
    ///
    /// # Errors
    /// As [`Decoder::predict`], or `objective`'s.
    pub fn predict_back(
        &self,
        hidden: Tensor<2>,
        targets: &[u32],
        temperature: f64,
        wants_matrix: bool,
        mut objective: impl FnMut(Range<usize>, &Predicted) -> Result<TokenGradients>,
    ) -> Result<(Tensor<2>, Option<Tensor<2>>)> {
        let (mut of_hidden, mut of_matrix) = (Vec::new(), None);
        for place in self.chunks(targets.len()) {
            let (logits, now) = self.predict_chunk(&hidden, targets, temperature, &place)?;
            let slopes = objective(place.clone(), &now)?;
            let narrow = |values: &[f64]| values.iter().map(|x| (x / temperature) as f32).collect::<Vec<f32>>();
            let of_log_probs = narrow(&slopes.log_probs);
            let of_entropies = match slopes.entropies.is_empty() {
                true => vec![0.0; place.len()],
                false => narrow(&slopes.entropies),
            };
            let of_logits = softmax::log_softmax_back(logits, &targets[place.clone()], &of_log_probs, &of_entropies);
            of_hidden.push(sum_of(Start::Zero, vec![term(&of_logits, self.unembedding())]));
            if wants_matrix {
                let more = vec![term(&of_logits.transpose(), part(&hidden, &place))];
                of_matrix = Some(sum_of(of_matrix.map_or(Start::Zero, Start::From), more));
            }
        }
        Ok((Tensor::cat(of_hidden, 0), of_matrix))
    }

    fn chunks(&self, tokens: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let most = (logits_at_once(&self.device()) / self.config.vocabulary).max(1);
        (0..tokens).step_by(most).map(move |from| from..tokens.min(from + most))
    }

    fn predict_chunk(
        &self,
        hidden: &Tensor<2>,
        targets: &[u32],
        temperature: f64,
        place: &Range<usize>,
    ) -> Result<(Tensor<2>, Predicted)> {
        let logits = self.logits(part(hidden, place));
        let logits = if temperature == 1.0 { logits } else { logits.div_scalar(temperature) };
        let (log_probs, entropies) = softmax::log_softmax(logits.clone(), &targets[place.clone()])?;
        Ok((logits, Predicted { log_probs, entropies }))
    }
}

fn part(hidden: &Tensor<2>, place: &Range<usize>) -> Tensor<2> {
    let [n, d] = hidden.dims();
    if place.len() == n { hidden.clone() } else { hidden.clone().slice([place.clone(), 0..d]) }
}

/// Values `[n]` of a scalar head `[d, 1]` at hidden states `[n, d]`.
///
/// # Errors
/// The device cannot be read.
pub fn values(hidden: Tensor<2>, head: &Tensor<2>) -> Result<Vec<f64>> {
    let values = super::artifact::values_of(hidden.matmul(head.clone()))?;
    Ok(values.into_iter().map(f64::from).collect())
}

/// The slopes of the hidden states and of the head, for those of [`values`].
pub fn values_back(hidden: Tensor<2>, head: &Tensor<2>, slopes: &[f64]) -> (Tensor<2>, Tensor<2>) {
    let slopes: Vec<f32> = slopes.iter().map(|x| *x as f32).collect();
    let n = slopes.len();
    let slopes = tensor(slopes, [n, 1], &hidden.device());
    (slopes.clone().matmul(head.clone().transpose()), hidden.transpose().matmul(slopes))
}

/// The rows `[m, d]` of hidden states `[n, d]` at some places.
pub fn at(hidden: &Tensor<2>, places: &[usize]) -> Tensor<2> {
    hidden.clone().select(0, indices(places, &hidden.device()))
}

/// Back to `[n, d]`: 0 wherever [`at`] took nothing. No place occurs twice.
pub fn at_back(slopes: Tensor<2>, places: &[usize], n: usize) -> Tensor<2> {
    let device = slopes.device();
    let [_, d] = slopes.dims();
    if !is_host(&device) {
        let none = Tensor::zeros([n, d], &device);
        return none.select_assign(0, indices(places, &device), slopes, burn::tensor::IndexingUpdateOp::Add);
    }
    let slopes = Numbers::of(slopes);
    let mut out = vec![0.0; n * d];
    for (slope, place) in slopes.slice().chunks_exact(d).zip(places) {
        out[place * d..(place + 1) * d].copy_from_slice(slope);
    }
    tensor(out, [n, d], &device)
}

fn indices(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let places: Vec<u32> = places.iter().map(|place| *place as u32).collect();
    super::Batch::upload(&places, device)
}
