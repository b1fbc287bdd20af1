//! Differences of paired metrics of 0 and 1: exact, dual, and at their level beside the threshold 0, too.

use super::simulation::{Distribution, Shape, rate};
use super::*;

fn differences(gained: usize, lost: usize, same: usize) -> Sample {
    let of = |count: usize, value: f64| std::iter::repeat_n(value, count);
    Sample::of_items(&of(gained, 1.0).chain(of(lost, -1.0)).chain(of(same, 0.0)).collect::<Vec<f64>>())
}

#[test]
fn at_zero_it_is_the_exact_test_of_mcnemar() {
    // One-sided p of scipy.stats.binomtest(gained, gained + lost, 0.5, "greater"), as given from outside.
    for (gained, lost, same, p) in [(20, 5, 175, 0.0020), (16, 4, 80, 0.0059)] {
        let inference = paired(&differences(gained, lost, same), 0.0, 0.05).unwrap();
        close(inference.p_above, p, 0.00005);
        assert!(inference.lower > 0.0 && inference.form == Form::McNemar);
        // In a table of whatever metric the same: wins are no adverse skewness.
        assert_eq!(mean(&differences(gained, lost, same), 0.0, 0.05, 10_000), inference);
    }
    for gained in 0..12_usize {
        let signs = win_rate(&pairs(gained, 30, 11 - gained), 0.5, 0.05);
        let inference = paired(&differences(gained, 11 - gained, 30), 0.0, 0.05).unwrap();
        assert_eq!((inference.p_above, inference.p_below), (signs.p_above, signs.p_below));
    }
}

#[test]
fn the_unit_and_the_order_say_nothing() {
    let of = |unit: f64| [1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0].map(|value| unit * value);
    let one = paired(&Sample::of_items(&of(1.0)), 0.1, 0.05).unwrap();
    let tenth = paired(&Sample::of_items(&of(0.1)), 0.01, 0.05).unwrap();
    close(one.p_above, tenth.p_above, 1e-12);
    close(0.1 * one.lower, tenth.lower, 1e-12);
    let mut turned = of(1.0);
    turned.reverse();
    assert_eq!(paired(&Sample::of_items(&turned), 0.1, 0.05).unwrap(), one);
}

#[test]
fn few_that_differ_are_taken_at_their_word_only_where_no_other_value_can_occur() {
    let five = differences(5, 0, 195);
    close(paired(&five, 0.0, 0.05).unwrap().p_above, 1.0 / 32.0, 1e-15);
    assert!(mean(&five, 0.0, 0.05, 10_000).p_above > 0.05);
    // The least p-value of a mean: one in three may be harmed, and far.
    close(mean(&differences(8, 0, 192), 0.0, 0.05, 10_000).p_above, (2.0_f64 / 3.0).powi(8), 1e-12);
}

#[test]
fn other_values_and_groups_have_other_forms() {
    assert_eq!(paired(&Sample::of_items(&[1.0, 0.0, -2.0]), 0.0, 0.05), None);
    assert_eq!(paired(&Sample::of_items(&[0.0, 1.0, 2.0]), 0.0, 0.05), None);
    assert_eq!(paired(&Sample::of_items(&[1.0; 9]), 0.0, 0.05), None);
    assert_eq!(paired(&Sample::of_groups(&[1.0, 0.0, -1.0], &[1, 1, 2]), 0.0, 0.05), None);
}

#[test]
fn bounds_and_p_values_say_the_same_and_rise_with_the_threshold() {
    for (items, differ) in [(20, 9), (20, 20), (60, 13), (200, 1), (200, 40)] {
        for gained in 0..=differ {
            let sample = differences(gained, differ - gained, items - differ);
            // Values that are all alike are no question for it.
            if paired(&sample, 0.0, 0.05).is_none() {
                continue;
            }
            let mut before = 0.0;
            for step in -25..=25 {
                let threshold = f64::from(step) / 25.0 + 0.000_731;
                for inference in [paired(&sample, threshold, 0.05).unwrap(), mean(&sample, threshold, 0.05, 500)] {
                    let said = format!("{gained} of {differ} of {items} at {threshold}: {inference:?}");
                    assert_eq!(inference.lower > threshold, inference.p_above <= 0.05, "{said}");
                    assert_eq!(inference.upper < threshold, inference.p_below <= 0.05, "{said}");
                }
                let p = paired(&sample, threshold, 0.05).unwrap().p_above;
                assert!(p >= before - 1e-12 || p > 0.5, "{gained} of {differ} of {items} at {threshold}: {p} {before}");
                before = p;
            }
        }
    }
}

/// 5 % of 2,000 and the 99 % bound of that binomial.
const ALLOWED: usize = 123;

#[test]
fn the_levels_hold_at_any_threshold() {
    for n in [30, 60, 200] {
        for zeros in [0.0, 0.5, 0.8] {
            for truth in [0.0, 0.02, -0.1] {
                let distribution = Distribution::of(Shape::Sign(0.5 + 0.5 * truth / (1.0 - zeros))).with_zeros(zeros);
                let wrong = [true, false].map(|is_above| {
                    rate(2_000, n, distribution, &|values| {
                        let inference = paired(&Sample::of_items(values), truth, 0.05);
                        inference.is_some_and(|said| if is_above { said.p_above } else { said.p_below } <= 0.05)
                    })
                });
                println!("{} at {truth}, n {n}: above {}, below {}", distribution.name(), wrong[0], wrong[1]);
                assert!(wrong.iter().all(|wrong| *wrong <= ALLOWED), "{distribution:?} {n} {wrong:?}");
            }
        }
    }
}
