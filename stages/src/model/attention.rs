//! Attention over rows of tokens, the cache of keys and values it can go on from, and its derivative. Queries, keys and
//! values come `[n, h·hd]` or `[n, kv·hd]`, as the projections leave them, rotations done. Weights are never kept: the
//! derivative makes them anew (Dao et al. 2022, §3.1).

use super::Config;
use super::batch::{Batch, Sight, Span};
use super::host::{Numbers, exp, largest, sum, tensor};
use super::product::{Cores, Matrix, product};
use burn::tensor::{Device, Int, Tensor};
use rayon::prelude::*;

/// Keys and values of the positions seen so far, in memory for all that will come.
pub struct Cache {
    layers: Vec<Layer>,
    capacity: usize,
    /// Of each row, where its first token stands and how many columns are filled.
    places: Vec<(usize, usize)>,
}

enum Layer {
    Empty,
    /// `[capacity, kv·hd]` of each row.
    Host(Vec<[Vec<f32>; 2]>),
    /// `[b, kv, capacity, hd]`.
    Device([Tensor<4>; 2]),
}

impl Cache {
    pub fn new(layers: usize, capacity: usize) -> Cache {
        Cache { layers: (0..layers).map(|_| Layer::Empty).collect(), capacity, places: Vec::new() }
    }

    /// Drops all rows but `rows`.
    pub fn keep(&mut self, rows: &[usize], device: &Device) {
        let wanted: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let on_device = std::cell::OnceCell::new();
        for layer in &mut self.layers {
            match layer {
                Layer::Empty => {}
                Layer::Host(held) => {
                    let mut old: Vec<Option<[Vec<f32>; 2]>> = held.drain(..).map(Some).collect();
                    held.extend(rows.iter().filter_map(|row| old[*row].take()));
                }
                Layer::Device(both) => {
                    let rows: &Tensor<1, Int> = on_device.get_or_init(|| Batch::upload(&wanted, device));
                    *both = both.clone().map(|tensor| tensor.select(0, rows.clone()));
                }
            }
        }
        self.places = rows.iter().map(|row| self.places[*row]).collect();
    }

    /// One new token for each row.
    pub fn next(&self, config: &Config, ids: Tensor<1, Int>) -> Batch {
        let device = ids.device();
        Batch::next(config, ids, &self.places, &device)
    }

    /// That all layers have seen the tokens of `batch`.
    pub(super) fn advance(&mut self, batch: &Batch) {
        if self.places.is_empty() {
            let of_row = |span: &Span| match batch.sight {
                Sight::Rows { .. } => (0, span.len),
                Sight::Lines { columns, .. } => (span.at % columns, columns),
            };
            self.places = batch.spans.iter().map(of_row).collect();
        } else {
            self.places.iter_mut().for_each(|(_, filled)| *filled += 1);
        }
    }
}

/// Mixed values `[n, h·hd]`.
pub(super) fn attend(
    config: &Config,
    [queries, keys, values]: [Tensor<2>; 3],
    batch: &Batch,
    cache: Option<(&mut Cache, usize)>,
) -> Tensor<2> {
    match &batch.sight {
        Sight::Rows { seen } => attend_rows(config, [queries, keys, values], &batch.spans, seen, cache),
        Sight::Lines { columns, bias } => {
            let lines = batch.tokens() / columns;
            let (queries, mut keys, mut values) = (
                stacked(config, queries, lines),
                by_head(config, keys, lines, config.kv_heads),
                by_head(config, values, lines, config.kv_heads),
            );
            if let Some((cache, layer)) = cache {
                let filled = cache.places.first().map_or(0, |(_, filled)| *filled);
                let [b, kv, t, hd] = keys.dims();
                let room = || Tensor::zeros([b, kv, cache.capacity, hd], &keys.device());
                let held = match std::mem::replace(&mut cache.layers[layer], Layer::Empty) {
                    Layer::Device(held) => held,
                    _ => [room(), room()],
                };
                let (place, so_far) = ([0..b, 0..kv, filled..filled + t, 0..hd], [0..b, 0..kv, 0..filled + t, 0..hd]);
                let [old_keys, old_values] = held;
                let held = [old_keys.slice_assign(place.clone(), keys), old_values.slice_assign(place, values)];
                (keys, values) = (held[0].clone().slice(so_far.clone()), held[1].clone().slice(so_far));
                cache.layers[layer] = Layer::Device(held);
            }
            let weights = softmax(scores(config, &queries, &keys, bias));
            unstacked(config, weights.matmul(values), lines)
        }
    }
}

