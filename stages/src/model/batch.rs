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
    /// `[b, 1, t, hd]`.
    cosines: Tensor<4>,
    sines: Tensor<4>,
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
        let half = config.head_dim / 2;
        let angles = positions.iter().flat_map(|position| {
            // Hugging Face's rotate-half order: pair j turns by position·θ^(−2j/hd), and pairs lie hd/2 apart.
            (0..config.head_dim).map(move |index| {
                let exponent = -2.0 * (index % half) as f64 / config.head_dim as f64;
                *position as f64 * config.theta.powf(exponent)
            })
        });
        let angles: Vec<f64> = angles.collect();
        let shape = [rows, 1, columns, config.head_dim];
        let turned = |turn: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| turn(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Batch {
            rows,
            columns,
            ids: Tensor::from_data(TensorData::new(ids, [rows * columns]), device),
            bias: Tensor::from_data(TensorData::new(bias, [rows, 1, columns, seen]), device),
            cosines: turned(f64::cos),
            sines: turned(f64::sin),
        }
    }

    /// Rotary position embedding of `[b, h, t, hd]` (Su et al. 2021, eq. 34).
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, t, hd] = x.dims();
        let first = x.clone().slice([0..b, 0..h, 0..t, 0..hd / 2]);
        let second = x.clone().slice([0..b, 0..h, 0..t, hd / 2..hd]);
        let turned = Tensor::cat(vec![second.neg(), first], 3);
        x * self.cosines.clone() + turned * self.sines.clone()
    }
}
