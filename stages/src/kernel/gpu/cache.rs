//! The cache of keys and values, which are turned as they are written. [`attend`] is what reads it.

mod attend;

use super::attention;
use super::memory::{cube, cube_of_ints, groups, lines, threads};
use super::rotations::{self, TokenTurn, rotated};
use crate::kernel::tensors::keep_rows;
use crate::kernel::{Angles, AttentionMask, Heads, KeyValueCache, MaskedRectangle, ROOM};
use burn::tensor::Tensor;
use cubecl::prelude::*;

/// Keys and values `[b, kv, room, hd]` of each layer. Where they need more room they get twice as much.
pub struct GpuCache {
    layers: Vec<Option<[Tensor<4>; 2]>>,
    capacity: usize,
}

impl GpuCache {
    pub fn new(layers: usize, capacity: usize) -> GpuCache {
        GpuCache { layers: (0..layers).map(|_| None).collect(), capacity }
    }

    /// The keys and values of a layer, with room for so many columns.
    fn with_room(&mut self, layer: usize, shape: [usize; 4], beside: &Tensor<2>) -> [Tensor<4>; 2] {
        let [b, kv, needed, hd] = shape;
        let old = self.layers[layer].take();
        let has = old.as_ref().map_or(0, |[keys, _]| keys.dims()[2]);
        let both = match old {
            Some(old) if has >= needed => old,
            old => {
                let room = (2 * has).min(self.capacity).max(needed.next_multiple_of(ROOM));
                let more = || Tensor::<4>::empty([b, kv, room, hd], &beside.device());
                match old {
                    Some(old) => old.map(|old| more().slice_assign([0..b, 0..kv, 0..has, 0..hd], old)),
                    None => [more(), more()],
                }
            }
        };
        self.layers[layer] = Some(both.clone());
        both
    }
}

impl KeyValueCache for GpuCache {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        [queries, keys, values]: [Tensor<2>; 3],
        angles: Option<&Angles>,
        mask: &AttentionMask,
    ) -> Tensor<2> {
        let MaskedRectangle { columns, filled, .. } = *mask.rectangle();
        let lines = keys.dims()[0] / columns;
        let both = self.with_room(layer, [lines, heads.keys, filled + columns, heads.width], &keys);
        if filled > 0 {
            store(heads, [keys, values], &both, angles, mask);
            return attend::attend(heads, queries, both, angles, mask);
        }
        // The first tokens see no others, and have their own kernel.
        let [queries, keys] = match angles {
            Some(angles) => rotations::rotate([queries, keys], angles, heads, false),
            None => [queries, keys],
        };
        store(heads, [keys.clone(), values.clone()], &both, None, mask);
        attention::attend(heads, [queries, keys, values], mask)
    }

    fn keep(&mut self, rows: &[usize]) {
        keep_rows(&mut self.layers, rows);
    }
}

/// Writes keys and values of new tokens into the cache.
fn store(heads: Heads, new: [Tensor<2>; 2], both: &[Tensor<4>; 2], angles: Option<&Angles>, mask: &AttentionMask) {
    let MaskedRectangle { columns, filled, starts, .. } = mask.rectangle();
    let room = both[0].dims()[2];
    let [n, width] = new[0].dims();
    let [keys, values] = new.map(lines);
    let [to_keys, to_values] = both.clone().map(cube);
    let TokenTurn { cosines, sines, behind, dims } = TokenTurn::of(angles, &keys.numbers);
    let client = keys.numbers.client.clone();
    store_tokens::launch(
        &client,
        groups(&client, n * width),
        threads(),
        keys.numbers.into_buffer_arg(),
        values.numbers.into_buffer_arg(),
        cosines.into_buffer_arg(),
        sines.into_buffer_arg(),
        cube_of_ints(starts.clone()).into_buffer_arg(),
        to_keys.into_buffer_arg(),
        to_values.into_buffer_arg(),
        (n * width) as u32,
        keys.down,
        values.down,
        *columns as u32,
        *filled as u32,
        room as u32,
        behind,
        dims,
        heads.keys as u32,
        heads.width as u32,
        angles.is_some(),
    );
}

#[cube(launch)]
fn store_tokens(
    keys: &[f32],
    values: &[f32],
    cosines: &[f32],
    sines: &[f32],
    starts: &[i32],
    to_keys: &mut [f32],
    to_values: &mut [f32],
    numbers: u32,
    keys_down: u32,
    values_down: u32,
    columns: u32,
    filled: u32,
    room: u32,
    behind: u32,
    dims: u32,
    heads: u32,
    width: u32,
    #[comptime] turns: bool,
) {
    if ABSOLUTE_POS < numbers as usize {
        let (columns, width, heads) = (columns as usize, width as usize, heads as usize);
        let at = ABSOLUTE_POS % width;
        let head = ABSOLUTE_POS / width % heads;
        let token = ABSOLUTE_POS / width / heads;
        let start = token * keys_down as usize + head * width;
        let column = filled as usize + token % columns;
        let place = ((token / columns * heads + head) * room as usize + column) * width + at;
        let mut key = keys[start + at];
        if comptime![turns] {
            let row = column - starts[token] as usize + behind as usize;
            key = rotated(keys, start, at, cosines, sines, row, dims as usize, 1.0f32);
        }
        to_keys[place] = key;
        to_values[place] = values[token * values_down as usize + head * width + at];
    }
}
