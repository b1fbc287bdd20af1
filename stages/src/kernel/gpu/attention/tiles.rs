//! Tiles of scores, and sums of rows by them. A workgroup holds a tile of scores, and 32 numbers of 32 rows of whatever it
//! multiplies. In a tile of scores each thread has two rows and two columns; in a sum, every eighth number of one row.

use crate::kernel::Heads;
use crate::kernel::gpu::memory::{Four, UNITS};
use cubecl::prelude::*;

/// Queries of a tile, and keys.
pub const TILE: usize = 32;
/// Numbers from one row of a tile of scores to the next: one more than it has, so that columns lie in different banks.
pub const DOWN: usize = TILE + 1;
/// Numbers of a tile of scores.
pub const ROOM: usize = TILE * DOWN;
/// Threads that share a row of a sum, four neighbouring numbers each.
pub const LANES: usize = UNITS / TILE;
/// The same of what is multiplied, in fours.
const FOURS_DOWN: usize = LANES + 1;
pub const FOURS: usize = TILE * FOURS_DOWN;
/// Turns of a loop that are written out: a software driver ends all loops of a thread after 65,535 turns together.
const WRITTEN: usize = 8;
/// The score of what is not seen.
pub const UNSEEN: f32 = -1e30;

/// Numbers kept of each query of a head: the logarithm of its total, the product of its output with its gradient, and the
/// first column that it sees.
pub const KEPT: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
    pub is_capped: bool,
}

impl Shape {
    pub fn of(heads: Heads) -> Shape {
        Shape { queries: heads.queries, keys: heads.keys, width: heads.width, is_capped: heads.cap.is_some() }
    }
}

/// The tile of queries of a workgroup.
#[derive(CubeType)]
pub struct QueryTile {
    pub line: usize,
    pub head: usize,
    /// The first query.
    pub first: usize,
    /// Where the queries of the head begin in the line, and the keys that they see.
    pub query_base: usize,
    pub key_base: usize,
    /// The first key of the first tile of keys that is seen.
    pub first_key: usize,
}

#[cube]
pub fn tile_of_group(columns: usize, window: usize, #[comptime] shape: Shape) -> QueryTile {
    let (of_queries, of_keys) = (comptime![shape.queries * shape.width], comptime![shape.keys * shape.width]);
    let tiles = columns.div_ceil(TILE);
    let head = CUBE_POS / tiles % comptime![shape.queries];
    let line = CUBE_POS / tiles / comptime![shape.queries];
    let first = CUBE_POS % tiles * TILE;
    let query_base = line * columns * of_queries + head * comptime![shape.width];
    let of_head = head / comptime![shape.queries / shape.keys] * comptime![shape.width];
    let key_base = line * columns * of_keys + of_head;
    let mut first_key = 0usize;
    if first + 1 > window {
        first_key = (first + 1 - window) / TILE * TILE;
    }
    QueryTile { line, head, first, query_base, key_base, first_key }
}

/// Brings 32 numbers of 32 rows into a tile; 0 beyond the last row and the width of the head.
#[cube]
fn fetch(
    held: &mut Shared<[Four]>,
    matrix: &[f32],
    base: usize,
    down: usize,
    first: usize,
    rows: usize,
    from: usize,
    #[comptime] width: usize,
) {
    let (row, lane) = (UNIT_POS as usize / LANES, UNIT_POS as usize % LANES);
    let mut four = Four::new(0.0f32);
    #[unroll]
    for i in 0..4usize {
        let column = from + lane * 4 + i;
        if first + row < rows && column < width {
            four.insert(i, matrix[base + (first + row) * down + column]);
        }
    }
    held[row * FOURS_DOWN + lane] = four;
}

