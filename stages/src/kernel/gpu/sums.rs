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
    fold_of_group(of_thread, units, false)
}

/// The largest number of all threads, which all of them get.
#[cube]
pub fn largest_of_group(of_thread: f32, #[comptime] units: usize) -> f32 {
    fold_of_group(of_thread, units, true)
}

#[cube]
fn fold_of_group(of_thread: f32, #[comptime] units: usize, #[comptime] is_largest: bool) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let mut few = Shared::<[f32]>::new_slice(LAST);
    let thread = UNIT_POS as usize;
    all[thread] = of_thread;
    sync_cube();
    if thread < LAST {
        let mut own = all[thread];
        #[unroll]
        for step in 1..comptime![units / LAST] {
            own = folded(own, all[thread + step * LAST], is_largest);
        }
        few[thread] = own;
    }
    sync_cube();
    let mut of_all = few[0];
    #[unroll]
    for at in 1..LAST {
        of_all = folded(of_all, few[at], is_largest);
    }
    of_all
}

#[cube]
fn folded(one: f32, other: f32, #[comptime] is_largest: bool) -> f32 {
    if comptime![is_largest] { max(one, other) } else { one + other }
}
