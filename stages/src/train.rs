//! What every training kind shares: tokenised rows, log-probabilities of their completions, scores at their
//! last tokens, the optimiser, and the checkpoint a killed stage resumes from. Knows no objective.

mod sequences;

pub use sequences::{Sequence, prompts, sequence};

use crate::draw::Draw;
use crate::io::Io;
use crate::model::artifact::{self, values_of};
use crate::model::weights;
use crate::model::{Adapter, Batch, Decoder, Dtype, Padding};
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

// ------------------------------------------------------------------------------------------------ predictions

/// Where completions are predicted in a right-padded batch: the hidden state before each completion token.
pub struct Predictions {
    /// `[n]`, rows of the hidden states `[b·t, d]`.
    pub hidden: Tensor<1, Int>,
    /// `[n]`, the tokens that come next.
    pub targets: Tensor<1, Int>,
}

pub fn predictions(rows: &[&Sequence], width: usize, device: &Device) -> Predictions {
    let (mut hidden, mut targets) = (Vec::new(), Vec::new());
    for (row, sequence) in rows.iter().enumerate() {
        for (offset, id) in sequence.completion().iter().enumerate() {
            hidden.push((row * width + sequence.start + offset - 1) as i32);
            targets.push(*id as i32);
        }
    }
    let ints = |values: Vec<i32>| {
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), device)
    };
    Predictions { hidden: ints(hidden), targets: ints(targets) }
}

/// Log-probabilities and entropies of all completion tokens, row after row, `[n]` each. Training and scoring
/// both go through here, so that their numbers are the same to the last bit.
pub fn completion_log_probs(
    model: &Decoder,
    adapter: Option<&Adapter>,
    rows: &[&Sequence],
    temperature: f64,
) -> (Tensor<1>, Tensor<1>) {
    let (hidden, places) = completion_hidden(model, adapter, rows);
    model.log_probs(hidden, places.targets, temperature)
}

/// Hidden states `[n, d]` before each completion token.
pub fn completion_hidden(model: &Decoder, adapter: Option<&Adapter>, rows: &[&Sequence]) -> (Tensor<2>, Predictions) {
    let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let batch = Batch::new(&model.config, &ids, Padding::Right, &model.device());
    let places = predictions(rows, batch.columns, &model.device());
    (model.hidden(adapter, &batch, None).select(0, places.hidden.clone()), places)
}

/// The head's value at the last token of each row, `[b]`, before offset and spread.
pub fn last_values(model: &Decoder, adapter: &Adapter, rows: &[&[u32]], padding: Padding) -> Result<Tensor<1>> {
    let head = adapter
        .head
        .clone()
        .context("score answers: the model has no reward head; it did not come from a stage of kind rm")?;
    let batch = Batch::new(&model.config, rows, padding, &model.device());
    let width = batch.columns;
    let last = |(row, ids): (usize, &&[u32])| {
        let end = if padding == Padding::Left { width } else { ids.len() };
        (row * width + end - 1) as i32
    };
    let last: Vec<i32> = rows.iter().enumerate().map(last).collect();
    let last = Tensor::from_data(TensorData::new(last, [rows.len()]), &model.device());
    let hidden = model.hidden(Some(adapter), &batch, None).select(0, last);
    Ok(hidden.matmul(head).reshape([rows.len()]))
}

/// Rewards of whole rows, `batch` at a time.
pub fn rewards(model: &Decoder, adapter: &Adapter, rows: &[&[u32]], batch: usize) -> Result<Vec<f64>> {
    let mut out = Vec::with_capacity(rows.len());
    for rows in rows.chunks(batch) {
        let values = values_of(last_values(model, adapter, rows, Padding::Right)?)?;
        out.extend(values.iter().map(|value| (f64::from(*value) - adapter.offset) / adapter.spread));
    }
    Ok(out)
}

/// Splits rows (or groups of rows) into training and held-out by the draw's order; at least one of each.
pub fn split(order: &[usize], share: f64) -> Result<(Vec<usize>, Vec<usize>)> {
    if order.len() < 2 {
        bail!("hold out rows to measure on: there is only one prompt or document, and it is needed for training");
    }
    let held = ((order.len() as f64 * share).round() as usize).clamp(1, order.len() - 1);
    let (heldout, training) = order.split_at(held);
    let (mut training, mut heldout) = (training.to_vec(), heldout.to_vec());
    training.sort_unstable();
    heldout.sort_unstable();
    Ok((training, heldout))
}

