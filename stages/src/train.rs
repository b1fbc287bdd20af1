//! What every training kind shares: tokenised rows, forward passes and the way back from a loss of their tokens or their
//! values, the optimiser, and the checkpoint a killed stage resumes from. Knows no objective.

mod adam;
mod checkpoint;
mod groups;
mod sequences;

pub use adam::{Adam, AdamForm, AdamSettings};
pub use checkpoint::{checkpoint, resume};
pub use groups::{Group, groups_apart, load_of_groups, parts_of_groups};
#[cfg(test)]
pub use groups::{groups_of_a_test, has_slopes};
pub use sequences::{Sequence, prompts, sequence};

use crate::data::Prompt;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::predict::{self, Predicted, Slopes};
use crate::model::{Adapter, Batch, Decoder, Gradient, Padding, Span, Trained, weights};
use crate::stage::ParameterMistake;
use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

// ---------------------------------------------------------------------------------------------------- forward

/// Where the hidden states stand that completions are predicted from, and the tokens that come next, row after row.
fn predictions(rows: &[&Sequence], spans: &[Span]) -> (Vec<usize>, Vec<u32>) {
    let places = rows.iter().zip(spans).flat_map(|(row, span)| (row.start..span.len).map(|at| span.at + at - 1));
    let targets = rows.iter().flat_map(|row| row.completion().iter().copied());
    (places.collect(), targets.collect())
}

fn batch_of_rows(model: &Decoder, rows: &[&Sequence]) -> Batch {
    let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let device = model.device();
    Batch::new(&model.config, &ids, Padding::of(&device), &device)
}

/// Log-probabilities and entropies of all completion tokens, row after row. Training and scoring both go through the same
/// arithmetic, so that their numbers are the same to the last bit.
///
/// # Errors
/// The device cannot be read.
pub fn predicted(
    model: &Decoder,
    adapter: Option<&Adapter>,
    rows: &[&Sequence],
    temperature: f64,
) -> Result<Predicted> {
    let batch = batch_of_rows(model, rows);
    let (places, targets) = predictions(rows, &batch.spans);
    model.predict(predict::at(&model.hidden(adapter, &batch, None), &places), &targets, temperature)
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

/// Sums of what is known of each completion token, row after row.
pub fn per_answer(tokens: &[f64], rows: &[&Sequence]) -> Vec<f64> {
    let mut rest = tokens;
    let sum = |row: &&Sequence| {
        let (now, later) = rest.split_at(row.completion().len());
        rest = later;
        now.iter().sum()
    };
    rows.iter().map(sum).collect()
}

/// The slopes of a loss by whole answers are those by each of their tokens.
pub fn per_token(answers: &[f64], rows: &[&Sequence]) -> Slopes {
    let of_answer = |(slope, row): (&f64, &&Sequence)| std::iter::repeat_n(*slope, row.completion().len());
    Slopes { log_probs: answers.iter().zip(rows).flat_map(of_answer).collect(), entropies: Vec::new() }
}

/// Which of a row's tokens a scalar head values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valued {
    /// The last one: a reward.
    Last,
    /// Those before each token of the completion: what a critic expects to come.
    Completion,
}

impl Valued {
    fn places(self, rows: &[&Sequence], spans: &[Span]) -> Vec<usize> {
        match self {
            Valued::Last => spans.iter().map(|span| span.last()).collect(),
            Valued::Completion => predictions(rows, spans).0,
        }
    }
}

fn head_of(adapter: &Adapter) -> Result<&Tensor<2>> {
    adapter
        .head
        .as_ref()
        .context("score answers: the model has no reward head; it did not come from a stage of kind rm")
}

/// The values of the adapter's head at some tokens, row after row, less its offset, over its spread.
///
/// # Errors
/// There is no head, or the device cannot be read.
pub fn values(model: &Decoder, adapter: &Adapter, rows: &[&Sequence], valued: Valued) -> Result<Vec<f64>> {
    let batch = batch_of_rows(model, rows);
    let places = valued.places(rows, &batch.spans);
    let values = predict::values(predict::at(&model.hidden(Some(adapter), &batch, None), &places), head_of(adapter)?)?;
    Ok(values.iter().map(|value| (value - adapter.offset) / adapter.spread).collect())
}

