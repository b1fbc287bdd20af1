//! Products of many rows: each workgroup makes a tile of the result, of which each thread makes squares of four by four.
//! Both matrices pass through shared memory, some numbers of the inner side at a time, four to a place.

use super::factors::{Factors, Groups, Onto, SharedWork, Strides};
use crate::kernel::gpu::memory::{Four, UNITS, kind_of, one_each, threads};
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
    pub fold: usize,
    /// Numbers along the inner side that are in shared memory.
    pub step: usize,
    /// Whether neighbours along the inner side lie next to each other, in the left matrix and in the right one, and in those
    /// of the other product.
    pub inner_is_next: [bool; 4],
}

impl TileSizes {
    /// The table: long tiles for the narrow matrices of adapters; 128 × 128 where that is enough to keep a large device busy;
    /// else 64 × 64.
    fn of([rows, columns]: [usize; 2], inner_is_next: [bool; 4]) -> TileSizes {
        let large = rows.div_ceil(128) * columns.div_ceil(128) >= 256;
        let (down, across, fold, step) = match (rows, columns) {
            (_, ..=32) => (32, 8, 1, 16),
            (..=32, _) => (8, 32, 1, 16),
            _ if large => (16, 16, 2, 8),
            _ => (16, 16, 1, 16),
        };
        TileSizes { down, across, fold, step, inner_is_next }
    }

    fn edges(self) -> [usize; 2] {
        [self.down, self.across].map(|threads| threads * self.fold * SQUARE)
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
        threads(),
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

/// Brings a part of a matrix into shared memory: `lines` of it from `first` on, and along the inner side from `from` on; 0
/// beyond its edges. Lines are `line` numbers apart, and neighbours along the inner side `inner`. Four lines make a place, and
/// `places` of them lie beside each other.
#[cube]
fn fetch<E: Numeric>(
    held: &mut Shared<[Four]>,
    matrix: &[E],
    first: usize,
    lines: usize,
    line: usize,
    from: usize,
    length: usize,
    inner: usize,
    factor: f32,
    #[comptime] places: usize,
    #[comptime] step: usize,
    #[comptime] inner_is_next: bool,
) {
    #[unroll]
    for turn in 0..comptime![(places * step).div_ceil(UNITS)] {
        let at = UNIT_POS as usize + turn * UNITS;
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
                let row = first + place * SQUARE + i;
                if row < lines && from + k < length {
                    four.insert(i, f32::cast_from(matrix[row * line + (from + k) * inner]) * factor);
                }
            }
            held[k * places + place] = four;
        }
    }
}

#[cube]
fn add_products<E: Numeric>(
    sums: &mut Array<Four>,
    held_left: &mut Shared<[Four]>,
    held_right: &mut Shared<[Four]>,
    left: &[f32],
    right: &[E],
    first_row: usize,
    first_column: usize,
    work: &SharedWork,
    strides: &Strides,
    #[comptime] sizes: TileSizes,
    #[comptime] number: usize,
) {
    let (down, beside) = (UNIT_POS as usize / sizes.across, UNIT_POS as usize % sizes.across);
    let mut from = 0usize;
    while from < strides.inner {
        fetch::<f32>(
            held_left,
            left,
            first_row,
            work.rows,
            strides.left_down,
            from,
            strides.inner,
            strides.left_right,
            strides.factor,
            comptime![sizes.down * sizes.fold],
            comptime![sizes.step],
            comptime![sizes.inner_is_next[2 * number]],
        );
        fetch::<E>(
            held_right,
            right,
            first_column,
            work.columns,
            strides.right_right,
            from,
            strides.inner,
            strides.right_down,
            1.0f32,
            comptime![sizes.across * sizes.fold],
            comptime![sizes.step],
            comptime![sizes.inner_is_next[2 * number + 1]],
        );
        sync_cube();
        #[unroll]
        for k in 0..comptime![sizes.step] {
            #[unroll]
            for below in 0..comptime![sizes.fold] {
                let one = held_left[k * comptime![sizes.down * sizes.fold] + down + below * comptime![sizes.down]];
                #[unroll]
                for aside in 0..comptime![sizes.fold] {
                    let place = k * comptime![sizes.across * sizes.fold] + beside + aside * comptime![sizes.across];
                    let other = held_right[place];
                    #[unroll]
                    for i in 0..SQUARE {
                        let at = (below * comptime![sizes.fold] + aside) * SQUARE + i;
                        sums[at] = sums[at] + Four::new(one.extract(i)) * other;
                    }
                }
            }
        }
        sync_cube();
        from += comptime![sizes.step];
    }
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
        let (tall, wide) = comptime![(sizes.edges()[0], sizes.edges()[1])];
        let first_row = CUBE_POS / work.across * tall;
        let first_column = CUBE_POS % work.across * wide;
        let mut held_left = Shared::<[Four]>::new_slice(comptime![sizes.down * sizes.fold * sizes.step]);
        let mut held_right = Shared::<[Four]>::new_slice(comptime![sizes.across * sizes.fold * sizes.step]);
        let mut sums = Array::<Four>::new(comptime![sizes.fold * sizes.fold * SQUARE]);
        #[unroll]
        for at in 0..comptime![sizes.fold * sizes.fold * SQUARE] {
            sums[at] = Four::new(0.0f32);
        }
        add_products::<E>(
            &mut sums,
            &mut held_left,
            &mut held_right,
            left,
            right,
            first_row,
            first_column,
            &work,
            &strides,
            sizes,
            0usize,
        );
        if comptime![has_other] {
            add_products::<F>(
                &mut sums,
                &mut held_left,
                &mut held_right,
                other_left,
                other_right,
                first_row,
                first_column,
                &work,
                &other_strides,
                sizes,
                1usize,
            );
        }
        let (down, beside) = (UNIT_POS as usize / sizes.across, UNIT_POS as usize % sizes.across);
        #[unroll]
        for square in 0..comptime![sizes.fold * sizes.fold] {
            #[unroll]
            for i in 0..SQUARE {
                let row = first_row + (down + square / sizes.fold * sizes.down) * SQUARE + i;
                let four = sums[square * SQUARE + i];
                #[unroll]
                for j in 0..SQUARE {
                    let column = first_column + (beside + square % sizes.fold * sizes.across) * SQUARE + j;
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
