//! Samples that say little or nothing, each with its answer.

use super::*;

fn everything(sample: &Sample, threshold: f64, alpha: f64) -> Vec<Inference> {
    let any = |counts: &[u32]| counts.first().map(|count| f64::from(*count));
    vec![
        mean(sample, threshold, alpha, 100),
        share(sample, threshold, alpha),
        win_rate(sample, threshold, alpha),
        percentile(sample.clusters(), sample.seed(), sample.mean(), threshold, alpha, 100, &any),
    ]
}

fn says_nothing(inference: Inference) {
    assert_eq!((inference.lower, inference.upper), (f64::NEG_INFINITY, f64::INFINITY), "{inference:?}");
    assert_eq!((inference.p_above, inference.p_below), (1.0, 1.0), "{inference:?}");
}

fn nothing_at_a_glance(sample: &Sample) {
    assert_eq!(glance_mean(sample, 0.0, 0.025), None);
    assert_eq!(glance_share(sample, 0.0, 0.025), None);
    assert_eq!(glance_win_rate(sample, 0.0, 0.025), None);
}

#[test]
fn no_clusters_and_one_cluster_say_nothing() {
    for sample in [Sample::of_items(&[]), Sample::of_items(&[1.0]), Sample::of_groups(&[1.0, 0.0, 1.0], &[4, 4, 4])] {
        everything(&sample, 0.0, 0.05).into_iter().for_each(says_nothing);
        nothing_at_a_glance(&sample);
        assert_eq!(sample.standard_error(), None);
    }
    assert_eq!(Sample::of_items(&[]).mean(), 0.0);
}

#[test]
fn a_number_that_is_none_empties_the_sample() {
    for hole in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for sample in [Sample::of_items(&[1.0, hole, 2.0]), Sample::of_groups(&[1.0, hole, 2.0], &[0, 1, 2])] {
            assert_eq!((sample.items(), sample.clusters(), sample.mean()), (0, 0, 0.0));
            everything(&sample, 0.0, 0.05).into_iter().for_each(says_nothing);
        }
    }
}

#[test]
fn a_threshold_that_is_no_number_decides_nothing() {
    let sample = Sample::of_items(&[1.0, 0.0, 1.0, 1.0]);
    everything(&sample, f64::NAN, 0.05).into_iter().for_each(says_nothing);
    assert_eq!(glance_mean(&sample, f64::NAN, 0.025), None);
    for inference in everything(&sample, 0.5, f64::NAN) {
        assert!(!inference.lower.is_nan() && !inference.upper.is_nan());
    }
}

#[test]
fn equal_values_are_sure_of_anything_below_them() {
    for value in [0.1, 1.0 / 3.0, -7.3, 1e300, 1e-300] {
        let values = vec![value; 30];
        let groups: Vec<usize> = (0..30).map(|i| i * i % 17).collect();
        for sample in [Sample::of_items(&values), Sample::of_groups(&values, &groups)] {
            let below = mean(&sample, value - value.abs() * 0.01, 0.05, 10_000);
            assert!(below.p_above <= 0.05 && below.p_below > 0.05, "{value} {below:?}");
            close(below.lower / value, 1.0, 1e-9);
            close(below.upper / value, 1.0, 1e-9);
            let at = mean(&sample, value, 0.05, 10_000);
            assert_eq!((at.p_above, at.p_below), (1.0, 1.0), "{value} {at:?}");
        }
    }
}

#[test]
fn values_equal_to_the_threshold_leave_us_unsure() {
    let nothing_changed = Sample::of_items(&[0.0; 50]);
    let inference = mean(&nothing_changed, 0.0, 0.05, 1_000);
    assert_eq!((inference.p_above, inference.p_below), (1.0, 1.0));
    assert_eq!((inference.lower, inference.upper), (0.0, 0.0));
    let glance = glance_mean(&nothing_changed, 0.0, 0.025).unwrap();
    assert_eq!((glance.p_above, glance.p_below), (1.0, 1.0));
    says_nothing(win_rate(&Sample::of_items(&[0.5; 50]), 0.5, 0.05));
    assert_eq!(glance_win_rate(&Sample::of_items(&[0.5; 50]), 0.5, 0.025), None);
    let all = share(&Sample::of_items(&[1.0; 50]), 1.0, 0.05);
    assert_eq!((all.upper, all.p_above, all.p_below), (1.0, 1.0, 1.0));
}

