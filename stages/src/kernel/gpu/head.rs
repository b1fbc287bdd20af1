//! Predictions from rows of logits, their derivative, and how far two distributions are from each other: a workgroup a row,
//! which writes nothing of the size of the vocabulary but the gradient.

use super::memory::{UNITS, cube, cube_of_ints, empty, one_each, tensor, threads};
use super::sums::{largest_of_group, sum_of_group};
use crate::kernel::{ByRow, LatePredictions, column};
use crate::tensor::{from_ids, later};
use burn::tensor::Tensor;
use cubecl::prelude::*;

pub fn log_softmax(logits: Tensor<2>, targets: &[u32]) -> LatePredictions {
    let [rows, vocabulary] = logits.dims();
    let targets = cube_of_ints(from_ids(targets, &logits.device()));
    let logits = cube(logits);
    let numbers = empty::<f32>(&logits, &[rows, 2]);
    let client = logits.client.clone();
    predict_rows::launch(
        &client,
        one_each(&client, rows),
        threads(),
        logits.into_buffer_arg(),
        targets.into_buffer_arg(),
        numbers.clone().into_buffer_arg(),
        rows as u32,
        vocabulary as u32,
        UNITS,
    );
    let numbers: Tensor<2> = tensor(numbers);
    LatePredictions::Coming { later: later(numbers.clone().reshape([2 * rows])), numbers }
}

pub fn log_softmax_back(logits: Tensor<2>, targets: &[u32], d_log_probs: &ByRow, d_entropies: &[f32]) -> Tensor<2> {
    let device = logits.device();
    let [rows, vocabulary] = logits.dims();
    let has_entropies = d_entropies.iter().any(|gradient| *gradient != 0.0);
    let of_log_probs = d_log_probs.column(&device);
    let of_entropies = if has_entropies { column(d_entropies, &device) } else { of_log_probs.clone() };
    let [logits, of_log_probs, of_entropies] = [logits, of_log_probs, of_entropies].map(cube);
    let out = empty::<f32>(&logits, &[rows, vocabulary]);
    let client = logits.client.clone();
    predict_rows_back::launch(
        &client,
        one_each(&client, rows),
        threads(),
        logits.into_buffer_arg(),
        cube_of_ints(from_ids(targets, &device)).into_buffer_arg(),
        of_log_probs.into_buffer_arg(),
        of_entropies.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows as u32,
        vocabulary as u32,
        has_entropies,
        UNITS,
    );
    tensor(out)
}

pub fn divergence(p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
    let [rows, vocabulary] = p.dims();
    let [p, q] = [p, q].map(cube);
    let out = empty::<f32>(&p, &[rows, 1]);
    let client = p.client.clone();
    diverge_rows::launch(
        &client,
        one_each(&client, rows),
        threads(),
        p.into_buffer_arg(),
        q.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows as u32,
        vocabulary as u32,
        UNITS,
    );
    tensor(out)
}

/// The largest number of a row.
#[cube]
fn largest_of_row(logits: &[f32], start: usize, vocabulary: usize, #[comptime] units: usize) -> f32 {
    let mut most = f32::new(-3.4e38);
    let mut at = UNIT_POS as usize;
    while at < vocabulary {
        most = max(most, logits[start + at]);
        at += units;
    }
    largest_of_group(most, units)
}

/// The sums of w = e^(x − most) and of w·(x − most).
#[cube]
fn totals_of_row(logits: &[f32], start: usize, vocabulary: usize, most: f32, #[comptime] units: usize) -> (f32, f32) {
    let mut total = 0.0f32;
    let mut moment = 0.0f32;
    let mut at = UNIT_POS as usize;
    while at < vocabulary {
        let below = logits[start + at] - most;
        let weight = below.exp();
        total += weight;
        moment += weight * below;
        at += units;
    }
    (sum_of_group(total, units), sum_of_group(moment, units))
}

#[cube(launch)]
fn predict_rows(
    logits: &[f32],
    targets: &[i32],
    numbers: &mut [f32],
    rows: u32,
    vocabulary: u32,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows as usize {
        let vocabulary = vocabulary as usize;
        let start = CUBE_POS * vocabulary;
        let most = largest_of_row(logits, start, vocabulary, units);
        let (total, moment) = totals_of_row(logits, start, vocabulary, most, units);
        if UNIT_POS == 0 {
            let log_total = total.ln();
            numbers[2 * CUBE_POS] = logits[start + targets[CUBE_POS] as usize] - most - log_total;
            numbers[2 * CUBE_POS + 1] = log_total - moment / total;
        }
    }
}

#[cube(launch)]
fn predict_rows_back(
    logits: &[f32],
    targets: &[i32],
    of_log_probs: &[f32],
    of_entropies: &[f32],
    out: &mut [f32],
    rows: u32,
    vocabulary: u32,
    #[comptime] has_entropies: bool,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows as usize {
        let vocabulary = vocabulary as usize;
        let start = CUBE_POS * vocabulary;
        let most = largest_of_row(logits, start, vocabulary, units);
        let (total, moment) = totals_of_row(logits, start, vocabulary, most, units);
        let log_total = total.ln();
        let entropy = log_total - moment / total;
        let (a, b) = (of_log_probs[CUBE_POS], of_entropies[CUBE_POS]);
        let target = targets[CUBE_POS] as usize;
        let mut at = UNIT_POS as usize;
        while at < vocabulary {
            let log_share = logits[start + at] - most - log_total;
            let share = log_share.exp();
            let mut slope = -a * share;
            if at == target {
                slope += a;
            }
            if comptime![has_entropies] {
                slope -= b * share * (log_share + entropy);
            }
            out[start + at] = slope;
            at += units;
        }
    }
}

#[cube(launch)]
fn diverge_rows(p: &[f32], q: &[f32], out: &mut [f32], rows: u32, vocabulary: u32, #[comptime] units: usize) {
    if CUBE_POS < rows as usize {
        let vocabulary = vocabulary as usize;
        let start = CUBE_POS * vocabulary;
        let most = largest_of_row(p, start, vocabulary, units);
        let other_most = largest_of_row(q, start, vocabulary, units);
        let mut total = 0.0f32;
        let mut other_total = 0.0f32;
        let mut apart = 0.0f32;
        let mut at = UNIT_POS as usize;
        while at < vocabulary {
            let (below, other_below) = (p[start + at] - most, q[start + at] - other_most);
            let weight = below.exp();
            total += weight;
            other_total += other_below.exp();
            apart += weight * (below - other_below);
            at += units;
        }
        let total = sum_of_group(total, units);
        let other_total = sum_of_group(other_total, units);
        let apart = sum_of_group(apart, units);
        if UNIT_POS == 0 {
            let divergence = apart / total - total.ln() + other_total.ln();
            // Rounding alone would take it below zero; NaN stays NaN.
            out[CUBE_POS] = select(divergence < 0.0f32, 0.0f32, divergence);
        }
    }
}
