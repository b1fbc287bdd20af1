//! Attention row by row, with a cache of keys and values, and its derivative. Weights are never kept: the derivative
//! computes them again (Dao et al. 2022, §3.1).

use super::memory::{HostTensor, as_uninit, exp, largest, sum, zeroed};
use super::product::{Matrix, Product};
use super::rows::rotate;
use crate::kernel::{Angles, AttentionMask, Heads, KeyValueCache, MaskedRow};
use crate::tensor::from_values;
use burn::tensor::Tensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Queries whose scores are computed together: few enough to stay in a core's cache, and to compute few of the scores
/// that the mask hides.
const QUERIES: usize = 64;

/// Multiplications that are worth the other cores.
const WORTH_ALL_CORES: usize = 1 << 18;

/// Keys and values of one row, `[capacity, kv·hd]` each.
type CachedRow = [Vec<f32>; 2];

/// By layer, then by row.
pub struct HostCache {
    layers: Vec<Vec<CachedRow>>,
    capacity: usize,
}

impl HostCache {
    pub fn new(layers: usize, capacity: usize) -> HostCache {
        HostCache { layers: vec![Vec::new(); layers], capacity }
    }
}

impl KeyValueCache for HostCache {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        [queries, keys, values]: [Tensor<2>; 3],
        angles: Option<&Angles>,
        mask: &AttentionMask,
    ) -> Tensor<2> {
        let [queries, keys] = match angles {
            Some(angles) => [queries, keys].map(|x| rotate(x, angles, heads.width, 1.0)),
            None => [queries, keys],
        };
        let AttentionMask::Rows { rows, window } = mask else {
            unreachable!("rows that are decoded on the host have no padding")
        };
        let layer = &mut self.layers[layer];
        if layer.is_empty() {
            let room = || vec![0.0; self.capacity * heads.keys * heads.width];
            layer.extend(rows.iter().map(|_| [room(), room()]));
        }
        attend(heads, [queries, keys, values], rows, *window, Some(layer))
    }

    fn keep(&mut self, rows: &[usize]) {
        for layer in self.layers.iter_mut().filter(|layer| !layer.is_empty()) {
            let mut old: Vec<Option<CachedRow>> = layer.drain(..).map(Some).collect();
            layer.extend(rows.iter().filter_map(|row| old[*row].take()));
        }
    }
}

/// The numbers of one row of a batch.
struct RowInput<'a> {
    heads: Heads,
    /// `[t, h·hd]`.
    queries: &'a [f32],
    /// `[≥ before + t, kv·hd]`, as are the values.
    keys: &'a [f32],
    values: &'a [f32],
    /// Cached tokens, which come before the first query.
    before: usize,
    /// The tokens that a query attends to, itself included; `None`: all before it.
    window: Option<usize>,
}

/// A tile of queries of one head: `rows` from `first` on.
#[derive(Clone, Copy)]
struct Tile {
    head: usize,
    first: usize,
    rows: usize,
}

impl RowInput<'_> {
    fn query_width(&self) -> usize {
        self.heads.queries * self.heads.width
    }

    fn key_width(&self) -> usize {
        self.heads.keys * self.heads.width
    }

    /// Queries of this row.
    fn len(&self) -> usize {
        self.queries.len() / self.query_width()
    }

    /// All queries of all heads, `QUERIES` at a time.
    fn tiles(&self) -> impl Iterator<Item = Tile> + use<> {
        let t = self.len();
        let of_head =
            move |head| (0..t).step_by(QUERIES).map(move |first| Tile { head, first, rows: QUERIES.min(t - first) });
        (0..self.heads.queries).flat_map(of_head)
    }

    /// Room for the weights of a tile.
    fn room(&self) -> Vec<f32> {
        let t = self.len();
        vec![0.0; QUERIES.min(t) * (self.before + t)]
    }

    /// The tokens that a query attends to.
    fn visible(&self, query: usize) -> Range<usize> {
        let end = self.before + query + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// The tokens that any query of a tile attends to.
    fn seen(&self, tile: Tile) -> Range<usize> {
        self.visible(tile.first).start..self.visible(tile.first + tile.rows - 1).end
    }

    /// The index of a tile's first number among those of the queries.
    fn at(&self, tile: Tile) -> usize {
        tile.first * self.query_width() + tile.head * self.heads.width
    }

    /// The index of the first number that a tile attends to among those of keys or values.
    fn key_at(&self, tile: Tile) -> usize {
        self.seen(tile).start * self.key_width() + tile.head / self.heads.group() * self.heads.width
    }

    /// The lines of a tile, `[rows, hd]`, out of numbers that lie as the queries do.
    fn of_queries<'b>(&self, numbers: &'b [f32], tile: Tile) -> Matrix<'b> {
        let (at, columns) = (self.at(tile), self.heads.width);
        Matrix { numbers, at, rows: tile.rows, columns, down: self.query_width(), right: 1 }
    }

    /// The lines a tile attends to, `[seen, hd]`, out of keys or values.
    fn of_keys<'b>(&self, numbers: &'b [f32], tile: Tile) -> Matrix<'b> {
        let (at, columns) = (self.key_at(tile), self.heads.width);
        Matrix { numbers, at, rows: self.seen(tile).len(), columns, down: self.key_width(), right: 1 }
    }

    /// The softmax weights of a tile, `[rows, seen]`; and the derivatives of its bounded scores, where they are bounded
    /// and there is room for them.
    fn weigh(&self, tile: Tile, weights: &mut [f32], slopes: &mut [f32]) {
        let Range { start, end } = self.seen(tile);
        let seen = end - start;
        let (left, right) = (self.of_queries(self.queries, tile), self.of_keys(self.keys, tile).transposed());
        Product { left, right, factor: self.heads.scale as f32 }.write(as_uninit(weights), seen);
        if let Some(cap) = self.heads.cap {
            bound(cap as f32, &mut weights[..tile.rows * seen], slopes);
        }
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (offset, weights) in weights[..tile.rows * seen].chunks_exact_mut(seen).enumerate() {
                    let visible = self.visible(tile.first + offset);
                    let (weights, hidden) = weights.split_at_mut(visible.end - start);
                    let (gone, visible) = weights.split_at_mut(visible.start - start);
                    let most = largest(visible);
                    for x in visible.iter_mut() {
                        *x = exp(*x - most);
                    }
                    let per_total = 1.0 / sum(visible.len(), |i| visible[i]);
                    for x in visible {
                        *x *= per_total;
                    }
                    gone.fill(0.0);
                    hidden.fill(0.0);
                }
            },
        );
    }
}

