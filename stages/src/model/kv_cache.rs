//! The cache of keys and values from which decoding goes on.

use super::batch::{Batch, Columns, HIDDEN};
use super::rotation::{RopeTable, RopeTables};
use crate::kernel::{self, AttentionMask, Heads, KeyValueCache, MaskedRow, ROOM, Span};
use crate::tensor::{from_ids, from_values};
use burn::tensor::{Device, Int, Tensor};
use formats::config::Config;
use std::ops::Range;

pub struct Cache {
    layers: Box<dyn KeyValueCache>,
    /// Tokens that a row may have.
    capacity: usize,
    /// The columns of each row; empty before the first batch.
    places: Vec<Columns>,
    /// The rows as they are continued; `None` before the first of the tokens that are added one by one.
    going: Option<Going>,
}

/// The part of a batch that moves on by one with every token, on the device: nothing of it is sent again.
struct Going {
    /// The position of the next token of each row, `[b]`.
    positions: Tensor<1, Int>,
    /// The table of each rope, and how far its rows lie behind the positions.
    ropes: Vec<(RopeTable, usize)>,
    /// By each window of the model, `[b, 1, 1, 1, capacity]`; empty where rows are attended to one by one.
    biases: Vec<Tensor<5>>,
}

impl Cache {
    /// Memory for rows of `capacity` tokens.
    pub(super) fn new(config: &Config, capacity: usize, device: &Device) -> Cache {
        let kernel = kernel::of(device);
        let capacity = if kernel.attends_by_row() { capacity } else { capacity.next_multiple_of(ROOM) };
        let layers = kernel.cache(config.layers, capacity);
        Cache { layers, capacity, places: Vec::new(), going: None }
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
    pub(super) fn next(&mut self, config: &Config, ropes: &RopeTables, ids: Tensor<1, Int>) -> Batch {
        let device = ids.device();
        let mut going = self.going.take().unwrap_or_else(|| self.begin(config, ropes, &device));
        let spans: Vec<Span> = (0..self.places.len()).map(|at| Span { at, len: 1 }).collect();
        let filled = self.places.iter().map(|place| place.filled).max().unwrap_or(0);
        let masks = match kernel::of(&device).attends_by_row() {
            true => {
                let row = |(span, place): (&Span, &Columns)| MaskedRow { span: *span, seen: place.filled + 1 };
                let rows: Vec<MaskedRow> = spans.iter().zip(&self.places).map(row).collect();
                config
                    .windows
                    .iter()
                    .map(|window| AttentionMask::Rows { rows: rows.clone(), window: *window })
                    .collect()
            }
            false => {
                // The column of the new token is seen from here on, and the one that leaves the window is not.
                for (bias, window) in going.biases.iter_mut().zip(&config.windows) {
                    set(bias, filled..filled + 1, 0.0);
                    if let Some(gone) = window.and_then(|window| filled.checked_sub(window)) {
                        set(bias, gone..gone + 1, HIDDEN);
                    }
                }
                let seen = (filled + 1).next_multiple_of(ROOM);
                let mask = |bias: &Tensor<5>| AttentionMask::Rectangle {
                    columns: 1,
                    filled,
                    bias: vec![bias.clone().slice([0..spans.len(), 0..1, 0..1, 0..1, 0..seen])],
                };
                going.biases.iter().map(mask).collect()
            }
        };
        let angles = |(table, behind): &(RopeTable, usize)| {
            let rows = going.positions.clone();
            table.at(if *behind == 0 { rows } else { rows.add_scalar(*behind as i64) })
        };
        let batch = Batch {
            ids,
            host_ids: Vec::new(),
            positions: config.architecture.layout.positions.map(|_| going.positions.clone()),
            angles: going.ropes.iter().map(angles).collect(),
            masks,
            spans,
        };
        going.positions = going.positions.add_scalar(1);
        self.going = Some(going);
        batch
    }

    fn begin(&self, config: &Config, ropes: &RopeTables, device: &Device) -> Going {
        let positions: Vec<usize> = self.places.iter().map(|place| place.filled - place.start).collect();
        // Decoding never goes past the length at which rows turn in another way, and its rows lie on one side of it.
        let longest = positions.iter().max().map_or(0, |position| position + 1);
        let rope = |(number, rope)| {
            let table = ropes.table(number, rope, self.capacity, device);
            let behind = table.offset(longest);
            (table, behind)
        };
        let bias = |window: &Option<usize>| {
            let line = |place: &Columns| {
                let first = window.map_or(0, |window| place.filled.saturating_sub(window)).max(place.start);
                let seen = first..place.filled;
                (0..self.capacity).map(move |column| if seen.contains(&column) { 0.0 } else { HIDDEN })
            };
            let bias = self.places.iter().flat_map(line).collect();
            from_values(bias, [self.places.len(), 1, 1, 1, self.capacity], device)
        };
        let by_row = kernel::of(device).attends_by_row();
        Going {
            positions: from_ids(&positions.iter().map(|position| *position as u32).collect::<Vec<_>>(), device),
            ropes: config.ropes.iter().enumerate().map(rope).collect(),
            biases: if by_row { Vec::new() } else { config.windows.iter().map(bias).collect() },
        }
    }

    /// Drops all rows but `rows`.
    pub fn keep(&mut self, rows: &[usize]) {
        self.layers.keep(rows);
        self.places = rows.iter().map(|row| self.places[*row]).collect();
        if let Some(going) = &mut self.going {
            let rows = from_ids(&rows.iter().map(|row| *row as u32).collect::<Vec<_>>(), &going.positions.device());
            going.positions = going.positions.clone().select(0, rows.clone());
            going.biases.iter_mut().for_each(|bias| *bias = bias.clone().select(0, rows.clone()));
        }
    }
}

/// Sets columns of a bias, in place where nobody else holds it.
fn set(bias: &mut Tensor<5>, columns: Range<usize>, value: f32) {
    let [b, ..] = bias.dims();
    let device = bias.device();
    let old = std::mem::replace(bias, Tensor::empty([1; 5], &device));
    let value = Tensor::full([b, 1, 1, 1, columns.len()], value, &device);
    *bias = old.slice_assign([0..b, 0..1, 0..1, 0..1, columns], value);
}
