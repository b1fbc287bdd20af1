//! Products of few rows. Each number of the right-hand matrix is read once for up to eight rows. The threads of a workgroup
//! share columns and, along the inner side, every so many numbers; their sums are added up last, in a fixed order.

use super::factors::{Factors, Onto};
use crate::kernel::gpu::memory::{kind_of, one_each};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

const UNITS: usize = 256;
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

    fn columns_of_group(self) -> usize {
        UNITS / self.along * self.columns
    }
}

pub fn launch(shape: [usize; 2], added: &Onto, factors: &[Factors], out: CubeTensor) {
    let [rows, columns] = shape;
    let (one, two) = (&factors[0], factors.get(1));
    let other = two.unwrap_or(one);
    let shares = Shares::of(shape, (one.right.down, one.right.right), one.inner);
    let across = columns.div_ceil(shares.columns_of_group());
    let groups = across * rows.div_ceil(shares.rows);
    let (kind, start) = added.kind(&one.left.numbers);
    let client = out.client.clone();
    multiply_few::launch(
        &client,
        one_each(&client, groups),
        CubeDim::new_1d(UNITS as u32),
        one.left.numbers.clone().into_buffer_arg(),
        one.right.numbers.clone().into_buffer_arg(),
        other.left.numbers.clone().into_buffer_arg(),
        other.right.numbers.clone().into_buffer_arg(),
        start.into_buffer_arg(),
        out.into_buffer_arg(),
        rows as u32,
        columns as u32,
        groups as u32,
        across as u32,
        one.inner as u32,
        one.left.down,
        one.left.right,
        one.right.down,
        one.right.right,
        one.factor,
        other.inner as u32,
        other.left.down,
        other.left.right,
        other.right.down,
        other.right.right,
        other.factor,
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
    inner: usize,
    left_right: usize,
    right_down: usize,
    factor: f32,
    first: usize,
    #[comptime] shares: Shares,
) {
    let along = comptime![shares.along];
    let mut k = first;
    while k + comptime![(AHEAD - 1) * shares.along] < inner {
        #[unroll]
        for step in 0..AHEAD {
            let at = k + step * along;
            #[unroll]
            for row in 0..comptime![shares.rows] {
                let x = left[rows[row] + at * left_right] * factor;
                #[unroll]
                for column in 0..comptime![shares.columns] {
                    let place = row * comptime![shares.columns] + column;
                    sums[place] = sums[place] + x * f32::cast_from(right[columns[column] + at * right_down]);
                }
            }
        }
        k += AHEAD * along;
    }
    while k < inner {
        #[unroll]
        for row in 0..comptime![shares.rows] {
            let x = left[rows[row] + k * left_right] * factor;
            #[unroll]
            for column in 0..comptime![shares.columns] {
                let place = row * comptime![shares.columns] + column;
                sums[place] = sums[place] + x * f32::cast_from(right[columns[column] + k * right_down]);
            }
        }
        k += along;
    }
}

#[cube(launch)]
fn multiply_few<E: Numeric, F: Numeric>(
    left: &[f32],
    right: &[E],
    other_left: &[f32],
    other_right: &[F],
    start: &[f32],
    out: &mut [f32],
    rows: u32,
    columns: u32,
    groups: u32,
    across: u32,
    inner: u32,
    left_down: u32,
    left_right: u32,
    right_down: u32,
    right_right: u32,
    factor: f32,
    other_inner: u32,
    other_left_down: u32,
    other_left_right: u32,
    other_right_down: u32,
    other_right_right: u32,
    other_factor: f32,
    #[comptime] shares: Shares,
    #[comptime] kind: u32,
    #[comptime] has_other: bool,
    #[define(E)] _of_right: ElemType,
    #[define(F)] _of_other: ElemType,
) {
    if CUBE_POS < groups as usize {
        let (along, beside) = (comptime![shares.along], comptime![UNITS / shares.along]);
        let sums_of_thread = comptime![shares.rows * shares.columns];
        let thread = UNIT_POS as usize;
        let (rows, columns) = (rows as usize, columns as usize);
        let first_row = CUBE_POS / across as usize * comptime![shares.rows];
        let first_column = CUBE_POS % across as usize * comptime![beside * shares.columns];
        let mut k = thread % along;
        let mut own = thread / along;
        if comptime![!shares.is_inner_fast] {
            own = thread % beside;
            k = thread / beside;
        }
        // What lies beyond the edge is computed like its neighbours, and not written.
        let mut row_starts = Array::<usize>::new(comptime![shares.rows]);
        let mut column_starts = Array::<usize>::new(comptime![shares.columns]);
        let mut sums = Array::<f32>::new(sums_of_thread);
        #[unroll]
        for at in 0..sums_of_thread {
            sums[at] = 0.0f32;
        }
        #[unroll]
        for row in 0..comptime![shares.rows] {
            row_starts[row] = min(first_row + row, rows - 1) * left_down as usize;
        }
        #[unroll]
        for column in 0..comptime![shares.columns] {
            column_starts[column] = min(first_column + own + column * beside, columns - 1) * right_right as usize;
        }
        add_products::<E>(
            &mut sums,
            left,
            right,
            &row_starts,
            &column_starts,
            inner as usize,
            left_right as usize,
            right_down as usize,
            factor,
            k,
            shares,
        );
        if comptime![has_other] {
            #[unroll]
            for row in 0..comptime![shares.rows] {
                row_starts[row] = min(first_row + row, rows - 1) * other_left_down as usize;
            }
            #[unroll]
            for column in 0..comptime![shares.columns] {
                let at = min(first_column + own + column * beside, columns - 1);
                column_starts[column] = at * other_right_right as usize;
            }
            add_products::<F>(
                &mut sums,
                other_left,
                other_right,
                &row_starts,
                &column_starts,
                other_inner as usize,
                other_left_right as usize,
                other_right_down as usize,
                other_factor,
                k,
                shares,
            );
        }
        let mut parts = Shared::<[f32]>::new_slice(comptime![UNITS * shares.rows * shares.columns]);
        // One place after the other: by number of the sum, column and share of the inner side.
        #[unroll]
        for at in 0..sums_of_thread {
            parts[(at * beside + own) * along + k] = sums[at];
        }
        sync_cube();
        if comptime![shares.along > LAST] {
            if k < LAST {
                #[unroll]
                for at in 0..sums_of_thread {
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
        let mut at = thread;
        while at < comptime![UNITS / shares.along * shares.rows * shares.columns] {
            let (number, own) = (at / beside, at % beside);
            let row = first_row + number / comptime![shares.columns];
            let column = first_column + own + number % comptime![shares.columns] * beside;
            if row < rows && column < columns {
                let mut sum = parts[at * along];
                #[unroll]
                for step in 1..comptime![if shares.along < LAST { shares.along } else { LAST }] {
                    sum += parts[at * along + step];
                }
                if comptime![kind == 1] {
                    sum += start[column];
                }
                if comptime![kind == 2] {
                    sum += start[row * columns + column];
                }
                out[row * columns + column] = sum;
            }
            at += UNITS;
        }
    }
}
