//! Means of numbers with declared bounds.

use super::power::deviation;
use super::simulation::{Distribution, Shape, rate};
use super::*;

const WITHIN: Bounds = Bounds { low: -5.0, high: 5.0 };

fn p(values: &[f64], threshold: f64) -> [f64; 2] {
    let inference = betting(&Sample::of_items(values), WITHIN, threshold, 0.05, 0.05);
    [inference.p_above, inference.p_below]
}

#[test]
fn bounds_and_p_values_say_the_same_and_fall_with_the_threshold() {
    let groups: Vec<usize> = (0..200).map(|at| at * at % 61).collect();
    for values in [made_up(200, 1), made_up(12, 2), vec![0.25; 40], vec![-5.0, 5.0, 5.0, 5.0, 5.0]] {
        let mut samples = vec![Sample::of_items(&values)];
        if values.len() == groups.len() {
            samples.push(Sample::of_groups(&values, &groups));
        }
        for (sample, alpha) in samples.iter().flat_map(|sample| [(sample, 0.05), (sample, 0.001)]) {
            let mut before = 0.0;
            for step in -300..=300 {
                let threshold = f64::from(step) / 50.0;
                let inference = betting(sample, WITHIN, threshold, alpha, 0.05);
                assert!(inference.p_above >= before, "{threshold} {inference:?}");
                before = inference.p_above;
                assert_eq!(inference.lower > threshold, inference.p_above <= alpha, "{threshold} {inference:?}");
                assert_eq!(inference.upper < threshold, inference.p_below <= alpha, "{threshold} {inference:?}");
            }
            let at = betting(sample, WITHIN, 0.1, alpha, 0.05);
            assert!(at.lower <= sample.mean() && sample.mean() <= at.upper, "{at:?}");
        }
    }
}

/// Items that are all alike, of which the order does not matter, by an own implementation in Python.
#[test]
fn a_second_opinion_says_the_same() {
    for (value, count, [low, high], threshold, money, bound) in [
        (3.5, 40, [1.0, 5.0], 3.0, 838.384365720392, 3.2618596784361165),
        (3.5, 40, [1.0, 5.0], 3.4, 3.3712461857119287, 3.2618596784361165),
        (0.9, 25, [0.0, 1.0], 0.6, 2698.4121107211263, 0.769402278791198),
        (1.0, 30, [-1.0, 1.0], 0.0, 13735623.823059918, 0.7543578329067228),
    ] {
        let sample = Sample::of_items(&vec![value; count]);
        let inference = betting(&sample, Bounds { low, high }, threshold, 0.05, 0.05);
        close(1.0 / inference.p_above, money, 1e-9 * money);
        close(inference.lower, bound, 1e-9);
        let turned = Sample::of_items(&vec![-value; count]);
        let inference = betting(&turned, Bounds { low: -high, high: -low }, -threshold, 0.05, 0.05);
        close(1.0 / inference.p_below, money, 1e-9 * money);
        close(inference.upper, -bound, 1e-9);
    }
}

#[test]
fn unit_and_side_say_nothing() {
    let values = made_up(100, 3);
    let [above, below] = p(&values, 0.05);
    let scaled: Vec<f64> = values.iter().map(|value| 3.0 * value + 1.0).collect();
    let bounds = Bounds { low: -14.0, high: 16.0 };
    // Another unit is another table, so its order is another, too: the evidence differs by chance alone.
    let other = betting(&Sample::of_items(&scaled), bounds, 1.15, 0.05, 0.05);
    assert!((other.p_above.ln() - above.ln()).abs() < 1.0, "{other:?} {above} {below}");
    let nothing = betting(&Sample::of_items(&values), Bounds { low: 1.0, high: 1.0 }, 0.0, 0.05, 0.05);
    assert_eq!(nothing, Inference::nothing(Form::Betting));
    assert_eq!(p(&[1.0], 0.0), [1.0, 1.0]);
    assert_eq!(p(&values, f64::NAN), [1.0, 1.0]);
    // Beyond the bounds nothing need be seen.
    assert_eq!(p(&values, -5.01)[0], 0.0);
    assert_eq!(p(&values, 5.01)[1], 0.0);
}

const RUNS: usize = 2_000;
/// 5 % of 2,000 runs and the 99 % bound of that binomial.
const ALLOWED: usize = 123;

fn passed(n: usize, distribution: Distribution, each: usize, decide: &(dyn Fn(&Sample) -> bool + Sync)) -> usize {
    rate(RUNS, n, distribution, &|values| {
        let kept: Vec<f64> = values.iter().map(|value| value.clamp(WITHIN.low, WITHIN.high)).collect();
        let groups: Vec<usize> = (0..kept.len()).map(|at| at / each).collect();
        decide(&Sample::of_groups(&kept, &groups))
    })
}

fn bets(sample: &Sample) -> bool {
    betting(sample, WITHIN, 0.0, 0.05, 0.05).p_above <= 0.05
}

#[test]
fn rare_harm_keeps_the_level_where_other_forms_do_not() {
    let rarer = Distribution::of(Shape::RarerHarm).with_zeros(0.8);
    for (source, name) in [(Distribution::of(Shape::RareHarm), "3 %"), (rarer, "1 %")] {
        for n in [15, 30, 60, 200, 2_000] {
            for each in [1, 3] {
                let wrong = passed(n, source, each, &bets);
                println!("harm to {name}, {n} items in groups of {each}: {wrong} of {RUNS}");
                assert!(wrong <= ALLOWED, "{name} {n} {each}: {wrong}");
            }
        }
    }
    let usual =
        passed(30, Distribution::of(Shape::RareHarm), 1, &|sample| mean(sample, 0.0, 0.05, 1_000).p_above <= 0.05);
    println!("the usual form at 30 items: {usual} of {RUNS}");
    assert!(usual > 4 * ALLOWED, "{usual}");
}

#[test]
#[ignore = "in .ci/long"]
fn long_other_sources_keep_the_level_on_both_sides() {
    for shape in [Shape::Normal, Shape::Laplace, Shape::Sign(0.5), Shape::Rating(0.5)] {
        for zeros in [0.0, 0.8] {
            for n in [30, 200] {
                let source = Distribution::of(shape).with_zeros(zeros);
                let either = |sample: &Sample| {
                    let inference = betting(sample, WITHIN, 0.0, 0.025, 0.05);
                    inference.p_above.min(inference.p_below) <= 0.025
                };
                let wrong = passed(n, source, 1, &either);
                assert!(wrong <= ALLOWED, "{shape:?} {zeros} {n}: {wrong}");
            }
        }
    }
}

/// At a gain of which the t test finds 83 % of 2,000 items.
#[test]
fn the_price_is_about_twenty_points_of_power() {
    let effect = 2.62 * deviation(Shape::RareHarm) / 2_000.0_f64.sqrt();
    let source = Distribution::of(Shape::RareHarm).with_shift(effect);
    let t =
        passed(2_000, source, 1, &|sample| glance_mean(sample, 0.0, 0.05).is_some_and(|glance| glance.p_above <= 0.05));
    let found = passed(2_000, source, 1, &bets);
    let [t, found] = [t, found].map(|count| 100.0 * count as f64 / RUNS as f64);
    println!("harm to 3 %, 2,000 items: t {t:.1} %, bets {found:.1} %");
    close(t, 83.0, 3.0);
    close(found, 63.0, 4.0);
}