/// The rows of `step`: epoch after epoch in an order drawn by the epoch's number, so that any step can be resumed.
pub fn batch_of(draw: Draw, step: u64, batch: usize, rows: &[usize]) -> impl Iterator<Item = usize> {
    let n = rows.len() as u64;
    let first = step * batch as u64;
    let mut order = (u64::MAX, Vec::new());
    (first..first + batch as u64).map(move |place| {
        if order.0 != place / n {
            order = (place / n, draw.order(place / n, rows.len()));
        }
        rows[order.1[(place % n) as usize]]
    })
}

/// Mean loss per completion token, nats.
pub fn mean_loss(model: &Decoder, adapter: Option<&Adapter>, rows: &[&Sequence], batch: usize) -> Result<f64> {
    let (mut sum, mut n) = (0.0, 0);
    for rows in rows.chunks(batch) {
        let (log_probs, _) = completion_log_probs(model, adapter, rows, 1.0);
        let log_probs = values_of(log_probs)?;
        sum -= log_probs.iter().map(|x| f64::from(*x)).sum::<f64>();
        n += log_probs.len();
    }
    Ok(sum / n as f64)
}

/// Whether a candidate is due after `step` steps; `every` 0 means only at the end.
pub fn is_candidate(step: u64, every: u64, total: u64) -> bool {
    step == total || (every > 0 && step.is_multiple_of(every))
}

// ----------------------------------------------------------------------------------------------- learning rate

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Constant,
    /// To 0 at the end.
    Linear,
    /// Half a cosine, to 0 at the end.
    Cosine,
}

