//! The rotary angles of a model as tables on its device, from which each batch takes the rows of its positions: they are
//! sent once, and not with every batch.

use crate::kernel::{self, AngleRows, Angles};
use crate::tensor::{from_ids, from_values};
use burn::tensor::{Device, Int, Tensor};
use formats::rope::Rope;
use std::sync::{Mutex, PoisonError};

/// The tables of all ropes, shared by all clones of a model, as far as positions were asked for.
#[derive(Default)]
pub struct RopeTables(Mutex<Vec<Option<RopeTable>>>);

/// The angles of one rope, a row a position. Where long rows turn in another way, those of long rows follow.
#[derive(Clone)]
pub struct RopeTable {
    positions: usize,
    beyond: Option<usize>,
    angles: Angles,
}

/// A table holds at least this many positions.
const FEWEST: usize = 256;

impl RopeTables {
    /// The table of a rope, for this many positions at least.
    pub fn table(&self, number: usize, rope: &Rope, positions: usize, device: &Device) -> RopeTable {
        // What a panic left half-done is a table or none.
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() <= number {
            tables.resize(number + 1, None);
        }
        // A copy of the model may be on a device on which burn keeps a graph.
        let is_it = |table: &&RopeTable| {
            let on = table.angles.cosines.device();
            table.positions >= positions && on == *device && on.is_autodiff() == device.is_autodiff()
        };
        let known = tables[number].as_ref().filter(is_it);
        if let Some(known) = known {
            return known.clone();
        }
        let made = RopeTable::of(rope, positions.next_power_of_two().max(FEWEST), device);
        tables[number] = Some(made.clone());
        made
    }
}

impl RopeTable {
    fn of(rope: &Rope, positions: usize, device: &Device) -> RopeTable {
        let frequencies = [Some(&rope.frequencies), rope.long.as_ref().map(|long| &long.frequencies)];
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for frequencies in frequencies.into_iter().flatten() {
            for position in 0..positions {
                for half in [-1.0, 1.0] {
                    for frequency in frequencies {
                        let (sine, cosine) = (position as f64 * frequency).sin_cos();
                        cosines.push((cosine * rope.scale) as f32);
                        sines.push((half * sine * rope.scale) as f32);
                    }
                }
            }
        }
        let shape = [cosines.len() / rope.dims, rope.dims];
        let [cosines, sines] = [cosines, sines].map(|values| from_values(values, shape, device));
        let half = rope.dims as u32 / 2;
        let halves: Vec<u32> = (half..2 * half).chain(0..half).collect();
        let beyond = rope.long.as_ref().map(|long| long.beyond);
        RopeTable {
            positions,
            beyond,
            angles: Angles { cosines, sines, rows: AngleRows::InOrder, halves: from_ids(&halves, device) },
        }
    }

    /// The row of a position in a row of `length` tokens, less the position.
    pub fn offset(&self, length: usize) -> usize {
        if self.beyond.is_some_and(|beyond| length > beyond) { self.positions } else { 0 }
    }

    /// The angles of the tokens `[n]` whose rows of the table these are.
    pub fn at(&self, rows: Tensor<1, Int>) -> Angles {
        let Angles { cosines, sines, halves, .. } = self.angles.clone();
        if kernel::of(&rows.device()).reads_tables() {
            return Angles { cosines, sines, rows: AngleRows::Listed(rows), halves };
        }
        Angles {
            cosines: cosines.select(0, rows.clone()),
            sines: sines.select(0, rows),
            rows: AngleRows::InOrder,
            halves,
        }
    }

    /// The angles of tokens that follow others: the rows of the table are counted by the kernel, and lie `behind` their places.
    pub fn counted(&self, behind: usize) -> Angles {
        Angles { rows: AngleRows::Counted { behind }, ..self.angles.clone() }
    }
}
