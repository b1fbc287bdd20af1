//! The winner's curse: the luck of the best of several is told, and intervals about it cover.

use super::simulation::contests;
use super::*;
use std::sync::atomic::{AtomicI64, Ordering};

const RUNS: usize = 2_000;
const N: usize = 60;

/// The mean of what [`selection_bias`] says and of what the luck was, in standard errors of a mean; and the number of
/// intervals that do not cover.
fn luck(truths: &[f64], correlation: f64, within: Option<f64>) -> (f64, f64, usize) {
    // Sums of whole numbers, so that the order of threads changes nothing.
    let (said, was) = (AtomicI64::new(0), AtomicI64::new(0));
    let add = |to: &AtomicI64, number: f64| to.fetch_add((1e6 * number).round() as i64, Ordering::Relaxed);
    let groups: Vec<usize> = (0..N).collect();
    let missed = contests(RUNS, N, correlation, truths, &|all| {
        let contest = Contest { criteria: all, quantities: all, groups: &groups, within };
        add(&said, selection_bias(&contest).unwrap());
        let means: Vec<f64> = all.iter().map(|values| values.iter().sum::<f64>() / N as f64).collect();
        let best = (0..means.len()).max_by(|one, other| means[*one].total_cmp(&means[*other])).unwrap();
        let error = |at: usize| {
            let differences: Vec<f64> = all[at].iter().zip(&all[best]).map(|(one, other)| one - other).collect();
            Sample::of_items(&differences).standard_error().unwrap()
        };
        let close = |at: &usize| within.is_some_and(|within| means[best] - means[*at] <= within * error(*at));
        let chosen = (0..best).find(close).unwrap_or(best);
        add(&was, means[chosen] - truths[chosen]);
        let tail = 0.025 / truths.len() as f64;
        let interval = glance_mean(&Sample::of_items(&all[chosen]), truths[chosen], tail).unwrap();
        truths[chosen] < interval.lower || truths[chosen] > interval.upper
    });
    let errors = |sum: AtomicI64| sum.into_inner() as f64 / 1e6 / RUNS as f64 * (N as f64).sqrt();
    (errors(said), errors(was), missed)
}

#[test]
fn the_luck_of_the_best_of_eight_is_told() {
    let equal = [0.0; 8];
    let one_is_better = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8];
    let rising: Vec<f64> = (0..8).map(|at| 0.05 * f64::from(at)).collect();
    for (name, truths, correlation, within) in [
        ("equal", &equal[..], 0.5, None),
        ("equal", &equal, 0.0, None),
        ("equal, within 1 se", &equal, 0.5, Some(1.0)),
        ("rising", &rising, 0.5, None),
        ("one is better", &one_is_better, 0.5, None),
    ] {
        let (said, was, missed) = luck(truths, correlation, within);
        println!(
            "{name}, correlation {correlation}: luck {was:.2} se, said {said:.2} se; {missed} of {RUNS} not covered"
        );
        assert!((said - was).abs() <= 0.25 * was + 0.03, "{name}: {said} is not {was}");
        // 5 % and its 99 % bound.
        assert!(missed <= 123, "{name}: {missed}");
    }
}

#[test]
fn without_items_or_rivals_there_is_nothing_to_tell() {
    let groups = [0, 1, 2];
    let one = vec![vec![1.0, 2.0, 3.0]];
    let two = vec![vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0]];
    let of = |all: &[Vec<f64>], groups: &[usize]| {
        selection_bias(&Contest { criteria: all, quantities: all, groups, within: None })
    };
    assert_eq!(of(&one, &groups), None);
    assert_eq!(of(&two, &groups[..2]), None);
    assert_eq!(of(&two, &[0, 0, 0]), None);
    // Two that are one have the luck of one: none.
    close(of(&two, &groups).unwrap(), 0.0, 0.05);
}
