//! Products of few rows. Each number of the right-hand matrix is read once for up to eight rows. The threads of a workgroup
//! share columns and, along the inner side, every so many numbers; their sums are added up last, in a fixed order.

use super::factors::{Factors, Groups, Onto, SharedWork, Strides};
use crate::kernel::gpu::memory::{UNITS, kind_of, one_each, threads};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Numbers along the inner side that a thread has under way at once.
const AHEAD: usize = 4;
/// Sums of threads that are added up by one.
const LAST: usize = 16;

/// The shares of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shares {
    /// Rows of a workgroup.
    pub rows: usize,
    /// Columns of a thread.
    pub columns: usize,
    /// Threads along the inner side.
    pub along: usize,
    /// Neighbouring threads are neighbours along the inner side.
    pub is_inner_fast: bool,
}

impl Shares {
    /// The table. The order of a sum follows from the inner side and the columns: as many rows as there are, each has the
    /// bits it would have alone.
    pub fn of([rows, columns]: [usize; 2], right: (u32, u32), inner: usize) -> Shares {
        let is_down = right.0 == 1;
        let along: usize = match (is_down, columns) {
            (true, 4096..) => 32,
            (true, 2048..) => 64,
            (true, 1024..) => 128,
            (false, 1024..) => 8,
            (false, 65..) => 32,
            _ => 256,
        };
        let most = (inner / AHEAD).next_power_of_two().clamp(8, UNITS);
        let rows = match rows {
            1 | 2 => rows,
            3 | 4 => 4,
            _ => 8,
        };
        let is_inner_fast = is_down || columns <= 64;
        Shares { rows, columns: if rows == 8 { 1 } else { 2 }, along: along.min(most), is_inner_fast }
    }

    pub fn columns_of_group(self) -> usize {
        UNITS / self.along * self.columns
    }

    pub fn numbers_of_group(self) -> usize {
        self.columns_of_group() * self.rows
    }
}

pub fn launch(shape: [usize; 2], added: &Onto, factors: &[Factors], out: CubeTensor) {
    let (one, two) = (&factors[0], factors.get(1));
    let other = two.unwrap_or(one);
    let shares = Shares::of(shape, (one.right.down, one.right.right), one.inner);
    let groups = Groups::of(shape, [shares.rows, shares.columns_of_group()]);
    let (kind, start) = added.kind(&one.left.numbers);
    let client = out.client.clone();
    multiply_few::launch(
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
        shares,
        kind,
        two.is_some(),
        kind_of(&one.right.numbers),
        kind_of(&other.right.numbers),
    );
}

/// Adds the products of a thread's share of the inner side to its sums, row by row.
#[cube]
fn add_products<E: Numeric>(
    sums: &mut Array<f32>,
    left: &[f32],
    right: &[E],
    rows: &Array<usize>,
    columns: &Array<usize>,
    strides: &Strides,
    first: usize,
    #[comptime] shares: Shares,
) {
    let along = comptime![shares.along];
    let mut k = first;
    while k + comptime![(AHEAD - 1) * shares.along] < strides.inner {
        #[unroll]
        for step in 0..AHEAD {
            let at = k + step * along;
            #[unroll]
            for row in 0..comptime![shares.rows] {
                let x = left[rows[row] + at * strides.left_right] * strides.factor;
                #[unroll]
                for column in 0..comptime![shares.columns] {
                    let place = row * comptime![shares.columns] + column;
                    sums[place] = sums[place] + x * f32::cast_from(right[columns[column] + at * strides.right_down]);
                }
            }
        }
        k += AHEAD * along;
    }
    while k < strides.inner {
        #[unroll]
        for row in 0..comptime![shares.rows] {
            let x = left[rows[row] + k * strides.left_right] * strides.factor;
            #[unroll]
            for column in 0..comptime![shares.columns] {
                let place = row * comptime![shares.columns] + column;
                sums[place] = sums[place] + x * f32::cast_from(right[columns[column] + k * strides.right_down]);
            }
        }
        k += along;
    }
}

/// Adds up what the threads of a workgroup have. Each thread gets one of the numbers that the workgroup makes, as there are no
/// more than threads.
#[cube]
pub fn total_of_thread(sums: &Array<f32>, parts: &mut Shared<[f32]>, #[comptime] shares: Shares) -> f32 {
    let (own, k) = share_of_thread(shares);
    let (along, beside) = (comptime![shares.along], comptime![UNITS / shares.along]);
    let thread = UNIT_POS as usize;
    // One place after the other: by number of the sum, column and share of the inner side.
    #[unroll]
    for at in 0..comptime![shares.rows * shares.columns] {
        parts[(at * beside + own) * along + k] = sums[at];
    }
    sync_cube();
    if comptime![shares.along > LAST] {
        if k < LAST {
            #[unroll]
            for at in 0..comptime![shares.rows * shares.columns] {
                let place = (at * beside + own) * along + k;
                let mut sum = parts[place];
                #[unroll]
                for step in 1..comptime![shares.along / LAST] {
                    sum += parts[place + step * LAST];
                }
                parts[place] = sum;
            }
        }
        sync_cube();
    }
    let mut sum = 0.0f32;
    if thread < comptime![shares.numbers_of_group()] {
        #[unroll]
        for step in 0..comptime![if shares.along < LAST { shares.along } else { LAST }] {
            sum += parts[thread * along + step];
        }
    }
    sync_cube();
    sum
}

