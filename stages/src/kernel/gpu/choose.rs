//! The choice of one token for each row of logits: a workgroup a row, of which each thread takes a run of neighbouring
//! tokens, so that ties and draws go by ids as on the host. Nothing is sorted. The token that is drawn is the one at which
//! the probability of all likelier ones passes a bound, and bounds are found by halving the range of weights: their bits,
//! as whole numbers, rise as they do.
//!
//! With w = exp((logit − largest) / temperature), t of top-p and k of top-k:
//!
//! 1. The least weight that is kept: the largest x for which the weights of at least x sum to t·total, or for which k
//!    weights are at least x. Of the weights that equal it, the first by their ids are kept, as many as are needed.
//! 2. The draw is a share of what is kept. The largest x for which the weights of at least x sum to more than that is the
//!    weight of the token; of equal ones, the one that the rest of the draw falls on.

use super::memory::{UNITS, cube, empty, threads};
use crate::kernel::{Draws, Keep, Sampling};
use crate::tensor::from_values;
use burn::tensor::{Device, Int, Tensor};
use burn_cubecl::CubeBackend;
use cubecl::prelude::*;

/// The draws on the device: below 1 by more than what rounding adds, else the last token would be drawn, however unlikely.
pub fn draws(draws: &[f64], device: &Device) -> Draws {
    let draws: Vec<f32> = draws.iter().map(|draw| (*draw as f32).min(1.0 - f32::EPSILON * 4.0)).collect();
    let n = draws.len();
    Draws::Device(from_values(draws, [n], device))
}

pub fn choose(logits: Tensor<2>, sampling: Option<Sampling>) -> Tensor<1, Int> {
    let [rows, vocabulary] = logits.dims();
    let logits = cube(logits);
    let chosen = empty::<i32>(&logits, &[rows]);
    let client = logits.client.clone();
    let (count, dim) = (CubeCount::new_1d(rows as u32), threads());
    match sampling {
        None => choose_largest::launch(
            &client,
            count,
            dim,
            logits.into_buffer_arg(),
            chosen.clone().into_buffer_arg(),
            vocabulary as u32,
            UNITS,
        ),
        Some(Sampling { temperature, keep: Keep { top_k, top_p }, draws, token }) => {
            let Draws::Device(draws) = draws else { unreachable!("this backend sends its draws") };
            let draws = cube(draws.clone());
            let weights = empty::<f32>(&logits, &[rows, vocabulary]);
            choose_drawn::launch(
                &client,
                count,
                dim,
                logits.into_buffer_arg(),
                draws.into_buffer_arg(),
                weights.into_buffer_arg(),
                chosen.clone().into_buffer_arg(),
                (token * rows) as u32,
                vocabulary as u32,
                temperature as f32,
                top_p.unwrap_or(1.0) as f32,
                top_k.unwrap_or(vocabulary).min(vocabulary) as u32,
                top_p.is_some(),
                top_k.is_some_and(|most| most < vocabulary),
                UNITS,
            );
        }
    }
    Tensor::from_primitive::<CubeBackend>(chosen)
}

/// Weights that a turn of the loop in [`add_up`] takes. It runs up to 90 times for a token, and a software driver ends all
/// loops of a thread after 65,535 turns together, without a word.
const IN_A_TURN: usize = 8;

/// Bits of an infinite number: those of NaN are beyond it, and those of all finite numbers below.
const INFINITE: u32 = 0x7f80_0000;

/// The run of tokens of a thread.
#[cube]
fn run_of(thread: usize, vocabulary: usize, #[comptime] units: usize) -> (usize, usize) {
    let each = vocabulary.div_ceil(units);
    let from = min(thread * each, vocabulary);
    (from, min(from + each, vocabulary))
}

/// Whether a logit is one that no token can be chosen by: NaN, or infinite and not the least.
#[cube]
fn is_lost(logit: f32) -> bool {
    let bits = u32::reinterpret(logit);
    let size = bits & 0x7fff_ffff;
    size >= INFINITE && bits != 0xff80_0000
}

