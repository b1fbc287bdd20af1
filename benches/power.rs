//! The power of rules with confidence, over 10,000 runs, against the exact or large-sample formula: `cargo bench --bench power`.
//! It prints the table and fails where one lies more than two points apart.

fn main() {
    pipeline::gate::statistics::simulation::assert_powers(10_000, 2.0);
}
