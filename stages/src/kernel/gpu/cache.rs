//! The cache of keys and values, and attention of one new token a row over it: a workgroup for each row and head, each of
//! whose threads scores a key at a time. Queries are turned as they are read, and keys as they are written.

use super::attention::{self, Shape, UNSEEN, bounded, window_of};
use super::memory::{cube, cube_of_ints, empty, groups, lines, one_each, tensor, threads};
use super::rotations::{self, rotated};
use super::sums::{ROW_UNITS, largest_of_group, sum_of_group};
use crate::kernel::tensors::keep_rows;
use crate::kernel::{AngleRows, Angles, AttentionMask, Heads, KeyValueCache, MaskedRectangle, ROOM};
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
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
            return attend_cached(heads, queries, both, angles, mask);
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

/// The turn of tokens whose rows of the table are counted from the beginning of their row.
struct TokenTurn {
    cosines: CubeTensor,
    sines: CubeTensor,
    behind: u32,
    dims: u32,
}

impl TokenTurn {
    fn of(angles: Option<&Angles>, otherwise: &CubeTensor) -> TokenTurn {
        let Some(Angles { cosines, sines, rows, .. }) = angles else {
            return TokenTurn { cosines: otherwise.clone(), sines: otherwise.clone(), behind: 0, dims: 0 };
        };
        let AngleRows::Counted { behind } = rows else { unreachable!("the rows of tokens that follow are counted") };
        let dims = cosines.dims()[1] as u32;
        TokenTurn { cosines: cube(cosines.clone()), sines: cube(sines.clone()), behind: *behind as u32, dims }
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

fn attend_cached(
    heads: Heads,
    queries: Tensor<2>,
    both: [Tensor<4>; 2],
    angles: Option<&Angles>,
    mask: &AttentionMask,
) -> Tensor<2> {
    let MaskedRectangle { filled, starts, window, .. } = mask.rectangle();
    let shape = queries.dims();
    let room = both[0].dims()[2];
    let (queries, [keys, values]) = (lines(queries), both.map(cube));
    let out = empty::<f32>(&keys, &shape);
    let TokenTurn { cosines, sines, behind, dims } = TokenTurn::of(angles, &keys);
    let client = out.client.clone();
    let workgroups = shape[0] * heads.queries;
    attend_row::launch(
        &client,
        one_each(&client, workgroups),
        CubeDim::new_1d(ROW_UNITS),
        queries.numbers.into_buffer_arg(),
        keys.into_buffer_arg(),
        values.into_buffer_arg(),
        cube_of_ints(starts.clone()).into_buffer_arg(),
        cosines.into_buffer_arg(),
        sines.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        queries.down,
        *filled as u32,
        window_of(*window),
        room as u32,
        behind,
        dims,
        heads.scale as f32,
        heads.cap.unwrap_or(0.0) as f32,
        workgroups as u32,
        Shape::of(heads),
        angles.is_some(),
        ROW_UNITS as usize,
    );
    tensor(out)
}

impl Shape {
    /// Threads that have a number of the head each; the others have it for other keys.
    fn lanes(self) -> usize {
        self.width.next_power_of_two().min(ROW_UNITS as usize)
    }

    /// Numbers of the head for each of them.
    fn of_lane(self) -> usize {
        self.width.div_ceil(self.lanes())
    }
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

/// Products of a loop that are written out.
const WRITTEN: usize = 8;

#[cube(launch)]
fn attend_row(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    starts: &[i32],
    cosines: &[f32],
    sines: &[f32],
    out: &mut [f32],
    down: u32,
    filled: u32,
    window: u32,
    room: u32,
    behind: u32,
    dims: u32,
    scale: f32,
    cap: f32,
    workgroups: u32,
    #[comptime] shape: Shape,
    #[comptime] turns: bool,
    #[comptime] units: usize,
) {
    if CUBE_POS < workgroups as usize {
        let width = comptime![shape.width];
        let (filled, window, room) = (filled as usize, window as usize, room as usize);
        let thread = UNIT_POS as usize;
        let row = CUBE_POS / comptime![shape.queries];
        let head = CUBE_POS % comptime![shape.queries];
        let start = starts[row] as usize;
        let mut first = start;
        if filled + 1 > window {
            first = max(start, filled + 1 - window);
        }
        let mut query = Shared::<[f32]>::new_slice(comptime![shape.width.next_multiple_of(WRITTEN)]);
        let mut weights = Shared::<[f32]>::new_slice(units);
        let query_start = row * down as usize + head * width;
        let mut at = thread;
        while at < comptime![shape.width.next_multiple_of(WRITTEN)] {
            let mut number = 0.0f32;
            if at < width {
                number = queries[query_start + at];
                if comptime![turns] {
                    let place = filled - start + behind as usize;
                    number = rotated(queries, query_start, at, cosines, sines, place, dims as usize, 1.0f32);
                }
            }
            query[at] = number;
            at += units;
        }
        sync_cube();
        let key_head = row * comptime![shape.keys] + head / comptime![shape.queries / shape.keys];
        let base = key_head * room * width;
        let (lane, part) = (thread % comptime![shape.lanes()], thread / comptime![shape.lanes()]);
        let mut sums = Array::<f32>::new(comptime![shape.of_lane()]);
        #[unroll]
        for number in 0..comptime![shape.of_lane()] {
            sums[number] = 0.0f32;
        }
        let mut most = f32::new(UNSEEN);
        let mut total = 0.0f32;
        let mut block = first;
        while block <= filled {
            // 1. A key for each thread.
            let key = block + thread;
            let mut score = f32::new(UNSEEN);
            if key <= filled {
                let key_start = base + key * width;
                let mut sum = 0.0f32;
                for turn in 0..comptime![shape.width / WRITTEN] {
                    #[unroll]
                    for step in 0..WRITTEN {
                        let at = turn * WRITTEN + step;
                        sum += query[at] * keys[key_start + at];
                    }
                }
                #[unroll]
                for at in comptime![shape.width / WRITTEN * WRITTEN]..width {
                    sum += query[at] * keys[key_start + at];
                }
                let (under, _) = bounded(sum * scale, cap, comptime![shape.is_capped]);
                score = under;
            }
            let now = max(most, largest_of_group(score, units));
            let mut weight = 0.0f32;
            if key <= filled {
                weight = (score - now).exp();
            }
            weights[thread] = weight;
            let less = (most - now).exp();
            total = total * less + sum_of_group(weight, units);
            most = now;
            // 2. A number of the head for each thread, of every so many keys.
            #[unroll]
            for number in 0..comptime![shape.of_lane()] {
                let at = lane + number * comptime![shape.lanes()];
                let mut sum = sums[number] * less;
                if at < width {
                    let mut step = part;
                    while step < units && block + step <= filled {
                        sum += weights[step] * values[base + (block + step) * width + at];
                        step += comptime![units / shape.lanes()];
                    }
                }
                sums[number] = sum;
            }
            sync_cube();
            block += units;
        }
        #[unroll]
        for number in 0..comptime![shape.of_lane()] {
            weights[thread] = sums[number];
            sync_cube();
            let at = lane + number * comptime![shape.lanes()];
            if part == 0 && at < width {
                let mut sum = weights[lane];
                #[unroll]
                for other in 1..comptime![units / shape.lanes()] {
                    sum += weights[lane + other * comptime![shape.lanes()]];
                }
                out[CUBE_POS * width + at] = sum / total;
            }
            sync_cube();
        }
    }
}