/// The slopes of queries, keys and values for that of the mixed values.
pub(super) fn attend_back(
    config: &Config,
    [queries, keys, values]: [Tensor<2>; 3],
    slope: Tensor<2>,
    batch: &Batch,
) -> [Tensor<2>; 3] {
    match &batch.sight {
        Sight::Rows { .. } => attend_rows_back(config, [queries, keys, values], slope, &batch.spans),
        Sight::Lines { columns, bias } => {
            let lines = batch.tokens() / columns;
            let (queries, slope) = (stacked(config, queries, lines), stacked(config, slope, lines));
            let [keys, values] = [keys, values].map(|x| by_head(config, x, lines, config.kv_heads));
            let weights = softmax(scores(config, &queries, &keys, bias));
            let of_values = weights.clone().swap_dims(2, 3).matmul(slope.clone());
            let of_weights = slope.matmul(values.swap_dims(2, 3));
            let along = (of_weights.clone() * weights.clone()).sum_dim(3);
            let of_scores = (weights * (of_weights - along)).mul_scalar(scale(config));
            let of_queries = of_scores.clone().matmul(keys);
            let of_keys = of_scores.swap_dims(2, 3).matmul(queries);
            let flat = |x: Tensor<4>| {
                let [b, kv, t, hd] = x.dims();
                x.swap_dims(1, 2).reshape([b * t, kv * hd])
            };
            [unstacked(config, of_queries, lines), flat(of_keys), flat(of_values)]
        }
    }
}

fn scale(config: &Config) -> f64 {
    1.0 / (config.head_dim as f64).sqrt()
}

// ------------------------------------------------------------------------------------------------ in rectangles

/// `[b·t, heads·hd]` → `[b, heads, t, hd]`.
fn by_head(config: &Config, x: Tensor<2>, lines: usize, heads: usize) -> Tensor<4> {
    let [n, _] = x.dims();
    x.reshape([lines, n / lines, heads, config.head_dim]).swap_dims(1, 2)
}

/// Query heads that share a key/value head become further rows of it, `[b, kv, group·t, hd]`: nothing is repeated in memory.
fn stacked(config: &Config, x: Tensor<2>, lines: usize) -> Tensor<4> {
    let [b, h, t, hd] = by_head(config, x.clone(), lines, config.heads).dims();
    by_head(config, x, lines, config.heads).reshape([b, config.kv_heads, h / config.kv_heads * t, hd])
}

fn unstacked(config: &Config, x: Tensor<4>, lines: usize) -> Tensor<2> {
    let [b, kv, rows, hd] = x.dims();
    let t = rows * kv / config.heads;
    x.reshape([lines, config.heads, t, hd]).swap_dims(1, 2).reshape([b * t, config.heads * hd])
}

fn scores(config: &Config, queries: &Tensor<4>, keys: &Tensor<4>, bias: &Tensor<4>) -> Tensor<4> {
    let group = config.heads / config.kv_heads;
    let bias = if group == 1 { bias.clone() } else { bias.clone().repeat_dim(2, group) };
    queries.clone().matmul(keys.clone().swap_dims(2, 3)).mul_scalar(scale(config)) + bias
}

// Written out, because burn's own is fused on some backends without autodiff: then the numbers would differ between
// sampling and training, and PPO's ratio would not begin at 1.
fn softmax(x: Tensor<4>) -> Tensor<4> {
    let weights = (x.clone() - x.detach().max_dim(3)).exp();
    weights.clone() / weights.sum_dim(3)
}

// ------------------------------------------------------------------------------------------------- row by row

/// Queries whose scores are made together: few enough to stay in a core's cache, and of what lies behind a token little
/// is computed in vain.
const QUERIES: usize = 64;

/// One row: its queries, its keys and values with those of the cache, and how wide their lines are.
struct Row<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    query_width: usize,
    key_width: usize,
    /// Tokens that come before the first query.
    before: usize,
}

