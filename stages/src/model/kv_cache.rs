//! The cache of keys and values from which decoding goes on.

use super::batch::{Batch, Columns};
use crate::kernel::{self, AttentionMask, Heads, KeyValueCache};
use burn::tensor::{Device, Int, Tensor};
use formats::config::Config;

pub struct Cache {
    layers: Box<dyn KeyValueCache>,
    /// The columns of each row; empty before the first batch.
    places: Vec<Columns>,
}

impl Cache {
    /// Memory for rows of `capacity` tokens.
    pub fn new(config: &Config, capacity: usize, device: &Device) -> Cache {
        Cache { layers: kernel::of(device).cache(config.layers, capacity), places: Vec::new() }
    }

    pub(super) fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        qkv: [Tensor<2>; 3],
        mask: &AttentionMask,
    ) -> Tensor<2> {
        self.layers.attend(layer, heads, qkv, mask)
    }

    /// Notes that all layers have seen the tokens of `batch`.
    pub(super) fn advance(&mut self, batch: &Batch) {
        if self.places.is_empty() {
            self.places = batch.places();
        } else {
            self.places.iter_mut().for_each(|place| place.filled += 1);
        }
    }

    /// A batch of one new token for each row.
    pub fn next(&self, config: &Config, ids: Tensor<1, Int>) -> Batch {
        Batch::next(config, ids, &self.places)
    }

    /// Drops all rows but `rows`.
    pub fn keep(&mut self, rows: &[usize]) {
        self.layers.keep(rows);
        self.places = rows.iter().map(|row| self.places[*row]).collect();
    }
}