/// Rewards of whole rows, `at_once` at a time.
///
/// # Errors
/// As [`values`].
pub fn rewards(model: &Decoder, adapter: &Adapter, rows: &[&[u32]], at_once: usize) -> Result<Vec<f64>> {
    let rows: Vec<Sequence> = rows.iter().map(|ids| Sequence { ids: ids.to_vec(), start: ids.len() }).collect();
    let mut out = Vec::with_capacity(rows.len());
    for rows in rows.chunks(at_once) {
        out.extend(values(model, adapter, &rows.iter().collect::<Vec<_>>(), Valued::Last)?);
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

// ------------------------------------------------------------------------------------------------------- back

/// What a pass goes back through.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub model: &'a Decoder,
    pub adapter: Option<&'a Adapter>,
    pub trained: Trained,
    /// Whether blocks run a second time on the way back, instead of being remembered.
    pub recomputes: bool,
}

/// Gradients of a loss of completion tokens, in the order of [`Adapter::tensors`] or [`weights::tensors`]. `objective` is
/// asked for the slopes of a range of tokens, all rows' one after the other, with what was predicted of them.
///
/// # Errors
/// The device cannot be read, or `objective`'s.
pub fn learn_tokens(
    pass: Pass,
    rows: &[&Sequence],
    temperature: f64,
    objective: impl FnMut(Range<usize>, &Predicted) -> Result<Slopes>,
) -> Result<Vec<Tensor<2>>> {
    learn(pass, rows, |picked, targets| {
        pass.model.predict_back(picked, targets, temperature, pass.trained == Trained::Weights, objective)
    })
}

/// As [`learn_tokens`], for a loss in which the tokens of all rows stand together: `objective` sees all of them first.
///
/// # Errors
/// As [`learn_tokens`].
pub fn learn_rows(
    pass: Pass,
    rows: &[&Sequence],
    objective: impl FnOnce(&Predicted) -> Result<Slopes>,
) -> Result<Vec<Tensor<2>>> {
    learn(pass, rows, |picked, targets| {
        let slopes = objective(&pass.model.predict(picked.clone(), targets, 1.0)?)?.log_probs;
        pass.model.predict_back(picked, targets, 1.0, pass.trained == Trained::Weights, |range, _| {
            Ok(Slopes { log_probs: slopes[range].to_vec(), entropies: Vec::new() })
        })
    })
}

/// `back` makes of the hidden states before the completions' tokens, and of these, what [`Decoder::predict_back`] does.
fn learn(
    pass: Pass,
    rows: &[&Sequence],
    back: impl FnOnce(Tensor<2>, &[u32]) -> Result<(Tensor<2>, Option<Tensor<2>>)>,
) -> Result<Vec<Tensor<2>>> {
    let Pass { model, adapter, trained, recomputes } = pass;
    let batch = batch_of_rows(model, rows);
    let (places, targets) = predictions(rows, &batch.spans);
    let (hidden, trace) = model.trace(adapter, &batch, recomputes);
    let picked = predict::at(&hidden, &places);
    drop(hidden);
    let (slope, of_matrix) = back(picked, &targets)?;
    let slope = predict::at_back(slope, &places, batch.tokens());
    Ok(match model.backward(adapter, &batch, trace, slope, trained)? {
        Gradient::Adapter(gradient) => with_head(&gradient, pass, None),
        Gradient::Weights(mut gradient) => {
            gradient.add_to_head(of_matrix.context("the matrix behind the logits is trained")?);
            weights::tensors(&gradient)
        }
    })
}

/// Gradients of a loss of an adapter's values at some tokens; `objective` gives their slopes.
///
/// # Errors
/// There is no head, the device cannot be read, or `objective`'s.
pub fn learn_values(
    pass: Pass,
    rows: &[&Sequence],
    valued: Valued,
    objective: impl FnOnce(&[f64]) -> Result<Vec<f64>>,
) -> Result<Vec<Tensor<2>>> {
    let Pass { model, adapter, trained, recomputes } = pass;
    let adapter = adapter.context("a head stands on an adapter")?;
    let head = head_of(adapter)?;
    let batch = batch_of_rows(model, rows);
    let places = valued.places(rows, &batch.spans);
    let (hidden, trace) = model.trace(Some(adapter), &batch, recomputes);
    let picked = predict::at(&hidden, &places);
    drop(hidden);
    let values = predict::values(picked.clone(), head)?;
    let scaled: Vec<f64> = values.iter().map(|value| (value - adapter.offset) / adapter.spread).collect();
    let slopes: Vec<f64> = objective(&scaled)?.iter().map(|slope| slope / adapter.spread).collect();
    let (slope, of_head) = predict::values_back(picked, head, &slopes);
    let slope = predict::at_back(slope, &places, batch.tokens());
    match model.backward(Some(adapter), &batch, trace, slope, trained)? {
        Gradient::Adapter(gradient) => Ok(with_head(&gradient, pass, Some(of_head))),
        Gradient::Weights(_) => bail!("a head is trained with an adapter"),
    }
}

/// An adapter's gradients in the order of its tensors; what has none stays where it is.
fn with_head(gradient: &Adapter, pass: Pass, of_head: Option<Tensor<2>>) -> Vec<Tensor<2>> {
    let head = pass.adapter.and_then(|adapter| adapter.head.as_ref());
    let of_head = head.map(|head| of_head.unwrap_or_else(|| head.zeros_like()));
    Adapter { head: of_head, ..gradient.clone() }.tensors()
}

/// Mean −log p per completion token of a batch, nats, and its gradients; `at_once` rows at a time.
///
/// # Errors
/// The device cannot be read.
pub fn likelihood(pass: Pass, rows: &[&Sequence], at_once: Option<usize>) -> Result<(f64, Vec<Tensor<2>>)> {
    let tokens = rows.iter().map(|row| row.completion().len()).sum::<usize>() as f64;
    let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
    let (mut loss, mut gradients) = (0.0, Vec::new());
    for part in parts(&lengths, at_once) {
        let part: Vec<&Sequence> = part.iter().map(|row| rows[*row]).collect();
        let more = learn_tokens(pass, &part, 1.0, |_, predicted| {
            loss -= predicted.log_probs.iter().sum::<f64>() / tokens;
            Ok(Slopes { log_probs: vec![-1.0 / tokens; predicted.log_probs.len()], entropies: Vec::new() })
        })?;
        add(&mut gradients, more);
    }
    Ok((loss, gradients))
}

/// Adds the gradients of one part of a batch to those of the parts before.
pub fn add(so_far: &mut Vec<Tensor<2>>, more: Vec<Tensor<2>>) {
    if so_far.is_empty() {
        *so_far = more;
        return;
    }
    let old = std::mem::take(so_far);
    *so_far = old.into_iter().zip(more).map(|(old, more)| old + more).collect();
}

/// The rows of a batch in parts of at most `at_once`, those of like length together: the numbers of rows in each.
pub fn parts(lengths: &[usize], at_once: Option<usize>) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    match at_once {
        Some(at_once) if at_once < lengths.len() => {
            order.sort_by_key(|row| lengths[*row]);
            order.chunks(at_once).map(<[usize]>::to_vec).collect()
        }
        _ => vec![order],
    }
}