fn attend_rows(
    config: &Config,
    [queries, keys, values]: [Tensor<2>; 3],
    spans: &[Span],
    seen: &[usize],
    cache: Option<(&mut Cache, usize)>,
) -> Tensor<2> {
    let device = queries.device();
    let [n, query_width] = queries.dims();
    let key_width = config.kv_heads * config.head_dim;
    let [queries, keys, values] = [queries, keys, values].map(Numbers::of);
    let (queries, keys, values) = (queries.slice(), keys.slice(), values.slice());
    let held = cache.map(|(cache, layer)| {
        let capacity = cache.capacity;
        if matches!(cache.layers[layer], Layer::Empty) {
            let room = || vec![0.0; capacity * key_width];
            cache.layers[layer] = Layer::Host(spans.iter().map(|_| [room(), room()]).collect());
        }
        let Layer::Host(held) = &mut cache.layers[layer] else {
            unreachable!("a cache that began on the host stays there")
        };
        for ((held, span), seen) in held.iter_mut().zip(spans).zip(seen) {
            let (from, to) = ((seen - span.len) * key_width, seen * key_width);
            let new = span.at * key_width..(span.at + span.len) * key_width;
            held[0][from..to].copy_from_slice(&keys[new.clone()]);
            held[1][from..to].copy_from_slice(&values[new]);
        }
        &*held
    });
    let mut out = vec![0.0; n * query_width];
    let jobs = pieces(&mut out, spans, query_width).into_iter().enumerate();
    let work = |(row, out): (usize, &mut [f32])| {
        let span = spans[row];
        let own = span.at * key_width..(span.at + span.len) * key_width;
        let (keys, values) = match held {
            Some(held) => (&held[row][0][..], &held[row][1][..]),
            None => (&keys[own.clone()], &values[own]),
        };
        let queries = &queries[span.at * query_width..(span.at + span.len) * query_width];
        let row = Row { queries, keys, values, query_width, key_width, before: seen[row] - span.len };
        mix(config, &row, out);
    };
    let jobs: Vec<_> = jobs.collect();
    match n * seen.iter().max().unwrap_or(&0) * query_width < 1 << 18 {
        true => jobs.into_iter().for_each(work),
        false => jobs.into_par_iter().for_each(work),
    }
    tensor(out, [n, query_width], &device)
}

/// The lines of each row, in the order of `spans`, which is that of the tokens.
fn pieces<'a>(mut rest: &'a mut [f32], spans: &[Span], width: usize) -> Vec<&'a mut [f32]> {
    let mut out = Vec::with_capacity(spans.len());
    for span in spans {
        let (now, later) = rest.split_at_mut(span.len * width);
        out.push(now);
        rest = later;
    }
    out
}

fn mix(config: &Config, row: &Row, out: &mut [f32]) {
    let (hd, group) = (config.head_dim, config.heads / config.kv_heads);
    let t = row.queries.len() / row.query_width;
    let mut weights = vec![0.0; QUERIES.min(t) * (row.before + t)];
    for head in 0..config.heads {
        let at = head / group * hd;
        for first in (0..t).step_by(QUERIES) {
            let (rows, seen) = (QUERIES.min(t - first), row.before + t.min(first + QUERIES));
            weigh(config, row, head, first, rows, seen, &mut weights);
            let weights = Matrix { numbers: &weights, at: 0, rows, columns: seen, down: seen, right: 1 };
            let values = Matrix { numbers: row.values, at, rows: seen, columns: hd, down: row.key_width, right: 1 };
            product(
                weights,
                values,
                1.0,
                &mut out[first * row.query_width + head * hd..],
                row.query_width,
                false,
                Cores::One,
            );
        }
    }
}

/// The softmax weights of `rows` queries from `first` on, `[rows, seen]`.
fn weigh(config: &Config, row: &Row, head: usize, first: usize, rows: usize, seen: usize, weights: &mut [f32]) {
    let (hd, group) = (config.head_dim, config.heads / config.kv_heads);
    let at = first * row.query_width + head * hd;
    let queries = Matrix { numbers: row.queries, at, rows, columns: hd, down: row.query_width, right: 1 };
    let at = head / group * hd;
    let keys = Matrix { numbers: row.keys, at, rows: hd, columns: seen, down: 1, right: row.key_width };
    product(queries, keys, scale(config) as f32, weights, seen, false, Cores::One);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (offset, weights) in weights[..rows * seen].chunks_exact_mut(seen).enumerate() {
                let (visible, hidden) = weights.split_at_mut(row.before + first + offset + 1);
                let most = largest(visible);
                for x in visible.iter_mut() {
                    *x = exp(*x - most);
                }
                let per_total = 1.0 / sum(visible.len(), |i| visible[i]);
                for x in visible {
                    *x *= per_total;
                }
                hidden.fill(0.0);
            }
        },
    );
}

