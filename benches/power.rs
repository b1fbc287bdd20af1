//! The power of rules with confidence, over 10,000 runs, against the exact or large-sample formula: `cargo bench --bench
//! power`. It prints the table and fails where one lies more than two points apart.

use pipeline::gate::statistics::{Sample, mean, win_rate, wins_needed};

// The simulation of the tests, and the parts of the library that it draws from, which are not public.
#[allow(dead_code)]
#[path = "../src/gate/statistics/distributions.rs"]
mod distributions;
#[allow(dead_code)]
#[path = "../src/gate/statistics/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../src/gate/statistics/tests/simulation.rs"]
mod simulation;

fn main() {
    simulation::assert_powers(10_000, 2.0);
}
