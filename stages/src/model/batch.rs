//! Token rows made into one rectangle: ids, rotary angles and the attention bias, all built on the host.

use super::Config;
use burn::tensor::{Device, Int, Tensor, TensorData};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    Left,
    Right,
}

/// `t` new positions of `b` rows, which see `s ≥ t` positions (the cached ones first).
pub struct Batch {
    pub rows: usize,
    pub columns: usize,
    /// `[b·t]`.
    pub ids: Tensor<1, Int>,
    /// `[b, 1, t, s]`: 0 where a query may look, else a number no score overcomes.
    pub bias: Tensor<4>,
    /// `[b·t]`, counted from the first real token of each row.
    pub positions: Tensor<1, Int>,
    /// `[b, 1, t, dims]` each; `None` where positions are learned.
    turns: Option<(Tensor<4>, Tensor<4>)>,
}

/// Finite, so that a row without any visible key stays a number (its output is never used).
const HIDDEN: f32 = -1e9;

impl Batch {
    /// Whole sequences, side by side; each row's positions count from its first real token.
    pub fn new(config: &Config, rows: &[&[u32]], padding: Padding, device: &Device) -> Batch {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let starts: Vec<usize> =
            rows.iter().map(|row| if padding == Padding::Left { width - row.len() } else { 0 }).collect();
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        let mut ids = vec![0; rows.len() * width];
        for (index, row) in rows.iter().enumerate() {
            for (offset, id) in row.iter().enumerate() {
                ids[index * width + starts[index] + offset] = *id as i32;
            }
        }
        let mut bias = vec![HIDDEN; rows.len() * width * width];
        for (row, (start, length)) in starts.iter().zip(&lengths).enumerate() {
            for query in *start..width {
                for key in *start..=query.min(start + length - 1) {
                    bias[(row * width + query) * width + key] = 0.0;
                }
            }
        }
        let positions: Vec<usize> =
            starts.iter().flat_map(|start| (0..width).map(move |column| column.saturating_sub(*start))).collect();
        Batch::build(config, rows.len(), width, width, ids, bias, &positions, device)
    }

    /// One new token a row, in decoding: `starts` are the first real columns of left-padded rows, `seen` how
    /// many columns the cache holds before this one.
    pub fn next(config: &Config, ids: &[u32], starts: &[usize], seen: usize, device: &Device) -> Batch {
        let ids = ids.iter().map(|id| *id as i32).collect();
        let visible = |start: usize| (0..=seen).map(move |column| if column < start { HIDDEN } else { 0.0 });
        let bias = starts.iter().flat_map(|start| visible(*start)).collect();
        let positions: Vec<usize> = starts.iter().map(|start| seen - start).collect();
        Batch::build(config, starts.len(), 1, seen + 1, ids, bias, &positions, device)
    }

    #[expect(clippy::too_many_arguments, reason = "the raw parts of a batch, joined in one place")]
    fn build(
        config: &Config,
        rows: usize,
        columns: usize,
        seen: usize,
        ids: Vec<i32>,
        bias: Vec<f32>,
        positions: &[usize],
        device: &Device,
    ) -> Batch {
        let turns = config.rope.as_ref().map(|rope| {
            // Both halves of the pairs turn alike.
            let angles = |position: &usize| {
                let position = *position as f64;
                rope.frequencies.iter().chain(&rope.frequencies).map(move |frequency| position * frequency)
            };
            let angles: Vec<f64> = positions.iter().flat_map(angles).collect();
            let turned = |turn: fn(f64) -> f64| {
                let values: Vec<f32> = angles.iter().map(|angle| turn(*angle) as f32).collect();
                Tensor::from_data(TensorData::new(values, [rows, 1, columns, rope.dims]), device)
            };
            (turned(f64::cos), turned(f64::sin))
        });
        let positions: Vec<i32> = positions.iter().map(|position| *position as i32).collect();
        Batch {
            rows,
            columns,
            ids: Tensor::from_data(TensorData::new(ids, [rows * columns]), device),
            bias: Tensor::from_data(TensorData::new(bias, [rows, 1, columns, seen]), device),
            positions: Tensor::from_data(TensorData::new(positions, [rows * columns]), device),
            turns,
        }
    }

    /// Rotary position embedding of `[b, h, t, hd]` (Su et al. 2021, eq. 34); what lies beyond the dimensions that turn
    /// stays as it is.
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let Some((cosines, sines)) = &self.turns else { return x };
        let [b, h, t, hd] = x.dims();
        let dims = cosines.dims()[3];
        let part = |from: usize, to: usize| x.clone().slice([0..b, 0..h, 0..t, from..to]);
        let turned = Tensor::cat(vec![part(dims / 2, dims).neg(), part(0, dims / 2)], 3);
        if dims == hd {
            return x * cosines.clone() + turned * sines.clone();
        }
        let rotated = part(0, dims) * cosines.clone() + turned * sines.clone();
        Tensor::cat(vec![rotated, part(dims, hd)], 3)
    }
}