/// Names of the first few rows of a batch, for a message.
pub fn named<'a>(rows: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let more = rows.len().saturating_sub(SHOWN);
    let shown: Vec<String> = rows.take(SHOWN).map(|row| format!("`{row}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("rows {}{more}", shown.join(", "))
}

// ------------------------------------------------------------------------------------------------------ batches

/// A stop token that is put nowhere.
pub fn idle_stop_token(stop_token: Option<u32>, ends: bool) -> Option<ParameterMistake> {
    let message = "`stop_token` has an effect only with `ends: true`";
    (stop_token.is_some() && !ends).then(|| ParameterMistake::new("stop_token", message))
}

/// Rows per step: no more than there are.
pub fn batch_size(io: &mut Io, batch: usize, rows: usize) -> usize {
    if batch > rows {
        io.remark(format!(
            "`batch` {batch} is more than the {rows} there are to train on; each step takes all of them"
        ));
    }
    batch.min(rows)
}

/// Steps in which so many epochs go by, the last one begun counted; at least one.
pub fn steps(epochs: f64, rows: usize, batch: usize) -> u64 {
    ((epochs * rows as f64 / batch as f64).ceil() as u64).max(1)
}

/// Numbers of rows to train on and of rows to hold out: no prompt lies on both sides.
///
/// # Errors
/// As [`split`].
pub fn split_by_prompt<'a>(
    prompts: impl Iterator<Item = &'a Prompt>,
    draw: Draw,
    share: f64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut groups: BTreeMap<&Prompt, Vec<usize>> = BTreeMap::new();
    prompts.enumerate().for_each(|(row, prompt)| groups.entry(prompt).or_default().push(row));
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let (training, heldout) = split(&draw.order(0, groups.len()), share)?;
    let rows = |side: Vec<usize>| side.iter().flat_map(|group| groups[*group].iter().copied()).collect();
    Ok((rows(training), rows(heldout)))
}

