//! The training loop, which all kinds but PPO share, and the pieces it is made of. A kind brings its rows, its
//! objective and the way a candidate is measured.

mod adam;
mod checkpoint;
mod ends;
mod forward;
mod groups;
mod late;
mod model;
mod parameters;
mod parts;
mod pass;
mod rows;
mod samples;
mod team;
mod trainee;
mod truncate;

pub use adam::{Adam, AdamForm, AdamSettings, Gradients};
pub use checkpoint::{TrainState, checkpoint, resume};
pub use ends::Ends;
pub use forward::{Forward, Pass};
pub use groups::{Group, PreferenceReading, groups_apart, load_of_groups, parts_of_groups};
#[cfg(test)]
pub use groups::{groups_of_a_test, has_gradients};
pub use late::{Late, ShardGradients};
pub use model::model;
pub use parameters::{AnswerEnd, PairBound, Passes, Rate, Schedule, Training, Tuning, smoothing_mistake};
pub use parts::{add, in_parts, parts};
pub use pass::{
    HeadValues, ValuePositions, ValueSlopes, divergences, learn_answers, learn_rewards, learn_tokens, learn_values,
    learned_tokens, likelihood, log_probs, mean_loss, predicted, rewards, values,
};
pub use rows::{Fit, RowEncoder, Sequence, by_weight, prompts, split, split_by_prompt, tokenised};
pub use samples::Samples;
pub use team::{Team, devices_beside, shards};
pub use trainee::Trainee;
pub use truncate::Truncate;

use crate::device::asked;
use crate::draw::Draw;
use crate::io::Io;
use anyhow::Result;
use burn::tensor::Tensor;
use formats::data::RowFilter;
use serde_json::{Value, json};
use std::fmt::Display;

/// The part of a training that differs by kind. Rows are named by their numbers; `tensors` are the trained ones in
/// their present state.
pub trait Learner {
    /// Computes log π_ref of all answers, for an objective that needs it. This happens once for all steps and attempts.
    ///
    /// # Errors
    /// The device cannot be read.
    fn references(&self) -> Result<Vec<f64>> {
        Ok(Vec::new())
    }

    /// Computes the loss of a batch of rows, and its gradients.
    ///
    /// # Errors
    /// The device cannot be read.
    fn gradients(&self, tensors: &[Tensor<2>], batch: &[usize], state: &mut TrainState) -> Result<BatchLoss>;

    /// Names the row in messages.
    fn name(&self, row: usize) -> String;

    /// Writes the files and tables of a candidate; returns its metrics.
    ///
    /// # Errors
    /// The device cannot be read, or a file not be written.
    fn candidate(&self, io: &mut Io, tensors: &[Tensor<2>], step: u64, state: &TrainState) -> Result<Metrics>;
}

