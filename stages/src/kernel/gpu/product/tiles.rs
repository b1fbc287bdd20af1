//! Products of many rows: each workgroup makes a tile of the result, of which each thread makes squares of four by four.
//! Both matrices pass through shared memory, some numbers of the inner side at a time, four to a place.

use super::factors::{Factors, Groups, Onto, SharedWork, Strides};
use crate::kernel::gpu::memory::{Four, kind_of, one_each};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Rows of a square, and columns.
const SQUARE: usize = 4;

/// The shape of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileSizes {
    /// Threads below each other, and beside each other.
    pub down: usize,
    pub across: usize,
    /// Squares of a thread below each other, and beside each other.
    pub folds: [usize; 2],
    /// Numbers along the inner side that are in shared memory.
    pub step: usize,
    /// Whether neighbours along the inner side lie next to each other, in the left matrix and in the right one, and in those
    /// of the other product.
    pub inner_is_next: [bool; 4],
}

impl TileSizes {
    /// The table: long tiles for the narrow matrices of adapters; else the largest of which there are enough to keep a large
    /// device busy. The more a thread has, the fewer numbers it loads from shared memory for each product.
    fn of([rows, columns]: [usize; 2], inner_is_next: [bool; 4]) -> TileSizes {
        let tiles = |tall: usize, wide: usize| rows.div_ceil(tall) * columns.div_ceil(wide);
        let (down, across, folds, step) = match columns {
            ..=32 => (16, 8, [2, 1], 16),
            _ if tiles(128, 128) >= 256 => (16, 16, [2, 2], 8),
            _ if tiles(128, 64) >= 128 => (16, 8, [2, 2], 8),
            _ => (8, 16, [2, 1], 16),
        };
        TileSizes { down, across, folds, step, inner_is_next }
    }

    fn threads(self) -> usize {
        self.down * self.across
    }

    /// Places for four lines in shared memory, of both matrices.
    fn places(self) -> [usize; 2] {
        [self.down * self.folds[0], self.across * self.folds[1]]
    }

    fn edges(self) -> [usize; 2] {
        self.places().map(|places| places * SQUARE)
    }
}

pub fn launch(shape: [usize; 2], added: &Onto, factors: &[Factors], out: CubeTensor) {
    let (one, two) = (&factors[0], factors.get(1));
    let other = two.unwrap_or(one);
    let sides = [one.left.right, one.right.down, other.left.right, other.right.down];
    let sizes = TileSizes::of(shape, sides.map(|stride| stride == 1));
    let groups = Groups::of(shape, sizes.edges());
    let (kind, start) = added.kind(&one.left.numbers);
    let client = out.client.clone();
    multiply_tiles::launch(
        &client,
        one_each(&client, groups.count),
        CubeDim::new_1d(sizes.threads() as u32),
        one.left.numbers.clone().into_buffer_arg(),
        one.right.numbers.clone().into_buffer_arg(),
        other.left.numbers.clone().into_buffer_arg(),
        other.right.numbers.clone().into_buffer_arg(),
        start.into_buffer_arg(),
        out.into_buffer_arg(),
        groups.work(),
        one.strides(),
        other.strides(),
        sizes,
        kind,
        two.is_some(),
        kind_of(&one.right.numbers),
        kind_of(&other.right.numbers),
    );
}

/// A side of a product: lines of a matrix from `first` on, each `line` numbers apart, and neighbours along the inner side
/// `inner`.
#[derive(CubeType)]
struct Side {
    first: usize,
    lines: usize,
    line: usize,
    inner: usize,
    length: usize,
    factor: f32,
}

/// Brings the numbers of a step that begins at `from` to shared memory: four lines to a place, 0 beyond the edges.
#[cube]
fn fetch<E: Numeric>(
    held: &mut Shared<[Four]>,
    matrix: &[E],
    side: &Side,
    from: usize,
    #[comptime] places: usize,
    #[comptime] inner_is_next: bool,
    #[comptime] sizes: TileSizes,
) {
    let (step, threads) = comptime![(sizes.step, sizes.threads())];
    #[unroll]
    for turn in 0..comptime![(places * step).div_ceil(threads)] {
        let at = UNIT_POS as usize + turn * threads;
        if at < comptime![places * step] {
            let mut k = at / places;
            let mut place = at % places;
            if comptime![inner_is_next] {
                k = at % step;
                place = at / step;
            }
            let mut four = Four::new(0.0f32);
            #[unroll]
            for i in 0..SQUARE {
                let line = side.first + place * SQUARE + i;
                if line < side.lines && from + k < side.length {
                    four.insert(i, f32::cast_from(matrix[line * side.line + (from + k) * side.inner]) * side.factor);
                }
            }
            held[k * places + place] = four;
        }
    }
}

