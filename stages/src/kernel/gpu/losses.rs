//! The slopes of the losses of PPO, token by token, so that an update goes back without waiting for its log-probabilities to
//! reach the host. The formulas are those of `rl`, with which a test compares them.

use super::memory::{cube, empty, groups, tensor, threads};
use crate::kernel::{PolicyTerms, ValueTerms};
use crate::rl::KlEstimate;
use crate::tensor::from_values;
use burn::tensor::Tensor;
use cubecl::prelude::*;

pub fn policy_slopes(numbers: &Tensor<2>, terms: &PolicyTerms) -> Tensor<2> {
    let device = numbers.device();
    let n = terms.old.len();
    let references = terms.kl.map_or(terms.old, |(_, _, references)| references);
    let row =
        |token: usize| [terms.old, terms.advantages, terms.weights, references].map(|column| column[token] as f32);
    let table: Vec<f32> = (0..n).flat_map(row).collect();
    let table = cube(from_values(table, [n, 4], &device));
    let out = empty::<f32>(&table, &[n, 1]);
    let client = out.client.clone();
    let (estimate, beta) = terms.kl.map_or((None, 0.0), |(estimate, beta, _)| (Some(estimate), beta));
    slopes_of_policy::launch(
        &client,
        groups(&client, n),
        threads(),
        cube(numbers.clone()).into_buffer_arg(),
        table.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        terms.clip as f32,
        // No ratio is as large.
        terms.dual_clip.map_or(f32::MAX, |ratio| ratio as f32),
        beta as f32,
        match estimate {
            None => 0,
            Some(KlEstimate::K1) => 1,
            Some(KlEstimate::K2) => 2,
            Some(KlEstimate::K3) => 3,
        },
    );
    tensor(out)
}

pub fn value_slopes(values: &Tensor<2>, terms: &ValueTerms) -> Tensor<2> {
    let device = values.device();
    let n = terms.old.len();
    let row = |token: usize| [terms.old, terms.returns, terms.weights].map(|column| column[token] as f32);
    let table: Vec<f32> = (0..n).flat_map(row).collect();
    let table = cube(from_values(table, [n, 3], &device));
    let out = empty::<f32>(&table, &[n, 1]);
    let client = out.client.clone();
    slopes_of_values::launch(
        &client,
        groups(&client, n),
        threads(),
        cube(values.clone()).into_buffer_arg(),
        table.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        terms.clip.unwrap_or(0.0) as f32,
        terms.offset as f32,
        terms.spread as f32,
        terms.clip.is_some(),
    );
    tensor(out)
}

#[cube(launch)]
fn slopes_of_policy(
    numbers: &[f32],
    table: &[f32],
    out: &mut [f32],
    clip: f32,
    dual_clip: f32,
    beta: f32,
    #[comptime] kl: u32,
) {
    let token = ABSOLUTE_POS;
    if token < out.len() {
        let new = numbers[2 * token];
        let old = table[4 * token];
        let advantage = table[4 * token + 1];
        let weight = table[4 * token + 2];
        let ratio = (new - old).exp();
        let plain = -advantage * ratio;
        let clipped = -advantage * clamp(ratio, 1.0f32 - clip, 1.0f32 + clip);
        let mut slope = plain;
        if clipped > plain {
            slope = 0.0f32;
        }
        if advantage < 0.0f32 && max(plain, clipped) > -advantage * dual_clip {
            slope = 0.0f32;
        }
        if comptime![kl > 0] {
            let distance = new - table[4 * token + 3];
            let mut of_kl = 1.0f32;
            if comptime![kl == 2] {
                of_kl = distance;
            }
            if comptime![kl == 3] {
                of_kl = 1.0f32 - (-distance).exp();
            }
            slope += beta * of_kl;
        }
        out[token] = slope * weight;
    }
}

#[cube(launch)]
fn slopes_of_values(
    values: &[f32],
    table: &[f32],
    out: &mut [f32],
    clip: f32,
    offset: f32,
    spread: f32,
    #[comptime] is_clipped: bool,
) {
    let token = ABSOLUTE_POS;
    if token < out.len() {
        let new = (values[token] - offset) / spread;
        let old = table[3 * token];
        let target = table[3 * token + 1];
        let error = new - target;
        let mut slope = error;
        if comptime![is_clipped] {
            let clipped = min(max(new, old - clip), old + clip) - target;
            if clipped * clipped > error * error {
                slope = 0.0f32;
            }
        }
        out[token] = slope * table[3 * token + 2] / spread;
    }
}
