//! The choice of one token for each row of logits.

use crate::kernel::{Keep, Sampling};
use rayon::prelude::*;

/// Chooses a token for each row of `vocabulary` logits; `vocabulary`, which is no token, where they are not finite.
pub fn choose(logits: &[f32], vocabulary: usize, sampling: Option<Sampling>) -> Vec<u32> {
    let rows = logits.len() / vocabulary;
    let one = |(row, logits): (usize, &[f32])| {
        let (best, highest) = largest(logits);
        if !highest.is_finite() {
            return vocabulary as u32;
        }
        let Some(Sampling { temperature, keep, draws, token }) = sampling else { return best as u32 };
        let draw = draws.of(token, rows)[row];
        let weight = |logit: &f32| (f64::from(logit - highest) / temperature).exp();
        let weights: Vec<f64> = logits.iter().map(weight).collect();
        let picked = match keep == Keep::default() {
            true => pick(&weights, draw, 0..weights.len()),
            false => pick(&weights, draw, kept(&weights, keep).into_iter()),
        };
        picked.unwrap_or(best) as u32
    };
    logits.par_chunks_exact(vocabulary).enumerate().with_min_len((1 << 12) / vocabulary.min(1 << 12)).map(one).collect()
}

/// The index of the first of the largest numbers, or of the last NaN, and the number there.
fn largest(logits: &[f32]) -> (usize, f32) {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > highest || logit.is_nan() {
            (best, highest) = (id, *logit);
        }
    }
    (best, highest)
}

/// The first of `ids` at which the weights so far exceed the share `draw` of all their weights.
fn pick(weights: &[f64], draw: f64, ids: impl Iterator<Item = usize> + Clone) -> Option<usize> {
    let mut rest = draw * ids.clone().map(|id| weights[id]).sum::<f64>();
    let mut ids = ids;
    ids.find(|id| {
        rest -= weights[*id];
        rest < 0.0
    })
}

/// The ids that may be drawn, the likeliest first. Equal weights go by their ids; the first that reaches `top_p` is
/// kept.
fn kept(weights: &[f64], keep: Keep) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|one, other| weights[*other].total_cmp(&weights[*one]).then(one.cmp(other)));
    let total: f64 = weights.iter().sum();
    let (mut so_far, mut ranks) = (0.0, 0);
    while ranks < keep.top_k.unwrap_or(order.len()).min(order.len()) && so_far < keep.top_p.unwrap_or(2.0) * total {
        so_far += weights[order[ranks]];
        ranks += 1;
    }
    order.truncate(ranks);
    order
}