/// Adds a product, step by step along its inner side.
#[cube]
fn add_products<E: Numeric>(
    sums: &mut Array<Four>,
    held_left: &mut Shared<[Four]>,
    held_right: &mut Shared<[Four]>,
    left: &[f32],
    right: &[E],
    work: &SharedWork,
    strides: &Strides,
    #[comptime] sizes: TileSizes,
    #[comptime] number: usize,
) {
    let (down, beside) = (UNIT_POS as usize / sizes.across, UNIT_POS as usize % sizes.across);
    let [tall, wide] = comptime![sizes.places()];
    let (left_next, right_next) = comptime![(sizes.inner_is_next[2 * number], sizes.inner_is_next[2 * number + 1])];
    let (first_row, first_column) = first_of_tile(work, sizes);
    let length = strides.inner;
    let rows = Side {
        first: first_row,
        lines: work.rows,
        line: strides.left_down,
        inner: strides.left_right,
        length,
        factor: strides.factor,
    };
    let columns = Side {
        first: first_column,
        lines: work.columns,
        line: strides.right_right,
        inner: strides.right_down,
        length,
        factor: 1.0f32,
    };
    let mut from = 0usize;
    while from < length {
        fetch::<f32>(held_left, left, &rows, from, tall, left_next, sizes);
        fetch::<E>(held_right, right, &columns, from, wide, right_next, sizes);
        sync_cube();
        #[unroll]
        for k in 0..comptime![sizes.step] {
            let mut others = Array::<Four>::new(comptime![sizes.folds[1]]);
            #[unroll]
            for aside in 0..comptime![sizes.folds[1]] {
                others[aside] = held_right[k * wide + beside + aside * sizes.across];
            }
            #[unroll]
            for below in 0..comptime![sizes.folds[0]] {
                let one = held_left[k * tall + down + below * sizes.down];
                #[unroll]
                for aside in 0..comptime![sizes.folds[1]] {
                    #[unroll]
                    for i in 0..SQUARE {
                        let at = (below * comptime![sizes.folds[1]] + aside) * SQUARE + i;
                        sums[at] = sums[at] + Four::new(one.extract(i)) * others[aside];
                    }
                }
            }
        }
        sync_cube();
        from += comptime![sizes.step];
    }
}

/// The first row and the first column of the tile of a workgroup.
#[cube]
fn first_of_tile(work: &SharedWork, #[comptime] sizes: TileSizes) -> (usize, usize) {
    let [tall, wide] = comptime![sizes.edges()];
    (CUBE_POS / work.across * tall, CUBE_POS % work.across * wide)
}

#[cube(launch)]
fn multiply_tiles<E: Numeric, F: Numeric>(
    left: &[f32],
    right: &[E],
    other_left: &[f32],
    other_right: &[F],
    start: &[f32],
    out: &mut [f32],
    work: SharedWork,
    strides: Strides,
    other_strides: Strides,
    #[comptime] sizes: TileSizes,
    #[comptime] kind: u32,
    #[comptime] has_other: bool,
    #[define(E)] _of_right: ElemType,
    #[define(F)] _of_other: ElemType,
) {
    if CUBE_POS < work.groups {
        let mut held_left = Shared::<[Four]>::new_slice(comptime![sizes.places()[0] * sizes.step]);
        let mut held_right = Shared::<[Four]>::new_slice(comptime![sizes.places()[1] * sizes.step]);
        let mut sums = Array::<Four>::new(comptime![sizes.folds[0] * sizes.folds[1] * SQUARE]);
        #[unroll]
        for at in 0..comptime![sizes.folds[0] * sizes.folds[1] * SQUARE] {
            sums[at] = Four::new(0.0f32);
        }
        add_products::<E>(&mut sums, &mut held_left, &mut held_right, left, right, &work, &strides, sizes, 0usize);
        if comptime![has_other] {
            add_products::<F>(
                &mut sums,
                &mut held_left,
                &mut held_right,
                other_left,
                other_right,
                &work,
                &other_strides,
                sizes,
                1usize,
            );
        }
        let (down, beside) = (UNIT_POS as usize / sizes.across, UNIT_POS as usize % sizes.across);
        let (first_row, first_column) = first_of_tile(&work, sizes);
        #[unroll]
        for square in 0..comptime![sizes.folds[0] * sizes.folds[1]] {
            #[unroll]
            for i in 0..SQUARE {
                let row = first_row + (down + square / sizes.folds[1] * sizes.down) * SQUARE + i;
                let four = sums[square * SQUARE + i];
                #[unroll]
                for j in 0..SQUARE {
                    let column = first_column + (beside + square % sizes.folds[1] * sizes.across) * SQUARE + j;
                    if row < work.rows && column < work.columns {
                        let mut sum = four.extract(j);
                        if comptime![kind == 1] {
                            sum += start[column];
                        }
                        if comptime![kind == 2] {
                            sum += start[row * work.columns + column];
                        }
                        out[row * work.columns + column] = sum;
                    }
                }
            }
        }
    }
}