/// The products of 32 rows with 32 others: of each thread two by two.
#[cube]
pub fn dots(
    one: &mut Shared<[Four]>,
    other: &mut Shared<[Four]>,
    left: &[f32],
    left_base: usize,
    left_down: usize,
    left_first: usize,
    right: &[f32],
    right_base: usize,
    right_down: usize,
    right_first: usize,
    rows: usize,
    #[comptime] width: usize,
) -> Array<f32> {
    let (down, across) = (UNIT_POS as usize / 16, UNIT_POS as usize % 16);
    let mut fours = Array::<Four>::new(4usize);
    #[unroll]
    for at in 0..4usize {
        fours[at] = Four::new(0.0f32);
    }
    let mut from = 0usize;
    while from < width {
        fetch(one, left, left_base, left_down, left_first, rows, from, width);
        fetch(other, right, right_base, right_down, right_first, rows, from, width);
        sync_cube();
        #[unroll]
        for at in 0..LANES {
            let (x, x_below) = (one[down * FOURS_DOWN + at], one[(down + 16) * FOURS_DOWN + at]);
            let (y, y_beside) = (other[across * FOURS_DOWN + at], other[(across + 16) * FOURS_DOWN + at]);
            fours[0] = fours[0] + x * y;
            fours[1] = fours[1] + x * y_beside;
            fours[2] = fours[2] + x_below * y;
            fours[3] = fours[3] + x_below * y_beside;
        }
        sync_cube();
        from += TILE;
    }
    let mut sums = Array::<f32>::new(4usize);
    #[unroll]
    for at in 0..4usize {
        let four = fours[at];
        sums[at] = (four.extract(0usize) + four.extract(1usize)) + (four.extract(2usize) + four.extract(3usize));
    }
    sums
}

/// Adds to the sums of each thread the rows of a matrix, times those of a tile of weights, or times its columns.
#[cube]
pub fn add_rows(
    sums: &mut Array<Four>,
    weights: &Shared<[f32]>,
    held: &mut Shared<[Four]>,
    matrix: &[f32],
    base: usize,
    down: usize,
    first: usize,
    rows: usize,
    #[comptime] width: usize,
    #[comptime] by_column: bool,
) {
    let (row, lane) = (UNIT_POS as usize / LANES, UNIT_POS as usize % LANES);
    #[unroll]
    for chunk in 0..comptime![width.div_ceil(TILE)] {
        fetch(held, matrix, base, down, first, rows, chunk * TILE, width);
        sync_cube();
        for turn in 0..comptime![TILE / WRITTEN] {
            #[unroll]
            for step in 0..WRITTEN {
                let at = turn * WRITTEN + step;
                let mut weight = weights[row * DOWN + at];
                if comptime![by_column] {
                    weight = weights[at * DOWN + row];
                }
                sums[chunk] = sums[chunk] + Four::new(weight) * held[at * FOURS_DOWN + lane];
            }
        }
        sync_cube();
    }
}

/// Sums of nothing yet.
#[cube]
pub fn no_sums(#[comptime] width: usize) -> Array<Four> {
    let count = comptime![width.div_ceil(TILE)];
    let mut sums = Array::<Four>::new(count);
    #[unroll]
    for at in 0..count {
        sums[at] = Four::new(0.0f32);
    }
    sums
}

/// Writes the sums of each thread, times a factor, to its row.
#[cube]
pub fn write(
    sums: &Array<Four>,
    factor: f32,
    out: &mut [f32],
    base: usize,
    down: usize,
    first: usize,
    rows: usize,
    #[comptime] width: usize,
) {
    let (row, lane) = (UNIT_POS as usize / LANES, UNIT_POS as usize % LANES);
    #[unroll]
    for chunk in 0..comptime![width.div_ceil(TILE)] {
        let four = sums[chunk];
        #[unroll]
        for i in 0..4usize {
            let column = chunk * TILE + lane * 4 + i;
            if first + row < rows && column < width {
                out[base + (first + row) * down + column] = four.extract(i) * factor;
            }
        }
    }
}

/// A score under its bound, and the derivative of that.
#[cube]
pub fn bounded(score: f32, cap: f32, #[comptime] is_capped: bool) -> (f32, f32) {
    let mut out = score;
    let mut slope = 1.0f32;
    if comptime![is_capped] {
        // tanh y = 1 − 2/(e^(2y) + 1).
        let t = 1.0f32 - 2.0f32 / (min(2.0f32 * score / cap, 80.0f32).exp() + 1.0f32);
        out = cap * t;
        slope = 1.0f32 - t * t;
    }
    (out, slope)
}

/// Whether a query sees a key.
#[cube]
pub fn sees(query: usize, key: usize, first: usize, columns: usize) -> bool {
    key >= first && key <= query && query < columns
}
