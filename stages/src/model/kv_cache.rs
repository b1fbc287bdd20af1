//! The cache of keys and values from which decoding goes on.

use super::batch::{Batch, Columns, rectangles};
use super::rotation::{RopeTable, RopeTables};
use crate::kernel::{self, Angles, AttentionMask, Heads, KeyValueCache, MaskedRow, ROOM, Span};
use crate::tensor::from_ids;
use burn::tensor::{Device, Int, Tensor};
use formats::config::Config;

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
    /// The column in which each row begins, `[b]`.
    starts: Tensor<1, Int>,
    /// The position of the next token of each row, `[b]`, where it is read.
    positions: Option<Tensor<1, Int>>,
    /// The table of each rope, and how far its rows lie behind the positions.
    ropes: Vec<(RopeTable, usize)>,
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
        angles: Option<&Angles>,
        mask: &AttentionMask,
    ) -> Tensor<2> {
        self.layers.attend(layer, heads, qkv, angles, mask)
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
            false => rectangles(config, 1, filled, &going.starts),
        };
        let reads_tables = kernel::of(&device).reads_tables();
        let angles = |(table, behind): &(RopeTable, usize)| match going.positions.clone().filter(|_| !reads_tables) {
            Some(rows) => table.at(if *behind == 0 { rows } else { rows.add_scalar(*behind as i64) }),
            None => table.counted(*behind),
        };
        let batch = Batch {
            ids,
            host_ids: Vec::new(),
            positions: config.architecture.layout.positions.and(going.positions.clone()),
            angles: going.ropes.iter().map(angles).collect(),
            masks,
            spans,
        };
        going.positions = going.positions.map(|positions| positions.add_scalar(1));
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
        let ids = |numbers: Vec<usize>| from_ids(&numbers.iter().map(|x| *x as u32).collect::<Vec<_>>(), device);
        let reads = config.architecture.layout.positions.is_some() || !kernel::of(device).reads_tables();
        Going {
            starts: ids(self.places.iter().map(|place| place.start).collect()),
            ropes: config.ropes.iter().enumerate().map(rope).collect(),
            positions: reads.then(|| ids(positions)),
        }
    }

    /// Drops all rows but `rows`.
    pub fn keep(&mut self, rows: &[usize]) {
        self.layers.keep(rows);
        self.places = rows.iter().map(|row| self.places[*row]).collect();
        if let Some(going) = &mut self.going {
            let ids: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
            let rows = from_ids(&ids, &going.starts.device());
            going.starts = going.starts.clone().select(0, rows.clone());
            going.positions = going.positions.take().map(|positions| positions.select(0, rows));
        }
    }
}
