//! Win rates that are looked at without a maximum of pairs.

use super::simulation::{Distribution, Shape, growing};
use super::*;

#[test]
fn e_values_are_those_of_a_second_opinion() {
    // By numerical integration in scipy: the likelihood over Beta(40 t, 40 (1 - t)) above t, against that at t.
    let e = |wins: usize, losses: usize, ties: usize, threshold: f64| {
        1.0 / anytime_win_rate(&pairs(wins, ties, losses), threshold, 0.05).p_above
    };
    for (wins, losses, threshold, expected) in [
        (60, 40, 0.5, 4.307573176576886),
        (66, 34, 0.5, 43.6285770971813),
        (200, 150, 0.5, 15.888312219885792),
        (10, 0, 0.5, 4.611375533702395),
        (70, 30, 0.6, 4.81557982188061),
        (30, 70, 0.2, 7.842172616501645),
    ] {
        close(e(wins, losses, 0, threshold), expected, 1e-9 * expected);
        // Ties say nothing about one half.
        if threshold == 0.5 {
            close(e(wins, losses, 100, threshold), expected, 1e-9 * expected);
        }
    }
    assert_eq!(anytime_win_rate(&pairs(39, 0, 61), 0.5, 0.05).p_above, 1.0);
}

#[test]
fn bounds_and_p_values_say_the_same_and_fall_with_the_threshold() {
    for (wins, ties, losses) in [(60, 0, 40), (12, 30, 1), (3, 0, 0), (0, 5, 9), (700, 200, 650), (1, 0, 1)] {
        let sample = pairs(wins, ties, losses);
        for alpha in [0.05, 0.0025] {
            let mut before = 0.0;
            for step in 0..=1_000 {
                let threshold = f64::from(step) / 1_000.0;
                let inference = anytime_win_rate(&sample, threshold, alpha);
                let case = format!("{wins} {ties} {losses} {alpha} {threshold} {inference:?}");
                assert!(inference.p_above >= before, "{case}");
                before = inference.p_above;
                assert_eq!(inference.lower > threshold, inference.p_above <= alpha, "{case}");
                assert_eq!(inference.upper < threshold, inference.p_below <= alpha, "{case}");
                let mirrored = anytime_win_rate(&pairs(losses, ties, wins), 1.0 - threshold, alpha);
                close(mirrored.p_below, inference.p_above, 1e-6 * inference.p_above);
            }
        }
    }
}

#[test]
fn clustered_pairs_and_ties_say_nothing() {
    let grouped = Sample::of_groups(&[1.0, 1.0, 0.0, 1.0], &[0, 0, 1, 2]);
    for sample in [grouped, pairs(0, 9, 0), pairs(1, 0, 0)] {
        assert_eq!(anytime_win_rate(&sample, 0.5, 0.05), Inference::nothing(Form::SignTestByEValues));
    }
}

const RUNS: usize = 2_000;

/// Passes at any of these looks, in percent, and the mean number of pairs.
fn measured(sizes: &[usize], wins: f64, ties: f64) -> (f64, f64) {
    let distribution = Distribution::of(Shape::Sign(wins)).with_zeros(ties);
    let (passed, items) = growing(RUNS, sizes, distribution, &|values, _| {
        let points: Vec<f64> = values.iter().map(|value| 0.5 + 0.5 * value).collect();
        anytime_win_rate(&Sample::of_items(&points), 0.5, 0.05).p_above <= 0.05
    });
    (100.0 * passed as f64 / RUNS as f64, items)
}

#[test]
#[ignore = "in .ci/long"]
fn long_however_often_one_looks_the_level_is_kept_and_the_power_is_that_of_the_docs() {
    let twenty: Vec<usize> = (1..=20).map(|look| 100 * look).collect();
    let every: Vec<usize> = (10..=1_000).step_by(10).collect();
    for (sizes, ties) in [(&twenty, 0.0), (&twenty, 0.5), (&every, 0.0)] {
        let (passed, _) = measured(sizes, 0.5, ties);
        println!("{} looks, {ties} ties: {passed:.1} % where there is nothing", sizes.len());
        // Looks without end would make it 5 %.
        assert!(passed <= 5.0, "{passed}");
    }
    for (effect, power) in [(2.486, 43.0), (3.5, 78.0)] {
        let (passed, items) = measured(&twenty, 0.5 + 0.5 * effect / 2_000.0_f64.sqrt(), 0.0);
        println!("20 looks, {effect} standard errors: {passed:.1} %, {items:.0} pairs");
        close(passed, power, 3.0);
    }
    for wins in [0.6, 0.7] {
        let (passed, items) = measured(&every, wins, 0.0);
        println!("every ten pairs looked at, {wins} win: {passed:.1} %, {items:.0} pairs");
        assert!(passed > 99.0, "{wins}: {passed}");
    }
}
