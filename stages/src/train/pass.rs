//! Passes through a model: forward to log-probabilities and values, and back from a loss of them.

use super::forward::{Forward, Pass, batch_of_rows, predictions, with_head};
use super::late::{Late, ShardGradients};
use super::parts::{add, parts};
use super::rows::Sequence;
use crate::kernel::{LatePredictions, Predictions, Slopes, Span, TokenGradients};
use crate::model::predict;
use crate::model::{Adapter, Decoder, Gradient, Trainable, sizes};
use crate::rl;
use crate::tensor::{Later, from_values, later};
use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use std::ops::Range;

/// Log-probabilities and entropies of all completion tokens, row after row. Training and scoring use the same
/// arithmetic, so their numbers agree to the last bit.
///
/// # Errors
/// The device cannot be read.
pub fn predicted(
    model: &Decoder,
    adapter: Option<&Adapter>,
    rows: &[&Sequence],
    temperature: f64,
) -> Result<Predictions> {
    let mut all = Predictions::default();
    for rows in rows.chunks(fitting(model, rows)) {
        let batch = batch_of_rows(model, rows);
        let (positions, targets) = predictions(rows, &batch.spans);
        let hidden = predict::at(&model.hidden(adapter, &batch, None), &positions);
        let Predictions { log_probs, entropies } = model.predict(hidden, &targets, temperature)?;
        all.log_probs.extend(log_probs);
        all.entropies.extend(entropies);
    }
    Ok(all)
}

/// KL(π ‖ π_other) of the next token before each token of the completions, row after row, nats: the sum over all tokens
/// that both models have.
///
/// # Errors
/// The device cannot be read.
pub fn divergences(
    model: &Decoder,
    adapter: Option<&Adapter>,
    other: &Decoder,
    of_other: Option<&Adapter>,
    rows: &[&Sequence],
) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for rows in rows.chunks(fitting(model, rows).min(fitting(other, rows))) {
        let hidden = |model: &Decoder, adapter: Option<&Adapter>| {
            let batch = batch_of_rows(model, rows);
            predict::at(&model.hidden(adapter, &batch, None), &predictions(rows, &batch.spans).0)
        };
        all.extend(model.divergence(&hidden(model, adapter), other, &hidden(other, of_other))?);
    }
    Ok(all)
}

/// The number of these rows that the device can read together, where nothing is learned from them.
fn fitting(model: &Decoder, rows: &[&Sequence]) -> usize {
    let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    sizes::rows_at_once(&model.config, longest, &model.device())
}

/// log π of whole answers, nats: the sum over the tokens of each row's completion; `at_once` rows at a time.
///
/// # Errors
/// As [`predicted`].
pub fn log_probs(model: &Decoder, adapter: Option<&Adapter>, rows: &[&Sequence], at_once: usize) -> Result<Vec<f64>> {
    let mut out = Vec::with_capacity(rows.len());
    for rows in rows.chunks(at_once) {
        out.extend(per_answer(&predicted(model, adapter, rows, 1.0)?.log_probs, rows));
    }
    Ok(out)
}

/// Sums over the tokens of each completion, row after row.
fn per_answer(tokens: &[f64], rows: &[&Sequence]) -> Vec<f64> {
    rl::by_row(tokens, rows.iter().map(|row| row.learned().count())).map(|tokens| tokens.iter().sum()).collect()
}

/// The tokens of a row that a scalar head values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuePositions {
    /// The last one: a reward.
    Last,
    /// The token before each token of the completion: the value a critic expects from there on.
    Completion,
}

impl ValuePositions {
    fn positions(self, rows: &[&Sequence], spans: &[Span]) -> Vec<usize> {
        match self {
            ValuePositions::Last => spans.iter().map(|span| span.last()).collect(),
            ValuePositions::Completion => predictions(rows, spans).0,
        }
    }
}

fn head_of(adapter: &Adapter) -> Result<&Tensor<2>> {
    adapter
        .head
        .as_ref()
        .context("score answers: the model has no reward head; it did not come from a stage of kind rm")
}

/// Values of an adapter's head at some tokens, on their way to the host.
#[derive(Clone)]
pub struct HeadValues {
    /// `[n, 1]`, as the head gives them.
    pub numbers: Tensor<2>,
    later: Later,
    pub offset: f64,
    pub spread: f64,
}

impl HeadValues {
    fn of(adapter: &Adapter, hidden: Tensor<2>) -> Result<HeadValues> {
        let numbers = predict::values(hidden, head_of(adapter)?);
        let [n, _] = numbers.dims();
        let later = later(numbers.clone().reshape([n]));
        Ok(HeadValues { numbers, later, offset: adapter.offset, spread: adapter.spread })
    }

    /// Less the head's offset, divided by its spread.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn get(&self) -> Result<Vec<f64>> {
        Ok(self.later.get()?.into_iter().map(|value| (f64::from(value) - self.offset) / self.spread).collect())
    }
}