/// c·tanh(x/c) of each score, and its derivative 1 − tanh²(x/c) where there is room for it.
fn bound(cap: f32, scores: &mut [f32], slopes: &mut [f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for x in scores.iter_mut() {
                // tanh y = 1 − 2/(e^(2y) + 1).
                *x = 1.0 - 2.0 / (exp(2.0 * *x / cap) + 1.0);
            }
            for (slope, t) in slopes.iter_mut().zip(scores.iter()) {
                *slope = 1.0 - t * t;
            }
            for x in scores.iter_mut() {
                *x *= cap;
            }
        },
    );
}

/// A matrix `[rows, seen]` without gaps.
fn square(numbers: &[f32], rows: usize, seen: usize) -> Matrix<'_> {
    Matrix { numbers, at: 0, rows, columns: seen, down: seen, right: 1 }
}

/// The lines of each row, in the order of `rows`, which is that of the tokens.
fn pieces<'a>(
    mut rest: &'a mut [MaybeUninit<f32>],
    rows: &[MaskedRow],
    width: usize,
) -> Vec<&'a mut [MaybeUninit<f32>]> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let (now, later) = rest.split_at_mut(row.span.len * width);
        out.push(now);
        rest = later;
    }
    out
}

/// As [`crate::kernel::Kernel::attend`]; with a cache, which new keys and values are added to, over all it then holds.
pub fn attend(
    heads: Heads,
    qkv: [Tensor<2>; 3],
    rows: &[MaskedRow],
    window: Option<usize>,
    mut cache: Option<&mut Vec<CachedRow>>,
) -> Tensor<2> {
    let device = qkv[0].device();
    let [n, query_width] = qkv[0].dims();
    let key_width = heads.keys * heads.width;
    let [queries, keys, values] = qkv.map(HostTensor::contiguous);
    let (queries, keys, values) = (queries.slice(), keys.slice(), values.slice());
    for (cached, row) in cache.iter_mut().flat_map(|cache| cache.iter_mut()).zip(rows) {
        let (from, to) = ((row.seen - row.span.len) * key_width, row.seen * key_width);
        let new = row.span.at * key_width..(row.span.at + row.span.len) * key_width;
        cached[0][from..to].copy_from_slice(&keys[new.clone()]);
        cached[1][from..to].copy_from_slice(&values[new]);
    }
    let cache = cache.map(|cache| &*cache);
    let mut out = Vec::with_capacity(n * query_width);
    let jobs: Vec<_> =
        pieces(&mut out.spare_capacity_mut()[..n * query_width], rows, query_width).into_iter().enumerate().collect();
    let work = |(number, out): (usize, &mut [MaybeUninit<f32>])| {
        let MaskedRow { span, seen } = rows[number];
        let new = span.at * key_width..(span.at + span.len) * key_width;
        let (keys, values) = match cache {
            Some(cache) => (&cache[number][0][..], &cache[number][1][..]),
            None => (&keys[new.clone()], &values[new]),
        };
        let queries = &queries[span.at * query_width..(span.at + span.len) * query_width];
        attend_row(&RowInput { heads, queries, keys, values, before: seen - span.len, window }, out);
    };
    let longest = rows.iter().map(|row| row.seen).max().unwrap_or(0);
    match n * longest * query_width < WORTH_ALL_CORES {
        true => jobs.into_iter().for_each(work),
        false => jobs.into_par_iter().for_each(work),
    }
    assert_eq!(rows.iter().map(|row| row.span.len).sum::<usize>(), n, "each token belongs to a row");
    // SAFETY: the tiles of a row cover all of its tokens, and the rows cover all of them.
    unsafe { out.set_len(n * query_width) };
    from_values(out, [n, query_width], &device)
}