#[test]
fn too_few_clusters_never_pass_however_good() {
    for n in 2..8 {
        let values: Vec<f64> = (0..n).map(|i| 10.0 + 0.01 * f64::from(i)).collect();
        let inference = mean(&Sample::of_items(&values), 0.0, 0.05, 10_000);
        assert!(inference.p_above > 0.05 && inference.lower == f64::NEG_INFINITY, "{n} {inference:?}");
    }
    let eight: Vec<f64> = (0..8).map(|i| 10.0 + 0.01 * f64::from(i)).collect();
    assert!(mean(&Sample::of_items(&eight), 0.0, 0.05, 10_000).p_above <= 0.05);
    says_nothing(mean(&Sample::of_items(&eight), 0.0, 0.05, 0));
    assert!(win_rate(&pairs(4, 10, 0), 0.5, 0.05).p_above > 0.05);
    assert!(win_rate(&pairs(5, 10, 0), 0.5, 0.05).p_above <= 0.05);
}

#[test]
fn few_changes_among_many_ties_never_pass_however_good() {
    let changed = |count: usize| Sample::of_items(&(0..200).map(|i| f64::from(i < count)).collect::<Vec<f64>>());
    assert!(mean(&changed(7), 0.0, 0.05, 10_000).p_above > 0.05);
    assert!(mean(&changed(8), 0.0, 0.05, 10_000).p_above <= 0.05);
    // The other way round: 192 that moved alike are evidence enough.
    let mut nearly_all = vec![1.0; 200];
    nearly_all[..8].fill(0.99);
    assert!(mean(&Sample::of_items(&nearly_all), 0.0, 0.05, 10_000).lower > 0.9);
}

#[test]
fn one_giant_outlier_makes_no_improvement() {
    let mut values = vec![0.0; 100];
    values[3] = 1e9;
    let alone = mean(&Sample::of_items(&values), 0.0, 0.05, 10_000);
    assert!(alone.p_above > 0.3 && alone.p_below > 0.3, "{alone:?}");
    let mut values = made_up(100, 2);
    values[3] = 1e9;
    let among_others = mean(&Sample::of_items(&values), 0.0, 0.05, 10_000);
    assert!(among_others.p_above > 0.05 && among_others.p_below > 0.05, "{among_others:?}");
}

#[test]
fn no_number_is_ever_none() {
    let huge = f64::MAX;
    let samples: [&[f64]; 10] = [
        &[0.0, 0.0],
        &[huge, huge, huge],
        &[huge, -huge, huge, -huge, 1.0],
        &[1e200, -1e200, 3.0],
        &[5e-324, 0.0, 5e-324],
        &[1e-200, 2e-200, 3e-200],
        &[1.0, 0.0],
        &[1.0, 1.0, 0.0, 0.5, 0.5],
        &[-0.0, 0.0, -0.0],
        &[1.0; 9],
    ];
    for values in samples {
        let groups: Vec<usize> = (0..values.len()).map(|i| i / 2).collect();
        for sample in [Sample::of_items(values), Sample::of_groups(values, &groups)] {
            for threshold in [f64::NEG_INFINITY, -huge, 0.0, 0.5, f64::INFINITY] {
                for alpha in [-1.0, 1e-30, 0.05, 7.0] {
                    let mut numbers = vec![sample.mean(), sample.standard_error().unwrap_or(0.0)];
                    for inference in everything(&sample, threshold, alpha) {
                        numbers.extend([inference.lower, inference.upper, inference.p_above, inference.p_below]);
                    }
                    let glances = [glance_mean, glance_share, glance_win_rate];
                    for glance in glances.iter().filter_map(|glance| glance(&sample, threshold, 0.025)) {
                        numbers.extend([glance.lower, glance.upper, glance.p_above, glance.p_below]);
                    }
                    assert!(
                        !numbers.iter().any(|number| number.is_nan()),
                        "{values:?} {threshold} {alpha} {numbers:?}"
                    );
                }
            }
        }
    }
}