/// The slopes of a loss by such values.
pub enum ValueSlopes {
    /// By what [`HeadValues::get`] gives.
    Host(Vec<f64>),
    /// By [`HeadValues::numbers`], `[n, 1]`.
    Device(Tensor<2>),
}

/// Values of the adapter's head at some tokens, row after row: less its offset, divided by its spread.
///
/// # Errors
/// There is no head, or the device cannot be read.
pub fn values(model: &Decoder, adapter: &Adapter, rows: &[&Sequence], valued: ValuePositions) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for rows in rows.chunks(fitting(model, rows)) {
        let batch = batch_of_rows(model, rows);
        let positions = valued.positions(rows, &batch.spans);
        let hidden = predict::at(&model.hidden(Some(adapter), &batch, None), &positions);
        all.extend(HeadValues::of(adapter, hidden)?.get()?);
    }
    Ok(all)
}

/// Rewards of whole rows, `at_once` at a time.
///
/// # Errors
/// As [`values`].
pub fn rewards(model: &Decoder, adapter: &Adapter, rows: &[&[u32]], at_once: usize) -> Result<Vec<f64>> {
    let rows: Vec<Sequence> = rows.iter().map(|ids| Sequence::new(ids.to_vec(), ids.len())).collect();
    let mut out = Vec::with_capacity(rows.len());
    for rows in rows.chunks(at_once) {
        out.extend(values(model, adapter, &rows.iter().collect::<Vec<_>>(), ValuePositions::Last)?);
    }
    Ok(out)
}

/// Mean loss per completion token, nats.
///
/// # Errors
/// The device cannot be read.
pub fn mean_loss(model: &Decoder, adapter: Option<&Adapter>, rows: &[&Sequence], batch: usize) -> Result<f64> {
    let (mut sum, mut n) = (0.0, 0);
    for rows in rows.chunks(batch) {
        let log_probs = predicted(model, adapter, rows, 1.0)?.log_probs;
        sum -= log_probs.iter().sum::<f64>();
        n += log_probs.len();
    }
    Ok(sum / n as f64)
}

/// Gradients of a loss of completion tokens, in the order of [`Adapter::tensors`] or [`weights::tensors`]. `objective`
/// gets a range of the tokens of all rows, one row after the other, with their predictions, and returns the gradients
/// by them.
///
/// # Errors
/// The device cannot be read, or `objective`'s.
pub fn learn_tokens(
    pass: Pass,
    rows: &[&Sequence],
    temperature: f64,
    objective: impl FnMut(Range<usize>, &LatePredictions) -> Result<Slopes>,
) -> Result<Vec<Tensor<2>>> {
    Forward::of(pass, rows).learn_tokens(pass, temperature, objective)
}

/// A loss of whole answers, and its gradients. `objective` returns the loss and its derivative by the log-probability
/// of each answer, which is also the derivative by each of the answer's tokens. More than `at_once` rows go through in
/// pieces: first forward, for the objective of all of them, then forward and back again.
///
/// # Errors
/// The device cannot be read.
pub fn learn_answers(
    pass: Pass,
    rows: &[&Sequence],
    at_once: Option<usize>,
    objective: impl FnOnce(&[f64]) -> (f64, Vec<f64>),
) -> Result<(f64, Vec<Tensor<2>>)> {
    let Some(at_once) = at_once.filter(|at_once| *at_once < rows.len()) else {
        return learn_answers_at_once(pass, rows, objective);
    };
    let (loss, slopes) = objective(&log_probs(pass.model, pass.adapter, rows, at_once)?);
    let piece =
        |rows: &[&Sequence], slopes: &[f64]| learn_answers_at_once(pass, rows, |_: &[f64]| (0.0, slopes.to_vec()));
    Ok((loss, in_pieces(rows, &slopes, at_once, piece)?))
}

fn learn_answers_at_once(
    pass: Pass,
    rows: &[&Sequence],
    objective: impl FnOnce(&[f64]) -> (f64, Vec<f64>),
) -> Result<(f64, Vec<Tensor<2>>)> {
    let mut loss = 0.0;
    let gradients = Forward::of(pass, rows).back(pass, |picked, targets| {
        let predicted = pass.model.predict(picked.clone(), targets, 1.0)?;
        let (now, gradients) = objective(&per_answer(&predicted.log_probs, rows));
        loss = now;
        let of_answer = |(gradient, row): (&f64, &&Sequence)| std::iter::repeat_n(*gradient, row.learned().count());
        let gradients: Vec<f64> = gradients.iter().zip(rows).flat_map(of_answer).collect();
        pass.model.predict_back(picked, targets, 1.0, pass.trained == Trainable::Weights, |range, _| {
            Ok(TokenGradients { log_probs: gradients[range].to_vec(), entropies: Vec::new() }.into())
        })
    })?;
    Ok((loss, gradients))
}

