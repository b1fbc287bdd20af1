//! Attention over rectangles of tokens, and the cache of keys and values from which it goes on.

use super::rotations::{Turn, rotated};
use super::sums::{max_along, sum_along};
use crate::kernel::{Angles, AttentionMask, Heads, KeyValueCache, MaskedRectangle, ROOM, capped, capped_back};
use crate::tensor::from_ids;
use burn::tensor::{Int, Tensor};

pub fn attend(heads: Heads, [queries, keys, values]: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
    let lines = lines(&queries, mask);
    let [keys, values] = [keys, values].map(|x| by_head(x, lines, heads.keys));
    let seen = keys.dims()[2];
    mixed(heads, queries, keys, values, bias(mask, seen))
}

pub fn attend_back(
    heads: Heads,
    [queries, keys, values]: [Tensor<2>; 3],
    mask: &AttentionMask,
    dy: Tensor<2>,
) -> [Tensor<2>; 3] {
    let lines = lines(&queries, mask);
    let (queries, dy) = (stacked(heads, queries, lines), stacked(heads, dy, lines));
    let [keys, values] = [keys, values].map(|x| by_head(x, lines, heads.keys));
    let scores = scores(heads, &queries, &keys);
    let seen = keys.dims()[2];
    let weights = softmax(masked(heads, scores.clone(), bias(mask, seen)));
    let d_values = weights.clone().swap_dims(2, 3).matmul(dy.clone());
    let d_weights = dy.matmul(values.swap_dims(2, 3));
    let along = sum_along(d_weights.clone() * weights.clone(), 3);
    let d_scores = capped_back(heads.cap, scores, weights * (d_weights - along)).mul_scalar(heads.scale);
    let d_queries = d_scores.clone().matmul(keys);
    let d_keys = d_scores.swap_dims(2, 3).matmul(queries);
    let flat = |x: Tensor<4>| {
        let [b, kv, t, hd] = x.dims();
        x.swap_dims(1, 2).reshape([b * t, kv * hd])
    };
    [unstacked(heads, d_queries, lines), flat(d_keys), flat(d_values)]
}

/// Keys and values `[b, kv, room, hd]` of each layer. The room grows with the rows, in steps: kernels find whole tensors,
/// of the same sizes again and again.
pub struct DeviceCache {
    layers: Vec<Option<[Tensor<4>; 2]>>,
}

impl DeviceCache {
    pub fn new(layers: usize) -> DeviceCache {
        DeviceCache { layers: (0..layers).map(|_| None).collect() }
    }
}

impl KeyValueCache for DeviceCache {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        [queries, keys, values]: [Tensor<2>; 3],
        angles: Option<&Angles>,
        mask: &AttentionMask,
    ) -> Tensor<2> {
        let [queries, keys] = match angles {
            Some(angles) => [queries, keys].map(|x| rotated(x, angles, heads.width, Turn::Forward)),
            None => [queries, keys],
        };
        let (lines, filled) = (lines(&queries, mask), mask.filled());
        // The first tokens see no others.
        let first = (filled == 0).then(|| attend(heads, [queries.clone(), keys.clone(), values.clone()], mask));
        let [keys, values] = [keys, values].map(|x| by_head(x, lines, heads.keys));
        let [b, kv, t, hd] = keys.dims();
        let room = (filled + t).next_multiple_of(ROOM);
        let place = |x: Tensor<4>, to: Tensor<4>, from: usize| {
            let count = x.dims()[2];
            to.slice_assign([0..b, 0..kv, from..from + count, 0..hd], x)
        };
        let more = || Tensor::zeros([b, kv, room, hd], &keys.device());
        let old = match self.layers[layer].take() {
            Some(old) if old[0].dims()[2] >= room => old,
            Some(old) => old.map(|x| place(x, more(), 0)),
            None => [more(), more()],
        };
        let [old_keys, old_values] = old;
        let both = [place(keys, old_keys, filled), place(values, old_values, filled)];
        self.layers[layer] = Some(both.clone());
        let [keys, values] = both;
        first.unwrap_or_else(|| mixed(heads, queries, keys, values, bias(mask, room)))
    }

    fn keep(&mut self, rows: &[usize]) {
        keep_rows(&mut self.layers, rows);
    }
}

/// Drops all rows but `rows` of the keys and values of each layer.
pub fn keep_rows(layers: &mut [Option<[Tensor<4>; 2]>], rows: &[usize]) {
    let Some([keys, _]) = layers.iter().flatten().next() else { return };
    let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
    let rows = from_ids(&rows, &keys.device());
    for both in layers.iter_mut().flatten() {
        *both = both.clone().map(|x| x.select(0, rows.clone()));
    }
}

