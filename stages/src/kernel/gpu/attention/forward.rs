//! Attention of a tile of queries of one head over all tiles of keys that they may see.

use super::tiles::{
    DOWN, FOURS, KEPT, LANES, QueryTile, ROOM, Shape, TILE, UNSEEN, add_rows, bounded, dots, no_sums, sees,
    tile_of_group, write,
};
use crate::kernel::gpu::memory::Four;
use cubecl::prelude::*;

#[cube(launch)]
pub fn attend_tiles(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    starts: &[i32],
    dy: &[f32],
    out: &mut [f32],
    columns: u32,
    window: u32,
    scale: f32,
    cap: f32,
    groups: u32,
    #[comptime] shape: Shape,
    #[comptime] keeps: bool,
) {
    if CUBE_POS < groups as usize {
        let (columns, window) = (columns as usize, window as usize);
        let (of_queries, of_keys) = (comptime![shape.queries * shape.width], comptime![shape.keys * shape.width]);
        let QueryTile { line, head, first, query_base, key_base, first_key } = tile_of_group(columns, window, shape);
        let thread = UNIT_POS as usize;
        let mut one = Shared::<[Four]>::new_slice(FOURS);
        let mut other = Shared::<[Four]>::new_slice(FOURS);
        let mut scores = Shared::<[f32]>::new_slice(ROOM);
        let mut most = Shared::<[f32]>::new_slice(TILE);
        let mut total = Shared::<[f32]>::new_slice(TILE);
        let mut shrink = Shared::<[f32]>::new_slice(TILE);
        let mut firsts = Shared::<[u32]>::new_slice(TILE);
        if thread < TILE {
            most[thread] = UNSEEN;
            total[thread] = 0.0f32;
            let query = min(first + thread, columns - 1);
            let start = starts[line * columns + query] as usize;
            let mut seen = start;
            if query + 1 > window {
                seen = max(start, query + 1 - window);
            }
            firsts[thread] = seen as u32;
        }
        sync_cube();
        let mut sums = no_sums(comptime![shape.width]);
        let mut key = first_key;
        while key <= first {
            let tile = dots(
                &mut one,
                &mut other,
                queries,
                query_base,
                of_queries,
                first,
                keys,
                key_base,
                of_keys,
                key,
                columns,
                comptime![shape.width],
            );
            #[unroll]
            for i in 0..2usize {
                #[unroll]
                for j in 0..2usize {
                    let row = thread / 16 + i * 16;
                    let column = thread % 16 + j * 16;
                    let (score, _) = bounded(tile[i * 2 + j] * scale, cap, comptime![shape.is_capped]);
                    let is_seen = sees(first + row, key + column, firsts[row] as usize, columns);
                    scores[row * DOWN + column] = select(is_seen, score, UNSEEN);
                }
            }
            sync_cube();
            if thread < TILE {
                let mut now = most[thread];
                #[unroll]
                for column in 0..TILE {
                    now = max(now, scores[thread * DOWN + column]);
                }
                let less = (most[thread] - now).exp();
                let mut sum = total[thread] * less;
                #[unroll]
                for column in 0..TILE {
                    let score = scores[thread * DOWN + column];
                    let weight = select(score > UNSEEN, (score - now).exp(), 0.0f32);
                    scores[thread * DOWN + column] = weight;
                    sum += weight;
                }
                most[thread] = now;
                total[thread] = sum;
                shrink[thread] = less;
            }
            sync_cube();
            let less = Four::new(shrink[thread / LANES]);
            #[unroll]
            for chunk in 0..comptime![shape.width.div_ceil(TILE)] {
                sums[chunk] = sums[chunk] * less;
            }
            add_rows(
                &mut sums,
                &scores,
                &mut other,
                values,
                key_base,
                of_keys,
                key,
                columns,
                comptime![shape.width],
                false,
            );
            key += TILE;
        }
        let row = thread / LANES;
        // What sees nothing is 0.
        let sum = total[row];
        let factor = select(sum > 0.0f32, 1.0f32 / max(sum, 1e-30f32), 0.0f32);
        if comptime![!keeps] {
            write(&sums, factor, out, query_base, of_queries, first, columns, comptime![shape.width]);
        } else {
            let lane = thread % LANES;
            let mut product = 0.0f32;
            #[unroll]
            for chunk in 0..comptime![shape.width.div_ceil(TILE)] {
                let four = sums[chunk];
                #[unroll]
                for i in 0..4usize {
                    let column = chunk * TILE + lane * 4 + i;
                    if first + row < columns && column < comptime![shape.width] {
                        product += four.extract(i) * factor * dy[query_base + (first + row) * of_queries + column];
                    }
                }
            }
            scores[row * DOWN + lane] = product;
            sync_cube();
            if lane == 0 && first + row < columns {
                let mut product = 0.0f32;
                #[unroll]
                for at in 0..LANES {
                    product += scores[row * DOWN + at];
                }
                let place = ((line * columns + first + row) * comptime![shape.queries] + head) * KEPT;
                out[place] = select(sum > 0.0f32, most[row] + max(sum, 1e-30f32).ln(), -UNSEEN);
                out[place + 1] = product;
                out[place + 2] = firsts[row] as f32;
            }
        }
    }
}