fn attend_rows_back(
    config: &Config,
    [queries, keys, values]: [Tensor<2>; 3],
    slope: Tensor<2>,
    spans: &[Span],
) -> [Tensor<2>; 3] {
    let device = queries.device();
    let [n, query_width] = queries.dims();
    let key_width = config.kv_heads * config.head_dim;
    let [queries, keys, values, slope] = [queries, keys, values, slope].map(Numbers::of);
    let (queries, keys, values, slope) = (queries.slice(), keys.slice(), values.slice(), slope.slice());
    let mut out = [vec![0.0; n * query_width], vec![0.0; n * key_width], vec![0.0; n * key_width]];
    let [of_queries, of_keys, of_values] = &mut out;
    let of_queries = pieces(of_queries, spans, query_width);
    let of_keys = pieces(of_keys, spans, key_width);
    let of_values = pieces(of_values, spans, key_width);
    let jobs: Vec<_> = of_queries.into_iter().zip(of_keys).zip(of_values).zip(spans).collect();
    jobs.into_par_iter().for_each(|(((of_queries, of_keys), of_values), span)| {
        let of_key = span.at * key_width..(span.at + span.len) * key_width;
        let of_query = span.at * query_width..(span.at + span.len) * query_width;
        let row = Row {
            queries: &queries[of_query.clone()],
            keys: &keys[of_key.clone()],
            values: &values[of_key],
            query_width,
            key_width,
            before: 0,
        };
        mix_back(config, &row, &slope[of_query], of_queries, of_keys, of_values);
    });
    let [of_queries, of_keys, of_values] = out;
    [
        tensor(of_queries, [n, query_width], &device),
        tensor(of_keys, [n, key_width], &device),
        tensor(of_values, [n, key_width], &device),
    ]
}

/// With P the weights and dO the slope: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − Σ dP∘P), dQ = dS·K and dK = dSᵀ·Q, both over √hd.
fn mix_back(
    config: &Config,
    row: &Row,
    slope: &[f32],
    of_queries: &mut [f32],
    of_keys: &mut [f32],
    of_values: &mut [f32],
) {
    let (hd, group, wide) = (config.head_dim, config.heads / config.kv_heads, row.query_width);
    let t = row.queries.len() / wide;
    let (mut weights, mut slopes) = (vec![0.0; QUERIES.min(t) * t], vec![0.0; QUERIES.min(t) * t]);
    let scale = scale(config) as f32;
    for head in 0..config.heads {
        let of_group = head / group * hd;
        for first in (0..t).step_by(QUERIES) {
            let (rows, seen) = (QUERIES.min(t - first), t.min(first + QUERIES));
            let at = first * wide + head * hd;
            weigh(config, row, head, first, rows, seen, &mut weights);
            let lines = |numbers, down| Matrix { numbers, at, rows, columns: hd, down, right: 1 };
            let (queries, slope) = (lines(row.queries, wide), lines(slope, wide));
            let columns =
                |numbers| Matrix { numbers, at: of_group, rows: seen, columns: hd, down: row.key_width, right: 1 };
            let (keys, values) = (columns(row.keys), columns(row.values));
            product(slope, values.turned(), 1.0, &mut slopes, seen, false, Cores::One);
            let square = |numbers| Matrix { numbers, at: 0, rows, columns: seen, down: seen, right: 1 };
            product(square(&weights).turned(), slope, 1.0, &mut of_values[of_group..], row.key_width, true, Cores::One);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (weights, slopes) in
                        weights[..rows * seen].chunks_exact(seen).zip(slopes[..rows * seen].chunks_exact_mut(seen))
                    {
                        let along = sum(seen, |i| weights[i] * slopes[i]);
                        for i in 0..seen {
                            slopes[i] = weights[i] * (slopes[i] - along);
                        }
                    }
                },
            );
            product(square(&slopes), keys, scale, &mut of_queries[at..], wide, false, Cores::One);
            product(
                square(&slopes).turned(),
                queries,
                scale,
                &mut of_keys[of_group..],
                row.key_width,
                true,
                Cores::One,
            );
        }
    }
}