/// The largest logit of a row, in `largest[0]`, and in `lost[0]` whether there is one that is no number.
#[cube]
fn find_largest(
    logits: &[f32],
    start: usize,
    vocabulary: usize,
    largest: &mut Shared<[f32]>,
    lost: &mut Shared<[u32]>,
    #[comptime] units: usize,
) {
    let thread = UNIT_POS as usize;
    let (from, to) = run_of(thread, vocabulary, units);
    let mut most = f32::new(-3.4e38);
    let mut is_bad = 0u32;
    for id in from..to {
        let logit = logits[start + id];
        if is_lost(logit) {
            is_bad = 1u32;
        } else if logit > most {
            most = logit;
        }
    }
    largest[thread] = most;
    lost[thread] = is_bad;
    sync_cube();
    #[unroll]
    for step in 0..comptime![units.ilog2() as usize] {
        let half = comptime![units >> (step + 1)];
        if thread < half {
            largest[thread] = max(largest[thread], largest[thread + half]);
            lost[thread] = max(lost[thread], lost[thread + half]);
        }
        sync_cube();
    }
}

#[cube(launch)]
fn choose_largest(logits: &[f32], chosen: &mut [i32], vocabulary: u32, #[comptime] units: usize) {
    let (row, vocabulary, thread) = (CUBE_POS, vocabulary as usize, UNIT_POS as usize);
    let start = row * vocabulary;
    let mut largest = Shared::<[f32]>::new_slice(units);
    let mut lost = Shared::<[u32]>::new_slice(units);
    let mut first = Shared::<[u32]>::new_slice(units);
    find_largest(logits, start, vocabulary, &mut largest, &mut lost, units);
    let most = largest[0];
    let (from, to) = run_of(thread, vocabulary, units);
    let mut mine = vocabulary as u32;
    for id in from..to {
        if mine == vocabulary as u32 && logits[start + id] == most {
            mine = id as u32;
        }
    }
    first[thread] = mine;
    sync_cube();
    #[unroll]
    for step in 0..comptime![units.ilog2() as usize] {
        let half = comptime![units >> (step + 1)];
        if thread < half {
            first[thread] = min(first[thread], first[thread + half]);
        }
        sync_cube();
    }
    if thread == 0 {
        // No token, if the logits are no numbers.
        chosen[row] = if lost[0] > 0 { vocabulary as i32 } else { first[0] as i32 };
    }
}

/// The sum, in `sums[0]`, of the weights of a row whose bits are at least `bits`, and their number, in `counts[0]`. Every
/// thread has read both before they change again.
#[cube]
fn add_up(
    weights: &mut [f32],
    run: (usize, usize),
    bits: u32,
    sums: &mut Shared<[f32]>,
    counts: &mut Shared<[u32]>,
    #[comptime] units: usize,
) -> (f32, u32) {
    let thread = UNIT_POS as usize;
    let mut sum = 0.0f32;
    let mut count = 0u32;
    let mut first = run.0;
    while first < run.1 {
        #[unroll]
        for step in 0..IN_A_TURN {
            let at = first + step;
            if at < run.1 {
                let weight = weights[at];
                if u32::reinterpret(weight) >= bits {
                    sum += weight;
                    count += 1u32;
                }
            }
        }
        first += IN_A_TURN;
    }
    sums[thread] = sum;
    counts[thread] = count;
    sync_cube();
    #[unroll]
    for step in 0..comptime![units.ilog2() as usize] {
        let half = comptime![units >> (step + 1)];
        if thread < half {
            sums[thread] = sums[thread] + sums[thread + half];
            counts[thread] = counts[thread] + counts[thread + half];
        }
        sync_cube();
    }
    let all = (sums[0], counts[0]);
    sync_cube();
    all
}

