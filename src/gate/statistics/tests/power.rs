//! More items, more power: of the mean rule, for every source of the tests.

use super::simulation::{Distribution, Shape, rate};
use super::*;

const RUNS: usize = 1_000;

/// The most that a power may fall short of that with fewer items before it is no chance: the 99.9 % bound of the
/// difference of two rates of 1,000 near one half.
const NOISE: usize = 69;

const SIZES: [usize; 5] = [30, 60, 100, 200, 400];

/// A source whose items are better by `effect` where they differ at all, and its differences turned to the other side.
fn passes(shape: Shape, zeros: f64, side: f64, effect: f64, n: usize, each: usize) -> usize {
    let (distribution, shift) = match shape {
        Shape::Sign(_) => (Distribution::of(Shape::Sign((0.5 + 0.5 * effect).min(1.0))), 0.0),
        // Of values of 1 and 2 the mean is three times the surplus of wins.
        Shape::Rating(_) => (Distribution::of(Shape::Rating((0.5 + effect / 3.0).min(1.0))), 0.0),
        _ => (Distribution::of(shape), effect),
    };
    rate(RUNS, n * each, distribution.with_zeros(zeros), &|values| {
        let moved = |value: &f64| if *value == 0.0 { 0.0 } else { side * value + shift };
        let values: Vec<f64> = values.iter().map(moved).collect();
        let groups: Vec<usize> = (0..values.len()).map(|at| at / each).collect();
        mean(&Sample::of_groups(&values, &groups), 0.0, 0.05, 500).p_above <= 0.05
    })
}

pub fn deviation(shape: Shape) -> f64 {
    match shape {
        Shape::Laplace => 2.0_f64.sqrt(),
        // Student's t with two degrees has no variance; this is the scale of its middle.
        Shape::Student3 | Shape::Student2 => 3.0_f64.sqrt(),
        Shape::Lognormal(sigma) => (libm::expm1(sigma * sigma) * libm::exp(sigma * sigma)).sqrt(),
        Shape::Rating(_) => 2.5_f64.sqrt(),
        Shape::Normal | Shape::Exponential | Shape::Sign(_) => 1.0,
        Shape::RareHarm => 0.897,
        Shape::RarerHarm => 0.872,
    }
}

fn assert_rises(name: &str, powers: &[usize]) {
    println!("{name:40} {powers:?} of {RUNS}");
    for pair in powers.windows(2) {
        assert!(pair[1] + NOISE >= pair[0], "{name}: {powers:?}");
    }
}

#[test]
fn the_same_gain_is_seen_more_often_with_more_items() {
    let shapes = [
        Shape::Normal,
        Shape::Laplace,
        Shape::Student3,
        Shape::Student2,
        Shape::Exponential,
        Shape::Lognormal(0.5),
        Shape::Lognormal(1.0),
        Shape::Sign(0.5),
        Shape::Rating(0.5),
    ];
    for shape in shapes {
        for zeros in [0.0, 0.5, 0.8] {
            // The last two have no sides: their gain is in the chance of wins.
            let sides = if matches!(shape, Shape::Sign(_) | Shape::Rating(_)) { &[1.0][..] } else { &[1.0, -1.0] };
            for side in sides.iter().copied() {
                // 1.6 standard errors at 30 items.
                let effect = 1.6 * deviation(shape) / (30.0_f64 * (1.0 - zeros)).sqrt();
                let powers: Vec<usize> = SIZES.iter().map(|n| passes(shape, zeros, side, effect, *n, 1)).collect();
                let name = format!("{}, side {side}", Distribution::of(shape).with_zeros(zeros).name());
                assert_rises(&name, &powers);
                assert!(powers[4] >= powers[0] + 200, "{name}: {powers:?}");
            }
        }
    }
}

/// A gain of as many standard errors with every number of items: an exact test has about the same power with all.
#[test]
fn paired_metrics_and_ratings_lose_no_power_by_more_items() {
    for (shape, each) in [(Shape::Sign(0.5), 1), (Shape::Sign(0.5), 3), (Shape::Rating(0.5), 1)] {
        for zeros in [0.0, 0.5, 0.8, 0.95] {
            // Fewer than 20 groups that differ leave no room for such a gain.
            let sizes = [100, 200, 400, 800].into_iter().filter(|n| *n as f64 * each as f64 * (1.0 - zeros) >= 20.0);
            let powers: Vec<usize> = sizes
                .map(|n| {
                    let differ = n as f64 * each as f64 * (1.0 - zeros);
                    passes(shape, zeros, 1.0, 2.486 * deviation(shape) / differ.sqrt(), n, each)
                })
                .collect();
            assert_rises(&format!("{} in groups of {each}", Distribution::of(shape).with_zeros(zeros).name()), &powers);
            assert!(powers.iter().all(|power| *power >= 650), "{shape:?} {zeros} {each}: {powers:?}");
        }
    }
}