/// Splits rows (or groups of rows) into training and held-out by the draw's order; at least one of each.
pub fn split(order: &[usize], share: f64) -> Result<(Vec<usize>, Vec<usize>)> {
    if order.len() < 2 {
        bail!(
            "hold out rows to measure on: there is only one prompt or document, and it is needed for training; add rows, or \
             connect `heldout` where the kind has that port"
        );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::values_of;
    use burn::tensor::Device;

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
            let mut adam = Adam::new(vec![number(golden["w0"].as_f64().unwrap())], settings);
            for (gradient, expected) in golden["grads"].as_array().unwrap().iter().zip(golden[name].as_array().unwrap())
            {
                let gradient = vec![number(gradient.as_f64().unwrap())];
                adam.step(golden["lr"].as_f64().unwrap(), 0.5, gradient, String::new).unwrap();
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
    fn a_gradient_beyond_the_norm_is_scaled_and_what_is_no_number_stops_the_training_untouched() {
        let start = || vec![Tensor::<2>::from_data([[3.0f32, 4.0]], &Device::flex())];
        let mut adam = Adam::new(start(), AdamSettings::default());
        let norm = adam.step(0.1, 12.5, start(), String::new).unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        // Scaled to norm 1: m = 0.1·(0.6, 0.8).
        let means = values_of(adam.means[0].clone()).unwrap();
        assert!((means[0] - 0.06).abs() < 1e-6 && (means[1] - 0.08).abs() < 1e-6);
        let before = values_of(adam.tensors[0].clone()).unwrap();
        let rows = || named(["a", "b"].into_iter());
        let error = adam.step(0.1, f64::NAN, start(), rows).unwrap_err().to_string();
        assert!(error.contains("the loss is NaN at optimiser step 2, on rows `a`, `b`"), "{error}");
        let gone = vec![Tensor::<2>::from_data([[f32::INFINITY, 1.0]], &Device::flex())];
        let error = adam.step(0.1, 1.0, gone, rows).unwrap_err().to_string();
        assert!(error.contains("the gradient's norm is inf at optimiser step 2"), "{error}");
        assert_eq!(before, values_of(adam.tensors[0].clone()).unwrap());
    }

    #[test]
    fn averages_follow_what_is_trained() {
        let number = |value: f32| Tensor::<2>::from_data([[value]], &Device::flex());
        let mut adam = Adam::new(vec![number(3.0)], AdamSettings::default());
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
            rows: vec![Sequence { ids: vec![0; length], start: 1 }; answers],
            pairs: Vec::new(),
            margins: Vec::new(),
        };
        let groups = [group(2, 9), group(3, 2), group(2, 3), group(1, 4)];
        let groups: Vec<&Group> = groups.iter().collect();
        assert_eq!(parts_of_groups(&groups, Some(4)), [vec![1], vec![2, 3], vec![0]]);
    }
}
