//! The gradients of queries, and of keys and values.
//!
//! With P the weights, D of a query the product of its output with its gradient, and c′ the slope of the bound of a score:
//! dV = Pᵀ·dO, dS = s·c′·P·(dO·Vᵀ − D), dQ = dS·K, dK = dSᵀ·Q.

use super::tiles::{
    DOWN, FOURS, KEPT, QueryTile, ROOM, Shape, TILE, add_rows, bounded, dots, no_sums, sees, tile_of_group, write,
};
use crate::kernel::gpu::memory::Four;
use cubecl::prelude::*;

/// The weights of a tile and the gradients of its scores: of each thread four, and four.
#[cube]
fn weights_and_slopes(
    scores: &Array<f32>,
    d_weights: &Array<f32>,
    kept: &[f32],
    kept_base: usize,
    query: usize,
    key: usize,
    columns: usize,
    scale: f32,
    cap: f32,
    #[comptime] shape: Shape,
) -> Array<f32> {
    let thread = UNIT_POS as usize;
    let mut out = Array::<f32>::new(8usize);
    #[unroll]
    for i in 0..2usize {
        let row = query + thread / 16 + i * 16;
        let place = kept_base + min(row, columns - 1) * comptime![shape.queries * KEPT];
        let (total, along, first) = (kept[place], kept[place + 1], kept[place + 2] as usize);
        #[unroll]
        for j in 0..2usize {
            let column = key + thread % 16 + j * 16;
            let (score, slope) = bounded(scores[i * 2 + j] * scale, cap, comptime![shape.is_capped]);
            let is_seen = sees(row, column, first, columns);
            let weight = select(is_seen, min(score - total, 0.0f32).exp(), 0.0f32);
            out[i * 2 + j] = weight;
            out[4 + i * 2 + j] = weight * (d_weights[i * 2 + j] - along) * slope * scale;
        }
    }
    out
}

/// Writes four numbers of each thread into a tile.
#[cube]
fn put(tile: &mut Shared<[f32]>, numbers: &Array<f32>, #[comptime] from: usize) {
    let thread = UNIT_POS as usize;
    #[unroll]
    for i in 0..2usize {
        #[unroll]
        for j in 0..2usize {
            tile[(thread / 16 + i * 16) * DOWN + thread % 16 + j * 16] = numbers[from + i * 2 + j];
        }
    }
}

#[cube(launch)]
pub fn queries_back(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    dy: &[f32],
    kept: &[f32],
    d_queries: &mut [f32],
    columns: u32,
    window: u32,
    scale: f32,
    cap: f32,
    groups: u32,
    #[comptime] shape: Shape,
) {
    if CUBE_POS < groups as usize {
        let (columns, window) = (columns as usize, window as usize);
        let (of_queries, of_keys) = (comptime![shape.queries * shape.width], comptime![shape.keys * shape.width]);
        let QueryTile { line, head, first, query_base, key_base, first_key } = tile_of_group(columns, window, shape);
        let kept_base = (line * columns * comptime![shape.queries] + head) * KEPT;
        let mut one = Shared::<[Four]>::new_slice(FOURS);
        let mut other = Shared::<[Four]>::new_slice(FOURS);
        let mut slopes = Shared::<[f32]>::new_slice(ROOM);
        let mut sums = no_sums(comptime![shape.width]);
        let mut key = first_key;
        while key <= first {
            let scores = dots(
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
            let d_weights = dots(
                &mut one,
                &mut other,
                dy,
                query_base,
                of_queries,
                first,
                values,
                key_base,
                of_keys,
                key,
                columns,
                comptime![shape.width],
            );
            let numbers =
                weights_and_slopes(&scores, &d_weights, kept, kept_base, first, key, columns, scale, cap, shape);
            put(&mut slopes, &numbers, 4usize);
            sync_cube();
            add_rows(
                &mut sums,
                &slopes,
                &mut other,
                keys,
                key_base,
                of_keys,
                key,
                columns,
                comptime![shape.width],
                false,
            );
            key += TILE;
        }
        write(&sums, 1.0f32, d_queries, query_base, of_queries, first, columns, comptime![shape.width]);
    }
}

#[cube(launch)]
pub fn keys_back(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    dy: &[f32],
    kept: &[f32],
    d_keys: &mut [f32],
    d_values: &mut [f32],
    columns: u32,
    window: u32,
    scale: f32,
    cap: f32,
    groups: u32,
    #[comptime] shape: Shape,
) {
    if CUBE_POS < groups as usize {
        let (columns, window) = (columns as usize, window as usize);
        let (of_queries, of_keys) = (comptime![shape.queries * shape.width], comptime![shape.keys * shape.width]);
        let tiles = columns.div_ceil(TILE);
        let key_head = CUBE_POS / tiles % comptime![shape.keys];
        let line = CUBE_POS / tiles / comptime![shape.keys];
        let key = CUBE_POS % tiles * TILE;
        let key_base = line * columns * of_keys + key_head * comptime![shape.width];
        let mut one = Shared::<[Four]>::new_slice(FOURS);
        let mut other = Shared::<[Four]>::new_slice(FOURS);
        let mut tile = Shared::<[f32]>::new_slice(ROOM);
        let mut of_keys_sums = no_sums(comptime![shape.width]);
        let mut of_values_sums = no_sums(comptime![shape.width]);
        // The last query that sees a key of the tile.
        let end = min(columns, key + TILE - 1 + window);
        for member in 0..comptime![shape.queries / shape.keys] {
            let head = key_head * comptime![shape.queries / shape.keys] + member;
            let query_base = line * columns * of_queries + head * comptime![shape.width];
            let kept_base = (line * columns * comptime![shape.queries] + head) * KEPT;
            let mut query = key;
            while query < end {
                let scores = dots(
                    &mut one,
                    &mut other,
                    queries,
                    query_base,
                    of_queries,
                    query,
                    keys,
                    key_base,
                    of_keys,
                    key,
                    columns,
                    comptime![shape.width],
                );
                let d_weights = dots(
                    &mut one,
                    &mut other,
                    dy,
                    query_base,
                    of_queries,
                    query,
                    values,
                    key_base,
                    of_keys,
                    key,
                    columns,
                    comptime![shape.width],
                );
                let numbers =
                    weights_and_slopes(&scores, &d_weights, kept, kept_base, query, key, columns, scale, cap, shape);
                put(&mut tile, &numbers, 0usize);
                sync_cube();
                add_rows(
                    &mut of_values_sums,
                    &tile,
                    &mut other,
                    dy,
                    query_base,
                    of_queries,
                    query,
                    columns,
                    comptime![shape.width],
                    true,
                );
                put(&mut tile, &numbers, 4usize);
                sync_cube();
                add_rows(
                    &mut of_keys_sums,
                    &tile,
                    &mut other,
                    queries,
                    query_base,
                    of_queries,
                    query,
                    columns,
                    comptime![shape.width],
                    true,
                );
                query += TILE;
            }
        }
        write(&of_keys_sums, 1.0f32, d_keys, key_base, of_keys, key, columns, comptime![shape.width]);
        write(&of_values_sums, 1.0f32, d_values, key_base, of_keys, key, columns, comptime![shape.width]);
    }
}
