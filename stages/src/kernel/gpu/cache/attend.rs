//! Attention of one new token a row over the cache: a workgroup for each row, head and part of the keys, each of whose threads
//! scores a key at a time. Where there are several parts, a second kernel brings their sums together, part by part. Queries are
//! turned as they are read.

use crate::kernel::gpu::attention::{Shape, UNSEEN, bounded, window_of};
use crate::kernel::gpu::memory::{cube, cube_of_ints, empty, groups, lines, one_each, tensor, threads};
use crate::kernel::gpu::rotations::{TokenTurn, rotated};
use crate::kernel::gpu::sums::{ROW_UNITS, largest_of_group, sum_of_group};
use crate::kernel::{Angles, AttentionMask, Heads, MaskedRectangle};
use burn::tensor::Tensor;
use cubecl::prelude::*;

/// Numbers of a part besides those of the head: its largest score, and the total of its weights.
const BESIDES: usize = 2;

/// Keys of a part, counted from the first one that a row sees: a row has the bits that it has alone, whatever rows are beside it.
const PART: usize = 256;

pub fn attend(
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
    let all = shape[0] * heads.queries;
    let window = window_of(*window);
    let parts = (filled + 1).min(window as usize).div_ceil(PART);
    let sums = if parts == 1 { out.clone() } else { empty::<f32>(&keys, &[all * parts, heads.width + BESIDES]) };
    attend_row::launch(
        &client,
        one_each(&client, all * parts),
        CubeDim::new_1d(ROW_UNITS),
        queries.numbers.into_buffer_arg(),
        keys.into_buffer_arg(),
        values.into_buffer_arg(),
        cube_of_ints(starts.clone()).into_buffer_arg(),
        cosines.into_buffer_arg(),
        sines.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        queries.down,
        *filled as u32,
        window,
        room as u32,
        behind,
        dims,
        heads.scale as f32,
        heads.cap.unwrap_or(0.0) as f32,
        all as u32,
        parts as u32,
        Shape::of(heads),
        angles.is_some(),
        parts > 1,
        ROW_UNITS as usize,
    );
    if parts > 1 {
        join_parts::launch(
            &client,
            groups(&client, shape[0] * shape[1]),
            threads(),
            sums.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            parts as u32,
            heads.width as u32,
        );
    }
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
    all: u32,
    parts: u32,
    #[comptime] shape: Shape,
    #[comptime] turns: bool,
    #[comptime] is_in_parts: bool,
    #[comptime] units: usize,
) {
    if CUBE_POS < (all * parts) as usize {
        let width = comptime![shape.width];
        let (filled, window, room) = (filled as usize, window as usize, room as usize);
        let thread = UNIT_POS as usize;
        let which = CUBE_POS / parts as usize;
        let row = which / comptime![shape.queries];
        let head = which % comptime![shape.queries];
        let start = starts[row] as usize;
        let mut first = start;
        if filled + 1 > window {
            first = max(start, filled + 1 - window);
        }
        let mut end = filled + 1;
        if comptime![is_in_parts] {
            first += CUBE_POS % parts as usize * PART;
            end = min(end, first + PART);
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
        while block < end {
            // 1. A key for each thread.
            let key = block + thread;
            let mut score = f32::new(UNSEEN);
            if key < end {
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
            if key < end {
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
                    while step < units && block + step < end {
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
                if comptime![is_in_parts] {
                    out[CUBE_POS * comptime![shape.width + BESIDES] + at] = sum;
                } else {
                    out[CUBE_POS * width + at] = sum / total;
                }
            }
            sync_cube();
        }
        if comptime![is_in_parts] && thread == 0 {
            let place = CUBE_POS * comptime![shape.width + BESIDES] + width;
            out[place] = most;
            out[place + 1] = total;
        }
    }
}

/// The numbers of a head from those of its parts.
#[cube(launch)]
fn join_parts(sums: &[f32], out: &mut [f32], parts: u32, width: u32) {
    if ABSOLUTE_POS < out.len() {
        let (parts, width) = (parts as usize, width as usize);
        let down = width + BESIDES;
        let (which, at) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
        let first = which * parts * down;
        let mut most = f32::new(UNSEEN);
        for part in 0..parts {
            most = max(most, sums[first + part * down + width]);
        }
        let mut sum = 0.0f32;
        let mut total = 0.0f32;
        for part in 0..parts {
            let start = first + part * down;
            let less = (sums[start + width] - most).exp();
            sum += less * sums[start + at];
            total += less * sums[start + width + 1];
        }
        out[ABSOLUTE_POS] = sum / total;
    }
}