fn attend_row(row: &RowInput, out: &mut [MaybeUninit<f32>]) {
    let mut weights = row.room();
    for tile in row.tiles() {
        row.weigh(tile, &mut weights, &mut []);
        let (left, right) = (square(&weights, tile.rows, row.seen(tile).len()), row.of_keys(row.values, tile));
        Product { left, right, factor: 1.0 }.write(&mut out[row.at(tile)..], row.query_width());
    }
}

/// As [`crate::kernel::Kernel::attend_back`].
pub fn attend_back(
    heads: Heads,
    qkv: [Tensor<2>; 3],
    rows: &[MaskedRow],
    window: Option<usize>,
    dy: Tensor<2>,
) -> [Tensor<2>; 3] {
    let device = qkv[0].device();
    let [n, query_width] = qkv[0].dims();
    let key_width = heads.keys * heads.width;
    let [queries, keys, values] = qkv.map(HostTensor::contiguous);
    let dy = HostTensor::contiguous(dy);
    let (queries, keys, values, dy) = (queries.slice(), keys.slice(), values.slice(), dy.slice());
    let widths = [query_width, key_width, key_width];
    let mut out = widths.map(|width| Vec::with_capacity(n * width));
    let mut rooms = out.iter_mut().zip(widths).map(|(out, width)| &mut out.spare_capacity_mut()[..n * width]);
    let mut next = |width| pieces(rooms.next().expect("there are three"), rows, width);
    let (d_queries, d_keys, d_values) = (next(query_width), next(key_width), next(key_width));
    let jobs: Vec<_> = d_queries.into_iter().zip(d_keys).zip(d_values).zip(rows).collect();
    jobs.into_par_iter().for_each(|(((d_queries, d_keys), d_values), MaskedRow { span, .. })| {
        let of_key = span.at * key_width..(span.at + span.len) * key_width;
        let of_query = span.at * query_width..(span.at + span.len) * query_width;
        let row = RowInput {
            heads,
            queries: &queries[of_query.clone()],
            keys: &keys[of_key.clone()],
            values: &values[of_key],
            before: 0,
            window,
        };
        // Those of keys and values are sums over the tiles.
        attend_row_back(&row, &dy[of_query], d_queries, [zeroed(d_keys), zeroed(d_values)]);
    });
    assert_eq!(rows.iter().map(|row| row.span.len).sum::<usize>(), n, "each token belongs to a row");
    for (out, width) in out.iter_mut().zip(widths) {
        // SAFETY: as in `attend`.
        unsafe { out.set_len(n * width) };
    }
    let [d_queries, d_keys, d_values] = out;
    [
        from_values(d_queries, [n, query_width], &device),
        from_values(d_keys, [n, key_width], &device),
        from_values(d_values, [n, key_width], &device),
    ]
}

/// With weights P: dV = Pᵀ·dY, dP = dY·Vᵀ, dS = P∘(dP − Σ dP∘P), dQ = s·dS·K and dK = s·dSᵀ·Q, where dS is first
/// multiplied by the derivative of the bound, if there is one.
fn attend_row_back(
    row: &RowInput,
    dy: &[f32],
    d_queries: &mut [MaybeUninit<f32>],
    [d_keys, d_values]: [&mut [f32]; 2],
) {
    let (mut weights, mut gradients) = (row.room(), row.room());
    let mut slopes = row.heads.cap.map_or_else(Vec::new, |_| row.room());
    let (scale, query_width, key_width) = (row.heads.scale as f32, row.query_width(), row.key_width());
    for tile in row.tiles() {
        let (seen, key_at) = (row.seen(tile).len(), row.key_at(tile));
        row.weigh(tile, &mut weights, &mut slopes);
        let (queries, dy) = (row.of_queries(row.queries, tile), row.of_queries(dy, tile));
        let (keys, values) = (row.of_keys(row.keys, tile), row.of_keys(row.values, tile));
        Product { left: dy, right: values.transposed(), factor: 1.0 }.write(as_uninit(&mut gradients), seen);
        let transposed = square(&weights, tile.rows, seen).transposed();
        Product { left: transposed, right: dy, factor: 1.0 }.add(&mut d_values[key_at..], key_width);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let weights = weights[..tile.rows * seen].chunks_exact(seen);
                for (weights, gradients) in weights.zip(gradients[..tile.rows * seen].chunks_exact_mut(seen)) {
                    let along = sum(seen, |i| weights[i] * gradients[i]);
                    for i in 0..seen {
                        gradients[i] = weights[i] * (gradients[i] - along);
                    }
                }
                for (gradient, slope) in gradients.iter_mut().zip(&slopes) {
                    *gradient *= slope;
                }
            },
        );
        let gradients = square(&gradients, tile.rows, seen);
        Product { left: gradients, right: keys, factor: scale }.write(&mut d_queries[row.at(tile)..], query_width);
        Product { left: gradients.transposed(), right: queries, factor: scale }.add(&mut d_keys[key_at..], key_width);
    }
}