fn lines(queries: &Tensor<2>, mask: &AttentionMask) -> usize {
    queries.dims()[0] / mask.rectangle().columns
}

/// Finite, so that a token that attends to nothing stays a number (its output is never used).
const HIDDEN: f32 = -1e9;

/// The bias `[lines, 1, 1, t, seen]` of the scores over so many columns: 0 where a token attends, else a number that no score
/// overcomes.
fn bias(mask: &AttentionMask, seen: usize) -> Tensor<5> {
    let MaskedRectangle { columns, filled, starts, window } = mask.rectangle();
    let (t, device) = (*columns, starts.device());
    let lines = starts.dims()[0] / t;
    let column =
        |range: std::ops::Range<usize>| Tensor::<1, Int>::arange(range.start as i64..range.end as i64, &device);
    let own = column(*filled..filled + t).reshape([1, 1, 1, t, 1]);
    let key = column(0..seen).reshape([1, 1, 1, 1, seen]);
    let mut is_hidden = key.clone().lower(starts.clone().reshape([lines, 1, 1, t, 1]));
    if let Some(window) = window {
        is_hidden = is_hidden.bool_or(key.clone().lower(own.clone().add_scalar(1 - *window as i64)));
    }
    let is_hidden = is_hidden.bool_or(key.greater(own));
    Tensor::zeros([lines, 1, 1, t, seen], &device).mask_fill(is_hidden, HIDDEN)
}

/// Queries `[n, h·hd]` over keys and values `[b, kv, t, hd]`.
fn mixed(heads: Heads, queries: Tensor<2>, keys: Tensor<4>, values: Tensor<4>, bias: Tensor<5>) -> Tensor<2> {
    let lines = keys.dims()[0];
    let queries = stacked(heads, queries, lines);
    let weights = softmax(masked(heads, scores(heads, &queries, &keys), bias));
    unstacked(heads, weights.matmul(values), lines)
}

/// `[b·t, heads·hd]` → `[b, heads, t, hd]`, copied once where there is more than one token a row: a product of what is not
/// in order copies it itself, once for each kernel that it tries.
fn by_head(x: Tensor<2>, lines: usize, heads: usize) -> Tensor<4> {
    let [n, width] = x.dims();
    let (t, hd) = (n / lines, width / heads);
    let rows = x.reshape([lines, t, heads, hd]).swap_dims(1, 2).reshape([lines * heads, t, hd]);
    rows.reshape([lines, heads, t, hd])
}

/// Query heads that share a key/value head become further rows of it, `[b, kv, group·t, hd]`: nothing is repeated in
/// memory.
fn stacked(heads: Heads, x: Tensor<2>, lines: usize) -> Tensor<4> {
    let x = by_head(x, lines, heads.queries);
    let [b, _, t, hd] = x.dims();
    x.reshape([b, heads.keys, heads.group() * t, hd])
}

fn unstacked(heads: Heads, x: Tensor<4>, lines: usize) -> Tensor<2> {
    let [b, kv, rows, hd] = x.dims();
    let t = rows * kv / heads.queries;
    x.reshape([lines, heads.queries, t, hd]).swap_dims(1, 2).reshape([b * t, heads.queries * hd])
}

/// s·q·kᵀ under its bound, `[b, kv, group·t, seen]`.
fn scores(heads: Heads, queries: &Tensor<4>, keys: &Tensor<4>) -> Tensor<4> {
    capped(heads.cap, queries.clone().matmul(keys.clone().swap_dims(2, 3)).mul_scalar(heads.scale))
}

/// The scores and their bias, which the query heads that share a key/value head have in common.
fn masked(heads: Heads, scores: Tensor<4>, bias: Tensor<5>) -> Tensor<4> {
    let [b, kv, rows, seen] = scores.dims();
    let by_query = scores.reshape([b, kv, heads.group(), rows / heads.group(), seen]);
    (by_query + bias).reshape([b, kv, rows, seen])
}

// Written out, because burn's own is fused on some backends without autodiff: then the numbers would differ between
// sampling and training, and PPO's ratio would not begin at 1.
fn softmax(x: Tensor<4>) -> Tensor<4> {
    let weights = (x.clone() - max_along(x.detach(), 3)).exp();
    weights.clone() / sum_along(weights, 3)
}