/// The largest bits for which the weights of at least them sum to `least`, or, if it is to be passed, to more. No weight
/// is more than 1, whose bits are the largest but one at the beginning.
#[cube]
fn bits_at_sum(
    weights: &mut [f32],
    run: (usize, usize),
    least: f32,
    sums: &mut Shared<[f32]>,
    counts: &mut Shared<[u32]>,
    #[comptime] is_passed: bool,
    #[comptime] units: usize,
) -> u32 {
    let mut low = 0u32;
    let mut high = 0x3f80_0001u32;
    while high - low > 1u32 {
        let middle = low + (high - low) / 2u32;
        let (sum, _) = add_up(weights, run, middle, sums, counts, units);
        let is_enough = if comptime![is_passed] { sum > least } else { sum >= least };
        if is_enough {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The largest bits that so many weights reach.
#[cube]
fn bits_at_count(
    weights: &mut [f32],
    run: (usize, usize),
    least: u32,
    sums: &mut Shared<[f32]>,
    counts: &mut Shared<[u32]>,
    #[comptime] units: usize,
) -> u32 {
    let mut low = 0u32;
    let mut high = 0x3f80_0001u32;
    while high - low > 1u32 {
        let middle = low + (high - low) / 2u32;
        let (_, count) = add_up(weights, run, middle, sums, counts, units);
        if count >= least {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cube(launch)]
fn choose_drawn(
    logits: &[f32],
    draws: &[f32],
    weights: &mut [f32],
    chosen: &mut [i32],
    first_draw: u32,
    vocabulary: u32,
    temperature: f32,
    top_p: f32,
    top_k: u32,
    #[comptime] has_top_p: bool,
    #[comptime] has_top_k: bool,
    #[comptime] units: usize,
) {
    let (row, vocabulary, thread) = (CUBE_POS, vocabulary as usize, UNIT_POS as usize);
    let start = row * vocabulary;
    let mut sums = Shared::<[f32]>::new_slice(units);
    let mut counts = Shared::<[u32]>::new_slice(units);
    find_largest(logits, start, vocabulary, &mut sums, &mut counts, units);
    let largest = sums[0];
    // Nothing but tokens of no weight, or what is no number.
    let is_gone = counts[0] > 0u32 || largest <= f32::new(-3.4e38);
    sync_cube();
    let (from, to) = run_of(thread, vocabulary, units);
    let run = (start + from, start + to);
    for at in run.0..run.1 {
        weights[at] = ((logits[at] - largest) / temperature).exp();
    }
    if comptime![has_top_p || has_top_k] {
        let (total, _) = add_up(weights, run, 0u32, &mut sums, &mut counts, units);
        // 1. What is kept.
        let mut kept = total;
        let mut number = vocabulary as u32;
        if comptime![has_top_p] {
            let bits = bits_at_sum(weights, run, top_p * total, &mut sums, &mut counts, false, units);
            let (above, count) = add_up(weights, run, bits + 1u32, &mut sums, &mut counts, units);
            let weight = f32::reinterpret(bits);
            let needed = max(((top_p * total - above) / weight).ceil(), 1.0f32);
            kept = above + needed * weight;
            number = count + needed as u32;
        }
        if comptime![has_top_k] {
            let bits = bits_at_count(weights, run, top_k, &mut sums, &mut counts, units);
            let (above, count) = add_up(weights, run, bits + 1u32, &mut sums, &mut counts, units);
            let needed = top_k - count;
            if count + needed <= number {
                kept = above + needed as f32 * f32::reinterpret(bits);
            }
        }
        // 2. The token that is drawn of it.
        let bound = draws[first_draw as usize + row] * kept;
        let bits = bits_at_sum(weights, run, bound, &mut sums, &mut counts, true, units);
        let (_, reach) = add_up(weights, run, bits, &mut sums, &mut counts, units);
        let (above, count) = add_up(weights, run, bits + 1u32, &mut sums, &mut counts, units);
        let place = ((bound - above) / f32::reinterpret(bits)).floor();
        let place = min(max(place, 0.0f32) as u32, reach - count - 1u32);
        let mut equal = 0u32;
        for at in run.0..run.1 {
            if u32::reinterpret(weights[at]) == bits {
                equal += 1u32;
            }
        }
        counts[thread] = equal;
        sync_cube();
        let mut before = 0u32;
        for other in 0..thread {
            before += counts[other];
        }
        if place >= before && place < before + equal {
            let mut seen = before;
            for at in run.0..run.1 {
                if u32::reinterpret(weights[at]) == bits {
                    if seen == place {
                        chosen[row] = (at - start) as i32;
                    }
                    seen += 1u32;
                }
            }
        }
    } else {
        let mut sum = 0.0f32;
        for at in run.0..run.1 {
            sum += weights[at];
        }
        sums[thread] = sum;
        sync_cube();
        // Every thread adds up the same numbers in the same order, so that the draw falls into one run.
        let mut before = 0.0f32;
        let mut total = 0.0f32;
        for other in 0..units {
            if other == thread {
                before = total;
            }
            total += sums[other];
        }
        let bound = draws[first_draw as usize + row] * total;
        if before <= bound && bound < before + sum {
            let rest = bound - before;
            let mut so_far = 0.0f32;
            let mut found = run.0;
            let mut is_found = false;
            for at in run.0..run.1 {
                if !is_found && weights[at] > 0.0f32 {
                    so_far += weights[at];
                    found = at;
                    is_found = so_far > rest;
                }
            }
            chosen[row] = (found - start) as i32;
        }
    }
    sync_cube();
    if thread == 0 && is_gone {
        chosen[row] = vocabulary as i32;
    }
}
