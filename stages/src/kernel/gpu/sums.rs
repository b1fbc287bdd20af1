//! Sums and maxima of what the threads of a workgroup hold. The order is fixed by the number of threads alone, so it is the
//! same on every device.

use cubecl::prelude::*;

/// Threads that work on a row.
pub const ROW_UNITS: u32 = 128;

/// Sums that are added up last, by every thread for itself.
const LAST: usize = 16;

/// The sum over all threads, which all of them get.
#[cube]
pub fn sum_of_group(of_thread: f32, #[comptime] units: usize) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let mut few = Shared::<[f32]>::new_slice(LAST);
    let thread = UNIT_POS as usize;
    all[thread] = of_thread;
    sync_cube();
    if thread < LAST {
        let mut sum = all[thread];
        #[unroll]
        for step in 1..comptime![units / LAST] {
            sum += all[thread + step * LAST];
        }
        few[thread] = sum;
    }
    sync_cube();
    let mut sum = few[0];
    #[unroll]
    for at in 1..LAST {
        sum += few[at];
    }
    sum
}

/// The largest number of all threads, which all of them get.
#[cube]
pub fn largest_of_group(of_thread: f32, #[comptime] units: usize) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let mut few = Shared::<[f32]>::new_slice(LAST);
    let thread = UNIT_POS as usize;
    all[thread] = of_thread;
    sync_cube();
    if thread < LAST {
        let mut most = all[thread];
        #[unroll]
        for step in 1..comptime![units / LAST] {
            most = max(most, all[thread + step * LAST]);
        }
        few[thread] = most;
    }
    sync_cube();
    let mut most = few[0];
    #[unroll]
    for at in 1..LAST {
        most = max(most, few[at]);
    }
    most
}