/// The gradients of a loss whose slopes by each row are known, `at_once` rows at a time.
fn in_pieces(
    rows: &[&Sequence],
    slopes: &[f64],
    at_once: usize,
    piece: impl Fn(&[&Sequence], &[f64]) -> Result<(f64, Vec<Tensor<2>>)>,
) -> Result<Vec<Tensor<2>>> {
    let mut gradients = Vec::new();
    for (rows, slopes) in rows.chunks(at_once).zip(slopes.chunks(at_once)) {
        add(&mut gradients, piece(rows, slopes)?.1);
    }
    Ok(gradients)
}

/// A loss of the rewards of rows, and its gradients, as [`learn_values`]; more than `at_once` rows go through in pieces, as
/// in [`learn_answers`].
///
/// # Errors
/// As [`learn_values`].
pub fn learn_rewards(
    pass: Pass,
    rows: &[&Sequence],
    at_once: Option<usize>,
    objective: impl FnOnce(&[f64]) -> (f64, Vec<f64>),
) -> Result<(f64, Vec<Tensor<2>>)> {
    let Some(at_once) = at_once.filter(|at_once| *at_once < rows.len()) else {
        return learn_values(pass, rows, ValuePositions::Last, |values| {
            let (loss, slopes) = objective(&values.get()?);
            Ok((loss, ValueSlopes::Host(slopes)))
        });
    };
    let adapter = pass.adapter.context("a head stands on an adapter")?;
    let mut scores = Vec::with_capacity(rows.len());
    for rows in rows.chunks(at_once) {
        scores.extend(values(pass.model, adapter, rows, ValuePositions::Last)?);
    }
    let (loss, slopes) = objective(&scores);
    let piece = |rows: &[&Sequence], slopes: &[f64]| {
        learn_values(pass, rows, ValuePositions::Last, |_| Ok((0.0, ValueSlopes::Host(slopes.to_vec()))))
    };
    Ok((loss, in_pieces(rows, &slopes, at_once, piece)?))
}

/// A loss of the adapter's values at some tokens, and its gradients. `objective` returns the loss, or what gives it later,
/// and its derivatives by the values. A device waits only where it looks at them.
///
/// # Errors
/// There is no head, or the device cannot be read.
pub fn learn_values<T>(
    pass: Pass,
    rows: &[&Sequence],
    valued: ValuePositions,
    objective: impl FnOnce(&HeadValues) -> Result<(T, ValueSlopes)>,
) -> Result<(T, Vec<Tensor<2>>)> {
    let Pass { model, adapter, trained, recomputes } = pass;
    let adapter = adapter.context("a head stands on an adapter")?;
    let head = head_of(adapter)?;
    let batch = batch_of_rows(model, rows);
    let positions = valued.positions(rows, &batch.spans);
    let (hidden, trace) = model.trace(Some(adapter), &batch, recomputes);
    let picked = predict::at(&hidden, &positions);
    drop(hidden);
    let (loss, slopes) = objective(&HeadValues::of(adapter, picked.clone())?)?;
    let slopes = match slopes {
        ValueSlopes::Host(slopes) => {
            let slopes: Vec<f32> = slopes.iter().map(|slope| (slope / adapter.spread) as f32).collect();
            let n = slopes.len();
            from_values(slopes, [n, 1], &picked.device())
        }
        ValueSlopes::Device(slopes) => slopes,
    };
    let (gradient, of_head) = predict::values_back(picked, head, slopes);
    let gradient = predict::at_back(gradient, &positions, batch.tokens());
    match model.backward(Some(adapter), &batch, trace, gradient, trained)? {
        Gradient::Adapter(gradient) => Ok((loss, with_head(gradient, pass, Some(of_head))?)),
        Gradient::Weights(_) => bail!("a head is trained with an adapter"),
    }
}

/// The completion tokens of rows.
pub fn learned_tokens(rows: &[&Sequence]) -> usize {
    rows.iter().map(|row| row.learned().count()).sum()
}

/// The part of the mean −log p per completion token of a batch, nats, that these rows are, and its gradients, computed
/// `at_once` rows at a time. `tokens` counts the completion tokens of the whole batch.
///
/// # Errors
/// The gradient of a table cannot be read.
pub fn likelihood(
    pass: Pass,
    rows: &[&Sequence],
    at_once: Option<usize>,
    tokens: usize,
) -> Result<ShardGradients<'static, f64>> {
    let tokens = tokens as f64;
    let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
    let (mut predictions, mut gradients) = (Vec::new(), Vec::new());
    for part in parts(&lengths, at_once) {
        let part: Vec<&Sequence> = part.iter().map(|row| rows[*row]).collect();
        let more = learn_tokens(pass, &part, 1.0, |range, predicted| {
            predictions.push(predicted.clone());
            Ok(TokenGradients { log_probs: vec![-1.0 / tokens; range.len()], entropies: Vec::new() }.into())
        })?;
        add(&mut gradients, more);
    }
    let loss = move || {
        let mut loss = 0.0;
        for predicted in &predictions {
            loss -= predicted.get()?.log_probs.iter().sum::<f64>() / tokens;
        }
        Ok(loss)
    };
    Ok((Late::Later(Box::new(loss)), gradients))
}