/// Numbers by their names.
pub type Metrics = Vec<(&'static str, f64)>;

/// The loss of a batch.
pub struct BatchLoss {
    pub loss: Late<'static, f64>,
    pub gradients: Vec<Tensor<2>>,
    /// Further columns of the training curve, beside those that every kind has.
    pub columns: Vec<(&'static str, Value)>,
}

/// The rows and the learning rate of every step.
pub struct TrainSteps {
    /// Rows per step.
    pub size: usize,
    pub total: u64,
    pub rate: Rate,
    /// Number of steps in which the learning rate rises to its peak.
    pub warm_up: u64,
    pub checkpoint_every: u64,
    /// The first step whose loss is part of the mean that a candidate reports.
    pub reported_from: u64,
    /// Numbers of the rows to train on; `order` draws their order.
    pub rows: Vec<usize>,
    pub order: Draw,
}

impl TrainSteps {
    pub fn of(io: &mut Io, training: &Training, rows: Vec<usize>, order: Draw) -> TrainSteps {
        let size = batch_size(io, training.batch, rows.len());
        TrainSteps {
            size,
            total: steps(training.epochs, rows.len(), size),
            rate: training.rate,
            warm_up: 0,
            checkpoint_every: training.checkpoint_every,
            reported_from: 0,
            rows,
            order,
        }
    }

    fn rate(&self, step: u64) -> f64 {
        match step.checked_sub(self.warm_up) {
            Some(step) => self.rate.at(step, self.total - self.warm_up),
            None => self.rate.lr * (step + 1) as f64 / self.warm_up as f64,
        }
    }
}

/// Trains to the end. Goes on from the last checkpoint of an earlier attempt, if there is one. Each candidate also has
/// the counts of the rows that the filter let through.
///
/// # Errors
/// A loss or a gradient is not finite, the device cannot be read, a file cannot be written, or the stage was asked to
/// stop.
pub fn learn(
    io: &mut Io,
    steps: &TrainSteps,
    mut adam: Adam,
    filter: &mut RowFilter,
    learner: &impl Learner,
) -> Result<()> {
    filter.take_remarks().into_iter().for_each(|remark| io.remark(remark));
    let (first, mut state) = match resume(io, &mut adam)? {
        Some(found) => found,
        None => (0, TrainState { references: learner.references()?, ..TrainState::default() }),
    };
    for step in first..steps.total {
        asked::note_part(|| format!("step {}", step + 1));
        let batch: Vec<usize> = batch_of(steps.order, step, steps.size, &steps.rows).collect();
        let BatchLoss { loss, gradients, columns } = learner.gradients(&adam.tensors, &batch, &mut state)?;
        let rate = steps.rate(step);
        let names = || named(batch.iter().map(|row| learner.name(*row)));
        // The read that brings what the loss is made of brings the norm as well.
        let measured = Gradients::of(gradients);
        let loss = loss.get()?;
        let norm = adam.step(rate, loss, measured, names)?;
        if step >= steps.reported_from {
            state.losses.push(loss);
        }
        let done = step + 1;
        let mut point = json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate});
        columns.into_iter().for_each(|(name, value)| point[name] = value);
        io.curve(&point)?;
        io.progress(done, steps.total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = is_candidate(done, steps.checkpoint_every, steps.total);
        if is_candidate {
            let metrics = learner.candidate(io, &adam.tensors, done, &state)?;
            io.candidate(done, &[&metrics[..], &filter.metrics()].concat())?;
            state.losses.clear();
        }
        checkpoint(io, done, steps.total, is_candidate, &adam, &state)?;
    }
    Ok(())
}

/// Lists the first few rows of a batch, for a message.
pub fn named(rows: impl ExactSizeIterator<Item = impl Display>) -> String {
    const SHOWN: usize = 8;
    let more = rows.len().saturating_sub(SHOWN);
    let shown: Vec<String> = rows.take(SHOWN).map(|row| format!("`{row}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("rows {}{more}", shown.join(", "))
}

/// Returns the rows per step: at most as many as there are.
pub fn batch_size(io: &mut Io, batch: usize, rows: usize) -> usize {
    if batch > rows {
        io.remark(format!(
            "`batch` {batch} is more than the {rows} there are to train on; each step takes all of them"
        ));
    }
    batch.min(rows)
}

/// Number of steps that make up `epochs`, rounded up; at least one.
fn steps(epochs: f64, rows: usize, batch: usize) -> u64 {
    ((epochs * rows as f64 / batch as f64).ceil() as u64).max(1)
}

/// Returns the rows of `step`. Each epoch has an order of its own, drawn by its number, so that any step can be
/// resumed.
pub fn batch_of(draw: Draw, step: u64, batch: usize, rows: &[usize]) -> impl Iterator<Item = usize> {
    let n = rows.len() as u64;
    let first = step * batch as u64;
    let mut order = (u64::MAX, Vec::new());
    (first..first + batch as u64).map(move |index| {
        if order.0 != index / n {
            order = (index / n, draw.order(index / n, rows.len()));
        }
        rows[order.1[(index % n) as usize]]
    })
}

/// Tells whether a candidate is due after `step` steps. If `every` is 0, there is only one, at the end.
pub fn is_candidate(step: u64, every: u64, total: u64) -> bool {
    step == total || (every > 0 && step.is_multiple_of(every))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Adapter, LoraParameters, weights};
    use crate::tensor::values_of;
    use burn::tensor::Device;
    use formats::layout;

    fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../tests/golden/rlhf-golden.json")).unwrap()
    }

    #[test]
    fn adam_takes_the_steps_of_pytorch_and_of_tensorflow() {
        let forms = [
            ("pytorch", AdamForm::Torch, 0.0),
            ("tf1", AdamForm::Tensorflow, 0.0),
            ("adamw_wd0.1", AdamForm::Torch, 0.1),
        ];
        for (name, form, weight_decay) in forms {
            let golden = &golden()["adam"];
            let epsilon = golden["eps"].as_f64().unwrap();
            let settings = AdamSettings { form, weight_decay, epsilon, ..AdamSettings::default() };
            let number = |value: f64| Tensor::<2>::from_data([[value as f32]], &Device::flex());
            let mut adam = Adam::new(vec![number(golden["w0"].as_f64().unwrap())], vec![true], settings);
            for (gradient, expected) in golden["grads"].as_array().unwrap().iter().zip(golden[name].as_array().unwrap())
            {
                let gradient = vec![number(gradient.as_f64().unwrap())];
                adam.step(golden["lr"].as_f64().unwrap(), 0.5, Gradients::of(gradient), String::new).unwrap();
                let ours = values_of(adam.tensors[0].clone()).unwrap()[0];
                assert!(
                    (f64::from(ours) - expected.as_f64().unwrap()).abs() < 2e-7,
                    "{name}: {ours} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_gradient_beyond_the_norm_is_scaled_and_what_is_no_number_stops_the_training_untouched() {
        let start = || vec![Tensor::<2>::from_data([[3.0f32, 4.0]], &Device::flex())];
        let mut adam = Adam::new(start(), vec![true], AdamSettings::default());
        let norm = adam.step(0.1, 12.5, Gradients::of(start()), String::new).unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        // Scaled to norm 1: m = 0.1·(0.6, 0.8).
        let means = values_of(adam.means[0].clone()).unwrap();
        assert!((means[0] - 0.06).abs() < 1e-6 && (means[1] - 0.08).abs() < 1e-6);
        let before = values_of(adam.tensors[0].clone()).unwrap();
        let rows = || named(["a", "b"].into_iter());
        let error = adam.step(0.1, f64::NAN, Gradients::of(start()), rows).unwrap_err().to_string();
        assert!(error.contains("the loss is NaN at optimiser step 2, on rows `a`, `b`"), "{error}");
        let gone = vec![Tensor::<2>::from_data([[f32::INFINITY, 1.0]], &Device::flex())];
        let error = adam.step(0.1, 1.0, Gradients::of(gone), rows).unwrap_err().to_string();
        assert!(error.contains("the gradient's norm is inf at optimiser step 2"), "{error}");
        assert_eq!(before, values_of(adam.tensors[0].clone()).unwrap());
    }

    /// With gradients of 0, decay alone moves weights: by lr·weight_decay of each, as in the two groups of parameters that
    /// the trainer of `transformers` makes.
    #[test]
    fn weight_decay_leaves_norms_and_biases_alone_and_no_matrix_of_an_adapter() {
        let device = Device::flex();
        let settings = AdamSettings { weight_decay: 0.5, ..AdamSettings::default() };
        let is_decayed = |mut adam: Adam| -> Vec<bool> {
            let before = adam.tensors.clone();
            let zeros = before.iter().map(Tensor::zeros_like).collect();
            adam.step(0.1, 1.0, Gradients::of(zeros), String::new).unwrap();
            let pairs = before.into_iter().zip(&adam.tensors);
            pairs
                .map(|(before, after)| {
                    let (before, after) = (values_of(before).unwrap(), values_of(after.clone()).unwrap());
                    let is_smaller = before.iter().zip(&after).all(|(x, y)| (y - 0.95 * x).abs() <= 1e-6 * x.abs());
                    assert!(is_smaller || before == after);
                    assert!(before.iter().any(|x| *x != 0.0), "a tensor of zeros shows nothing");
                    is_smaller
                })
                .collect()
        };
        for name in ["gpt2", "neox", "qwen3"] {
            let directory = std::path::Path::new("tests/parity").join(name);
            let config = formats::config::Config::load(&directory).unwrap();
            let model = weights::load(&directory, config, formats::dtype::Dtype::F32, &device).unwrap();
            let names: Vec<String> = layout::weights(&model.config).into_iter().map(|weight| weight.name).collect();
            let decayed = is_decayed(Adam::of_weights(&model, settings));
            for (name, is_decayed) in names.iter().zip(decayed) {
                let parts: Vec<&str> = name.split('.').collect();
                let module = parts[parts.len() - 2];
                let is_norm = module.starts_with("ln_") || module.contains("norm");
                assert_eq!(is_decayed, !(is_norm || name.ends_with(".bias")), "{name}");
            }
        }
        // Of rank 1, the matrices have the shapes of vectors.
        let directory = std::path::Path::new("tests/parity/llama");
        let config = formats::config::Config::load(directory).unwrap();
        let draw = Draw { seed: 7, kind: "test", purpose: "adapter" };
        let lora = LoraParameters { rank: 1, ..LoraParameters::default() };
        let adapter = Adapter::new(&config, &lora, draw, &device).with_head(&config, draw, &device);
        let moved: Vec<_> = adapter.tensors().into_iter().map(|tensor| tensor.add_scalar(0.1)).collect();
        let adapter = adapter.with_tensors(&moved);
        assert!(is_decayed(Adam::of_adapters([&adapter], settings)).into_iter().all(|is_decayed| is_decayed));
    }

    #[test]
    fn averages_follow_what_is_trained() {
        let number = |value: f32| Tensor::<2>::from_data([[value]], &Device::flex());
        let mut adam = Adam::new(vec![number(3.0)], vec![true], AdamSettings::default());
        adam.keep_averages();
        for expected in [0.9 * 3.0 + 0.1 * 5.0, 0.9 * 3.2 + 0.1 * 5.0] {
            adam.tensors = vec![number(5.0)];
            adam.average(0.9);
            assert!((values_of(adam.averages[0].clone()).unwrap()[0] - expected as f32).abs() < 1e-6);
        }
    }

    #[test]
    fn a_batch_goes_in_parts_of_like_length_and_no_group_is_torn() {
        assert_eq!(parts(&[5, 1, 4, 2], Some(2)), [[1, 3], [2, 0]]);
        assert_eq!(parts(&[5, 1, 4], None), [[0, 1, 2]]);
        let group = |answers: usize, length: usize| Group {
            id: String::new(),
            prompt: String::new(),
            prompt_group: String::new(),
            rows: vec![Sequence::new(vec![0; length], 1); answers],
            pairs: Vec::new(),
            margins: Vec::new(),
            weight: 1.0,
        };
        let groups = [group(2, 9), group(3, 2), group(2, 3), group(1, 4)];
        let groups: Vec<&Group> = groups.iter().collect();
        assert_eq!(parts_of_groups(&groups, Some(4)), [vec![1], vec![2, 3], vec![0]]);
    }
}