/// The first row and the first column of a workgroup.
#[cube]
fn first_of_group(work: &SharedWork, #[comptime] shares: Shares) -> (usize, usize) {
    let (row, column) = (CUBE_POS / work.across, CUBE_POS % work.across);
    (row * comptime![shares.rows], column * comptime![shares.columns_of_group()])
}

/// The row and the column of the number that a thread gets.
#[cube]
pub fn place_of_thread(work: &SharedWork, #[comptime] shares: Shares) -> (usize, usize) {
    let beside = comptime![UNITS / shares.along];
    let (first_row, first_column) = first_of_group(work, shares);
    let (number, own) = (UNIT_POS as usize / beside, UNIT_POS as usize % beside);
    let row = first_row + number / comptime![shares.columns];
    (row, first_column + own + number % comptime![shares.columns] * beside)
}

/// Whether a thread gets a number, and one that is not beyond the edge.
#[cube]
pub fn is_of_result(row: usize, column: usize, work: &SharedWork, #[comptime] shares: Shares) -> bool {
    (UNIT_POS as usize) < comptime![shares.numbers_of_group()] && row < work.rows && column < work.columns
}

/// The column of a thread in its workgroup, and the first number along the inner side that it takes.
#[cube]
fn share_of_thread(#[comptime] shares: Shares) -> (usize, usize) {
    let (along, beside) = (comptime![shares.along], comptime![UNITS / shares.along]);
    let thread = UNIT_POS as usize;
    let mut own = thread / along;
    let mut k = thread % along;
    if comptime![!shares.is_inner_fast] {
        own = thread % beside;
        k = thread / beside;
    }
    (own, k)
}

/// Where the rows of a thread begin, and its columns. Those beyond the edge are computed like their neighbours, and not
/// written.
#[cube]
fn starts_of_thread(
    first: usize,
    own: usize,
    step: usize,
    end: usize,
    stride: usize,
    #[comptime] count: usize,
) -> Array<usize> {
    let mut starts = Array::<usize>::new(count);
    #[unroll]
    for at in 0..count {
        starts[at] = min(first + own + at * step, end - 1) * stride;
    }
    starts
}

#[cube]
pub fn no_sums(#[comptime] shares: Shares) -> Array<f32> {
    let mut sums = Array::<f32>::new(comptime![shares.rows * shares.columns]);
    #[unroll]
    for at in 0..comptime![shares.rows * shares.columns] {
        sums[at] = 0.0f32;
    }
    sums
}

/// Adds a product to the sums of a thread. So many columns of the right side lie before those of the result.
#[cube]
pub fn add_product<E: Numeric>(
    sums: &mut Array<f32>,
    left: &[f32],
    right: &[E],
    work: &SharedWork,
    strides: &Strides,
    before: usize,
    #[comptime] shares: Shares,
) {
    let beside = comptime![UNITS / shares.along];
    let (own, k) = share_of_thread(shares);
    let (row, column) = first_of_group(work, shares);
    let rows = starts_of_thread(row, 0usize, 1usize, work.rows, strides.left_down, comptime![shares.rows]);
    let columns = starts_of_thread(
        before + column,
        own,
        beside,
        before + work.columns,
        strides.right_right,
        comptime![shares.columns],
    );
    add_products::<E>(sums, left, right, &rows, &columns, strides, k, shares);
}

#[cube(launch)]
fn multiply_few<E: Numeric, F: Numeric>(
    left: &[f32],
    right: &[E],
    other_left: &[f32],
    other_right: &[F],
    start: &[f32],
    out: &mut [f32],
    work: SharedWork,
    strides: Strides,
    other_strides: Strides,
    #[comptime] shares: Shares,
    #[comptime] kind: u32,
    #[comptime] has_other: bool,
    #[define(E)] _of_right: ElemType,
    #[define(F)] _of_other: ElemType,
) {
    if CUBE_POS < work.groups {
        let mut sums = no_sums(shares);
        add_product::<E>(&mut sums, left, right, &work, &strides, 0usize, shares);
        if comptime![has_other] {
            add_product::<F>(&mut sums, other_left, other_right, &work, &other_strides, 0usize, shares);
        }
        let mut parts = Shared::<[f32]>::new_slice(comptime![UNITS * shares.rows * shares.columns]);
        let mut sum = total_of_thread(&sums, &mut parts, shares);
        let (row, column) = place_of_thread(&work, shares);
        if is_of_result(row, column, &work, shares) {
            let place = row * work.columns + column;
            if comptime![kind == 1] {
                sum += start[column];
            }
            if comptime![kind == 2] {
                sum += start[place];
            }
            out[place] = sum;
        }
    }
}