impl Schedule {
    /// Rate of `step` of `total`, counted from 0.
    pub fn rate(self, base: f64, step: u64, total: u64) -> f64 {
        let done = step as f64 / total as f64;
        match self {
            Schedule::Constant => base,
            Schedule::Linear => base * (1.0 - done),
            Schedule::Cosine => base * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

// ------------------------------------------------------------------------------------------------- optimiser

/// AdamW in PyTorch's form: bias-corrected moments, ε outside the root, decay apart (Loshchilov & Hutter 2019,
/// alg. 2). Holds the trained tensors, without autodiff.
pub struct Adam {
    pub tensors: Vec<Tensor<2>>,
    means: Vec<Tensor<2>>,
    squares: Vec<Tensor<2>>,
    steps: u64,
    settings: AdamSettings,
}

#[derive(Clone, Copy)]
pub struct AdamSettings {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// Global norm the gradient is scaled down to.
    pub max_norm: f64,
}

impl Default for AdamSettings {
    fn default() -> AdamSettings {
        // ε as in RLHF practice (Huang et al. 2024, detail 12): a hundred times that of PyTorch.
        AdamSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-5, weight_decay: 0.0, max_norm: 1.0 }
    }
}

impl Adam {
    pub fn new(tensors: Vec<Tensor<2>>, settings: AdamSettings) -> Adam {
        let zeros = |tensor: &Tensor<2>| tensor.zeros_like();
        Adam {
            means: tensors.iter().map(zeros).collect(),
            squares: tensors.iter().map(zeros).collect(),
            tensors,
            steps: 0,
            settings,
        }
    }

    /// One step down the gradient of what `loss` makes of the tracked tensors. Returns the loss, the gradient's
    /// norm before scaling, and what else `loss` gave.
    pub fn step<T>(
        &mut self,
        rate: f64,
        loss: impl FnOnce(&[Tensor<2>]) -> Result<(Tensor<1>, T)>,
    ) -> Result<(f64, f64, T)> {
        let tracked: Vec<Tensor<2>> =
            self.tensors.iter().map(|tensor| tensor.clone().autodiff().require_grad()).collect();
        let (loss, rest) = loss(&tracked)?;
        let value = f64::from(values_of(loss.clone())?[0]);
        if !value.is_finite() {
            bail!(
                "train: the loss is {value} at optimiser step {}; lower `lr`, or look for rows with extreme lengths",
                self.steps + 1
            );
        }
        let mut gradients = loss.backward();
        let gradients: Vec<Tensor<2>> = tracked
            .iter()
            .map(|tensor| tensor.grad_remove(&mut gradients).unwrap_or_else(|| tensor.clone().inner().zeros_like()))
            .collect();
        let norm = self.apply(gradients, rate)?;
        Ok((value, norm, rest))
    }

    fn apply(&mut self, gradients: Vec<Tensor<2>>, rate: f64) -> Result<f64> {
        // One read for all norms: summed per tensor on the device, added on the host in a fixed order.
        let squares = gradients
            .iter()
            .map(|gradient| gradient.clone().square().sum_dims_squeeze::<1, _>(&[0]).sum_dim(0))
            .collect();
        let norm = values_of(Tensor::<1>::cat(squares, 0))?.iter().map(|x| f64::from(*x)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            bail!("train: the gradient's norm is {norm} at optimiser step {}; lower `lr`", self.steps + 1);
        }
        self.steps += 1;
        let AdamSettings { beta1, beta2, epsilon, weight_decay, max_norm } = self.settings;
        let shrink = if norm > max_norm { max_norm / norm } else { 1.0 };
        let correction = |beta: f64| 1.0 - beta.powi(self.steps.min(i32::MAX as u64) as i32);
        let (correction1, correction2) = (correction(beta1), correction(beta2));
        for (index, gradient) in gradients.into_iter().enumerate() {
            let gradient = gradient.mul_scalar(shrink);
            let mean = self.means[index].clone().mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
            let square = self.squares[index].clone().mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
            let move_by = mean.clone().mul_scalar(rate / correction1)
                / square.clone().div_scalar(correction2).sqrt().add_scalar(epsilon);
            let kept = self.tensors[index].clone();
            let kept = if weight_decay == 0.0 { kept } else { kept.mul_scalar(1.0 - rate * weight_decay) };
            self.tensors[index] = kept - move_by;
            self.means[index] = mean;
            self.squares[index] = square;
        }
        Ok(norm)
    }
}

// ---------------------------------------------------------------------------------------------------- resume

/// Where a stage stands besides its tensors. Draws are named, so no generator state is kept.
#[derive(Serialize, Deserialize)]
struct State<T> {
    step: u64,
    optimiser_steps: u64,
    rest: T,
}

/// Saves everything the next attempt needs to go on after `step` as if nothing had happened: behind every
/// candidate, and whenever one is due. Draws are named, so when it is saved changes no result. The last step is no
/// place to stop: what is left of the stage is shorter than what a new attempt would have to do again.
pub fn checkpoint<T: Serialize>(
    io: &mut Io,
    (step, total): (u64, u64),
    is_candidate: bool,
    adam: &Adam,
    rest: &T,
) -> Result<()> {
    if step == total {
        return Ok(());
    }
    // Asked in every step, candidate or not: a stage that never asked is ended by SIGTERM at once.
    let is_due = io.is_checkpoint_due();
    if !(is_candidate || is_due) {
        return Ok(());
    }
    let mut tensors = BTreeMap::new();
    for (name, list) in [("tensor", &adam.tensors), ("mean", &adam.means), ("square", &adam.squares)] {
        for (index, tensor) in list.iter().enumerate() {
            tensors.insert(format!("{name}.{index}"), (values_of(tensor.clone())?, tensor.dims().to_vec()));
        }
    }
    let state = State { step, optimiser_steps: adam.steps, rest };
    io.save_checkpoint(step, |directory| {
        weights::write(&tensors, Dtype::F32, &directory.join("state.safetensors"))?;
        fs::write(directory.join("state.json"), serde_json::to_vec(&state)?).context("write state.json")
    })
}

/// Takes up an earlier attempt's state: `adam` becomes what it was, and the next step is returned with the rest.
/// A checkpoint that cannot be read costs the work it held, not the stage.
pub fn resume<T: for<'a> Deserialize<'a>>(io: &mut Io, adam: &mut Adam) -> Result<Option<(u64, T)>> {
    let Some(directory) = io.resume_from()? else { return Ok(None) };
    match read_state(&directory, adam) {
        Ok((step, rest)) => {
            tracing::info!("resuming after step {step}");
            Ok(Some((step, rest)))
        }
        Err(error) => {
            tracing::warn!("starting anew, not from the checkpoint: {error:#}");
            io.start_anew()?;
            Ok(None)
        }
    }
}

/// `adam` is changed only when all of it was read.
fn read_state<T: for<'a> Deserialize<'a>>(directory: &Path, adam: &mut Adam) -> Result<(u64, T)> {
    let read = |name: &str| fs::read(directory.join(name)).with_context(|| format!("read {name}"));
    let state: State<T> = serde_json::from_slice(&read("state.json")?).context("read state.json")?;
    let bytes = read("state.safetensors")?;
    let file = SafeTensors::deserialize(&bytes).context("read state.safetensors")?;
    let device = adam.tensors.first().map(Tensor::device).context("nothing is trained")?;
    let lists = [("tensor", &adam.tensors), ("mean", &adam.means), ("square", &adam.squares)];
    let lists = lists.map(|(name, list)| -> Result<Vec<Tensor<2>>> {
        let one = |(index, tensor): (usize, &Tensor<2>)| {
            let values = artifact::read(&file, &format!("{name}.{index}"), tensor.dims())?;
            Ok(Tensor::from_data(TensorData::new(values, tensor.dims()), &device))
        };
        list.iter().enumerate().map(one).collect()
    });
    let [tensors, means, squares] = lists;
    (adam.tensors, adam.means, adam.squares) = (tensors?, means?, squares?);
    adam.steps = state.optimiser_steps;
    Ok((state.step, state.rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../tests/golden/rlhf-golden.json")).unwrap()
    }

    #[test]
    fn adam_takes_the_steps_of_pytorch() {
        for (name, weight_decay) in [("pytorch", 0.0), ("adamw_wd0.1", 0.1)] {
            let golden = &golden()["adam"];
            let settings =
                AdamSettings { weight_decay, epsilon: golden["eps"].as_f64().unwrap(), ..AdamSettings::default() };
            let start = Tensor::from_data([[golden["w0"].as_f64().unwrap() as f32]], &Device::flex());
            let mut adam = Adam::new(vec![start], settings);
            for (gradient, expected) in golden["grads"].as_array().unwrap().iter().zip(golden[name].as_array().unwrap())
            {
                // The gradient of g·w is g.
                let gradient = gradient.as_f64().unwrap();
                adam.step(golden["lr"].as_f64().unwrap(), |w| Ok((w[0].clone().mul_scalar(gradient).reshape([1]), ())))
                    .unwrap();
                let ours = values_of(adam.tensors[0].clone()).unwrap()[0];
                assert!(
                    (f64::from(ours) - expected.as_f64().unwrap()).abs() < 2e-7,
                    "{name}: {ours} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn rates_follow_the_golden_schedules() {
        let golden = &golden()["lr"];
        for (name, schedule) in [("linear_to_0", Schedule::Linear), ("cosine_to_0", Schedule::Cosine)] {
            for point in golden[name].as_array().unwrap() {
                let rate = schedule.rate(
                    golden["base"].as_f64().unwrap(),
                    point["step"].as_u64().unwrap(),
                    golden["total"].as_u64().unwrap(),
                );
                assert!((rate - point["lr"].as_f64().unwrap()).abs() < 1e-18);
            }
        }
    }

    #[test]
    fn a_gradient_beyond_the_norm_is_scaled_and_a_loss_that_is_no_number_stops_the_training() {
        let start = || vec![Tensor::<2>::from_data([[3.0f32, 4.0]], &Device::flex())];
        let mut adam = Adam::new(start(), AdamSettings { max_norm: 1.0, ..AdamSettings::default() });
        // The gradient of ½w² is w, of norm 5.
        let (_, norm, ()) = adam.step(0.1, |w| Ok((w[0].clone().square().mul_scalar(0.5).sum(), ()))).unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        // Scaled to norm 1: m = 0.1·(0.6, 0.8).
        let means = values_of(adam.means[0].clone()).unwrap();
        assert!((means[0] - 0.06).abs() < 1e-6 && (means[1] - 0.08).abs() < 1e-6);
        let error = adam
            .step(0.1, |w| {
                Ok((w[0].clone().log().mul_scalar(-1e38).exp().log().neg().sum().mul_scalar(f32::INFINITY), ()))
            })
            .unwrap_err();
        assert!(error.to_string().contains("optimiser step 2"), "{error}");
    }
}
